"""The secret that a collector and the relays on other hosts share.

Both ends prove that they have it by authenticating their role and a random challenge of each end; the secret itself
is never sent.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Literal

from connleak.model.errors import Error

Role = Literal["relay", "collector"]
SECRET = "CONNLEAK_SECRET"
"""The variable that holds the secret: on a command line, all users of the host could read it."""


def need_secret() -> str:
    """Return the secret; raise Error if the environment has none."""
    secret = os.environ.get(SECRET, "")
    if len(secret) < 16:
        raise Error(
            f"{SECRET} is not set, or shorter than 16 characters: both ends need the same",
            f"export {SECRET}=$(openssl rand -hex 16)",
        )
    return secret


def mac(secret: str, role: Role, collector_challenge: str, relay_challenge: str) -> str:
    """Return the proof that one end has the secret, for the challenges of both.

    It includes the role, so that an impostor cannot reflect one end's proof back as the other's.
    """
    text = json.dumps([role, collector_challenge, relay_challenge]).encode()
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def matches(expected: str, received: str) -> bool:
    """Return whether a received proof or token is the expected one, in constant time."""
    return hmac.compare_digest(expected.encode(), received.encode("utf-8", "replace"))

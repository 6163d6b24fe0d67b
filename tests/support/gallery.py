"""The entries of reports/gallery/gallery.json by target and variant."""

from __future__ import annotations

import msgspec
from connleak.corpus import gallery

from support.paths import GALLERY

ENTRIES = msgspec.json.decode((GALLERY / "gallery.json").read_bytes(), type=dict[str, list[gallery.Entry]])["variants"]

"""What reports/gallery/gallery.json holds of each variant."""

from __future__ import annotations

import msgspec
from connleak.corpus import gallery

from support.paths import GALLERY

ENTRIES = msgspec.json.decode((GALLERY / "gallery.json").read_bytes(), type=dict[str, list[gallery.Entry]])["variants"]

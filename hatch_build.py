"""Ships targets/ and scenarios/ in a standard wheel as connleak/_corpus; an editable install reads them in place."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CorpusHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            for name in ("targets", "scenarios"):
                for path in sorted(Path(self.root, name).rglob("*")):
                    if path.is_file() and "__pycache__" not in path.parts:
                        inside = path.relative_to(self.root).as_posix()
                        build_data["force_include"][str(path)] = f"connleak/_corpus/{inside}"
            known = "reports/gallery/gallery.json"  # what `connleak diagnose` compares with
            build_data["force_include"][str(Path(self.root, known))] = f"connleak/_corpus/{known}"

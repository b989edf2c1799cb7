"""Files that can be named: those below ``configs/`` of the working directory, and those that ship with the product."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.core import paths
from harness.core.config import nearest
from harness.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of files of one kind.

    Args:
        folder: below ``configs/``.
        word: what one of them is called: ``lab``, ``release``.
        hint: what else to do where nothing has the name that was given.
    """

    folder: str
    word: str
    hint: str = ""

    def files(self) -> dict[str, Path]:
        """What can be named; the working directory's own in place of the product's of that name."""
        folders = (paths.configs() / self.folder, Path("configs") / self.folder)
        return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}

    def find(self, name_or_path: str | Path) -> Path:
        """The file of a name, or of a path: whatever has a slash or ends as YAML files do.

        Raises:
            UsageError: there is none; suggests the nearest name.
        """
        text = str(name_or_path)
        if "/" in text or text.endswith((".yaml", ".yml")):
            path = Path(text).expanduser()
            if not path.is_file():
                raise UsageError(f"{text}: there is no such {self.word} file")
            return path
        found = self.files()
        if text not in found:
            hint = f"or give the path of a {self.word} file{f'; {self.hint}' if self.hint else ''}"
            raise UsageError(f"no {self.word} is called {text!r}{nearest(text, found)}", hint=hint)
        return found[text]

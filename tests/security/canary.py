"""What a malicious file would leave behind if it were run."""

from __future__ import annotations

import os
from pathlib import Path


class Canary:
    """A folder that must not appear, in the ways in which files of different kinds would make it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "canary"

    def __reduce__(self) -> tuple:
        """Unpickled carelessly, this object is a call."""
        return os.mkdir, (str(self.path),)

    @property
    def expression(self) -> str:
        """Evaluated carelessly, this text is a call."""
        return f"__import__('os').mkdir({str(self.path)!r})"

    def sang(self) -> bool:
        """Whether the call was made; the canary is then silent again."""
        if self.path.exists():
            self.path.rmdir()
            return True
        return False

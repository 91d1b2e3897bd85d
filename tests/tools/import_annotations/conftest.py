"""Images that the tests of this folder import."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.import_annotations.annotation_files import write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", ["a.png", "sub/b.png"])

from __future__ import annotations

import pytest

from database.synthetic import write_dataset


@pytest.fixture
def data_dir(tmp_path) -> str:
    """Writes 7 training scenes."""
    folder = str(tmp_path / "toy")
    write_dataset(folder, train=7, val=2, test=1, height=16, width=32)
    return folder

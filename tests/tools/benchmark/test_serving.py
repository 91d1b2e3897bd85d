"""The rows of the part `serve` of the benchmark."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from tests.tools.random_pspnet import copy_with_record  # noqa: E402
from tools.benchmark import __main__ as benchmark  # noqa: E402
from tools.benchmark import serving  # noqa: E402


def test_rows(random_pspnet, narrow_resnet, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(serving, "REQUESTS", 16)
    monkeypatch.setattr(serving, "_ROUNDS", 2)
    run = copy_with_record(random_pspnet, tmp_path / "run", test_image_size=32)
    benchmark.main(["--parts", "serve", "--weights_ckpt", run])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["serve.engine", "serve.server", "serve.ratio", "serve.lost"]
    assert all(float(row[1]) > 0 for row in rows[:3])
    assert float(rows[3][1]) == 0

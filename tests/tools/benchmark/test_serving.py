"""The rows of the part `serve` of the benchmark."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from tests.tools.random_pspnet import copy_with_record  # noqa: E402
from tests.tools.serve.images import picture  # noqa: E402
from tools.benchmark import __main__ as benchmark  # noqa: E402
from tools.benchmark import serving  # noqa: E402
from tools.export import images  # noqa: E402


@pytest.mark.slow
def test_rows(random_pspnet, narrow_resnet, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(serving, "REQUESTS", 16)
    monkeypatch.setattr(serving, "_ROUNDS", 1)
    monkeypatch.setattr(images, "_GENERATED_SIZE", (40, 48))
    run = copy_with_record(random_pspnet, tmp_path / "run", test_image_size=32)
    benchmark.main(["--parts", "serve", "--weights_ckpt", run])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["serve.engine", "serve.server", "serve.ratio", "serve.lost"]
    engine, server, ratio, lost = (float(row[1]) for row in rows)
    assert ratio == pytest.approx(server / engine, rel=0.05)
    assert (lost, rows[3][-2:]) == (0, ["16", "requests"])


def test_in_each_round_eight_clients_send_all_requests_before_the_engine_begins(monkeypatch):
    events = []

    class Model:
        record = type("Record", (), {"channels": None})

        def segment_pixels(self, pixels, path):
            events.append("engine")

    monkeypatch.setattr(serving, "_send", lambda port, files: events.append(len(files)) or 1)
    found = serving._one_round(1, Model(), [serving._png_of(picture())] * 200)
    assert events == [25] * 8 + ["engine"] * 200
    assert found.lost == 8

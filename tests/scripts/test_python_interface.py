"""`from inference import load`, and that importing it has no effects."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from database.datasets import get_dataset
from tests.scripts.starting import ROOT
from tools.errors import CheckpointError, FlagError

# What a program of a user's sees before and after the import.
WITHOUT_EFFECTS = """
import logging, os, signal, sys, threading
def state():
    return (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), logging.getLogger().handlers[:],
            logging.getLogger().level, sys.excepthook, threading.excepthook, dict(os.environ), threading.active_count(),
            sys.stdout, sys.stderr)
before = state()
from inference import load
assert state() == before
assert not {"tensorflow", "tf_slim", "rasterio", "matplotlib", "av"} & set(sys.modules)
print(load.__name__)
"""


@pytest.fixture(scope="module")
def load():
    return runpy.run_path(str(ROOT / "inference.py"))["load"]


def street(folder) -> str:
    path = str(folder / "street.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(path)
    return path


def test_the_import_has_no_effects():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EFFECTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("load\n", "")


def test_a_model_gives_what_inference_writes(load, main, place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = street(tmp_path)
    run = os.path.dirname(os.path.dirname(place.snapshot))
    flags = ["--weights_ckpt", run, "--image_path", path, "--output_dir", "out", "--device", "cpu"]
    assert main("inference", *flags) == 0
    written = {name: (tmp_path / "out" / name).read_bytes() for name in files_below("out")}
    with load(run, device="cpu") as model:
        assert model.classes == tuple(get_dataset("Toy").class_names)
        result = model.segment(path, probabilities=True)
        saved = result.save("out")  # the same results: weights, flags and image are the same
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files_below("out")} == written
    assert sorted(saved) == [f"out/{name}" for name in sorted(written) if name.endswith(".png")]
    assert result.probabilities.shape == (40, 50, 19)
    np.testing.assert_allclose(result.probabilities.sum(axis=2), 1, atol=1e-5)
    best = np.take_along_axis(result.probabilities, result.labels[..., np.newaxis].astype(int), axis=2)[..., 0]
    np.testing.assert_array_equal(best, result.probabilities.max(axis=2))


def test_labels_are_the_same_with_and_without_probabilities(load, place, tmp_path):
    image = np.array(Image.open(street(tmp_path)))
    with load(place.snapshot, ms=True, test_image_size=(32, 48)) as model:
        plain, more = model.segment(image), model.segment(image, probabilities=True)
    np.testing.assert_array_equal(plain.labels, more.labels)


def files_below(folder) -> list[str]:
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


@pytest.mark.slow
def test_examples_of_the_document(place, tmp_path):
    """All blocks of docs/python.md, one after the other."""
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    assert len(blocks) == 4
    os.symlink(place.log_dir, tmp_path / "log")
    street(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        os.rename(street(tmp_path / "photos"), tmp_path / "photos" / f"{name}.png")
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(40, 50) uint8" in done.stdout
    assert "(40, 50, 19)" in done.stdout
    assert Image.open(tmp_path / "overlay.png").size == (50, 40)
    assert files_below(tmp_path / "results") == [
        "areas.csv", "images.jsonl", "prediction/a_prediction.png", "prediction/b_prediction.png", "provenance.json"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("checkpoint", "flags", "error", "words"),
    [
        (None, {"log_dir": "absent"}, CheckpointError, "absent: no snapshot was found"),
        ("no/model.ckpt-3", {}, CheckpointError, "no/model.ckpt-3: there is no such checkpoint"),
        ("x", {"mirorr": 0}, FlagError, "unrecognized arguments: --mirorr=0"),
        ("x", {"device": "tpu"}, FlagError, "--device: .*'tpu'"),
        ("x", {"log_dir": "y"}, FlagError, "--log_dir y has no effect with --weights_ckpt"),
        ("x", {"image_path": "a.png"}, FlagError, r"image_path is not taken here: give images to model\.segment"),
        ("x", {"output_dir": "out"}, FlagError, r"output_dir is not taken here: .* result\.save"),
        ("x", {"quiet": True}, FlagError, "quiet is not taken here: .*logging"),
        ("x", {"help": True}, FlagError, "help is not taken here"),
    ],
)
def test_faults_of_load(load, checkpoint, flags, error, words):
    with pytest.raises(error, match=words) as caught:
        load(checkpoint, **flags)
    assert "\n" not in str(caught.value)

"""Flags of `python -m tools.serve`, and the command with a network."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request

import numpy as np
import pytest

from database.errors import TooManyPixelsError
from database.image_opening import check_pixels
from database.images import MAX_PIXELS, set_max_pixels
from tests.tools.random_pspnet import CLASSES, copy_with_record, random_pspnet_record
from tests.tools.serve.images import picture, png
from tools.errors import FlagError, MissingPackageError
from tools.flags.parsing import parse_flags
from tools.serve import __main__ as serve
from tools.serve.flags import ServeConfig


def config(*arguments):
    return parse_flags(ServeConfig, arguments, "")


def test_the_default_is_this_machine():
    assert config().is_local
    assert config().host == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("192.168.0.9", False),
     ("gpu.lab.test", False)],
)  # fmt: skip
def test_hosts(host, is_local):
    assert config("--host", host).is_local == is_local


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--port", "65536"), "--port"),
        (("--port", "-1"), "--port"),
        (("--max_upload", "0"), "--max_upload"),
        (("--timeout", "0"), "--timeout"),
        (("--timeout", "nan"), "--timeout"),
        (("--parallel", "0"), "--parallel"),
        (("--queue", "-1"), "--queue"),
        (("--host", ""), "--host"),
        (("--weights_ckpt", "x", "--log_dir", "y"), "--log_dir"),
        (("--image_path", "x"), "--image_path"),
    ],
)
def test_wrong_flags(flags, named):
    with pytest.raises(FlagError, match=named):
        config(*flags)


def test_flags_of_the_model():
    assert config().model_flags() == {}
    assert config("--max_pixels", "1000").model_flags() == {"max_pixels": 1000}
    found = config("--ms", "1", "--mirror", "0", "--test_image_size", "0", "--windows_per_batch", "8").model_flags()
    assert found == {"ms": True, "mirror": False, "test_image_size": 0}


@pytest.mark.parametrize(
    ("window", "flags", "expected"),
    [(480, (), 40_000_000), (0, (), 4_000_000), (0, ("--max_pixels", "9000"), 9000), (480, ("--max_pixels", "9"), 9)],
)
def test_the_largest_image_suits_the_memory_of_the_network(window, flags, expected, caplog):
    """A network that sees whole images needs 0.3 GB and more for a million pixels."""
    caplog.set_level("INFO")
    record = random_pspnet_record(test_image_size=window)
    try:
        assert serve.limit_pixels(config(*flags), record) == expected
        with pytest.raises(TooManyPixelsError):
            check_pixels("image", 1, expected + 1)
        check_pixels("image", 1, expected)
    finally:
        set_max_pixels(MAX_PIXELS)
    assert any(f"--max_pixels is {expected}" in line for line in caplog.messages) == (window == 0)
    assert serve.limits_of(config(*flags), expected)["max_pixels"] == expected


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr("tools.runtime.extras.is_installed", lambda package: package != "uvicorn")
    with pytest.raises(MissingPackageError, match=r"uvicorn.*\.\[serve\]") as found:
        serve.main(["--port", "0"])
    assert "\n" not in str(found.value)


def test_an_open_address_is_warned_of(monkeypatch, caplog):
    pytest.importorskip("uvicorn")
    monkeypatch.setattr(serve, "loaded_model", lambda *_: (_ for _ in ()).throw(FlagError("stops here")))
    monkeypatch.setattr(serve, "require_packages", lambda *_: None)
    with pytest.raises(FlagError, match="stops here"):
        serve.main(["--host", "0.0.0.0", "--port", "0"])
    assert "neither encryption nor a password" in caplog.text


@pytest.fixture
def run(random_pspnet, narrow_resnet, tmp_path):
    """A run's folder with the network of random weights."""
    return copy_with_record(random_pspnet, tmp_path / "run", test_image_size=32)


def test_served_labels_are_those_of_inference(run, capsys):
    """The command in this process: many requests at a time, whose windows share batches; then SIGTERM."""
    for package in ("starlette", "uvicorn", "python_multipart"):
        pytest.importorskip(package, reason="needs the extra serve")
    from concurrent.futures import ThreadPoolExecutor

    from tools.prediction.loading import loaded_model

    images = [picture(30 + 5 * (index % 3), 40, seed=index) for index in range(12)]
    for image in images:
        image[: len(image) // 2] //= 8  # the network of random weights predicts another class there
    with loaded_model(run, {"device": "cpu", "float_type": "32"}) as model:
        expected = [model.segment(image).areas() for image in images]
    found, output = [], []

    def post(address, image):
        request = urllib.request.Request(f"{address}v1/segment", png(image), {"Content-Type": "image/png"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return {entry["name"]: entry["pixels"] for entry in json.load(answer)["classes"]}

    def client():
        try:
            while not (address := "".join(output)).endswith("\n"):
                output.append(capsys.readouterr().out)
                threading.Event().wait(0.05)
            with ThreadPoolExecutor(8) as clients:
                found.extend(clients.map(lambda image: post(address.strip(), image), images))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=client)
    thread.start()
    serve.main(["--weights_ckpt", run, "--port", "0", "--device", "cpu", "--float_type", "32", "--parallel", "4",
                "--windows_per_batch", "8"])  # fmt: skip
    thread.join()
    assert len(expected[0]) == CLASSES
    assert sum(area.pixels > 0 for area in expected[0].values()) > 1
    for areas, pixels in zip(expected, found, strict=True):
        differences = np.abs([area.pixels - pixels[name] for name, area in areas.items()])
        assert differences.max() <= 2  # pixels whose two best classes are equal in float32

"""The programs in examples/export, with exports of a random network."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image

from tests.export_packages import export_package
from tests.scripts.starting import ROOT
from tests.tools.export.exported import noise
from tools.export.usage_data import send_no_usage_data
from tools.export.writing import WRITERS

send_no_usage_data()
EXAMPLES = ROOT / "examples" / "export"
# Program: --format, name of the file or folder, what of it the program is given, package.
PROGRAMS = {
    "run_savedmodel.py": ("savedmodel", "saved_model", "saved_model", "tensorflow"),
    "run_onnx.py": ("onnx", "model.onnx", "model.onnx", "onnxruntime"),
    "run_openvino.py": ("openvino", "openvino", "openvino/model.xml", "openvino"),
    "run_tflite.py": ("tflite", "model.tflite", "model.tflite", "ai_edge_litert"),
}
OTHERS = {"ask_serving.py", "serve.sh"}


def run(program, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [program, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / program))


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_labels_are_those_of_the_session(program, network, predictor, tmp_path):
    format_name, name, model, package = PROGRAMS[program]
    export_package(package)
    image = noise(43, 61)
    Image.fromarray(image).save(tmp_path / "street.png")
    WRITERS[format_name](network, str(tmp_path / name), "none", ())
    (tmp_path / "labels.json").write_text(json.dumps(network.metadata))
    run(program, tmp_path / model, tmp_path / "street.png", tmp_path / "result.png")
    result = Image.open(tmp_path / "result.png")
    assert (np.asarray(result) == predictor.labels(image)).mean() > 0.98  # OpenVINO may compute in bfloat16
    assert result.getpalette()[:3] == network.metadata["palette"][0]


def test_every_program_is_tested():
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {*PROGRAMS, *OTHERS}


class _Serving(BaseHTTPRequestHandler):
    """Answers as TensorFlow Serving does, with labels that are the red channel."""

    def do_POST(self):  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        images = np.asarray(body["inputs"]["image"])
        answer = json.dumps({"outputs": {"labels": images[..., 0].tolist(), "probabilities": []}}).encode()
        self.send_response(200 if self.path == "/v1/models/pspnet:predict" else 404)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


def test_request_to_serving(tmp_path):
    image = noise(5, 7)
    Image.fromarray(image).save(tmp_path / "street.png")
    with HTTPServer(("127.0.0.1", 0), _Serving) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        run("ask_serving.py", address, tmp_path / "street.png", tmp_path / "result.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "result.png")), image[..., 0])


def test_command_of_serving(tmp_path):
    """As docker would get it."""
    stub = tmp_path / "docker"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    done = subprocess.run(
        ["sh", str(EXAMPLES / "serve.sh"), str(tmp_path)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = done.stdout.split("\n")
    assert f"type=bind,source={tmp_path.resolve()},target=/models/pspnet/1,readonly" in words
    assert "127.0.0.1:8501:8501" in words

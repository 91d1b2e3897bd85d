"""The forms of the answer, without a network."""

from __future__ import annotations

import base64
import csv
import io
import json
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from tests.tools.serve.colors import CLASSES, form, reply, strongest  # noqa: E402
from tests.tools.serve.images import picture, png  # noqa: E402
from tools.serve import uploads  # noqa: E402
from tools.serve.answers import Classes, Options, answer_of  # noqa: E402
from tools.serve.failures import AbandonedError  # noqa: E402

IMAGE = picture()
LABELS = strongest(IMAGE)
PNG = {"content-type": "image/png"}


def test_areas():
    found = reply(headers=PNG, body=png(IMAGE))
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    counts = np.bincount(LABELS.ravel(), minlength=3)
    assert found.json == {
        "height": 6, "width": 8,
        "classes": [
            {"id": index, "name": name, "color": list(color), "pixels": count, "share": count / 48}
            for index, (name, color, count) in enumerate(zip(*CLASSES, counts.tolist(), strict=True))
        ],
    }  # fmt: skip


def test_areas_with_labels():
    found = reply(headers=PNG, body=png(IMAGE), query="output=areas&labels=1").json
    ids = np.frombuffer(zlib.decompress(base64.b64decode(found["labels"])), np.uint8)
    np.testing.assert_array_equal(ids.reshape(found["height"], found["width"]), LABELS)


def test_labels_of_many_classes_have_two_bytes():
    labels = np.array([[0, 255, 256], [299, 1, 2]], np.uint16)
    classes = Classes([f"class {index}" for index in range(300)], [(0, 0, 0)] * 300)
    found = json.loads(answer_of(labels, classes, Options("areas", with_labels=True)).body)
    assert zlib.decompress(base64.b64decode(found["labels"])) == bytes([0, 0, 255, 0, 0, 1, 43, 1, 1, 0, 2, 0])


@pytest.mark.parametrize("classes", [3, 300])
def test_labels(classes):
    dtype = np.uint8 if classes <= 256 else np.uint16
    wide = reply(lambda pixels, check: LABELS.astype(dtype) * 127, headers=PNG, body=png(IMAGE), query="output=labels")
    assert wide.headers["content-type"] == "image/png"
    found = np.asarray(Image.open(io.BytesIO(wide.body)))
    np.testing.assert_array_equal(found, LABELS.astype(int) * 127)


def test_table():
    found = reply(headers=PNG, body=png(IMAGE), query="output=csv")
    assert found.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(found.body.decode())))
    assert [row["class"] for row in rows] == list(CLASSES.names)
    assert [int(row["pixels"]) for row in rows] == np.bincount(LABELS.ravel(), minlength=3).tolist()
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_polygons():
    pytest.importorskip("rasterio")
    half = np.zeros((4, 6, 3), np.uint8)
    half[:, :3, 0], half[:, 3:, 2] = 255, 255
    half[0, 0] = 0, 9, 0
    found = reply(headers=PNG, body=png(half), query="output=polygons&min_area=2")
    assert found.headers["content-type"] == "application/geo+json"
    properties = [feature["properties"] for feature in found.json["features"]]
    assert sorted((entry["class"], entry["pixels"]) for entry in properties) == [("blue <b>", 12), ("red", 11)]


def noise(height, width):
    return np.random.default_rng(0).integers(0, 3, (height, width)).astype(np.uint8)


def test_outlines_of_noise_are_rejected():
    """Each pixel would be a polygon: a million took 32 s and 1 GB."""
    pytest.importorskip("rasterio")
    found = reply(lambda pixels, check: noise(1000, 1000), headers=PNG, body=png(IMAGE), query="output=polygons")
    assert found.status == 413
    assert "the limit is 500000" in found.error


def test_a_client_that_leaves_ends_the_work_on_its_outlines():
    pytest.importorskip("rasterio")
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 5:
            raise AbandonedError

    with pytest.raises(AbandonedError):
        answer_of(noise(50, 50), CLASSES, Options("polygons"), check)
    assert len(calls) == 5


def test_a_form_is_read_in_a_thread_of_the_jobs(monkeypatch):
    """Other requests would wait for it in that of the server."""
    threads = []
    parse = uploads._ParserInMemory.parse

    def noted(self):
        threads.append(threading.current_thread().name)
        return parse(self)

    monkeypatch.setattr(uploads._ParserInMemory, "parse", noted)
    headers, body = form(png(IMAGE))
    assert reply(headers=headers, body=body).status == 200
    assert [name.startswith("job") for name in threads] == [True]


def test_a_form_is_answered_as_a_body():
    headers, body = form(png(IMAGE))
    assert reply(headers=headers, body=body).json == reply(headers=PNG, body=png(IMAGE)).json


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
def test_formats(format_name):
    flat = np.full((5, 7, 3), (10, 200, 30), np.uint8)
    found = reply(headers={"content-type": "application/octet-stream"}, body=png(flat, format_name)).json
    assert found["classes"][1]["pixels"] == 35


def test_pictures_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, format="PNG", exif=exif)
    found = reply(headers=PNG, body=file.getvalue()).json
    assert (found["height"], found["width"]) == (8, 6)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/png", "image/png"),
        ("application/geo+json", "application/geo+json"),
        ("text/csv, application/json;q=0.9", "text/csv"),
        ("text/csv;q=0.1, application/json;q=0.9", "application/json"),
        ("text/html,image/avif,*/*;q=0.8", "application/json"),
        ("image/*", "image/png"),
        ("image/png;q=0, */*", "application/json"),
        ("", "application/json"),
        ("*/*, application/json;q=0", "image/png"),
        ("application/*, application/json;q=0", "application/geo+json"),
        ("*/*;q=0.5, text/*", "text/csv"),
        ("application/json;q=0.4, */*;q=0.5, image/png;q=0.6", "image/png"),
    ],
)
def test_accept_chooses_the_form(accept, media_type):
    if media_type == "application/geo+json":
        pytest.importorskip("rasterio")
    found = reply(headers={**PNG, "accept": accept}, body=png(IMAGE))
    assert (found.status, found.headers["content-type"].partition(";")[0]) == (200, media_type)


def test_the_parameter_is_used_whatever_accept_says():
    found = reply(headers={**PNG, "accept": "application/json"}, body=png(IMAGE), query="output=labels")
    assert found.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("query", "accept", "status", "named"),
    [
        ("output=video", "", 400, "output='video'"),
        ("output=polygons&min_area=-1", "", 400, "min_area='-1'"),
        ("output=polygons&min_area=" + "9" * 5000, "", 400, "min_area="),
        ("labels=yes", "", 400, "labels='yes'"),
        ("path=/etc/passwd", "", 400, "'path'"),
        ("min_area=5", "", 400, "min_area=5 has no effect with output=areas"),
        ("output=csv&min_area=5", "", 400, "give output=polygons"),
        ("output=labels&labels=1", "", 400, "labels=1 has no effect with output=labels"),
        ("min_area=5", "text/csv", 400, "output=csv"),
        ("", "*/*;q=0", 406, "text/csv"),
        ("", "text/html", 406, "application/geo+json"),
        ("", "image/png;q=x", 406, "text/csv"),
    ],
)
def test_wrong_parameters(query, accept, status, named):
    found = reply(headers={**PNG, "accept": accept}, body=png(IMAGE), query=query)
    assert (found.status, named in found.error, len(found.error) < 300) == (status, True, True)

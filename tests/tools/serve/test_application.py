"""Errors of the network, other addresses, the files of the page, and the descriptions, without a network."""

from __future__ import annotations

import asyncio
import json

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from tests.tools.serve.colors import CLASSES, LIMITS, application_of, reply, service_of  # noqa: E402
from tests.tools.serve.images import picture, png  # noqa: E402
from tools.errors import MissingPackageError, NotFiniteError, OutOfMemoryError  # noqa: E402
from tools.serve.answers import OUTPUTS  # noqa: E402

IMAGE = picture()
PNG = {"content-type": "image/png"}


def raising(error):
    def segment(pixels, check):
        raise error

    return segment


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OutOfMemoryError("too\nlarge"), 413),
        (NotFiniteError("not finite"), 500),
        (MissingPackageError("rasterio"), 500),
    ],
)
def test_errors_of_the_network(error, status):
    found = reply(raising(error), headers=PNG, body=png(IMAGE))
    assert found.status == status
    assert found.error == " ".join(str(error).split())


def test_a_fault_shows_no_detail(caplog):
    service, jobs = service_of(raising(RuntimeError("secret")))

    async def send():
        sent = []
        with pytest.raises(RuntimeError):  # uvicorn logs it
            await ask_into(application_of(service), sent)
        return sent

    async def ask_into(app, sent):
        messages = [{"type": "http.request", "body": png(IMAGE), "more_body": False}]

        async def receive():
            while not messages:
                await asyncio.sleep(1e6)
            return messages.pop()

        async def send_one(message):
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"image/png")]
        scope = {"type": "http", "method": "POST", "path": "/v1/segment", "query_string": b"", "headers": headers,
                 "root_path": "", "scheme": "http", "http_version": "1.1"}  # fmt: skip
        await app(scope, receive, send_one)

    sent = asyncio.run(send())
    jobs.close()
    assert sent[0]["status"] == 500
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
    assert b"secret" not in sent[1]["body"]


def test_polygons_without_their_package(monkeypatch):
    def missing(purpose):
        raise MissingPackageError(f"{purpose} needs the package rasterio")

    monkeypatch.setattr("tools.serve.service.require_polygons", missing)
    found = reply(headers=PNG, body=png(IMAGE), query="output=polygons")
    assert (found.status, "rasterio" in found.error) == (501, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/segment", 405), ("POST", "/", 405), ("GET", "/nothing", 404), ("GET", "/../flags.py", 404),
     ("GET", "/assets/page.js", 404), ("DELETE", "/healthz", 405)],
)  # fmt: skip
def test_other_addresses(method, path, status):
    found = reply(path=path, method=method)
    assert found.status == status
    assert "/docs" in found.error


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/docs", "text/html"), ("/page.js", "text/javascript"), ("/docs.js", "text/javascript"),
     ("/serve.css", "text/css"), ("/style.css", "text/css"), ("/healthz", "application/json"),
     ("/openapi.json", "application/json"), ("/v1/model", "application/json")],
)  # fmt: skip
def test_files_and_headers(path, media_type):
    found = reply(path=path, method="GET")
    assert (found.status, found.headers["content-type"].partition(";")[0]) == (200, media_type)
    policy = found.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cache-control"] == "no-store"
    assert b"//cdn" not in found.body
    assert b"https://" not in found.body


def test_description_of_the_model():
    found = reply(path="/v1/model", method="GET").json
    assert [entry["name"] for entry in found["classes"]] == list(CLASSES.names)
    assert found["limits"] == LIMITS


def test_the_openapi_document_describes_the_answers():
    document = reply(path="/openapi.json", method="GET").json
    service, jobs = service_of()
    jobs.close()
    operation = document["paths"]["/v1/segment"]["post"]
    assert set(operation["responses"]["200"]["content"]) == {output.media_type for output in OUTPUTS.values()}
    assert operation["parameters"][0]["schema"]["enum"] == list(OUTPUTS)
    text = json.dumps(document)
    for name in ("Area", "Areas", "Error"):
        assert f"#/components/schemas/{name}" in text
        assert name in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method in operations:
            assert reply(path=path, method=method.upper()).status in (200, 415)
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(document)

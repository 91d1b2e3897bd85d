"""The description of the interface in OpenAPI 3.1, for programs and for the page /docs."""

from __future__ import annotations

from typing import Any

from tools.serve.answers import DEFAULT, OUTPUTS
from tools.serve.uploads import FIELD

_VERSION = "1"
_AREA = {
    "type": "object",
    "required": ["id", "name", "color", "pixels", "share"],
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "color": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
        "pixels": {"type": "integer"},
        "share": {"type": "number", "description": "of the image, 0 to 1"},
    },
}
_AREAS = {
    "type": "object",
    "required": ["height", "width", "classes"],
    "properties": {
        "height": {"type": "integer"},
        "width": {"type": "integer"},
        "classes": {"type": "array", "items": {"$ref": "#/components/schemas/Area"}},
        "labels": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "with labels=1: the class of each pixel, row by row, in one byte, or for more than 256 "
            "classes in two with the lower one first, compressed by zlib",
        },
    },
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "application/json": {"$ref": "#/components/schemas/Areas"},
    "application/geo+json": {"type": "object", "description": "a FeatureCollection"},
    "image/png": {"type": "string", "contentMediaType": "image/png"},
    "text/csv": {"type": "string"},
}
_FAILURES = {
    "400": "the image is damaged or empty, or a parameter is wrong or has no effect",
    "403": "the request comes from a page of another site",
    "406": "Accept excludes all forms of the answer",
    "408": "the image arrived too slowly",
    "413": "the upload has too many bytes, the image too many pixels, or its outlines too many sides",
    "415": "the file is no image, or the Content-Type is another",
    "421": "the server is not known under the name in Host",
    "500": "the server has a fault",
    "501": "polygons need a package that the server does not have",
    "503": "too many images wait; Retry-After has the seconds after which to try again",
    "504": "the image was not segmented in time",
}


def openapi_document(limits: dict[str, Any]) -> dict[str, Any]:
    """Returns the document.

    Args:
        limits: of the server, which the description names.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Segmentation",
            "version": _VERSION,
            "description": "Segments images. This server accepts uploads of up to {max_upload} bytes and images of up "
            "to {max_pixels} pixels, and answers within {timeout:g} seconds.".format(**limits),
        },
        "paths": {
            "/v1/segment": {"post": _segment()},
            "/v1/model": {"get": _get("Network, classes with their colours, and limits")},
            "/healthz": {"get": _get("Answers 200 while the server accepts images")},
            "/openapi.json": {"get": _get("This document")},
        },
        "components": {"schemas": {"Area": _AREA, "Areas": _AREAS, "Error": _ERROR}},
    }


def _segment() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: binary["schema"]}}
    content = {output.media_type: {"schema": _SCHEMAS[output.media_type]} for output in OUTPUTS.values()}
    forms = "; ".join(f"{name} ({output.media_type}): {output.description}" for name, output in OUTPUTS.items())
    return {
        "operationId": "segment",
        "summary": "Segments an image",
        "parameters": [
            _parameter("output", f"Form of the answer, whatever Accept says. {forms}",
                       {"type": "string", "enum": list(OUTPUTS), "default": DEFAULT}),
            _parameter("min_area", "Leaves out polygons of fewer pixels", {"type": "integer", "minimum": 0,
                                                                             "default": 0}),
            _parameter("labels", "1: areas also have each pixel's class", {"type": "integer", "enum": [0, 1],
                                                                                "default": 0}),
        ],
        "requestBody": {
            "required": True,
            "description": f"An image file, or a form with one in the field {FIELD}",
            "content": {"image/*": binary, "application/octet-stream": binary,
                        "multipart/form-data": {"schema": form}},
        },
        "responses": {"200": {"description": "The segmentation", "content": content}, **_failures()},
    }  # fmt: skip


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _failures() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": text, "content": content} for status, text in _FAILURES.items()}


def _get(summary: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {"summary": summary, "responses": {"200": {"description": summary, "content": content}}}

"""Reads a page back as a browser would: its tags, visible text, scripts and the JSON values in it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

_HIDDEN = ("script", "style")


class ParsedPage(HTMLParser):
    """A parsed page.

    Attributes:
        tags: (name, attributes) in order.
        text: the visible text.
        scripts: texts of the scripts that a browser runs.
        json: values by the id of their element.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts = "", []
        self.json: dict[str, Any] = {}
        self._in: tuple[str, dict[str, str | None]] = ("", {})
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = (tag, dict(attrs)) if tag in _HIDDEN else self._in

    def handle_endtag(self, tag: str) -> None:
        self._in = ("", {}) if tag in _HIDDEN else self._in

    def handle_data(self, data: str) -> None:
        tag, attributes = self._in
        if tag == "script" and attributes.get("type") == "application/json":
            self.json[str(attributes["id"])] = json.loads(data)
        elif tag == "script":
            self.scripts.append(data)
        elif tag != "style":
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]

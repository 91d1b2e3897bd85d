"""Reads XML files from others. Document types are rejected, so that no entity is expanded and no file is fetched."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from database.regular_files import read_regular_file
from tools.errors import AnnotationError

_DEEPEST = 64


class _Reader:
    """Builds the tree of a file from the events of the parser."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._depth = 0
        self._builder = TreeBuilder()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise AnnotationError(f"{self._path}: elements are nested more than {_DEEPEST} deep")
        self._builder.start(tag, attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._builder.end(tag)

    def refuse_doctype(self, *_: Any) -> None:
        raise AnnotationError(f"{self._path}: found <!DOCTYPE>, which may define entities: remove it")

    def read(self, content: bytes) -> Element:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self._builder.data
        parser.StartDoctypeDeclHandler = self.refuse_doctype
        parser.Parse(content, True)
        return self._builder.close()


def read_xml(path: str) -> Element:
    """Reads the root element of an XML file.

    Raises:
        AnnotationError: the file cannot be read, is larger than text files may be, is not XML, has a document type, or
            is nested too deeply.
    """
    try:
        return _Reader(path).read(read_regular_file(path))
    except OSError as error:
        raise AnnotationError(f"{path}: the annotations cannot be read ({error.strerror or error})") from error
    except (expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{path}: not XML ({error})") from error

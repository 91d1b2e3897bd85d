"""Reads a file of flags: a YAML or JSON object whose keys are flag names.

Values are parsed from their text in the file, as on a command line. YAML's own conversions, such as 8 from 010, 90 from
1:30, or dates, do not apply.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import Any

import yaml

from database.errors import JsonError, TextFileError, in_one_line
from database.json_files import parse_json
from database.text_files import read_text
from tools.errors import FlagError

_LONGEST_REASON = 200
_LONGEST_NAME = 60
_NAME = re.compile(r"[A-Za-z][\w-]*", re.ASCII)

# YAML's spellings of a missing value.
_NO_VALUE = ("", "~", "null", "Null", "NULL")

# YAML's and JSON's spellings of switches.
_SWITCH_WORDS = {"true": "1", "yes": "1", "on": "1", "false": "0", "no": "0", "off": "0"}

# The tags that YAML gives to values without an explicit tag.
_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


def config_arguments(path: str, switches: Collection[str] = ()) -> list[str]:
    """Converts the flags in a file to command-line arguments.

    Args:
        path: `.json`, or YAML with any other ending; YAML tags are rejected.
        switches: names of flags that are 0 or 1; a file may also use true, false, yes, no, on or off for them.

    Returns:
        `--name=value` for each flag, with the value as written in the file; flags whose value is null are skipped.

    Raises:
        FlagError: the file cannot be read, is not an object of names and plain values, or repeats a name.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise FlagError(f"--config {path} cannot be read ({error.strerror}): give a YAML or JSON file") from error
    except TextFileError as error:
        raise FlagError(f"--config {path} is neither YAML nor JSON ({error.reason})") from error
    read = _json_values if os.path.splitext(path)[1].lower() == ".json" else _yaml_values
    arguments = []
    for name, value in read(path, text).items():
        if value is not None:
            word = _text(path, name, value)
            arguments.append(f"--{name}={_SWITCH_WORDS.get(word.lower(), word) if name in switches else word}")
    return arguments


def _no_flags(path: str, found: str) -> FlagError:
    return FlagError(
        f"--config {path} holds no flags: expected lines 'name: value', names as those of the flags, found {found}"
    )


def _json_values(path: str, text: str) -> dict[str, Any]:
    """Returns the value of each name: None, a text, a boolean, or lists and objects of these."""
    try:
        values = parse_json(text, parse_number=str)
    except JsonError as error:
        raise FlagError(f"--config {path} is neither YAML nor JSON ({error})") from error
    if not isinstance(values, dict):
        raise _no_flags(path, f"a {type(values).__name__}")
    for name in values:
        _check_name(path, name)
    return values


def _yaml_values(path: str, text: str) -> dict[str, Any]:
    """Returns the value of each name as `_json_values`, with booleans and numbers as text."""
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        reason = in_one_line(error)[:_LONGEST_REASON]
        raise FlagError(f"--config {path} is neither YAML nor JSON ({reason})") from error
    if not isinstance(node, yaml.MappingNode):
        raise _no_flags(path, "nothing" if node is None else _kind(node))
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _no_flags(path, f"{_kind(key)} in place of a name in line {line}")
        _check_name(path, key.value)
        if key.value in lines:
            shown = f"'{key.value[:_LONGEST_NAME]}'"
            raise FlagError(f"--config {path}, line {line}: {shown} is given already in line {lines[key.value]}")
        lines[key.value] = line
        _check_tags(path, value)
        values[key.value] = (
            [_plain(item) for item in value.value] if isinstance(value, yaml.SequenceNode) else _plain(value)
        )
    return values


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a text"


def _plain(node: yaml.Node) -> Any:
    """Returns the text of a scalar, or None for null; for a mapping or a list, an empty one."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in _NO_VALUE else node.value
    return {} if isinstance(node, yaml.MappingNode) else []


def _check_tags(path: str, node: yaml.Node) -> None:
    for part in [node, *(node.value if isinstance(node, yaml.SequenceNode) else [])]:
        if part.tag not in _TAGS:
            raise FlagError(
                f"--config {path}, line {part.start_mark.line + 1}: the tag {part.tag[:_LONGEST_NAME]} is not "
                "followed: write the value alone"
            )


def _check_name(path: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _no_flags(path, f"the name '{name[:_LONGEST_NAME]}'")


def _text(path: str, name: str, value: Any) -> str:
    """Formats a value as on the command line, with lists separated by commas."""
    words = [
        str(item).lower() if isinstance(item, bool) else item
        for item in (value if isinstance(value, list) else [value])
    ]
    if all(isinstance(word, str) for word in words):
        return ",".join(words)
    raise FlagError(
        f"--config {path}: '{name[:_LONGEST_NAME]}' is {type(value).__name__}: expected a text, a number or a list of "
        "them"
    )

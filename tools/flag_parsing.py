"""A command line parsed into a dataclass: its fields are the flags, made with `flag`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from tools.config_file import FlagError, config_arguments

Config = TypeVar("Config")

_LONGEST_MESSAGE = 500


def switch(text: str) -> bool:
    """0 or 1."""
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def _numbers(text: str, kind: Callable[[str], Any], expected: str) -> tuple[Any, ...]:
    """Numbers separated by commas; ValueError with what was expected where one is none."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(expected) from error


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers above 0, separated by commas."""
    expected = "whole numbers above 0, separated by commas"
    numbers = _numbers(text, int, expected)
    if min(numbers) < 1:
        raise ValueError(expected)
    return numbers


def rising_steps(text: str) -> tuple[int, ...]:
    """Step numbers above 0 that rise, separated by commas."""
    expected = "steps above 0 that rise, separated by commas"
    steps = _numbers(text, int, expected)
    if any(step <= before for before, step in zip((0, *steps), steps, strict=False)):
        raise ValueError(expected)
    return steps


def step_or_latest(text: str) -> int | str:
    """A number of steps, or `latest`."""
    if text != "latest" and not text.isdecimal():
        raise ValueError("a step, 0 or above, or latest")
    return text if text == "latest" else int(text)


def window_size(text: str) -> int:
    """A height and width of 8 or more, or 0."""
    expected = "a size of 8 or more, or 0 for whole images"
    try:
        size = int(text)
    except ValueError as error:
        raise ValueError(expected) from error
    if size != 0 and size < 8:
        raise ValueError(expected)
    return size


def comma_separated(text: str) -> tuple[str, ...]:
    """One or more names, separated by commas."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError("one or more names, separated by commas")
    return names


def mean_color(text: str) -> tuple[float, float, float]:
    """Red, green and blue in 0..255, separated by commas; ValueError for fractions of 1, with what they mean."""
    expected = "three numbers in 0..255, separated by commas"
    values = _numbers(text, float, expected)
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ValueError(expected)
    if 0 < max(values) <= 1:
        scaled = ",".join(f"{255 * value:g}" for value in values)
        raise ValueError(f"a mean of pixels in 0..255 but of fractions in 0..1: give {scaled}")
    return values[0], values[1], values[2]


def flag(
    default: Any,
    text: str,
    parse: Callable[[str], Any] | None = None,
    *,
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    aliases: Sequence[str] = (),
) -> Any:
    """A field with what the parser needs: help text, parse function, allowed values and other spellings."""
    if parse is None:
        parse = switch if isinstance(default, bool) else type(default)
    metadata = {"help": text, "parse": parse, "choices": choices, "minimum": minimum, "above": above}
    return dataclasses.field(default=default, metadata={**metadata, "aliases": tuple(aliases)})


class OneLineParser(argparse.ArgumentParser):
    """Raises FlagError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        shown = message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}..."
        raise FlagError(f"{shown} (see --help)")


_CONFIG = "config"

# What Python's own parse functions expect; those above say it themselves.
_KINDS: dict[Callable[[str], Any], str] = {int: "a whole number", float: "a number"}


def _checked(field: dataclasses.Field) -> Callable[[str], Any]:
    """A parse function for argparse that says what was expected."""
    metadata = field.metadata

    def parse(text: str) -> Any:
        try:
            value = metadata["parse"](text)
        except ValueError as error:
            expected = _KINDS.get(metadata["parse"]) or str(error)
            raise argparse.ArgumentTypeError(f"'{text}' is not {expected}") from error
        minimum, above = metadata["minimum"], metadata["above"]
        if value != value or value in (float("inf"), float("-inf")):
            raise argparse.ArgumentTypeError(f"{text} is not a finite number")
        if minimum is not None and value < minimum:
            raise argparse.ArgumentTypeError(f"{text} is below {minimum}")
        if above is not None and value <= above:
            raise argparse.ArgumentTypeError(f"{text} is not above {above}")
        return value

    return parse


def parse_flags(config: type[Config], arguments: Sequence[str], description: str) -> Config:
    """Parses a command line, and the file of flags that it may name with `--config`; the line wins.

    Args:
        config: dataclass whose fields are made with `flag`.
        arguments: without the program's name.
        description: for --help.

    Raises:
        FlagError: an unknown flag, a value of the wrong kind or out of range, or flags that contradict each other.
        SystemExit: after --help.
    """
    parser = _parser(config, description)
    path = vars(parser.parse_args(list(arguments)))[_CONFIG]
    from_file = [] if path is None else config_arguments(path)
    try:
        if vars(parser.parse_args(from_file))[_CONFIG] is not None:
            raise FlagError("a file names no other: drop 'config'")
    except FlagError as error:
        raise FlagError(f"--config {path}: {error}") from error
    values = vars(parser.parse_args([*from_file, *arguments]))
    del values[_CONFIG]
    return config(**values)


def _parser(config: type, description: str) -> OneLineParser:
    parser = OneLineParser(description=description, allow_abbrev=False)
    parser.add_argument(f"--{_CONFIG}", metavar="X", help="YAML or JSON file of flags; those given beside it win")
    for field in dataclasses.fields(config):
        names = [f"--{name}" for name in (field.name, *field.metadata["aliases"])]
        shown = "" if field.default is None else f" (default: {_shown(field.default)})"
        alone: dict[str, Any] = {"nargs": "?", "const": True} if field.metadata["parse"] is switch else {}
        parser.add_argument(
            *names,
            dest=field.name,
            type=_checked(field),
            default=field.default,
            choices=field.metadata["choices"],
            **alone,  # `--ms` is `--ms 1`
            help=field.metadata["help"] + shown,
            metavar="{" + ",".join(map(str, field.metadata["choices"])) + "}" if field.metadata["choices"] else "X",
        )
    return parser


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

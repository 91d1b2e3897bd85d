"""A command line parsed into a dataclass: its fields are the flags, made with `flag`."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from database.path_spellings import path_as_given
from tools.errors import FlagError
from tools.flags.checks import without_unused
from tools.flags.config_file import config_arguments
from tools.flags.names import suggested_flag, understood_flag, understood_value

logger = logging.getLogger(__name__)

Config = TypeVar("Config")

_LONGEST_MESSAGE = 500
_MOST_SUGGESTIONS = 3


def switch(text: str) -> bool:
    """0 or 1."""
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def whole_number(text: str) -> int:
    """A whole number, of digits alone: Python takes 1_00 for 100, and no other program does."""
    try:
        return int(_without_underscores(text))
    except ValueError as error:
        raise ValueError("a whole number") from error


def number(text: str) -> float:
    """A number as Python writes it, without underscores."""
    try:
        return float(_without_underscores(text))
    except ValueError as error:
        raise ValueError("a number") from error


def _without_underscores(text: str) -> str:
    if "_" in text:
        raise ValueError(text)
    return text


def _numbers(text: str, kind: Callable[[str], Any], expected: str) -> tuple[Any, ...]:
    """Numbers separated by commas; ValueError with what was expected where one is none."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(expected) from error


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers above 0, separated by commas."""
    expected = "whole numbers above 0, separated by commas"
    numbers = _numbers(text, whole_number, expected)
    if min(numbers) < 1:
        raise ValueError(expected)
    return numbers


def rising_steps(text: str) -> tuple[int, ...]:
    """Step numbers above 0 that rise, separated by commas."""
    expected = "steps above 0 that rise, separated by commas"
    steps = _numbers(text, whole_number, expected)
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
        size = whole_number(text)
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


def file_path(text: str) -> str:
    """A file or folder, as `database.path_spellings.path_as_given` understands it; ValueError where it is none."""
    return path_as_given(text)


def class_count(text: str) -> int:
    """A number of classes, 2 or more."""
    count = whole_number(text)
    if count < 2:
        raise ValueError(
            "2 or more: what is around the objects is a class of its own, so that objects of one kind are 2 classes, "
            "ids 0 and 1 in the label files"
        )
    return count


def ignored_id(text: str) -> int:
    """An id in label files, 0 or above."""
    label_id = whole_number(text)
    if label_id < 0:
        raise ValueError(
            f"an id of a label file, 0 or above: its pixels have no sign and hold {label_id} as {label_id % 256}"
            + (", which is ignored without this flag: drop it" if label_id == -1 else "")
        )
    return label_id


def mean_color(text: str) -> tuple[float, float, float]:
    """Red, green and blue in 0..255, separated by commas; ValueError for fractions of 1, with what they mean."""
    expected = "three numbers in 0..255, separated by commas"
    values = _numbers(text, number, expected)
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ValueError(expected)
    if 0 < max(values) <= 1:
        scaled = ",".join(f"{255 * value:g}" for value in values)
        raise ValueError(f"a mean of pixels in 0..255 but of fractions in 0..1: give {scaled}")
    return values[0], values[1], values[2]


# In place of Python's own parse functions, those that take no more than other programs do.
_STRICT: dict[Callable[[str], Any], Callable[[str], Any]] = {int: whole_number, float: number}


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
    parse = _STRICT.get(parse, parse)
    metadata = {"help": text, "parse": parse, "choices": choices, "minimum": minimum, "above": above}
    return dataclasses.field(default=default, metadata={**metadata, "aliases": tuple(aliases)})


class _LastGiven(argparse.Action):
    """Stores a value. Where a flag is given again with another one, the last counts, and a line in the log says so."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if isinstance(parser, OneLineParser):
            before = parser.given.get(self.dest, values)
            if before != values:
                name = "/".join(self.option_strings) or self.dest
                logger.info("%s is given twice, with %s and %s: the last counts", name, _shown(before), _shown(values))
            parser.given[self.dest] = values
        setattr(namespace, self.dest, values)


class OneLineParser(argparse.ArgumentParser):
    """Raises FlagError where argparse would print its usage and exit, and logs which of two values it takes.

    Attributes:
        given: what the line that was parsed last gives, by what it sets.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.given: dict[str, Any] = {}
        for action in (None, "store"):
            self.register("action", action, _LastGiven)

    def error(self, message: str) -> NoReturn:
        shown = message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}..."
        raise FlagError(f"{shown} (see --help)")

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parses a command line, in which flags may have dashes for underscores.

        Raises:
            FlagError: it cannot be followed; for unknown flags it says what they may be called here.
        """
        self.given = {}
        options, unknown = self.parse_known_args([self.understood(argument) for argument in args], namespace)
        if unknown:
            known = {name.lstrip("-") for name in self._option_string_actions}
            names = [argument.lstrip("-").partition("=")[0] for argument in unknown if argument.startswith("-")]
            suggestions = [suggestion for name in names if (suggestion := suggested_flag(name, known))]
            told = " - " + "; ".join(suggestions[:_MOST_SUGGESTIONS]) if suggestions else ""
            shown = " ".join(unknown)
            room = _LONGEST_MESSAGE // 2
            self.error(f"unrecognized arguments: {shown if len(shown) <= room else f'{shown[:room]}...'}{told}")
        return options

    def understood(self, argument: str) -> str:
        """An argument with the flag in it, if it has one, as it is spelled here."""
        name, equals, value = argument.partition("=")
        if not name.startswith("--"):
            return argument
        known = {known.removeprefix("--") for known in self._option_string_actions}
        return f"--{understood_flag(name[2:], known)}{equals}{value}"

    def destination(self, argument: str) -> str:
        """What the flag in an argument `--name=value` sets, whatever it is spelled like."""
        name = self.understood(argument).partition("=")[0]
        action = self._option_string_actions.get(name)
        return name if action is None else action.dest


_CONFIG = "config"


def one_of(name: str, choices: Sequence[str]) -> Callable[[str], str]:
    """A parse function for argparse that understands other spellings of a flag's values; see `tools.flags.names`."""

    def parse(text: str) -> str:
        try:
            return understood_value(name, text, choices)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"invalid choice: '{text}' is not one of {error}") from error

    return parse


def _chosen(name: str, choices: Sequence[str], given: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """The choices that a text, or each of several, means."""
    parse = one_of(name, choices)
    return parse(given) if isinstance(given, str) else tuple(parse(text) for text in given)


def _checked(field: dataclasses.Field) -> Callable[[str], Any]:
    """A parse function for argparse that says what was expected."""
    metadata = field.metadata

    def parse(text: str) -> Any:
        try:
            value = metadata["parse"](text)
            if metadata["choices"] and isinstance(value, str | tuple):
                value = _chosen(field.name, metadata["choices"], value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{text}' is not {error}") from error
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
        FlagError: an unknown flag, a value of the wrong kind or out of range, a flag given twice in the file, or flags
            that contradict each other or would do nothing.
        SystemExit: after --help.
    """
    parser = _parser(config, description)
    file = vars(parser.parse_args(arguments))[_CONFIG]
    on_line = parser.given
    from_file = [] if file is None else config_arguments(file, _switches(config))
    try:
        _check_given_once(parser, from_file)
        if vars(parser.parse_args(from_file))[_CONFIG] is not None:
            raise FlagError("a file names no other: drop 'config'")
    except FlagError as error:
        raise FlagError(f"--config {file}: {error}") from error
    in_file = parser.given
    values = {**in_file, **on_line}
    values.pop(_CONFIG, None)
    return without_unused(config(**values), values.keys())


def _switches(config: type) -> set[str]:
    """The names of the flags that take 0 or 1."""
    fields = [field for field in dataclasses.fields(config) if field.metadata["parse"] is switch]
    return {name for field in fields for name in (field.name, *field.metadata["aliases"])}


def _check_given_once(parser: OneLineParser, arguments: Sequence[str]) -> None:
    """Refuses a flag that a file gives by two of its names, of which one would win."""
    given: dict[str, str] = {}
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        before = given.setdefault(parser.destination(argument), name)
        if before != name:
            raise FlagError(f"'{before}' and '{name}' are one flag: keep one of them")


def _parser(config: type, description: str) -> OneLineParser:
    parser = OneLineParser(description=description, allow_abbrev=False)
    parser.add_argument(
        f"--{_CONFIG}", metavar="X", type=file_path, help="YAML or JSON file of flags; those given beside it win"
    )
    for field in dataclasses.fields(config):
        names = [f"--{name}" for name in (field.name, *field.metadata["aliases"])]
        shown = "" if field.default is None else f" (default: {_shown(field.default)})"
        alone: dict[str, Any] = {"nargs": "?", "const": True} if field.metadata["parse"] is switch else {}
        parser.add_argument(
            *names,
            dest=field.name,
            type=_checked(field),
            default=field.default,
            choices=None if isinstance(field.default, tuple) else field.metadata["choices"],
            **alone,  # `--ms` is `--ms 1`
            help=field.metadata["help"] + shown,
            metavar="{" + ",".join(map(str, field.metadata["choices"])) + "}" if field.metadata["choices"] else "X",
        )
    return parser


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

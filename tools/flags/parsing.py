"""Parses a command line into a dataclass whose fields are the flags, made with `flag`."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from tools.errors import FlagError
from tools.flags.checks import without_ignored
from tools.flags.config_file import config_arguments
from tools.flags.help import help_text
from tools.flags.limits import LARGEST_FLOAT32, LARGEST_INT64
from tools.flags.names import suggested_flag, understood_flag, understood_value
from tools.flags.older import with_older_flags
from tools.flags.values import SWITCHES, file_path, shown_value

logger = logging.getLogger(__name__)

Config = TypeVar("Config")

_LONGEST_MESSAGE = 500
_FLAGS_OF_PATHS = ("image_path", "weights_ckpt")
_MOST_SUGGESTIONS = 3


class _LastGiven(argparse.Action):
    """Stores a value. If a flag is repeated with another value, the last one is used and a line is logged."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if isinstance(parser, OneLineParser):
            before = parser.given.get(self.dest, values)
            if before != values:
                name = "/".join(self.option_strings) or self.dest
                shown = shown_value(before), shown_value(values)
                logger.info("%s is given twice, with %s and %s: the last one is used", name, *shown)
            parser.given[self.dest] = values
        setattr(namespace, self.dest, values)


class OneLineParser(argparse.ArgumentParser):
    """Raises FlagError instead of printing the usage and exiting, and logs flags that are repeated.

    Attributes:
        given: values that the last parsed line gives, by destination.
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
        """Parses a command line; flag names may have dashes instead of underscores.

        Raises:
            FlagError: the line is invalid; for unknown flags the message suggests known ones.
        """
        self.given = {}
        words = [self.understood(argument) for argument in args]
        options, unknown = self.parse_known_args(words, namespace)
        if unknown:
            known = {name.lstrip("-") for name in self._option_string_actions}
            names = [argument.lstrip("-").partition("=")[0] for argument in unknown if argument.startswith("-")]
            suggestions = [suggestion for name in names if (suggestion := suggested_flag(name, known))]
            suggestions += self._advice_on_word(unknown[0], words)
            suggested = " - " + "; ".join(suggestions[:_MOST_SUGGESTIONS]) if suggestions else ""
            shown = " ".join(unknown)
            room = _LONGEST_MESSAGE // 2
            self.error(f"unrecognized arguments: {shown if len(shown) <= room else f'{shown[:room]}...'}{suggested}")
        return options

    def _advice_on_word(self, word: str, words: Sequence[str]) -> list[str]:
        """Returns what to do about a word of a command line that is neither a flag nor the value of one."""
        if word.startswith("-") or word not in words:
            return []
        paths = [f"--{name}" for name in _FLAGS_OF_PATHS if f"--{name}" in self._option_string_actions]
        advice = [f"{word} needs a flag before it, such as {' or '.join(paths)}"] if paths else []
        flag, value = self._flag_before(words[: words.index(word)])
        if flag is not None:
            advice.append(f"{flag} takes one word and has '{value}': join its values without spaces, or quote them")
        return advice

    def _flag_before(self, words: Sequence[str]) -> tuple[str | None, str]:
        """Returns the flag with its value at the end of `words`; None as the flag if there is none."""
        if not words:
            return None, ""
        flag, equals, value = words[-1].partition("=")
        if not equals:
            flag, value = (["", *words])[-2], words[-1]
        return (flag if flag in self._option_string_actions else None), value

    def understood(self, argument: str) -> str:
        """Returns an argument with its flag, if any, in the spelling used here."""
        name, equals, value = argument.partition("=")
        if not name.startswith("--"):
            return argument
        known = {known.removeprefix("--") for known in self._option_string_actions}
        return f"--{understood_flag(name[2:], known)}{equals}{value}"

    def destination(self, argument: str) -> str:
        """Returns the destination of the flag in an argument `--name=value`, for any of its names."""
        name = self.understood(argument).partition("=")[0]
        action = self._option_string_actions.get(name)
        return name if action is None else action.dest


_CONFIG, _HELP = "config", "help"


def one_of(name: str, choices: Sequence[str]) -> Callable[[str], str]:
    """Returns a parse function for argparse that accepts other spellings of the values; see `tools.flags.names`."""

    def parse(text: str) -> str:
        try:
            return understood_value(name, text, choices)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"invalid choice: '{text}' is not one of {error}") from error

    return parse


def _chosen(name: str, choices: Sequence[str], given: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Returns the choice for a text, or the choices for several."""
    parse = one_of(name, choices)
    return parse(given) if isinstance(given, str) else tuple(parse(text) for text in given)


def _check_maximum(text: str, value: Any, maximum: float | None) -> None:
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, int | float):
            largest = LARGEST_INT64 if isinstance(part, int) else LARGEST_FLOAT32
            largest = largest if maximum is None else maximum
            if abs(part) > largest:
                raise argparse.ArgumentTypeError(f"{text} is above {largest}, the largest value")


def parse_value(field: dataclasses.Field, text: str) -> Any:
    """Parses the text of one flag, without comparing it with other flags.

    Raises:
        ValueError: the text is no value of the flag; the message says why.
    """
    try:
        value = _checked(field)(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from error
    choices = field.metadata["choices"]
    if choices and not isinstance(value, tuple) and value not in choices:
        raise ValueError(f"'{text}' is not one of {', '.join(map(str, choices))}")
    return value


def _checked(field: dataclasses.Field) -> Callable[[str], Any]:
    """Returns a parse function for argparse whose errors name the expected value."""
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
        _check_maximum(text, value, metadata["maximum"])
        if minimum is not None and value < minimum:
            raise argparse.ArgumentTypeError(f"{text} is below {minimum}")
        if above is not None and value <= above:
            raise argparse.ArgumentTypeError(f"{text} is not above {above}")
        return value

    return parse


def parse_flags(config: type[Config], arguments: Sequence[str], description: str) -> Config:
    """Parses a command line and the file of its `--config`; the command line takes precedence.

    Args:
        config: dataclass whose fields are made with `flag`, and whose `program` is shown in the help.
        arguments: without the program's name.
        description: for --help.

    Raises:
        FlagError: a flag is unknown, a value has the wrong type or range, a file repeats a flag, or flags contradict
            each other or have no effect.
        SystemExit: after --help.
    """
    parser = _parser(config, description)
    command = getattr(getattr(config, "program", None), "command", "")
    arguments = with_older_flags(command, arguments)
    file = vars(parser.parse_args(arguments))[_CONFIG]
    on_line = parser.given
    from_file = [] if file is None else config_arguments(file, _switches(config))
    try:
        from_file = with_older_flags(command, from_file)
        _check_given_once(parser, from_file)
        _refuse_help(parser, from_file)
        if vars(parser.parse_args(from_file))[_CONFIG] is not None:
            raise FlagError("a file names no other: drop 'config'")
    except FlagError as error:
        raise FlagError(f"--config {file}: {error}") from error
    in_file = parser.given
    values = {**in_file, **on_line}
    values.pop(_CONFIG, None)
    return without_ignored(config(**values), values.keys())


def _switches(config: type) -> set[str]:
    """Returns the names of the flags that are 0 or 1."""
    fields = [field for field in dataclasses.fields(config) if field.metadata["parse"] in SWITCHES]
    return {name for field in fields for name in (field.name, *field.metadata["aliases"])}


def _check_given_once(parser: OneLineParser, arguments: Sequence[str]) -> None:
    """Rejects a flag that a file gives by two of its names, because one would be ignored."""
    given: dict[str, str] = {}
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        before = given.setdefault(parser.destination(argument), name)
        if before != name:
            raise FlagError(f"'{before}' and '{name}' are one flag: keep one of them")


def _refuse_help(parser: OneLineParser, arguments: Sequence[str]) -> None:
    """Rejects --help in a file of flags, because it would end the program."""
    for argument in arguments:
        if parser.destination(argument) == _HELP:
            raise FlagError(f"'{argument.removeprefix('--').partition('=')[0]}' is for the command line only: drop it")


class _ShowHelp(argparse.Action):
    """Writes the help of all flags, or of a group, to standard output and exits."""

    def __init__(self, *args: Any, config: type, description: str, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._config, self._description = config, description

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        sys.stdout.write(help_text(self._config, self._description, values))
        parser.exit()


def _parser(config: type, description: str) -> OneLineParser:
    parser = OneLineParser(allow_abbrev=False, add_help=False)
    parser.add_argument("-h", f"--{_HELP}", action=_ShowHelp, nargs="?", config=config, description=description)
    parser.add_argument(f"--{_CONFIG}", type=file_path)
    for field in dataclasses.fields(config):
        choices = field.metadata["choices"]
        alone: dict[str, Any] = {"nargs": "?", "const": True} if field.metadata["parse"] in SWITCHES else {}
        parser.add_argument(
            *(f"--{name}" for name in (field.name, *field.metadata["aliases"])),
            dest=field.name,
            type=_checked(field),
            default=field.default,
            choices=None if isinstance(field.default, tuple) else choices,
            **alone,  # `--ms` is `--ms 1`
        )
    return parser

"""Formats the text of --help from the properties of the flags."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from tools.errors import FlagError
from tools.flags.definition import GROUPS
from tools.flags.values import shown_value

_WIDEST = 100
_NARROWEST = 60
_TEXT_COLUMN = 30


@dataclass(frozen=True)
class Program:
    """Command, usage and examples of a program.

    Attributes:
        command: such as `python train.py`.
        usage: the most common flags, for the usage line.
        examples: flags of examples.
    """

    command: str
    usage: str
    examples: tuple[str, ...]


def help_text(config: type, description: str, group: str | None = None) -> str:
    """Formats the help of a program, or of one group of its flags.

    Args:
        config: dataclass of flags; its `program` is shown in the usage line and the examples.
        description: what the program does.
        group: key of `GROUPS`; None for all groups.

    Raises:
        FlagError: the program has no flags in that group.
    """
    program: Program = config.program  # type: ignore[attr-defined]
    width = max(_NARROWEST, min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST))
    fields = dataclasses.fields(config)
    groups = [name for name in GROUPS if any(field.metadata["group"] == name for field in fields)]
    if group is not None and group not in groups:
        raise FlagError(f"--help {group[:_NARROWEST]}: unknown group, use one of {', '.join(groups)}")
    blocks = [f"usage: {program.command} {program.usage} [--FLAG VALUE ...]"]
    if group is None:
        blocks += [description, _options(groups, width)]
    for name in groups if group is None else [group]:
        rows = [_row(field, width) for field in fields if field.metadata["group"] == name]
        blocks.append("\n".join([f"{GROUPS[name]}:", *rows]))
    if group is None:
        examples = [f"  {program.command} {example}".rstrip() for example in program.examples]
        blocks.append("\n".join(["examples:", *examples]))
    return "\n\n".join(blocks) + "\n"


def _options(groups: Sequence[str], width: int) -> str:
    rows = [
        ("-h, --help [GROUP]", f"show all flags, or those of one group: {', '.join(groups)}"),
        ("--config FILE", "YAML or JSON file of flags; flags on the command line take precedence"),
    ]
    return "\n".join(_columns(invocation, text, width) for invocation, text in rows)


def _row(field: dataclasses.Field, width: int) -> str:
    metadata, text = field.metadata, field.metadata["help"]
    if metadata["choices"] is not None and not metadata["metavar"].startswith("{"):
        text += f": {', '.join(map(str, metadata['choices']))}"
    default = metadata["unset"] if field.default is None else shown_value(field.default)
    notes = [] if default is None else [f"default: {default}"]
    notes += [f"also --{alias}" for alias in metadata["aliases"]]
    note = f" ({'; '.join(notes)})" if notes else ""
    return _columns(f"--{field.name} {metadata['metavar']}", text + note, width)


def _columns(invocation: str, text: str, width: int) -> str:
    """Formats an invocation with its wrapped text beside it, or below it if the invocation is long."""
    indent = " " * _TEXT_COLUMN
    lines = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    head = f"  {invocation}"
    if len(head) + 2 > _TEXT_COLUMN:
        return "\n".join([head, *lines])
    return "\n".join([head.ljust(_TEXT_COLUMN) + lines[0].lstrip(), *lines[1:]])

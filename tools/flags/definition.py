"""Defines a flag as the field of a dataclass, with its default, help text and properties."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from model.choices import ENCODER_PARTS
from tools.flags.values import class_count, file_path, file_paths, number, switch, whole_number

# Groups of flags in --help, by the name that `--help GROUP` takes.
GROUPS: Mapping[str, str] = {
    "data": "data",
    "network": "network",
    "schedule": "training schedule",
    "optimizer": "optimizer",
    "augmentation": "augmentation",
    "regularization": "regularization",
    "loss": "loss",
    "snapshots": "snapshots and resuming",
    "precision": "precision and memory",
    "hosts": "several hosts",
    "prediction": "prediction",
    "measurement": "measurement",
    "server": "server",
    "output": "output",
}

# Python's own parse functions accept spellings that other programs reject, such as 1_000.
_STRICT: dict[Callable[[str], Any], Callable[[str], Any]] = {int: whole_number, float: number}
_METAVARS: dict[Callable[[str], Any], str] = {
    whole_number: "N",
    class_count: "N",
    switch: "{0,1}",
    file_path: "FILE",
    file_paths: "FOLDER,...",
}
# Longer lists of choices are written after the help text, with NAME as the placeholder of the value.
_LONGEST_CHOICES = 24


Scoring = Literal["read", "finds", "ignored"]


class Need(NamedTuple):
    """What a flag needs to have an effect.

    Attributes:
        met: returns whether the flag has an effect, given all flags.
        otherwise: completes "--flag has no effect ...", and says after a colon what to do other than dropping the flag;
            or a function of all flags that returns this.
        even_default: whether the flag is also rejected if it is given at its default, because it would be ignored.
    """

    met: Callable[[Any], bool]
    otherwise: str | Callable[[Any], str]
    even_default: bool = False

    def reason(self, config: Any) -> str:
        """Returns why the flag has no effect, and what to do."""
        return self.otherwise if isinstance(self.otherwise, str) else self.otherwise(config)


def needs_trained_encoder(otherwise: str) -> Need:
    """Returns what a flag needs that has no effect if all of the encoder is frozen; see `Need.otherwise`."""
    return Need(lambda config: config.freeze != ENCODER_PARTS, f"with --freeze encoder, which {otherwise}")


def flag(
    default: Any,
    text: str,
    parse: Callable[[str], Any] | None = None,
    *,
    group: str,
    metavar: str | None = None,
    unset: str | None = None,
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    aliases: Sequence[str] = (),
    resume: Literal["same", "free", "content"] = "same",
    identity: bool | None = None,
    shown: bool | None = None,
    recorded: str | None = None,
    needs: Need | Sequence[Need] = (),
    databases: Sequence[str] | None = None,
    scoring: Scoring | Callable[[Any], Scoring] | None = None,
) -> Any:
    """Makes the field of a flag.

    Args:
        default: value if the flag is not given; if `parse` is None, its type determines the parse function.
        text: help, without the default.
        parse: converts a text to a value; raises ValueError with the expected form.
        group: key of `GROUPS`.
        metavar: placeholder of the value in the help, such as PIXELS; by default from `choices` or `parse`.
        unset: the effective value if the default is None, for the help.
        choices: allowed values.
        minimum, above: inclusive and exclusive lower bound.
        maximum: upper bound, of each value if there are several; by default that of `limits` for the type.
        aliases: other names.
        resume: what a resumed run may change: nothing (`same`), the value (`free`), or the value as long as the files
            or classes that it refers to stay equal (`content`).
        identity: whether the value is compared, and hashed into the run's name, to find a run by its flags; by default
            if `resume` is `same`.
        shown: whether tools.results shows the flag if runs differ in it; by default unless `resume` is `free`.
        recorded: attribute of `ModelRecord` with the value, if the flag describes the network or its input.
        needs: conditions that all have to be met for the flag to have an effect.
        databases: values of --database with which the flag has an effect, if not all.
        scoring: what `train.py --eval_only 1` does with the flag: it reads it, uses it to find the run unless
            --run_name does (`finds`), or ignores it with a log line, because the training command and its file of
            flags are also used for scoring; or a function of all flags that returns which. By default `read` if
            `recorded`, otherwise `finds` if `resume` is not `free` or `identity`, otherwise `ignored`.
    """
    if parse is None:
        parse = switch if isinstance(default, bool) else type(default)
    parse = _STRICT.get(parse, parse)
    if scoring is None:
        scoring = "read" if recorded is not None else "finds" if resume != "free" or identity else "ignored"
    metadata = {
        "help": text,
        "parse": parse,
        "group": group,
        "metavar": metavar or _metavar(parse, choices, takes_several=isinstance(default, tuple)),
        "unset": unset,
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "aliases": tuple(aliases),
        "resume": resume,
        "identity": resume == "same" if identity is None else identity,
        "shown": resume != "free" if shown is None else shown,
        "recorded": recorded,
        "is_path": parse is file_path,
        "needs": (needs,) if isinstance(needs, Need) else tuple(needs),
        "databases": databases,
        "scoring": scoring,
    }
    return dataclasses.field(default=default, metadata=metadata)


def _metavar(parse: Callable[[str], Any], choices: Sequence[Any] | None, *, takes_several: bool) -> str:
    if choices is None:
        return _METAVARS[parse]
    if takes_several:
        return "NAME,..."
    joined = ",".join(map(str, choices))
    return f"{{{joined}}}" if len(joined) <= _LONGEST_CHOICES else "NAME"


def flag_properties(config: type, name: str) -> dict[str, Any]:
    """Returns one property of every flag of a configuration, by the flag's name; see `flag` for the properties."""
    return {field.name: field.metadata[name] for field in dataclasses.fields(config)}


def flags_where(config: type, **properties: Any) -> tuple[str, ...]:
    """Selects flags by their properties.

    Args:
        config: dataclass whose fields are made with `flag`.
        properties: values that the selected flags have, such as resume="free".

    Returns:
        Names of flags, in the order of the fields.
    """
    fields = dataclasses.fields(config)
    return tuple(
        field.name for field in fields if all(field.metadata[name] == value for name, value in properties.items())
    )

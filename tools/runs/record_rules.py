"""Rules for the values in records, and a check that reports the first violation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from database.datasets import IGNORE_LABEL
from database.label_maps import MOST_FILE_ID
from model import choices, decoders, encoder_end
from model.architecture import Architecture
from model.channel_groups import fault_of_filters
from tools.errors import RecordError
from tools.flags.choices import UPSAMPLINGS
from tools.flags.dataset import DATABASES
from tools.flags.limits import LARGEST_FLOAT32, LARGEST_SIDE, MOST_CHANNELS, MOST_CHANNELS_OF_LAYER, SMALLEST_SIDE
from tools.flags.recorded import fault_of_recorded
from tools.flags.sizes import is_size
from tools.runs.run_origin import NAMES as ORIGIN_NAMES

# What to do about a damaged record.
RESTORE = "restore the file that was written with the checkpoint"


class Rule(NamedTuple):
    """A description of the expected value, and a function that checks a value read from JSON."""

    expected: str
    holds: Callable[[Any], bool]


def _one_of(choices: Iterable[Any]) -> Rule:
    # Types are compared too: JSON's true equals 1 and its 8.0 equals 8.
    known = [(type(choice), choice) for choice in choices]
    return Rule(f"one of {', '.join(str(choice) for _, choice in known)}", lambda value: (type(value), value) in known)


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_depth(value: Any) -> bool:
    return _is_whole(value, 1, MOST_CHANNELS_OF_LAYER)


def _are_depths(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_depth, value.values()))


def _is_list(value: Any, length: int, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == length and all(map(holds, value))


def _is_color(value: Any) -> bool:
    return _is_list(value, 3, lambda channel: _is_whole(channel, 0, 255))


def _is_mean(value: Any) -> bool:
    return _is_list(value, 3, lambda channel: type(channel) in (int, float) and 0 <= channel <= 255)


def _is_label_map(value: Any, num_classes: int) -> bool:
    return isinstance(value, dict) and all(
        file_id in _FILE_IDS
        and (_is_whole(train_id, 0, num_classes - 1) or _is_whole(train_id, IGNORE_LABEL, IGNORE_LABEL))
        for file_id, train_id in value.items()
    )


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= LARGEST_FLOAT32


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


# Fields of `architecture.Architecture` that earlier versions lack, and the values that leave a network as it was.
ADDITIONS: dict[str, Any] = {
    "activation": Architecture.activation,
    "bounded_head": Architecture.bounded_head,
    "input_channels": Architecture.input_channels,
    "filter_scale": Architecture.filter_scale,
    "encoder_blocks": Architecture.encoder_blocks,
    "filters": {},
}
_NO_VALUE = object()
_FILE_IDS = frozenset(map(str, range(MOST_FILE_ID + 1)))
_SWITCH = Rule("true or false", lambda value: isinstance(value, bool))
_DEPTH = Rule("a whole number of 1 or more", _is_depth)
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
_NAME_OR_NONE = Rule("a name or null", lambda value: value is None or isinstance(value, str))
_NAMES_OR_NONE = Rule(
    "a list of names or null", lambda value: value is None or (isinstance(value, list) and all(map(_is_name, value)))
)
_MEAN_OR_NONE = Rule("three numbers in 0..255 or null", lambda value: value is None or _is_mean(value))

# Rules for the fields of `architecture.Architecture`.
ARCHITECTURE_RULES = {
    "network": _one_of(choices.NETWORKS),
    "num_classes": Rule("a whole number from 2 to 254", lambda value: _is_whole(value, 2, 254)),
    "decoder": _one_of(choices.DECODERS),
    "output_stride": _one_of(choices.OUTPUT_STRIDES),
    "stride_convention": _one_of(choices.STRIDE_CONVENTIONS),
    "resize_grid": _one_of(choices.RESIZE_GRIDS),
    "stem": _one_of(choices.STEMS),
    "pool_padding": _one_of(choices.POOL_PADDINGS),
    "activation": _one_of(choices.ACTIVATIONS),
    "bounded_head": _SWITCH,
    "pyramid_depth": Rule("a whole number of 1 or more, or null", lambda value: value is None or _is_depth(value)),
    "pyramid_order": _one_of(decoders.PYRAMID_ORDERS),
    "input_channels": Rule(
        f"a whole number from 1 to {MOST_CHANNELS}", lambda value: _is_whole(value, 1, MOST_CHANNELS)
    ),
    "filter_scale": _one_of(choices.FILTER_SCALES),
    "encoder_blocks": _one_of(encoder_end.ENCODER_BLOCKS),
    "filters": Rule("whole numbers of 1 or more by layer", _are_depths),
    "head_depth": _DEPTH,
    "auxiliary_depth": _DEPTH,
}

# Rules for the fields of `record.BackboneRecord`.
BACKBONE_RULES = {
    **{name: rule for name, rule in ARCHITECTURE_RULES.items() if name != "num_classes"},
    "color_switch": _SWITCH,
    "image_mean": _MEAN_OR_NONE,
    "class_names": _NAMES_OR_NONE,
    "checkpoint": _NAME_OR_NONE,
}

# Rules for the fields of `run_origin.RunOrigin`.
ORIGIN_RULES = {
    **dict.fromkeys(ORIGIN_NAMES, _NAME_OR_NONE),
    "class_weight_values": Rule(
        "a list of numbers of 0 or more, or null",
        lambda value: value is None or (isinstance(value, list) and all(map(_is_weight, value))),
    ),
}


def model_rules(num_classes: int) -> dict[str, Rule]:
    """Returns the rules for the fields of `record.ModelRecord`, except for its architecture."""
    return {
        "database": _one_of(DATABASES),
        "class_names": Rule(
            f"{num_classes} names, one per class", lambda value: _is_list(value, num_classes, _is_name)
        ),
        "palette": Rule(
            f"{num_classes} colours [R, G, B] in 0..255, one per class",
            lambda value: _is_list(value, num_classes, _is_color),
        ),
        "image_mean": Rule("three numbers in 0..255", _is_mean),
        "label_map": Rule(
            f"ids 0..{MOST_FILE_ID} to training ids 0..{num_classes - 1} or {IGNORE_LABEL}",
            lambda value: _is_label_map(value, num_classes),
        ),
        "color_switch": _SWITCH,
        "test_image_size": Rule(
            f"0, or a whole number from {SMALLEST_SIDE} to {LARGEST_SIDE}, or two different ones as a text such as "
            "360x480",
            lambda value: _is_whole(value, 0, 0) or is_size(value),
        ),
        "upsample_input": _one_of(UPSAMPLINGS),
        "input_range": Rule(
            "a number above 0 or null",
            lambda value: value is None or (type(value) in (int, float) and 0 < value <= LARGEST_FLOAT32),
        ),
        "ignored_colors": Rule(
            "colours [R, G, B] in 0..255", lambda value: isinstance(value, list) and all(map(_is_color, value))
        ),
        "flags": OBJECT,
        "origin": OBJECT,
    }


def check_channels(path: str, architecture: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """Checks that the network of a record and its flags have the same channels.

    Raises:
        RecordError: they differ, or a list of the flags has another length.
    """
    default = Architecture.input_channels
    count, found = flags.get("input_channels"), architecture.get("input_channels", default)
    if found != (default if count is None else count):
        raise RecordError(
            f"{path}: 'architecture.input_channels' is {found}, expected {count or default} by its flags: {RESTORE}"
        )
    for name in ("channel_mean", "channel_std"):
        values = flags.get(name)
        if count is not None and values is not None and len(values) != count:
            raise RecordError(f"{path}: 'flags.{name}' has {len(values)} numbers, expected {count}: {RESTORE}")


def check_end(path: str, architecture: Mapping[str, Any], inside: str) -> None:
    """Checks that decoder and output stride of a record need no block after the one with which its encoder ends.

    Args:
        path: of the file.
        architecture: checked values of the fields of `architecture.Architecture`, and others.
        inside: prefix of the names in messages, such as `architecture.`.

    Raises:
        RecordError: one of them needs such a block.
    """
    of = {"convention": "stride_convention", **{name: name for name in ("encoder_blocks", "decoder", "output_stride")}}
    values = {ours: architecture.get(name, getattr(Architecture, name)) for ours, name in of.items()}
    fault = encoder_end.fault_of_end(**values)
    if fault is not None:
        raise RecordError(
            f"{path}: '{inside}{fault.option}' is {fault.value}, expected {' or '.join(map(str, fault.known))} with "
            f"'{inside}encoder_blocks' {values['encoder_blocks']}: {RESTORE}"
        )


def check_filters(path: str, architecture: Mapping[str, Any], inside: str) -> None:
    """Checks that the numbers of filters of a record belong to a network that can be built.

    Args:
        path: of the file.
        architecture: checked values of the fields of `architecture.Architecture`, and others.
        inside: prefix of the names in messages, such as `architecture.`.

    Raises:
        RecordError: a layer is unknown, or layers whose outputs are added have different numbers.
    """
    if not architecture.get("filters"):
        return
    names = {field.name for field in dataclasses.fields(Architecture)}
    fields = {"num_classes": 2, **{name: value for name, value in architecture.items() if name in names}}
    fault = fault_of_filters(Architecture(**fields))
    if fault is not None:
        raise RecordError(f"{path}: '{inside}filters' {fault}: {RESTORE}")


def without_additions(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Removes options of a network that earlier versions did not have, at their defaults.

    Records and checksums of networks without such options are then equal to those of earlier versions.

    Args:
        architecture: values of the fields of `architecture.Architecture`.
    """
    return {name: value for name, value in architecture.items() if value != ADDITIONS.get(name, _NO_VALUE)}


def check_fields(path: str, values: Mapping[str, Any], kind: type, rules: Mapping[str, Rule], inside: str = "") -> None:
    """Checks the keys and values of a JSON object against the fields of a dataclass and their rules.

    Args:
        path: of the file.
        values: the object.
        kind: the dataclass.
        rules: by field name; fields without a rule may have any value.
        inside: prefix of the names in messages if the object is part of another, such as `architecture.`.

    Raises:
        RecordError: a field without a default is missing, a key is unknown, or a value violates its rule.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name, field in known.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in values and not has_default:
            raise RecordError(f"{path}: '{inside}{name}' is missing: {RESTORE}")
    for name, value in values.items():
        if name not in known:
            raise RecordError(f"{path}: '{inside}{name[:60]}' is unknown, expected {', '.join(known)}: {RESTORE}")
        if name in rules and not rules[name].holds(value):
            raise RecordError(
                f"{path}: '{inside}{name}' is {_shortened(value)}, expected {rules[name].expected}: {RESTORE}"
            )


def check_flags(path: str, values: Mapping[str, Any], config: type) -> None:
    """Checks the recorded values of flags with the flags' own parsers.

    Raises:
        RecordError: a value is none that the flag can have had.
    """
    for name, value in values.items():
        expected = fault_of_recorded(config, name, value)
        if expected is not None:
            raise RecordError(f"{path}: 'flags.{name}' is {_shortened(value)}, expected {expected}: {RESTORE}")


def _shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""The properties of a network that its tensors do not show, and that differ among the published models of a project.

They are read from the configuration in the file, or given by flags. None of them has a default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.choices import OUTPUT_STRIDES, STRIDE_CONVENTIONS
from tools.convert.weight_map import WeightMap
from tools.errors import ConversionError, FlagError
from tools.flags.values import mean_color, number, shown_value, switch, whole_number

WHITE = 255
# Of pixels in 0..255; usual are 1 and 58. Kernels are divided by it.
SMALLEST_DEVIATION = 1e-2


@dataclass(frozen=True)
class Setting:
    """One property.

    Attributes:
        parse: reads the text of its flag; a ValueError says what is expected.
        usual: its usual values, as a flag's.
        help: for --help.
        is_of_input: whether it is one of the inputs, which weights of any layout may have been trained otherwise with.
    """

    parse: Callable[[str], Any]
    usual: str
    help: str
    is_of_input: bool = False


def _output_stride(text: str) -> int:
    stride = whole_number(text)
    if stride not in OUTPUT_STRIDES:
        raise ValueError(" or ".join(map(str, OUTPUT_STRIDES)))
    return stride


def _convention(text: str) -> str:
    if text not in STRIDE_CONVENTIONS:
        raise ValueError(f"one of {', '.join(STRIDE_CONVENTIONS)}")
    return text


def _deviation(text: str) -> tuple[float, ...]:
    values = tuple(number(part) for part in text.split(","))
    if len(values) != 3 or not all(SMALLEST_DEVIATION <= value <= WHITE for value in values):
        raise ValueError(f"three numbers from {SMALLEST_DEVIATION:g} to {WHITE}, separated by commas")
    return values


SETTINGS: dict[str, Setting] = {
    "align_corners": Setting(
        switch, "0, or 1 if it was trained on crops of 769x769", "whether its upsampling aligns the corners"
    ),
    "output_stride": Setting(_output_stride, "8, the d8 in its name", "height of its images over that of its features"),
    "stride_convention": Setting(
        _convention, "mmseg, which is contract_dilation=True", "which layers it strides and dilates"
    ),
    "image_mean": Setting(
        mean_color, "123.675,116.28,103.53", "red, green and blue that it subtracts from pixels", is_of_input=True
    ),
    "image_std": Setting(
        _deviation, "58.395,57.12,57.375", "red, green and blue that it divides pixels by", is_of_input=True
    ),
    "color_switch": Setting(switch, "0", "whether its input is BGR", is_of_input=True),
}


def settled(
    weight_map: WeightMap, source: str, recorded: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[WeightMap, dict[str, Any]]:
    """Completes a layout that does not determine its network, or replaces the inputs of one that does.

    Args:
        weight_map: the layout.
        source: name of the file, for messages.
        recorded: settings that the configuration in the file has, by name.
        given: settings that flags have, by name.

    Returns:
        The completed layout, and the settings in use.

    Raises:
        FlagError: a flag contradicts the file, or the layout needs no such setting.
        ConversionError: a setting is in neither.
    """
    if not weight_map.needs_settings:
        for name in given:
            if not SETTINGS[name].is_of_input:
                raise FlagError(
                    f"--{name} is only for mmsegmentation and UPerNets of transformers, but {source} is "
                    f"{weight_map.project}: drop it"
                )
        return _with_inputs(weight_map, given), dict(given)
    for name, value in given.items():
        if recorded.get(name, value) != value:
            raise FlagError(
                f"--{name} is {shown_value(value)}, but the configuration in {source} says "
                f"{shown_value(recorded[name])}: drop the flag"
            )
    values = {**given, **recorded}
    missing = [name for name in SETTINGS if name not in values]
    if missing:
        place = "beside it" if weight_map.has_config_beside else "in meta"
        wanted = ", ".join(f"--{name} ({SETTINGS[name].usual})" for name in missing)
        raise ConversionError(
            f"{source}: {weight_map.project}, whose names of tensors do not determine the network, and no "
            f"configuration that can be read {place}: give {wanted}"
        )
    return _with_settings(weight_map, values), values


def _with_settings(weight_map: WeightMap, values: Mapping[str, Any]) -> WeightMap:
    return replace(
        _with_inputs(weight_map, values),
        resize_grid="align_corners" if values["align_corners"] else "half_pixel",
        output_stride=values["output_stride"],
        stride_convention=values["stride_convention"],
    )


def _with_inputs(weight_map: WeightMap, values: Mapping[str, Any]) -> WeightMap:
    return replace(
        weight_map,
        image_mean=values.get("image_mean", weight_map.image_mean),
        image_std=values.get("image_std", weight_map.image_std),
        feeds_bgr=values.get("color_switch", weight_map.feeds_bgr),
    )

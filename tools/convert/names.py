"""Maps the variables of our network to another project's names, using its weight map."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from model.encoder_blocks import extra_unit_scope
from tools.convert.layer_names import Layer
from tools.convert.weight_map import WeightMap

_UNIT = r"block(?P<block>[1-4])/unit_(?P<unit>\d+)/(?:bottleneck|basic)_v1"
_UNIT_LAYER = re.compile(rf"(?P<unit_scope>{_UNIT})/(?P<layer>\w+)")
_VARIABLE = re.compile(r"[^/]+/(?P<scope>.+?)/(?P<tensor>weights|biases|BatchNorm/\w+)")

# Patterns for the placeholders in a unit's name.
_PLACEHOLDERS = {
    "block": r"(?P<block>[1-4])",
    "stage": r"(?P<stage>[2-5])",
    "position": r"(?P<position>[0-3])",
    "unit": r"(?P<unit>\d+)",
    "index": r"(?P<index>\d+)",
    "scope": rf"resnet_v1_\d+/{_UNIT}",
}
# The number of a block, from 1, minus the value of a placeholder.
_BLOCK_OFFSETS = {"block": 0, "stage": -1, "position": 1}


class Variable(NamedTuple):
    """The parts of `resnet_v1_50/psp/pool1/BatchNorm/beta`: `psp/pool1` and `BatchNorm/beta`."""

    scope: str
    tensor: str


def split_variable(name: str) -> Variable:
    """Splits the name of a variable into the scope below the network's and the tensor."""
    match = _VARIABLE.fullmatch(name)
    assert match is not None, name
    return Variable(match["scope"], match["tensor"])


class UnitKernel(NamedTuple):
    """A kernel in a residual unit: block and unit counted from 1, and our name of the layer."""

    block: int
    unit: int
    layer: str


def unit_kernels(names: Iterable[str], weight_map: WeightMap) -> Iterator[UnitKernel]:
    """Yields the kernels of residual units among a project's tensors."""
    pattern = re.sub(
        r"\\{(\w+)\\}", lambda placeholder: _PLACEHOLDERS[placeholder[1]], re.escape(weight_map.unit_prefix)
    )
    suffix = weight_map.tensors.suffixes["weights"]
    layers = {layer.convolution + suffix: name for name, layer in weight_map.unit.items()}
    kernel = re.compile(f"{pattern}(?P<kernel>{'|'.join(map(re.escape, layers))})")
    for match in filter(None, map(kernel.fullmatch, names)):
        found = match.groupdict()
        block = next(int(found[name]) + offset for name, offset in _BLOCK_OFFSETS.items() if name in found)
        unit = int(found["unit"]) if "unit" in found else int(found["index"]) + 1
        yield UnitKernel(block, unit, layers[found["kernel"]])


class SourceNames:
    """A project's names for the layers of one of our networks."""

    def __init__(self, weight_map: WeightMap, network: str) -> None:
        self._map = weight_map
        self._network = network
        self._roles = {
            extra_unit_scope(network, 4): "head",
            extra_unit_scope(network, 3): "auxiliary",
        }

    def tensors(self, scope: str) -> dict[str, str]:
        """Returns the names of a layer's tensors.

        Args:
            scope: of the layer, below the network's.

        Returns:
            The project's names by ours, such as `weights` and `BatchNorm/beta`, even if the project has no such tensor;
            empty if it has no such layer.
        """
        layer = self._layer(scope)
        if layer is None:
            return {}
        suffixes = self._map.tensors.suffixes.items()
        owners = (
            (ours, layer.normalization if "/" in ours else layer.convolution, suffix) for ours, suffix in suffixes
        )
        return {ours: owner + suffix for ours, owner, suffix in owners if owner is not None}

    def has_layer(self, scope: str) -> bool:
        """Returns whether the project has the layer."""
        return self._layer(scope) is not None

    def lacks_normalization(self, scope: str) -> bool:
        """Returns whether the project has a layer without batch normalization."""
        layer = self._layer(scope)
        return layer is not None and layer.normalization is None

    def has_any(self, scope: str, names: Iterable[str]) -> bool:
        """Returns whether `names` contains any tensor of a layer."""
        return not set(self.tensors(scope).values()).isdisjoint(names)

    def _layer(self, scope: str) -> Layer | None:
        unit = _UNIT_LAYER.fullmatch(scope)
        if unit is None:
            layer = self._map.layers.get(self._roles.get(scope, scope))
            return layer and _renamed(layer, lambda name: name.format(scope=f"{self._network}/{scope}"))
        block, number = int(unit["block"]), int(unit["unit"])
        prefix = self._map.unit_prefix.format(
            **{name: block - offset for name, offset in _BLOCK_OFFSETS.items()},
            unit=number,
            index=number - 1,
            scope=f"{self._network}/{unit['unit_scope']}",
        )
        layer = self._map.unit.get(unit["layer"])
        return layer and _renamed(layer, lambda name: prefix + name)


def _renamed(layer: Layer, rename: Callable[[str], str]) -> Layer:
    return Layer(rename(layer.convolution), None if layer.normalization is None else rename(layer.normalization))

"""Builds what encoders of all families share: the stem, blocks of units, and where strides become dilation.

A family of encoders is a dataclass of sizes in `model/choices.py` and a module such as `model/resnet.py` that plans its
units and builds one of them. The functions here run the units block by block.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import tf_slim as slim

from model import resizing
from model import utils_mg as layers
from model.choices import NETWORKS, STEMS
from model.memory import Recomputation
from model.utils_mg import TowerList


class Spacing(NamedTuple):
    """Stride and dilation of a unit.

    Attributes:
        stride: output stride.
        rate: dilation of the layer that has the stride, or would have it without dilation.
        next_rate: dilation of the layers after it.
    """

    stride: int
    rate: int
    next_rate: int

    def dilated(self, factor: int) -> Spacing:
        """Returns the spacing with both dilations times `factor`."""
        return Spacing(self.stride, self.rate * factor, self.next_rate * factor)


def spacings(strides: Iterable[int], stem_stride: int, output_stride: int, dilate_strided_layer: bool) -> list[Spacing]:
    """Replaces the strides that would exceed the output stride by dilation.

    Args:
        strides: nominal stride of each unit.
        stem_stride: stride of the layers before the first unit.
        output_stride: 8, 16 or 32.
        dilate_strided_layer: see `choices.StrideConvention`.
    """
    current_stride, rate, found = stem_stride, 1, []
    for nominal in strides:
        dilation = nominal if current_stride * nominal > output_stride else 1
        stride, next_rate = nominal // dilation, rate * dilation
        found.append(Spacing(stride, next_rate if dilate_strided_layer else rate, next_rate))
        rate = next_rate
        current_stride *= stride
    return found


def extra_unit_scope(network: str, block: int) -> str:
    """Returns the scope of the layer that PSPNet adds after a block, e.g. `block4/unit_4` for block 4 of ResNet-50."""
    return f"block{block}/unit_{NETWORKS[network].units[block - 1] + 1}"


def build_stem(images: TowerList, stem: str, frozen: Collection[str]) -> TowerList:
    """Builds the layers before the first block, without a pooling.

    Args:
        images: tower list [N, H, W, C].
        stem: key of `choices.STEMS`.
        frozen: see `build_blocks`; `conv1` is the stem.
    """
    xs = images
    with _normalization("conv1" in frozen):
        for layer in STEMS[stem]:
            xs = layers.conv2d_batch_norm(xs, layer.depth, layer.kernel_size, layer.stride, scope=layer.scope)
    return xs


class _Scoped(Protocol):
    @property
    def scope(self) -> str: ...


Unit = TypeVar("Unit", bound=_Scoped)
UnitBuilder = Callable[[TowerList, Unit], TowerList]


def build_blocks(
    xs: TowerList,
    blocks: Sequence[Sequence[Unit]],
    build_unit: UnitBuilder,
    *,
    frozen: Collection[str] = (),
    recomputation: Recomputation | None = None,
    halved_after: tuple[str, str] | None = None,
    kept: Collection[str] = (),
) -> dict[str, TowerList]:
    """Builds the blocks of an encoder in the current variable scope.

    Args:
        xs: tower list [N, H, W, C], the output of the stem.
        blocks: units of each block.
        build_unit: maps a tower list and a unit to the output of the unit.
        frozen: parts that are not trained, see `choices.ENCODER_PARTS`; their batch normalization uses its running
            averages without updating them.
        recomputation: records the units in segments, to recompute their activations in the backward pass; None keeps
            all activations. Frozen blocks are not recorded.
        halved_after: `(scope, grid)`: the output of the unit with this scope is resized to half its size before the
            next unit; `grid` is a key of `choices.RESIZE_GRIDS`. None resizes nothing.
        kept: scopes of units whose outputs are returned too.

    Returns:
        Tower lists by name: `block1`, `block2` and so on, and the units of `kept` and `halved_after`, before it, by
        scope.
    """
    halved_scope, grid = halved_after or (None, "")
    endpoints = {}
    for number, units in enumerate(blocks, start=1):
        is_frozen = f"block{number}" in frozen
        build = functools.partial(_build_units, build_unit=build_unit)
        segments = None if is_frozen else recomputation
        with _normalization(is_frozen):
            for part in _parted_after(units, {halved_scope, *kept}):
                xs = build(xs, part) if segments is None else _build_segments(xs, part, build, segments)
                scope = part[-1].scope
                if scope in kept or scope == halved_scope:
                    endpoints[scope] = xs
                if scope == halved_scope:
                    xs = resizing.halve(xs, grid)
        endpoints[f"block{number}"] = xs
    return endpoints


def _build_units(xs: TowerList, units: Sequence[Unit], build_unit: UnitBuilder) -> TowerList:
    for unit in units:
        xs = build_unit(xs, unit)
    return xs


def _build_segments(
    xs: TowerList, units: Sequence[Unit], build: Callable[..., TowerList], recomputation: Recomputation
) -> TowerList:
    """Builds the units in segments of `recomputation.units_per_segment`; the last segment may be shorter."""
    length = recomputation.units_per_segment
    for first in range(0, len(units), length):
        xs = recomputation.run(functools.partial(build, units=units[first : first + length]), xs)
    return xs


def _parted_after(units: Sequence[Unit], scopes: Collection[str | None]) -> list[Sequence[Unit]]:
    """Splits the units after those with the given scopes."""
    ends = [index for index, unit in enumerate(units, start=1) if unit.scope in scopes or index == len(units)]
    return [units[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _normalization(is_frozen: bool) -> contextlib.AbstractContextManager[object]:
    """Makes the batch normalization of frozen layers use its running averages; others stay as the caller set them."""
    return slim.arg_scope([layers.batch_norm], is_training=False) if is_frozen else contextlib.nullcontext()

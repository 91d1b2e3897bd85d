"""Sizes of a network that the shapes of its kernels show."""

from __future__ import annotations

from typing import Any

from database.counts import number_of
from model import decoders
from model.architecture import Architecture
from model.choices import NETWORKS, STEMS
from model.encoder_blocks import extra_unit_scope
from model.encoder_end import ALL_BLOCKS, ENCODER_BLOCKS, largest_output_stride
from model.pspnet_mg import DECODERS
from tools.convert.files import Weights
from tools.convert.names import SourceNames
from tools.convert.weight_map import WeightMap
from tools.errors import ConversionError

POOL_SCOPES = tuple(f"psp/pool{bins}" for bins in decoders.PYRAMID_BINS)


def filter_scale(weights: Weights, weight_map: WeightMap, network: str) -> float:
    """Returns `Architecture.filter_scale`: of layouts that have several, the channels of the stem over the usual ones.

    Raises:
        ConversionError: the kernel of the stem is missing or does not have four axes.
    """
    if not weight_map.is_scaled:
        return Architecture.filter_scale
    return output_channels(weights, weight_map, _first_kernel(weight_map, network)) / STEMS[weight_map.stem][0].depth


def refuse_other_channels(weights: Weights, weight_map: WeightMap, network: str) -> None:
    """Rejects networks for images of other channels than RGB, which the first kernel shows.

    Raises:
        ConversionError: the kernel has four axes, and another number of input channels.
    """
    name = _first_kernel(weight_map, network)
    if name not in weights or weights[name].ndim != len(weight_map.tensors.kernel_axes):
        return
    channels = _kernel_size(weights, weight_map, name, 2)
    if channels != Architecture.input_channels:
        raise ConversionError(
            f"'{name}' has {number_of(channels, 'input channel')}, and only networks for RGB are converted: convert "
            f"one for RGB, and start a training with --input_channels {channels} from it"
        )


def fields_of_head(weights: Weights, weight_map: WeightMap, network: str, scale: float) -> dict[str, Any]:
    """Returns the fields of `Architecture` for the head of the weights, without a pyramid depth that is the default.

    Raises:
        ConversionError: a kernel is missing or does not have four axes, or no block has the channels of the pyramid's
            input.
    """
    names, decoder = SourceNames(weight_map, network), weight_map.decoder

    def depth(scope: str) -> int:
        return output_channels(weights, weight_map, names.tensors(scope)["weights"])

    blocks = _encoder_blocks(weights, weight_map, network)
    stride = DECODERS[decoder].output_stride
    if weight_map.optional_blocks:  # they are not dilated
        stride = largest_output_stride(weight_map.stride_convention, blocks)
    values: dict[str, Any] = {
        "num_classes": depth("logits"),
        "head_depth": depth(extra_unit_scope(network, 4)),
        "decoder": decoder,
        "output_stride": weight_map.output_stride or stride,
        "resize_grid": weight_map.resize_grid,
        "pyramid_order": weight_map.pyramid_order,
        "bounded_head": weight_map.bounded_head,
        "encoder_blocks": blocks,
    }
    if names.has_layer(POOL_SCOPES[0]):
        pyramid_depth = depth(POOL_SCOPES[0])
        if pyramid_depth != Architecture(network, filter_scale=scale, **values).pooled_depth:
            values["pyramid_depth"] = pyramid_depth
    return values


def _encoder_blocks(weights: Weights, weight_map: WeightMap, network: str) -> int:
    """Returns `Architecture.encoder_blocks`, see `WeightMap.optional_blocks`."""
    if not weight_map.optional_blocks:
        return ALL_BLOCKS
    kernel = SourceNames(weight_map, network).tensors(POOL_SCOPES[0])["weights"]
    channels = _kernel_size(weights, weight_map, kernel, 2)
    depths = {NETWORKS[network].depths[blocks - 1]: blocks for blocks in ENCODER_BLOCKS}
    if channels not in depths:
        known = ", ".join(f"{depth} of block {blocks}" for depth, blocks in depths.items())
        raise ConversionError(
            f"'{kernel}' has {channels} input channels, expected those of a block of {network}: {known}"
        )
    return depths[channels]


def output_channels(weights: Weights, weight_map: WeightMap, kernel: str) -> int:
    """Returns the output channels of a kernel, given by its name.

    Raises:
        ConversionError: it is missing or does not have four axes.
    """
    return _kernel_size(weights, weight_map, kernel, 3)


def _first_kernel(weight_map: WeightMap, network: str) -> str:
    """Returns the name that the kernel of the first layer has in the project."""
    return SourceNames(weight_map, network).tensors(STEMS[weight_map.stem][0].scope)["weights"]


def _kernel_size(weights: Weights, weight_map: WeightMap, kernel: str, axis: int) -> int:
    """Returns the size of an axis, counted in this package's order, of a kernel of the project."""
    if kernel not in weights:
        raise ConversionError(f"'{kernel}' is missing from {weight_map.project}")
    shape, axes = weights[kernel].shape, weight_map.tensors.kernel_axes
    if len(shape) != len(axes):
        raise ConversionError(f"'{kernel}' has the shape {list(shape)}, expected a kernel with {len(axes)} axes")
    return shape[axes[axis]]

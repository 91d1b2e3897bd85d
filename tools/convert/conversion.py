"""Converts the tensors of another project to the variables of this package's network, using a weight map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from database.counts import number_of
from model import decoders
from model.architecture import Architecture
from model.choices import NETWORKS, STEMS, ResNet
from model.encoder_blocks import extra_unit_scope
from model.pspnet_mg import CLASSIFIER_SCOPES
from model.utils_mg import BATCH_NORM_EPSILON
from tools.checkpoints.values import fault_of_values
from tools.convert.files import Weights
from tools.convert.layouts import WEIGHT_MAPS
from tools.convert.names import SourceNames, Variable, split_variable, unit_kernels
from tools.convert.one_class import with_background
from tools.convert.sizes import POOL_SCOPES, fields_of_head, filter_scale, output_channels, refuse_other_channels
from tools.convert.weight_map import WeightMap
from tools.errors import ConversionError

_UNKNOWN = "this network has no such layer"
# Batch normalization of a layer that its project does not normalize; the bias is beta.
_IDENTITY = {
    "BatchNorm/gamma": 1.0,
    "BatchNorm/moving_mean": 0.0,
    "BatchNorm/moving_variance": 1.0 - BATCH_NORM_EPSILON,
}


@dataclass(frozen=True)
class Source:
    """The weights of another project, and their network.

    Attributes:
        weights: arrays by the project's names.
        weight_map: the project's layout.
        architecture: the network; for a ResNet without heads, the fields of the heads are defaults without meaning.
        has_heads: whether the weights are of a PSPNet, not of a ResNet without heads.
        has_auxiliary: whether they include an auxiliary head.
    """

    weights: Weights
    weight_map: WeightMap
    architecture: Architecture
    has_heads: bool
    has_auxiliary: bool

    @property
    def names(self) -> SourceNames:
        return SourceNames(self.weight_map, self.architecture.network)


@dataclass(frozen=True)
class Conversion:
    """The converted variables, and the use of each tensor.

    Attributes:
        values: float32 arrays by variable name.
        used: the project's tensor name by variable name; of a bias before batch normalization, by the name of the mean
            that it becomes part of, with a remark.
        left: reason why a tensor was skipped, by the project's name.
        constants: the value of variables that no tensor gives, by variable name: of batch normalization that the
            project does not have.
    """

    values: dict[str, np.ndarray]
    used: dict[str, str]
    left: dict[str, str]
    constants: dict[str, float] = field(default_factory=dict)


def recognize(names: Iterable[str]) -> WeightMap:
    """Detects the layout from the tensor names.

    Raises:
        ConversionError: it is none of `layouts.WEIGHT_MAPS`.
    """
    names = list(names)
    for weight_map in WEIGHT_MAPS.values():
        if weight_map.is_of(names):
            return weight_map
    raise ConversionError(
        f"{number_of(len(names), 'tensor')} ({', '.join(sorted(names)[:3])}, ...) match no known layout, which are of "
        "ResNets, ResNeXts, MobileNetV2 and of PSPNets, UPerNets and ICNets on them: if this is one of these, --format "
        "with its layout shows what is missing; CSAILVision's decoder needs its encoder, see --decoder"
    )


def examine(weights: Weights, weight_map: WeightMap) -> Source:
    """Detects the network of the weights.

    Raises:
        ConversionError: no known ResNet has these residual units, a kernel that determines a size is missing or does
            not have four axes, or the images are not RGB.
    """
    network = network_of(weights, weight_map)
    refuse_other_channels(weights, weight_map, network)
    names = SourceNames(weight_map, network)
    head_scope, auxiliary_scope = extra_unit_scope(network, 4), extra_unit_scope(network, 3)
    scopes_of_heads = POOL_SCOPES if names.has_layer(POOL_SCOPES[0]) else (head_scope,)
    has_heads = any(names.has_any(scope, weights) for scope in scopes_of_heads)
    scopes_of_auxiliary = (auxiliary_scope, *CLASSIFIER_SCOPES[1:])
    has_auxiliary = has_heads and any(names.has_any(scope, weights) for scope in scopes_of_auxiliary)
    scale = filter_scale(weights, weight_map, network)
    of_heads: dict[str, Any] = {"num_classes": 2}
    if has_heads:
        weights = with_background(weights, weight_map, names)
        of_heads = fields_of_head(weights, weight_map, network, scale)
    if has_auxiliary and names.has_layer(auxiliary_scope):
        of_heads["auxiliary_depth"] = output_channels(weights, weight_map, names.tensors(auxiliary_scope)["weights"])
    architecture = Architecture(
        network,
        stem=weight_map.stem,
        pool_padding=weight_map.pool_padding,
        stride_convention=weight_map.stride_convention,
        filter_scale=scale,
        **of_heads,
    )
    return Source(weights, _without_later_blocks(weight_map, architecture), architecture, has_heads, has_auxiliary)


def _without_later_blocks(weight_map: WeightMap, architecture: Architecture) -> WeightMap:
    """Returns the layout whose tensors of blocks after the last one of the network may be skipped."""
    blocks = architecture.encoder_blocks
    later = {
        pattern: f"of a block that the network, which ends after block {blocks}, does not run"
        for block, pattern in weight_map.optional_blocks.items()
        if block > blocks
    }
    return replace(weight_map, left={**weight_map.left, **later})


def convert(source: Source, variable_shapes: Mapping[str, Sequence[int]]) -> Conversion:
    """Computes every variable of a network.

    Args:
        source: returned by `examine`.
        variable_shapes: shapes of all variables of the network, by name.

    Raises:
        ConversionError: a tensor is missing, has another shape or invalid values, see `values.fault_of_values`; a
            tensor that no variable takes is not finite; or the project has a nonzero bias where this network has none.
    """
    names = source.names
    values, used, constants = {}, {}, {}
    for variable, shape in variable_shapes.items():
        scope, tensor = split_variable(variable)
        is_plain = names.lacks_normalization(scope)
        if is_plain and tensor in _IDENTITY:
            constants[variable] = _IDENTITY[tensor]
            values[variable] = np.full(shape, constants[variable], np.float32)
            continue
        name = names.tensors(scope)["biases" if is_plain and tensor == "BatchNorm/beta" else tensor]
        array = _laid_out(source, name, tuple(shape), variable)
        _refuse_values(source, name, variable, array)
        if tensor == "weights":
            array = _adapted(array, scope, source)
            _refuse_values(source, name, variable, array)
        elif tensor == "BatchNorm/moving_variance" and source.weight_map.epsilon is not None:
            array = array + np.float32(source.weight_map.epsilon - BATCH_NORM_EPSILON)
        elif tensor == "BatchNorm/moving_mean" and source.weight_map.has_biases:
            bias = names.tensors(scope)["biases"]
            array = array - _laid_out(source, bias, tuple(shape), f"{variable}, less the bias")
            _refuse_values(source, bias, variable, array)
            used[f"{variable}, less the bias"] = bias
        values[variable], used[variable] = np.ascontiguousarray(array, np.float32), name
    layers = [] if source.weight_map.has_biases else map(split_variable, variable_shapes)
    zero_biases = _biases_of_zero(source, layers)
    left = {name: _reason(name, source.weight_map) for name in source.weights.keys() - set(used.values())}
    left |= dict.fromkeys(zero_biases, "a bias of zeros before batch normalization")
    _refuse_values_of_left(source, left)
    return Conversion(values, used, dict(sorted(left.items())), constants)


def refuse_unknown(conversion: Conversion, source: Source) -> None:
    """Rejects weights with tensors that no layer takes: their network computes something else.

    Raises:
        ConversionError: a tensor is skipped for none of the reasons in `WeightMap.left`.
    """
    unknown = [name for name, reason in conversion.left.items() if reason == _UNKNOWN]
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ConversionError(
            f"'{unknown[0]}'{others} of {len(source.weights)} tensors belong to no layer of "
            f"{source.weight_map.project}: this is another network, or give --skip with a regular expression of "
            "tensors that do not change its output"
        )


def _refuse_values(source: Source, name: str, variable: str, array: np.ndarray) -> None:
    fault = fault_of_values(variable, array)
    if fault is not None:
        raise ConversionError(f"{source.weight_map.project}: '{name}' {fault}: download or save the weights again")


def _refuse_values_of_left(source: Source, left: Iterable[str]) -> None:
    """Rejects NaN in skipped tensors too: their training diverged, or the file is damaged."""
    variance = source.weight_map.tensors.suffixes["BatchNorm/moving_variance"]
    for name in sorted(left):
        array = source.weights[name]
        if array.dtype.kind == "f":
            _refuse_values(source, name, "moving_variance" if name.endswith(variance) else name, array)


def network_of(weights: Weights, weight_map: WeightMap) -> str:
    """Returns the key of `choices.NETWORKS` of the layout, or with the residual units of the weights.

    ResNet, ResNeXt and wide ResNet have units of the same names: the 3x3 layer of the first unit shows which it is.

    Raises:
        ConversionError: there is none.
    """
    if weight_map.network is not None:
        return weight_map.network
    kernels = list(unit_kernels(weights, weight_map))
    counts = tuple(max((k.unit for k in kernels if k.block == block), default=0) for block in (1, 2, 3, 4))
    is_bottleneck = any(kernel.layer == "conv3" for kernel in kernels)
    kinds = {
        name: size
        for name, size in NETWORKS.items()
        if isinstance(size, ResNet)
        and (size.bottleneck, size.averaged_shortcut) == (is_bottleneck, weight_map.averaged_shortcut)
    }
    candidates = [name for name, size in kinds.items() if size.units == counts]
    if not candidates:
        known = ", ".join(str(units) for units in dict.fromkeys(size.units for size in kinds.values()))
        kind = ("bottleneck" if is_bottleneck else "basic") + (" ResNet-D" if weight_map.averaged_shortcut else "")
        raise ConversionError(
            f"{weight_map.project}: found {counts} {kind} units in the blocks, expected one of {known}"
        )
    shape = _shape_in_first_unit(weights, weight_map, candidates[0])
    fitting = [name for name in candidates if shape == _expected_in_first_unit(kinds[name])]
    # Without a 3x3 layer of a known shape, the conversion names the tensor that does not fit.
    return (fitting or candidates)[0]


def _shape_in_first_unit(weights: Weights, weight_map: WeightMap, network: str) -> tuple[int, int] | None:
    """Returns input channels per group and output channels of the first bottleneck's 3x3 layer; None without it."""
    name = SourceNames(weight_map, network).tensors("block1/unit_1/bottleneck_v1/conv2").get("weights")
    array, axes = weights.get(name) if name else None, weight_map.tensors.kernel_axes
    return (array.shape[axes[2]], array.shape[axes[3]]) if array is not None and array.ndim == 4 else None


def _expected_in_first_unit(size: ResNet) -> tuple[int, int]:
    width = int(size.depths[0] * size.width)
    return width // size.groups, width


def _laid_out(source: Source, name: str, shape: tuple[int, ...], variable: str) -> np.ndarray:
    """Returns a tensor with its axes in this package's order."""
    tensors = source.weight_map.tensors
    is_kernel = len(shape) == 4
    expected = tuple(shape[tensors.kernel_axes.index(axis)] for axis in range(4)) if is_kernel else shape
    if name not in source.weights:
        raise ConversionError(f"'{name}' is missing, expected with shape {list(expected)} for {variable}")
    array = source.weights[name]
    found = tuple(size for size in array.shape if size != 1) if tensors.has_unit_axes and not is_kernel else array.shape
    if found != expected:
        raise ConversionError(f"'{name}' has the shape {list(array.shape)}, expected {list(expected)} for {variable}")
    return array.transpose(tensors.kernel_axes) if is_kernel else array.reshape(shape)


def _adapted(kernel: np.ndarray, scope: str, source: Source) -> np.ndarray:
    """Adapts a kernel to our input, which is not divided by a standard deviation, and our order of pooled levels."""
    weight_map = source.weight_map
    if scope == STEMS[weight_map.stem][0].scope:
        deviation = np.asarray(weight_map.image_std, np.float32)
        with np.errstate(over="ignore"):  # the caller rejects infinite kernels
            return kernel / (deviation[::-1] if weight_map.feeds_bgr else deviation)[:, np.newaxis]
    is_head = scope == extra_unit_scope(source.architecture.network, 4)
    if is_head and source.names.has_layer(POOL_SCOPES[0]):
        depth = output_channels(source.weights, weight_map, source.names.tensors(POOL_SCOPES[0])["weights"])
        return kernel[:, :, _input_order(kernel.shape[2], depth, weight_map), :]
    return kernel


def _input_order(channels: int, depth: int, weight_map: WeightMap) -> np.ndarray:
    """Returns the project's input channel for each of our input channels of the layer after the pyramid.

    Args:
        channels: number of channels of features and pooled levels.
        depth: number of channels of a pooled level.
        weight_map: the layout, with its order of them.
    """
    pooled = depth * len(weight_map.concatenation)
    features = channels - pooled
    first_feature, first_pooled = (pooled, 0) if weight_map.has_features_last else (0, features)
    starts = {bins: first_pooled + depth * index for index, bins in enumerate(weight_map.concatenation)}
    levels = [np.arange(starts[bins], starts[bins] + depth) for bins in decoders.PYRAMID_BINS]
    return np.concatenate([np.arange(first_feature, first_feature + features), *levels])


def _reason(name: str, weight_map: WeightMap) -> str:
    return next((reason for pattern, reason in weight_map.left.items() if re.fullmatch(pattern, name)), _UNKNOWN)


def _biases_of_zero(source: Source, variables: Iterable[Variable]) -> list[str]:
    """Returns the biases before batch normalization; rejects nonzero ones, as skipping them would change the output."""
    found = []
    for scope, tensor in variables:
        bias = source.names.tensors(scope)["biases"]
        if tensor == "BatchNorm/beta" and not source.names.lacks_normalization(scope) and bias in source.weights:
            if np.any(source.weights[bias]):
                raise ConversionError(
                    f"'{bias}' is a bias before batch normalization, which this network does not have"
                )
            found.append(bias)
    return found

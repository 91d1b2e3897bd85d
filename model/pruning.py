"""Removes the filters of a network with the smallest L1 norms.

Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", sections 3.1 and 3.3: the filters of a layer with the
smallest sums of absolute weights are removed, with their batch normalization and with the input channels that read
them. ICNet (Zhao et al. 2018) uses it as well; fast-semantic-segmentation's `libs/filter_pruner.py` does it by a
configuration that names the layers, of which `PRUNED_LAYERS` has the two kinds that it publishes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from model.channel_groups import IMAGES, Layer, writers_of
from model.choices import STEMS

_ROUNDING = 1e-6  # 100 * 0.29 is below 29
_STEM = frozenset(layer.scope for layers in STEMS.values() for layer in layers)


def _everything(scopes: Sequence[str]) -> bool:
    return bool(scopes)


def _inner(scopes: Sequence[str]) -> bool:
    return len(scopes) == 1 and scopes[0] not in _STEM


# Which groups lose filters, by the scopes of the layers that write them: all (icnet_resnet_v1_prune_all.config); or
# only those of a single layer, which keeps the stem and what is added up, such as the outputs of residual units
# (icnet_resnet_v1_prune_partial.config).
PRUNED_LAYERS: dict[str, Callable[[Sequence[str]], bool]] = {"all": _everything, "inner": _inner}


def filters_to_keep(
    layers: Sequence[Layer], widths: Mapping[str, int], keep: float, kind: str, skipped: Collection[str] = ()
) -> dict[str, int]:
    """Returns the number of filters that pruning leaves to each group.

    Args:
        layers: see `channel_groups.layers_of`.
        widths: number of filters before any pruning, by scope.
        keep: share of them to keep, in (0, 1); at least one filter is kept.
        kind: key of `PRUNED_LAYERS`.
        skipped: scopes; a group that a layer in one of them writes keeps its filters.
    """
    is_pruned = PRUNED_LAYERS[kind]
    prefixes = tuple(f"{scope.strip('/')}/" for scope in skipped)
    return {
        group: max(1, math.floor(widths[scopes[0]] * keep + _ROUNDING))
        for group, scopes in writers_of(layers).items()
        if is_pruned(scopes) and not any(f"{scope}/".startswith(prefixes) for scope in scopes)
    }


def largest_filters(kernel: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the filters with the largest L1 norms, rising; equal norms keep the first.

    Args:
        kernel: [height, width, channels, filters].
        count: number of filters.
    """
    norms = np.abs(kernel.astype(np.float64)).sum(axis=(0, 1, 2))
    return np.sort(np.argsort(-norms, kind="stable")[:count])


def chosen_filters(
    layers: Sequence[Layer], values: Mapping[str, np.ndarray], counts: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Chooses the filters to keep of each group, by the first layer that writes it.

    Args:
        layers: see `channel_groups.layers_of`.
        values: kernels by `<scope>/weights`.
        counts: see `filters_to_keep`; a group with no more filters keeps them all.

    Returns:
        Rising indices by group, also of groups that are not pruned.
    """
    chosen: dict[str, np.ndarray] = {}
    for layer in layers:
        if layer.writes is not None and layer.writes not in chosen and f"{layer.scope}/weights" in values:
            kernel = values[f"{layer.scope}/weights"]
            count = min(counts.get(layer.writes, kernel.shape[3]), kernel.shape[3])
            chosen[layer.writes] = largest_filters(kernel, count)
    return chosen


def without_filters(
    layers: Sequence[Layer], values: Mapping[str, np.ndarray], chosen: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Removes all other filters from the values of a network.

    Args:
        layers: see `channel_groups.layers_of`; layers without values are ignored.
        values: variables by name below the scope of the network.
        chosen: see `chosen_filters`.

    Returns:
        The values in their new shapes.
    """
    widths = _widths(layers, values)
    pruned = dict(values)
    for layer in layers:
        name = f"{layer.scope}/weights"
        if name not in values:
            continue
        filters = np.arange(values[name].shape[3]) if layer.writes is None else chosen[layer.writes]
        pruned[name] = values[name][:, :, _inputs(layer, values[name], widths, chosen)][..., filters]
        for vector in ("gamma", "beta", "moving_mean", "moving_variance"):
            normalization = f"{layer.scope}/BatchNorm/{vector}"
            if normalization in values:
                pruned[normalization] = values[normalization][filters]
    return pruned


def _widths(layers: Sequence[Layer], values: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Returns the number of channels of each group."""
    written = [(str(layer.writes), values.get(f"{layer.scope}/weights")) for layer in layers]
    return {group: kernel.shape[3] for group, kernel in written if kernel is not None}


def _inputs(
    layer: Layer, kernel: np.ndarray, widths: Mapping[str, int], chosen: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Returns the indices of the input channels of a layer that are left."""
    if layer.reads == (IMAGES,):
        return np.arange(kernel.shape[2])
    starts = np.cumsum([0, *(widths[group] for group in layer.reads)])
    assert starts[-1] == kernel.shape[2], (layer, kernel.shape)
    return np.concatenate([start + chosen[group] for start, group in zip(starts, layer.reads, strict=False)])

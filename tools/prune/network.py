"""Removes filters from a network that is given by its architecture and its values."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.channel_groups import Layer, layers_of, writers_of
from model.encoder_blocks import extra_unit_scope
from model.encoder_end import has_auxiliary_features
from model.pruning import chosen_filters, filters_to_keep, without_filters
from model.pspnet_mg import CLASSIFIER_SCOPES, pspnet
from tools.errors import FlagError, PruneError


@dataclass(frozen=True)
class Pruning:
    """Which filters are removed.

    Attributes:
        keep: share of the filters before any pruning that is kept, in (0, 1).
        kind: key of `pruning.PRUNED_LAYERS`.
        skipped: scopes of layers that keep their filters.
    """

    keep: float
    kind: str = "all"
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class PrunedNetwork:
    """A network without some of its filters.

    Attributes:
        architecture: with the numbers of filters that are left.
        values: of the variables, by name.
        kept: indices of the filters that are left, by scope of the layer, of layers that lost some.
    """

    architecture: Architecture
    values: dict[str, np.ndarray]
    kept: dict[str, list[int]]


def network_variables(architecture: Architecture, *, has_auxiliary: bool) -> list[tf.Variable]:
    """Builds a network in the default graph and returns its variables."""
    images = [tf.placeholder(tf.float32, [None, None, None, architecture.input_channels])]
    pspnet(images, architecture, is_training=False, has_auxiliary=has_auxiliary)
    return tf.model_variables()


def shapes_of(architecture: Architecture, *, has_auxiliary: bool = True) -> dict[str, list[int]]:
    """Returns the shapes of the variables of a network by name, with its auxiliary heads if it can have any."""
    with tf.Graph().as_default():
        can_have = has_auxiliary_features(architecture.network, architecture.encoder_blocks)
        variables = network_variables(architecture, has_auxiliary=has_auxiliary and can_have)
        return {variable.op.name: variable.shape.as_list() for variable in variables}


def is_of_auxiliary_head(name: str, network: str) -> bool:
    """Returns whether a variable belongs to an auxiliary head, which only training has."""
    scopes = (extra_unit_scope(network, 3), *CLASSIFIER_SCOPES[1:])
    return name.startswith(tuple(f"{network}/{scope}/" for scope in scopes))


def pruned_network(architecture: Architecture, values: Mapping[str, np.ndarray], pruning: Pruning) -> PrunedNetwork:
    """Removes the filters with the smallest L1 norms.

    Args:
        architecture: of the network, which may be pruned already.
        values: of its variables by name, with or without the auxiliary heads.
        pruning: which filters to remove.

    Raises:
        FlagError: no layer is in a scope to skip.
        PruneError: no layer has more filters than are to be kept.
        PruningError: the encoder has layers whose filters cannot be removed.
    """
    layers = layers_of(architecture)
    _refuse_unknown_scopes(layers, pruning.skipped, architecture)
    prefix = f"{architecture.network}/"
    widths = {
        name.removeprefix(prefix).removesuffix("/weights"): shape[-1]
        for name, shape in shapes_of(dataclasses.replace(architecture, filters={})).items()
        if name.endswith("/weights")
    }
    own = {name.removeprefix(prefix): array for name, array in values.items()}
    counts = filters_to_keep(layers, widths, pruning.keep, pruning.kind, pruning.skipped)
    chosen = chosen_filters(layers, own, counts)
    scopes = {scope: group for group, writers in writers_of(layers).items() for scope in writers}
    kept = {
        scope: chosen[group].tolist()
        for scope, group in scopes.items()
        if len(chosen[group]) < own[f"{scope}/weights"].shape[-1]
    }
    if not kept:
        raise PruneError(
            f"no layer of {architecture.network} with {architecture.decoder} has more than {pruning.keep:g} of its "
            "filters before any pruning: give a smaller --keep, or the network as it was before"
        )
    left = {scope: len(chosen[group]) for scope, group in scopes.items()}
    filters = {scope: count for scope, count in left.items() if count < widths[scope]}
    pruned = without_filters(layers, own, chosen)
    return PrunedNetwork(
        dataclasses.replace(architecture, filters=filters),
        {f"{prefix}{name}": array for name, array in pruned.items()},
        kept,
    )


def _refuse_unknown_scopes(layers: Sequence[Layer], skipped: Collection[str], architecture: Architecture) -> None:
    scopes = [layer.scope for layer in layers]
    for scope in skipped:
        if not any(f"{layer}/".startswith(f"{scope.strip('/')}/") for layer in scopes):
            known = ", ".join(sorted({layer.split("/")[0] for layer in scopes}))
            raise FlagError(f"--skip_layers: '{scope}' is no layer of {architecture.network}: choose from {known}")

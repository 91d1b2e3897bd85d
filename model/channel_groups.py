"""Describes which layers of a network write and read which channels, so that filters can be removed (pruning).

A group is a set of channels that exist or are removed together: the output of a layer, or a sum of such outputs. The
units of a block add their outputs to the same channels, so all of them write the group of the block; so do the two
layers of a fusion unit of ICNet and the lateral layers of UPerNet.

Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.3: the filters of a residual block are
chosen by those of the projection shortcut. In fast-semantic-segmentation's pruner, units without a projection choose
their own, so that it adds different channels there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from model import choices
from model.architecture import Architecture
from model.choices import NETWORKS, STEMS, ResNet
from model.decoders import PYRAMID_BINS
from model.encoder_blocks import extra_unit_scope
from model.encoder_end import has_auxiliary_features
from model.errors import PruningError
from model.icnet import CASCADES
from model.resnet import plan_blocks

IMAGES = "images"
_HEAD, _PYRAMID = "head", "fpn"
# The hidden layer of the auxiliary head, which only training has. It is not pruned.
_AUXILIARY = "auxiliary"


class Layer(NamedTuple):
    """A convolution.

    Attributes:
        scope: variable scope below that of the network.
        reads: groups of its input channels, in their order.
        writes: group of its filters; None for a classifier, whose filters are the classes.
    """

    scope: str
    reads: tuple[str, ...]
    writes: str | None


def layers_of(architecture: Architecture) -> list[Layer]:
    """Lists the layers of a network with its auxiliary heads; the first that writes a group chooses its filters.

    Raises:
        PruningError: the layers of the encoder have groups of channels.
    """
    if NETWORKS[architecture.network].is_grouped:
        raise PruningError(
            f"{architecture.network} has layers with groups of channels, whose filters cannot be removed one by one"
        )
    return [*_encoder(architecture), *_HEADS[architecture.decoder](architecture)]


def writers_of(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """Returns the scopes of the layers that write each group whose filters can be removed, in their order."""
    writers: dict[str, list[str]] = {}
    for layer in layers:
        if layer.writes not in (None, _AUXILIARY):
            writers.setdefault(str(layer.writes), []).append(layer.scope)
    return writers


def fault_of_filters(architecture: Architecture) -> str | None:
    """Describes why no network has the numbers of filters of an architecture; None if one has."""
    try:
        writers = writers_of(layers_of(architecture))
    except PruningError as error:
        return f"are of a pruned network, and {error}" if architecture.filters else None
    known = {scope for scopes in writers.values() for scope in scopes}
    unknown = next((scope for scope in architecture.filters if scope not in known), None)
    if unknown is not None:
        return f"has '{unknown[:60]}', which is no layer of {architecture.network} with {architecture.decoder}"
    for scopes in writers.values():
        counts = {architecture.filters.get(scope) for scope in scopes}
        if len(counts) > 1:
            return f"has different numbers for {scopes[0]} and other layers whose outputs are added to its output"
    return None


def known_filters(filters: Mapping[str, int], architecture: Architecture) -> dict[str, int]:
    """Returns the numbers of filters that apply to a network, which may have another decoder than the pruned one.

    Args:
        filters: see `Architecture.filters`.
        architecture: of the network, without them.
    """
    if not filters:
        return {}
    groups = writers_of(layers_of(architecture)).values()
    whole = [scopes for scopes in groups if len({filters.get(scope) for scope in scopes}) == 1]
    return {scope: filters[scope] for scopes in whole for scope in scopes if scope in filters}


def _encoder(architecture: Architecture) -> Iterator[Layer]:
    resnet = NETWORKS[architecture.network]
    assert isinstance(resnet, ResNet), architecture.network
    stem = [layer.scope for layer in STEMS[architecture.stem]]
    blocks = plan_blocks(
        architecture.network, architecture.stride_convention, architecture.output_stride, architecture.stem
    )
    # Without a projection, the first unit adds its output to that of the stem.
    before = stem[-1] if blocks[0][0].has_projection else "block1"
    yield from _chain(IMAGES, [*zip(stem, [*stem[:-1], before], strict=True)])
    kind, inner, last = (
        ("bottleneck_v1", ("conv1", "conv2"), "conv3") if resnet.bottleneck else ("basic_v1", ("conv1",), "conv2")
    )
    for number, units in enumerate(blocks[: architecture.encoder_blocks], start=1):
        block = f"block{number}"
        for unit in units:
            scope = f"{unit.scope}/{kind}"
            if unit.has_projection:
                yield Layer(f"{scope}/shortcut", (before,), block)
            own = [(f"{scope}/{name}", f"{scope}/{name}") for name in inner]
            yield from _chain(before, [*own, (f"{scope}/{last}", block)])
            before = block


def _chain(first: str, layers: Sequence[tuple[str, str]]) -> Iterator[Layer]:
    """Yields layers of which each reads what the one before writes; they are given as scope and group."""
    groups = [first, *(group for _, group in layers)]
    for (scope, _), (read, written) in zip(layers, pairwise(groups), strict=True):
        yield Layer(scope, (read,), written)


def _pyramid(architecture: Architecture, writes: str = _HEAD) -> Iterator[Layer]:
    bins = () if architecture.pyramid_order == "add" else PYRAMID_BINS
    levels = [f"psp/pool{count}" for count in bins]
    for level in levels:
        yield Layer(level, (architecture.last_block,), level)
    yield Layer(extra_unit_scope(architecture.network, 4), (architecture.last_block, *levels), writes)


def _auxiliary_head(architecture: Architecture) -> Iterator[Layer]:
    if not has_auxiliary_features(architecture.network, architecture.encoder_blocks):
        return
    block = NETWORKS[architecture.network].auxiliary
    yield Layer(extra_unit_scope(architecture.network, 3), (block,), _AUXILIARY)
    yield Layer("aux_logits", (_AUXILIARY,), None)


def _ppm(architecture: Architecture) -> Iterator[Layer]:
    yield from _pyramid(architecture)
    yield Layer("logits", (_HEAD,), None)
    yield from _auxiliary_head(architecture)


def _c1(architecture: Architecture) -> Iterator[Layer]:
    yield Layer(extra_unit_scope(architecture.network, 4), (architecture.last_block,), _HEAD)
    yield Layer("logits", (_HEAD,), None)
    yield from _auxiliary_head(architecture)


def _upernet(architecture: Architecture) -> Iterator[Layer]:
    yield from _pyramid(architecture, _PYRAMID)
    outputs = []
    for number in (1, 2, 3):
        outputs.append(f"fpn/output{number}")
        yield Layer(f"fpn/lateral{number}", (f"block{number}",), _PYRAMID)
        yield Layer(outputs[-1], (_PYRAMID,), outputs[-1])
    yield Layer("fpn/fusion", (*outputs, _PYRAMID), "fpn/fusion")
    yield Layer("logits", ("fpn/fusion",), None)
    yield from _auxiliary_head(architecture)


def _cascade(architecture: Architecture) -> Iterator[Layer]:
    cascade = CASCADES[architecture.decoder]
    shared = cascade.shared_unit(architecture.network, architecture.stride_convention).partition("/")[0]
    details = [f"icnet/detail{number}" for number in range(1, len(cascade.details) + 1)]
    yield from _pyramid(architecture)
    yield from _chain(IMAGES, [(detail, detail) for detail in details])
    for fusion, fine, coarse in (("icnet/fusion16", shared, _HEAD), ("icnet/fusion8", details[-1], "icnet/fusion16")):
        yield Layer(f"{fusion}/detail", (fine,), fusion)
        yield Layer(f"{fusion}/context", (coarse,), fusion)
    yield Layer("logits", ("icnet/fusion8",), None)
    yield Layer("icnet/logits8", ("icnet/fusion16",), None)
    yield Layer("icnet/logits16", (_HEAD,), None)


# The layers of each decoder, with its auxiliary heads.
_HEADS: dict[str, Callable[[Architecture], Iterator[Layer]]] = {
    "ppm": _ppm,
    "ppm_1x1": _ppm,
    "c1": _c1,
    "upernet": _upernet,
    **dict.fromkeys(choices.CASCADES, _cascade),
}

"""Builds a segmentation network over a list of towers: an encoder, a decoder and auxiliary heads.

`pspnet` builds the logits of training and prediction; `forward_graph` builds the class probabilities of prediction.
`DECODERS` lists the decoders; `model/decoders.py` says how to add one. `encoders.FAMILIES` lists what builds the
encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import choices, decoders, encoders, icnet, resizing
from model import utils_mg as layers
from model.architecture import Architecture
from model.encoder_blocks import extra_unit_scope
from model.encoder_end import fault_of_end, has_auxiliary_features
from model.errors import ChannelsError, EncoderEndError
from model.memory import Recomputation
from model.pyramid_convolution import pyramid_conv2d_batch_norm
from model.utils_mg import TowerList

# Scopes of the layers with one output channel per class.
CLASSIFIER_SCOPES = ("logits", "aux_logits", "icnet/logits8", "icnet/logits16")

# Names of the endpoints of the auxiliary heads before upsampling, in the order of the heads.
AUXILIARY_ENDPOINTS = ("auxiliary_logits", "auxiliary_logits_2")

FLOAT_TYPES: dict[str, tf.DType] = {key: tf.as_dtype(name) for key, name in choices.FLOAT_TYPES.items()}


@dataclass(frozen=True)
class Predictions:
    """The outputs of the network.

    Attributes:
        logits: tower list float32 [N, H, W, classes], at the size of the images.
        auxiliary: the logits of each auxiliary head, in the same form.
        endpoints: tower lists by name: the stages of the encoder (see `encoders.FAMILIES`), and the logits before
            upsampling as `logits` and, for the auxiliary heads, as `AUXILIARY_ENDPOINTS`.
    """

    logits: TowerList
    auxiliary: list[TowerList]
    endpoints: dict[str, TowerList]


Endpoints = dict[str, TowerList]


@dataclass(frozen=True)
class Decoder:
    """The heads that follow an encoder, and the defaults that suit them.

    Attributes:
        head: maps (endpoints, architecture, seed of dropout) to logits; may add endpoints for the auxiliary heads.
        auxiliary: maps the same arguments to the logits of each auxiliary head, in order of decreasing loss weight.
        output_stride: default output stride of the encoder.
        cascade: of ICNet, whose encoder gets images at half size and, after `Cascade.shared_unit`, at a quarter.
        upsamples_logits: default of whether the loss compares at the size of the labels; otherwise it compares at the
            size of the logits.
    """

    head: Callable[[Endpoints, Architecture, tf.Tensor | None], TowerList]
    auxiliary: Callable[[Endpoints, Architecture, tf.Tensor | None], list[TowerList]]
    output_stride: int = 8
    cascade: icnet.Cascade | None = None
    upsamples_logits: bool = True


def _auxiliary_head(endpoints: Endpoints, of: Architecture, seed: tf.Tensor | None) -> list[TowerList]:
    name = choices.NETWORKS[of.network].auxiliary
    if not has_auxiliary_features(of.network, of.encoder_blocks):
        raise EncoderEndError(f"{of.network} ends after {of.last_block}, and its auxiliary head needs {name}")
    features = endpoints[name]
    return [decoders.auxiliary_head(features, of.network, of.num_classes, seed, of.auxiliary_depth)]


def _pyramid_pooling(kernel_size: int, classifier_kernel_size: int) -> Decoder:
    return Decoder(
        lambda endpoints, of, seed: decoders.pyramid_pooling_head(
            endpoints[of.last_block], of.network, of.num_classes, of.resize_grid, seed, of.pyramid_depth,
            of.head_depth, of.pyramid_order, kernel_size, classifier_kernel_size,
        ),
        _auxiliary_head,
    )  # fmt: skip


def _cascade(cascade: icnet.Cascade) -> Decoder:
    return Decoder(
        lambda endpoints, of, seed: icnet.cascade_head(
            endpoints, cascade, of.network, of.num_classes, of.resize_grid, of.stride_convention, of.pyramid_depth,
            of.head_depth, of.pyramid_order, of.filter_scale,
        ),
        lambda endpoints, of, seed: icnet.cascade_guidance(endpoints, of.num_classes),
        cascade=cascade,
        upsamples_logits=False,
    )  # fmt: skip


DECODERS: dict[str, Decoder] = {
    "ppm": _pyramid_pooling(kernel_size=3, classifier_kernel_size=1),
    "ppm_1x1": _pyramid_pooling(kernel_size=1, classifier_kernel_size=3),
    "c1": Decoder(
        lambda endpoints, of, seed: decoders.c1_head(
            endpoints[of.last_block], of.network, of.num_classes, of.head_depth
        ),
        _auxiliary_head,
    ),
    # UPerNet gets its resolution from the lower blocks, so its encoder needs no dilation.
    "upernet": Decoder(
        lambda endpoints, of, seed: decoders.upernet_head(
            [endpoints[f"block{number}"] for number in (1, 2, 3, 4)],
            of.network, of.num_classes, of.resize_grid, seed, of.head_depth, of.pyramid_depth, of.pyramid_order,
        ),
        _auxiliary_head,
        output_stride=32,
    ),
    **{name: _cascade(cascade) for name, cascade in icnet.CASCADES.items()},
}  # fmt: skip


def new_layer_scopes(network: str) -> tuple[str, ...]:
    """Returns the scopes, relative to that of the network, of all decoders' layers: a ResNet checkpoint lacks them."""
    head, auxiliary = extra_unit_scope(network, 4), extra_unit_scope(network, 3)
    return (head, auxiliary, *CLASSIFIER_SCOPES, "psp", "fpn", "icnet")


def in_scopes(network: str, scopes: Sequence[str]) -> Callable[[str], bool]:
    """Returns a predicate: whether a variable, given by name, is in one of `scopes` below that of the network."""
    prefixes = tuple(f"{network}/{scope.strip('/')}/" for scope in scopes)
    return lambda name: name.startswith(prefixes)


def pspnet(
    images: TowerList,
    architecture: Architecture,
    *,
    is_training: bool,
    has_auxiliary: bool = False,
    bn_frozen: bool | str = False,
    frozen: Collection[str] = (),
    bn_decay: float = 0.9,
    sync_bn: bool = True,
    initializer: str = "he",
    dropout_seed: tf.Tensor | None = None,
    dtype: tf.DType = tf.float32,
    reuse: bool | None = None,
    recomputation: Recomputation | None = None,
    in_place: bool = False,
    joined_products: bool = True,
) -> Predictions:
    """Builds the network, with its variables in the scope of the encoder's name and the device scope of the caller.

    Args:
        images: tower list float32 [N, H, W, input_channels], usually RGB 0..255 minus the mean; N, H and W may be
            unknown and may differ between towers. The device of each element is the device of its tower.
        architecture: the options of the network.
        is_training: whether batch normalization uses the moments of all towers and updates the running averages.
        has_auxiliary: whether to build the auxiliary heads.
        bn_frozen: whether the encoder uses its running averages, without updating them, in training too; of
            `choices.BN_FROZEN`, of which `ALL_FROZEN` means the heads as well.
        frozen: parts of the encoder that are not trained, see `encoder_blocks.build_blocks`.
        bn_decay: decay of the running averages, in [0, 1).
        sync_bn: whether batch normalization uses the moments of all towers, see `utils_mg.batch_norm`.
        initializer: key of `utils_mg.INITIALIZERS`.
        dropout_seed: int32 or int64 [2]; None for no dropout.
        dtype: dtype of the activations; variables, moments and logits are float32.
        reuse: True to use variables that exist already.
        recomputation: records the units of the encoder in segments and computes the gradients, see `memory`; None
            keeps all activations.
        in_place: whether to keep only the outputs of layers for the backward pass, see `model/in_place_batch_norm.py`;
            needs float32 and an activation with a slope above zero.
        joined_products: see `pyramid_convolution.convolve_upsampled`.

    Raises:
        ChannelsError: the images have another number of channels.
        ConventionError: the encoder is not defined with the stride convention.
        EncoderEndError: the encoder ends before a block that decoder, output stride or auxiliary head need.
    """
    _check_channels(images, architecture)
    _check_end(architecture)
    with (
        tf.variable_scope(architecture.network, reuse=reuse) as scope,
        slim.arg_scope([layers.normalize_and_activate], activation=architecture.activation, in_place=in_place),
        slim.arg_scope([layers.conv2d, pyramid_conv2d_batch_norm], initializer=initializer),
        slim.arg_scope([pyramid_conv2d_batch_norm], joined=joined_products),
        slim.arg_scope(
            [layers.batch_norm],
            is_training=is_training and bn_frozen != choices.ALL_FROZEN,
            decay=bn_decay,
            synchronized=sync_bn,
        ),
        slim.arg_scope([layers.conv2d_batch_norm, pyramid_conv2d_batch_norm], pruned=_by_scope(architecture, scope)),
    ):
        with (
            slim.arg_scope([layers.batch_norm], is_training=is_training and not bn_frozen),
            slim.arg_scope([layers.conv2d_batch_norm], filter_scale=architecture.filter_scale),
        ):
            endpoints = _encode(layers.cast(images, dtype), architecture, frozen, recomputation)
        decoder = DECODERS[architecture.decoder]
        with slim.arg_scope([layers.normalize_and_activate], bounded=architecture.bounded_head):
            endpoints["logits"] = decoder.head(endpoints, architecture, _fold_in(dropout_seed, 0))
            small = decoder.auxiliary(endpoints, architecture, _fold_in(dropout_seed, 1)) if has_auxiliary else []
        endpoints |= dict(zip(AUXILIARY_ENDPOINTS, small, strict=False))
        logits, *auxiliary = (
            resizing.resize_bilinear(xs, images, architecture.resize_grid) for xs in (endpoints["logits"], *small)
        )
        return Predictions(logits, auxiliary, endpoints)


def _by_scope(architecture: Architecture, scope: tf.VariableScope) -> dict[str, int]:
    """Returns the numbers of filters of pruned layers by full variable scope."""
    return {f"{scope.name}/{layer}": count for layer, count in architecture.filters.items()}


def _check_channels(images: TowerList, architecture: Architecture) -> None:
    for x in images:
        if x.shape[-1] not in (None, architecture.input_channels):
            raise ChannelsError(
                f"images have the shape {x.shape.as_list()}, expected {architecture.input_channels} channels"
            )


def _check_end(of: Architecture) -> None:
    fault = fault_of_end(of.encoder_blocks, of.decoder, of.stride_convention, of.output_stride)
    if fault is not None:
        raise EncoderEndError(
            f"{fault.option} is {fault.value} and {of.network} ends after {of.last_block}, expected "
            f"{' or '.join(map(str, fault.known))}"
        )


def _encode(
    images: TowerList, architecture: Architecture, frozen: Collection[str], recomputation: Recomputation | None
) -> Endpoints:
    cascade, grid = DECODERS[architecture.decoder].cascade, architecture.resize_grid
    build = encoders.encoder(architecture.network, architecture.stride_convention)
    endpoints = build(
        resizing.halve(images, grid) if cascade else images,
        architecture.network,
        convention=architecture.stride_convention,
        output_stride=architecture.output_stride,
        stem=architecture.stem,
        pool_padding=architecture.pool_padding,
        encoder_blocks=architecture.encoder_blocks,
        frozen=frozen,
        recomputation=recomputation,
        halved_after=(cascade.shared_unit(architecture.network, architecture.stride_convention), grid)
        if cascade
        else None,
    )
    return {"images": images, **endpoints}


def _fold_in(seed: tf.Tensor | None, number: int) -> tf.Tensor | None:
    return None if seed is None else tf.random.experimental.stateless_fold_in(seed, number)


def forward_logits(
    images: TowerList,
    architecture: Architecture,
    *,
    dtype: tf.DType = tf.float32,
    folded: bool = False,
    reuse: bool | None = None,
) -> TowerList:
    """Builds the logits for prediction, whose softmax over the classes are the probabilities.

    Args:
        images, architecture, dtype, reuse: see `pspnet`.
        folded: whether the batch normalization is already part of the weights, see `utils_mg.conv2d_batch_norm`.

    Returns:
        Tower list float32 [N, H, W, classes].
    """
    with slim.arg_scope([layers.conv2d_batch_norm, pyramid_conv2d_batch_norm], folded=folded):
        return pspnet(images, architecture, is_training=False, dtype=dtype, reuse=reuse).logits


def forward_graph(images: TowerList, architecture: Architecture, **options: Any) -> TowerList:
    """Builds the class probabilities for prediction.

    Args:
        images, architecture, options: see `forward_logits`.

    Returns:
        Tower list float32 [N, H, W, classes]; the probabilities of a pixel sum to one.
    """
    return layers.map_towers(tf.nn.softmax, forward_logits(images, architecture, **options))


def mirrored_forward_graph(
    images: TowerList, architecture: Architecture, *, combination: str, **options: Any
) -> TowerList:
    """Builds the class probabilities of images, combined with those of the images mirrored left to right.

    Args:
        images, architecture, options: see `forward_logits`.
        combination: key of `COMBINATIONS`.

    Returns:
        Tower list float32 [N, H, W, classes]; the probabilities of a pixel sum to one.
    """
    logits = forward_logits(layers.map_towers(_with_mirrored, images), architecture, **options)
    return layers.map_towers(COMBINATIONS[combination], logits)


def _with_mirrored(images: tf.Tensor) -> tf.Tensor:
    """Appends mirrored copies: [N, H, W, C] to [2N, H, W, C]."""
    return tf.concat([images, tf.reverse(images, [2])], 0)


def _and_of_mirrored(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Separates outputs for images, [N, H, W, C], from those for mirrored copies, which are mirrored back."""
    plain, mirrored = tf.split(outputs, 2)
    return plain, tf.reverse(mirrored, [2])


def _mean_of_probabilities(logits: tf.Tensor) -> tf.Tensor:
    return tf.add_n(_and_of_mirrored(tf.nn.softmax(logits))) / 2


def _softmax_of_sum(logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(tf.add_n(_and_of_mirrored(logits)))


# From the logits of images and their mirrored copies, [2N, H, W, classes], to probabilities [N, H, W, classes].
COMBINATIONS = {
    "windows": _mean_of_probabilities,  # tool/test.py of hszhao/semseg
    "logits": _softmax_of_sum,  # caffe_process.m of hszhao/PSPNet, evaluate.py of hellochick/PSPNet-tensorflow
}

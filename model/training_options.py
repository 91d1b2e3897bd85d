"""Options of training, and which variables of a network they train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model import choices
from model.architecture import Architecture
from model.choices import STEMS
from model.optimizers import NEW_BIAS_MULTIPLIER, NEW_LAYER_MULTIPLIER
from model.pspnet_mg import in_scopes, new_layer_scopes


@dataclass(frozen=True)
class TrainingOptions:
    """Options of training: loss, decay, normalization, optimizer. Their names are those of the command-line flags.

    If `upsample_logits` is None, the decoder's default applies. train.py sets every option from its flags; the defaults
    here are for other callers and are those of the flags, except that `weight_decay_mode` is 0 (L2), which needs no
    pre-trained weights. `encoder_multiplier` and `decoder_multiplier` have no flag of their names: they are the
    learning rates of the two parts, divided by the learning rate.
    """

    loss_type: str = "normal"
    class_weights: tuple[float, ...] | None = None
    ohem_threshold: float = 0.7
    ohem_min_kept: int = 100_000
    label_smoothing: float = 0.0
    has_aux_loss: bool = True
    aux_weight: float = 0.4
    cascade_loss_weights: tuple[float, ...] = choices.CASCADE_LOSS_WEIGHTS
    upsample_logits: bool | None = None
    weight_decay_mode: int = 0
    weight_decay_rate: float = 0.0001
    weight_decay_rate2: float = 0.0001
    consider_dilated: bool = False
    decay_all: bool = False
    new_layer_names: tuple[str, ...] | None = None
    freeze: tuple[str, ...] | None = None
    train_beta_gamma: bool = True
    bn_frozen: bool | str = False
    bn_decay: float = 0.9
    sync_bn: bool = True
    initializer: str = "he"
    optimizer: str = "mom"
    momentum: float = 0.9
    clip_norm: float | None = None
    accumulate: int = 1
    ema_decay: float = 0.0
    train_like_in_caffe: bool = False
    new_layer_multiplier: float = NEW_LAYER_MULTIPLIER
    new_bias_multiplier: float = NEW_BIAS_MULTIPLIER
    encoder_multiplier: float = 1.0
    decoder_multiplier: float = 1.0
    float_type: str = "32"
    seed: int = 0
    dropout: bool = True
    save_memory: int = choices.ALL_KEPT
    checkpoint_units: int = 2
    deterministic: bool = False


def new_layer_predicate(architecture: Architecture, options: TrainingOptions) -> Callable[[str], bool]:
    """Returns a predicate: whether a variable, given by name, is in a new layer (not in the ResNet checkpoint)."""
    scopes = options.new_layer_names or new_layer_scopes(architecture.network)
    return in_scopes(architecture.network, scopes)


def decoder_predicate(architecture: Architecture) -> Callable[[str], bool]:
    """Returns a predicate: whether a variable, given by name, is in the decoder or an auxiliary head."""
    return in_scopes(architecture.network, new_layer_scopes(architecture.network))


def frozen_predicate(architecture: Architecture, freeze: tuple[str, ...]) -> Callable[[str], bool]:
    """Returns a predicate: whether a variable, given by name, is in a frozen part of the encoder.

    Args:
        architecture: the options of the network.
        freeze: parts of the encoder, see `choices.ENCODER_PARTS`; `conv1` is the whole stem.
    """
    stem = [layer.scope for layer in STEMS[architecture.stem]]
    scopes = [scope for part in freeze for scope in (stem if part == "conv1" else [part])]
    is_frozen, is_decoder = in_scopes(architecture.network, scopes), decoder_predicate(architecture)
    return lambda name: is_frozen(name) and not is_decoder(name)  # block4/unit_4 of a ResNet-50 is in the decoder


def trained_variables(architecture: Architecture, options: TrainingOptions) -> list[tf.Variable]:
    """Returns the variables of the default graph's network that training updates."""
    is_frozen = frozen_predicate(architecture, options.freeze or ())
    variables = [v for v in tf.trainable_variables(architecture.network + "/") if not is_frozen(v.op.name)]
    if options.train_beta_gamma:
        return variables
    return [v for v in variables if not v.op.name.endswith(("/BatchNorm/gamma", "/BatchNorm/beta"))]

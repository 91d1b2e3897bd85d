"""Flags of train.py for regularization and loss."""

from __future__ import annotations

from dataclasses import dataclass

from model.choices import CASCADES, CROSS_ENTROPIES, ENCODER_PARTS
from model.loss_terms import has_loss
from tools.flags.definition import Need, flag, needs_trained_encoder
from tools.flags.limits import LARGEST_INT32
from tools.flags.names import loss_type
from tools.flags.values import comma_separated, encoder_parts, file_path, switch

_NEEDS_HARD_PIXELS = Need(
    lambda config: has_loss(config.loss_type, "ohem"), "if all pixels count: add --loss_type ohem"
)
_NEEDS_AUXILIARY = (
    Need(lambda config: config.has_aux_loss, "without auxiliary heads: drop --has_aux_loss 0"),
    Need(
        lambda config: config.decoder not in CASCADES,
        lambda config: (
            f"with --decoder {config.decoder}, whose losses have weights of their own: give another --decoder"
        ),
    ),
)
_NEEDS_CROSS_ENTROPY = Need(
    lambda config: has_loss(config.loss_type, *CROSS_ENTROPIES),
    lambda config: f"with --loss_type {config.loss_type}: add a cross-entropy, {' or '.join(CROSS_ENTROPIES)}",
)


@dataclass(frozen=True, kw_only=True)
class RegularizationFlags:
    """Weight decay."""

    weight_decay_mode: int = flag(
        1, "weight decay; 0: L2, 1: L2-SP, 2 and 3: norm-aware L2-SP", group="regularization", choices=(0, 1, 2, 3)
    )
    weight_decay_rate: float = flag(
        0.0001,
        "decay rate of pre-trained layers",
        group="regularization",
        metavar="RATE",
        minimum=0,
        needs=needs_trained_encoder("trains only the decoder: drop --freeze"),
    )
    weight_decay_rate2: float = flag(
        0.0001, "decay rate of new layers", group="regularization", metavar="RATE", minimum=0
    )
    consider_dilated: bool = flag(
        False,
        "decay blocks 3 and 4 at the rate of new layers",
        group="regularization",
        needs=Need(
            lambda config: config.weight_decay_mode != 0 or config.weight_decay_rate != config.weight_decay_rate2,
            "with --weight_decay_mode 0 and equal rates: give --weight_decay_rate2 another value",
        ),
    )
    decay_all: bool = flag(
        False,
        "decay biases, and gamma and beta of batch normalization, too",
        group="regularization",
        needs=Need(
            lambda config: config.weight_decay_mode in (0, 1),
            lambda config: (
                f"with --weight_decay_mode {config.weight_decay_mode}, which is defined for filters: give "
                "--weight_decay_mode 0 or 1"
            ),
        ),
    )
    new_layer_names: tuple[str, ...] | None = flag(
        None,
        "scopes of the layers that are not pre-trained",
        comma_separated,
        group="regularization",
        metavar="SCOPE,...",
    )
    freeze: tuple[str, ...] | None = flag(
        None,
        f"parts of the encoder that are not trained: {', '.join(ENCODER_PARTS)}, or encoder for all",
        encoder_parts,
        group="regularization",
        metavar="PART,...",
        unset="none",
    )
    train_beta_gamma: bool = flag(True, "train beta and gamma of batch normalization", group="regularization")


@dataclass(frozen=True, kw_only=True)
class LossFlags:
    """Loss."""

    loss_type: str = flag(
        "normal",
        "normal or ce: cross-entropy, focal_<gamma>: focal loss, ohem: cross-entropy of the hard pixels only, dice, "
        "lovasz: Lovasz-softmax, or a sum such as ce+0.5*dice",
        loss_type,
        group="loss",
        metavar="NAME",
    )
    label_smoothing: float = flag(
        0.0,
        "probability that is taken from the label and shared out to all classes, in normal and ohem",
        group="loss",
        metavar="FRACTION",
        minimum=0,
        needs=_NEEDS_CROSS_ENTROPY,
    )
    ohem_threshold: float = flag(
        0.7,
        "pixels are hard up to this probability of their label, with --loss_type ohem",
        group="loss",
        metavar="FRACTION",
        above=0,
        needs=_NEEDS_HARD_PIXELS,
    )
    ohem_min_kept: int = flag(
        100_000,
        "fewest pixels of a batch that count, with --loss_type ohem",
        group="loss",
        metavar="PIXELS",
        minimum=1,
        needs=_NEEDS_HARD_PIXELS,
        maximum=LARGEST_INT32,
    )
    class_weights: str | None = flag(
        None,
        "weights of the classes in the loss: file with a number per class, or median_freq",
        file_path,
        group="loss",
        unset="all equal",
        resume="content",
    )
    has_aux_loss: bool = flag(
        True,
        "auxiliary loss on block 3, see --aux_weight; of ICNets at 1/8 and 1/16, weights 0.4 and 0.16",
        group="loss",
    )
    aux_weight: float = flag(
        0.4,
        "weight of the auxiliary loss, except of ICNets",
        group="loss",
        metavar="WEIGHT",
        above=0,
        needs=_NEEDS_AUXILIARY,
    )
    upsample_logits: bool | None = flag(
        None,
        "1: enlarge logits to the size of the labels, 0: shrink labels to the size of the logits",
        switch,
        group="loss",
        unset="1, or 0 with --decoder icnet or icnet_wide",
    )

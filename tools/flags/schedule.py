"""Flags of train.py for steps, batch, learning rate and optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from model.choices import OPTIMIZERS, SCHEDULES
from tools.flags.definition import Need, flag, needs_trained_encoder
from tools.flags.limits import LARGEST_BATCH, MOST_BATCHES, MOST_DEVICES, MOST_EPOCHS, MOST_STEPS
from tools.flags.values import rising_steps

_NEEDS_CAFFE = Need(
    lambda config: config.train_like_in_caffe, "if all layers learn at one rate: add --train_like_in_caffe 1"
)


@dataclass(frozen=True, kw_only=True)
class ScheduleFlags:
    """Steps, batch and learning rate."""

    train_max_iter: int = flag(
        30000,
        "training steps",
        group="schedule",
        metavar="STEPS",
        minimum=1,
        resume="free",
        identity=True,
        shown=True,
        needs=Need(
            lambda config: config.epochs is None,
            "with --epochs, which sets the steps: drop --epochs",
            even_default=True,
        ),
        maximum=MOST_STEPS,
    )
    epochs: float | None = flag(
        None,
        "passes over the training images, instead of --train_max_iter: as many crops as there are images, whichever "
        "are drawn; the last batch may begin another pass",
        float,
        group="schedule",
        metavar="NUMBER",
        unset="as many as the steps are",
        above=0,
        resume="free",
        scoring="finds",
        maximum=MOST_EPOCHS,
    )
    batch_size: int = flag(2, "images per tower", group="schedule", minimum=1, identity=False, maximum=LARGEST_BATCH)
    gpu_num: int = flag(
        1,
        "number of towers, one per GPU; without GPUs, one per logical CPU device",
        group="schedule",
        minimum=1,
        identity=False,
        scoring="read",
        maximum=MOST_DEVICES,
    )
    accumulate: int = flag(
        1,
        "batches per step: their gradients are averaged before the weights are updated",
        group="schedule",
        minimum=1,
        maximum=MOST_BATCHES,
    )
    lrn_rate: float = flag(0.01, "initial learning rate", group="schedule", metavar="RATE", above=0)
    lr_schedule: str | None = flag(
        None,
        "learning rate over the steps; poly and cosine: down to 0, step: times --step_size at each --lr_step, "
        "exponential: down to --step_size times --lrn_rate",
        str,
        group="schedule",
        metavar="NAME",
        unset="poly, or step with --poly_lr 0",
        choices=SCHEDULES,
        needs=Need(
            lambda config: config.poly_lr or config.lr_schedule is None,
            "with --poly_lr 0, which chooses step: drop --poly_lr",
        ),
    )
    lr_power: float = flag(
        0.9,
        "exponent of the poly schedule",
        group="schedule",
        metavar="NUMBER",
        above=0,
        needs=Need(lambda config: config.schedule_name == "poly", "on other schedules: add --lr_schedule poly"),
    )
    poly_lr: bool = flag(
        True,
        "1: --lr_schedule poly, 0: --lr_schedule step",
        group="schedule",
        needs=Need(
            lambda config: config.lr_schedule is None or not config.poly_lr,
            "with --lr_schedule, which says the same: drop --lr_schedule",
            even_default=True,
        ),
    )
    lr_step: tuple[int, ...] | None = flag(
        None,
        "steps after which the learning rate is multiplied by --step_size, with --lr_schedule step",
        rising_steps,
        group="schedule",
        metavar="STEP,...",
        needs=(
            Need(
                lambda config: config.schedule_name == "step",
                lambda config: f"on the {config.schedule_name} schedule: add --poly_lr 0",
            ),
            Need(
                lambda config: config.epochs is not None or min(config.lr_step or (0,)) < config.train_max_iter,
                lambda config: (
                    f"after the last step, {config.train_max_iter}: give earlier steps, or raise --train_max_iter, or "
                    "--epochs if that sets the steps"
                ),
            ),
        ),
        maximum=MOST_STEPS,
    )
    step_size: float = flag(
        0.1,
        "factor of the learning rate at each --lr_step, or at the end of the exponential schedule",
        group="schedule",
        metavar="FACTOR",
        above=0,
        needs=Need(
            lambda config: config.lr_step is not None or config.schedule_name == "exponential",
            "without steps: add --poly_lr 0 and --lr_step, or --lr_schedule exponential",
        ),
    )
    warmup_steps: int = flag(
        0,
        "first steps, over which the learning rate rises to that of the schedule",
        group="schedule",
        metavar="STEPS",
        minimum=0,
        maximum=MOST_STEPS,
    )
    warmup_factor: float = flag(
        0.1,
        "learning rate of the first step divided by that of the schedule, with --warmup_steps",
        group="schedule",
        metavar="FRACTION",
        minimum=0,
        maximum=1,
        needs=Need(lambda config: config.warmup_steps > 0, "without warm-up: add --warmup_steps"),
    )
    seed: int = flag(0, "seed of initialization, order, augmentation and dropout", group="schedule", minimum=0)

    @property
    def schedule_name(self) -> str:
        """Returns the key of `schedules.SCHEDULES`."""
        return self.lr_schedule or ("poly" if self.poly_lr else "step")


@dataclass(frozen=True, kw_only=True)
class OptimizerFlags:
    """Optimizer, and what it does with the gradients."""

    optimizer: str = flag(
        "mom",
        "mom: SGD with momentum, sgd, adam, adamw: Adam with weight decay apart from the gradient, rmsp: RMSProp",
        group="optimizer",
        choices=OPTIMIZERS,
    )
    momentum: float = flag(
        0.9,
        "momentum of mom and rmsp, beta1 of adam and adamw",
        group="optimizer",
        metavar="FRACTION",
        needs=Need(
            lambda config: config.optimizer != "sgd", "with --optimizer sgd: use --optimizer mom, adam, adamw or rmsp"
        ),
    )
    clip_norm: float | None = flag(
        None,
        "largest norm of all gradients of the loss together; larger ones are scaled down",
        float,
        group="optimizer",
        metavar="NORM",
        unset="no limit",
        above=0,
    )
    train_like_in_caffe: bool = flag(
        False,
        "10 times the learning rate for new weights, 20 times for their biases",
        group="optimizer",
        aliases=["train_like_in_paper"],
    )
    new_layer_multiplier: float = flag(
        10.0,
        "learning rate of new weights divided by --lrn_rate, with --train_like_in_caffe 1",
        group="optimizer",
        metavar="FACTOR",
        above=0,
        needs=_NEEDS_CAFFE,
    )
    new_bias_multiplier: float = flag(
        20.0,
        "learning rate of new biases divided by --lrn_rate, with --train_like_in_caffe 1",
        group="optimizer",
        metavar="FACTOR",
        above=0,
        needs=_NEEDS_CAFFE,
    )
    lrn_rate_encoder: float | None = flag(
        None,
        "initial learning rate of the encoder",
        float,
        group="optimizer",
        metavar="RATE",
        unset="--lrn_rate",
        above=0,
        needs=needs_trained_encoder("does not train the encoder: drop --freeze"),
    )
    lrn_rate_decoder: float | None = flag(
        None,
        "initial learning rate of the decoder and the auxiliary heads",
        float,
        group="optimizer",
        metavar="RATE",
        unset="--lrn_rate",
        above=0,
    )
    ema_decay: float = flag(
        0.0,
        "keep an average of the weights for validation and prediction, of which a step keeps this part, e.g. 0.999",
        group="optimizer",
        metavar="FRACTION",
        minimum=0,
    )

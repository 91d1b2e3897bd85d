"""Flags of train.py for snapshots, resuming, precision, scoring and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.choices import ENCODER_PARTS, IN_PLACE, RECOMPUTED, SAVE_MEMORY
from tools.flags.choices import DEVICE_HELP, DEVICES, FLOAT_TYPES, LATEST
from tools.flags.definition import Need, flag
from tools.flags.limits import MOST_STEPS
from tools.flags.sizes import Size, window_size
from tools.flags.values import file_path, step_or_latest, switch_or_two


@dataclass(frozen=True, kw_only=True)
class SnapshotFlags:
    """Snapshots, scoring during training, and resuming."""

    snapshot: int = flag(
        15000,
        "steps between snapshots",
        group="snapshots",
        metavar="STEPS",
        minimum=1,
        resume="free",
        maximum=MOST_STEPS,
    )
    snapshot_minutes: float = flag(
        10.0,
        "minutes after the last snapshot when another is saved; 0: never",
        group="snapshots",
        metavar="MINUTES",
        minimum=0,
        resume="free",
    )
    save_first_iteration: bool = flag(False, "save a snapshot before the first step", group="snapshots", resume="free")
    keep: int = flag(5, "number of newest snapshots to keep", group="snapshots", minimum=1, resume="free")
    val_every: int | None = flag(
        None,
        "steps between snapshots that are scored; the best is copied to the folder best of the run",
        int,
        group="snapshots",
        metavar="STEPS",
        unset="only the last is scored",
        minimum=1,
        resume="free",
        maximum=MOST_STEPS,
    )
    patience: int | None = flag(
        None,
        "end the training after this number of scores in a row without a new best; needs --val_every",
        int,
        group="snapshots",
        metavar="SCORES",
        unset="train to the last step",
        minimum=1,
        resume="free",
        needs=(
            Need(lambda config: config.val_every is not None, "if no snapshot is scored: add --val_every"),
            Need(
                lambda config: config.epochs is not None or (config.val_every or 0) < config.train_max_iter,
                lambda config: (
                    f"with --val_every {config.val_every} in {config.train_max_iter} steps, before the last of which "
                    "nothing is scored: lower --val_every"
                ),
            ),
        ),
        maximum=MOST_STEPS,
    )
    resume_step: int | Literal["latest"] | None = flag(
        None,
        f"resume from this run's snapshot of that step; {LATEST}: from its newest intact one",
        step_or_latest,
        group="snapshots",
        metavar="STEP",
        resume="free",
        scoring="read",
    )
    auto_resume: bool = flag(
        False,
        "resume from this run's newest intact snapshot, or start the run if there is none",
        group="snapshots",
        resume="free",
    )
    on_nan: str = flag(
        "stop",
        "on NaN or Inf; rollback: load the last intact snapshot and halve the learning rate, at most three times",
        group="snapshots",
        choices=("stop", "rollback"),
        resume="free",
    )


@dataclass(frozen=True, kw_only=True)
class PrecisionFlags:
    """Device, precision, reproducibility and memory."""

    float_type: str = flag(
        "32",
        "type of activations: float32, float16 or bfloat16",
        group="precision",
        choices=FLOAT_TYPES,
        scoring="read",
    )
    device: str = flag("auto", DEVICE_HELP, group="precision", choices=DEVICES, resume="free", scoring="read")
    deterministic: bool = flag(
        False, "bitwise-reproducible training on one machine (CPU only)", group="precision", shown=False
    )
    save_memory: bool | int = flag(
        False,
        "1: compute the encoder's activations again in the backward pass instead of keeping them, 2: keep only those "
        "after batch normalization, with --activation leaky_relu",
        switch_or_two,
        group="precision",
        choices=SAVE_MEMORY,
        resume="free",
        needs=(
            Need(
                lambda config: config.save_memory != RECOMPUTED or config.freeze != ENCODER_PARTS,
                "with --freeze encoder, which keeps no activations of the encoder: drop --freeze encoder",
            ),
            Need(
                lambda config: config.save_memory != IN_PLACE or config.float_type == "32",
                "on activations of 16 bits, from which the input of a normalization cannot be recovered: use "
                "--float_type 32 or --save_memory 1",
            ),
        ),
    )
    checkpoint_units: int = flag(
        2,
        "keep activations only every N residual units, with --save_memory 1",
        group="precision",
        minimum=1,
        resume="free",
        needs=Need(lambda config: config.save_memory == RECOMPUTED, "if all activations are kept: add --save_memory 1"),
    )
    log_memory: bool = flag(
        False, "log the peak of memory after two steps and at the end", group="precision", resume="free"
    )


@dataclass(frozen=True, kw_only=True)
class ScoringFlags:
    """Scoring of snapshots."""

    eval_only: bool = flag(
        False,
        "score this run's last snapshot, or that of --resume_step, without training",
        group="prediction",
        resume="free",
        scoring="read",
    )
    test_image_size: Size = flag(
        480,
        "size of validation windows, in pixels: one number, or height x width such as 360x480; 0: whole images",
        window_size,
        group="prediction",
        metavar="SIZE",
        resume="free",
        shown=True,
        scoring="read",
    )
    mirror: bool = flag(
        True,
        "average with the prediction for the mirrored image",
        group="prediction",
        resume="free",
        shown=True,
        scoring="read",
    )
    use_ema: bool = flag(
        True,
        "score the averages of the weights, with --ema_decay, instead of the weights of the step",
        group="prediction",
        resume="free",
        shown=True,
        scoring="read",
        needs=Need(
            lambda config: config.ema_decay > 0 or config.eval_only, "without averages of the weights: add --ema_decay"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class ScreenFlags:
    """Output of the three scripts on the screen."""

    quiet: bool = flag(False, "print warnings and the result only", group="output", resume="free", scoring="read")


@dataclass(frozen=True, kw_only=True)
class OutputFlags(ScreenFlags):
    """Files of a run, and their names."""

    log_dir: str = flag(
        "./log", "folder of all runs", file_path, group="output", metavar="FOLDER", resume="free", scoring="read"
    )
    run_name: str | None = flag(
        None,
        "name of the run's folder",
        str,
        group="output",
        metavar="NAME",
        unset="main flags and a checksum of everything that changes the weights",
        resume="free",
        scoring="read",
    )
    show_period: int = flag(
        20, "steps between summaries", group="output", metavar="STEPS", minimum=1, resume="free", maximum=MOST_STEPS
    )
    histograms_every: int | None = flag(
        None,
        "steps between histograms of all weights and running statistics in TensorBoard",
        int,
        group="output",
        metavar="STEPS",
        unset="none",
        minimum=1,
        resume="free",
        maximum=MOST_STEPS,
        needs=Need(
            lambda config: config.epochs is not None or (config.histograms_every or 0) <= config.train_max_iter,
            lambda config: f"in {config.train_max_iter} steps: lower --histograms_every",
        ),
    )

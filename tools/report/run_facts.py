"""Describes a run in words: its state, what was trained on what, and what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from model.choices import FLOAT_TYPES
from tools.flags.train import TrainConfig
from tools.flags.values import shown_value
from tools.prediction.tables import percent
from tools.report.reported_run import ReportedRun

Facts = list[tuple[str, str]]


def state(run: ReportedRun) -> str:
    """Says how far the training is."""
    last, steps = run.curves.last_step, run.flags.get("train_max_iter")
    of = f" of {steps}" if isinstance(steps, int) else ""
    if run.is_training:
        return "is starting" if last is None else f"is still training, at step {last}{of}"
    if last is None:
        return "has no curves"
    if isinstance(steps, int) and last < steps and steps not in {score.step for score in run.run.scores}:
        return f"is not training; its curves end at step {last}{of}"
    return f"trained to step {steps if of else last}{of}"


def figures(run: ReportedRun) -> Facts:
    """Returns (value, what it is) of the main figures."""
    found: Facts = []
    scores = [scores.score for scores in run.class_scores()[:1]]
    for score in scores:
        found.append((f"{percent(score.mean_iou)} %", f"mean IoU, {_scored(score.of, score.step)}"))
        found.append((f"{percent(score.pixel_accuracy)} %", "pixel accuracy"))
    last = run.curves.last_step
    if last is not None:
        steps = run.flags.get("train_max_iter")
        found.append((f"{last:,}", f"steps of {steps:,}" if isinstance(steps, int) else "steps"))
    loss = run.curves.columns.get("loss")
    if loss:
        found.append((f"{loss[-1]:.4g}", "last loss"))
    return found


def _scored(of: str, step: int | None) -> str:
    return of if step is None or str(step) in of else f"{of}, step {step}"


def facts(run: ReportedRun) -> Facts:
    """Returns (name, text) of what was trained on what."""
    flags = {field: run.flags.get(field) for field in TrainConfig.__dataclass_fields__}
    parts = {
        "data": _data(run, flags),
        "network": _network(run.record.get("architecture")),
        "start": _start(run, flags),
        "input": _input(flags),
        "batch": _batch(flags),
        "schedule": _schedule(flags),
        "loss": _joined(flags, ("loss_type", "class_weights", "label_smoothing", "weight_decay_mode",
                                "weight_decay_rate", "weight_decay_rate2")),
        "seed": _shown(flags["seed"]),
        "precision": FLOAT_TYPES.get(str(flags["float_type"]), ""),
        "folder": run.path,
        "id": run.uuid or "none: an earlier version wrote this run",
    }  # fmt: skip
    return [(name, text) for name, text in parts.items() if text]


def all_flags(run: ReportedRun) -> list[tuple[str, str]]:
    """Returns every recorded flag with its value."""
    return [(name, _shown(run.flags[name])) for name in TrainConfig.__dataclass_fields__ if name in run.flags]


def missing(run: ReportedRun) -> Iterator[str]:
    """Yields a line for each thing that the folder lacks, with how to get it."""
    if not run.record:
        yield (
            f"{run.name}: config.json is missing or damaged, so flags, classes and colours are unknown. Copy it from "
            "the run's folder snapshot or best."
        )
    if run.curves.source is None:
        yield (
            f"{run.name}: no curves, as there is neither training.csv nor a TensorBoard event file with values. They "
            "are written every --show_period steps of the training."
        )
    if not run.curves.validation:
        yield (
            f"{run.name}: no validation mIoU over the steps. Train with --val_every, or score snapshots with python "
            f"predict.py --follow {run.path}."
        )
    if not run.class_scores():
        yield f"{run.name}: no scores of the classes. Score the run with python predict.py --weights_ckpt {run.path}."


def _data(run: ReportedRun, flags: Mapping[str, Any]) -> str:
    splits, folder = flags["subsets_for_training"], flags["data_dir"]
    parts = [_shown(flags["database"]) if flags["database"] is not None else ""]
    parts += [f"split {_shown(splits).replace(',', ' and ')}"] if splits else []
    parts += [f"{len(run.class_names)} classes"] if run.class_names else []
    parts += [f"folder {os.path.abspath(folder)}" if isinstance(folder, str) else "the default folder"]
    return ", ".join(filter(None, parts)) if flags["database"] is not None else ""


def _network(architecture: Any) -> str:
    if not isinstance(architecture, dict):
        return ""
    shown = {name: architecture[name] for name in ("network", "decoder") if name in architecture}
    more = [f"output stride {architecture['output_stride']}"] if "output_stride" in architecture else []
    more += [f"ends after block {architecture['encoder_blocks']}"] if "encoder_blocks" in architecture else []
    return ", ".join([*map(str, shown.values()), *more])


def _start(run: ReportedRun, flags: Mapping[str, Any]) -> str:
    prefix = run.flags.get("pretrained_prefix")
    return f"from {prefix}" if prefix else "random weights" if flags["fine_tune_filename"] == "none" else ""


def _input(flags: Mapping[str, Any]) -> str:
    size = "whole images of changing size" if flags["dynamic_size"] else f"crops of {_shown(flags['train_image_size'])}"
    switches = ("random_scale", "random_mirror", "random_blur", "random_rotate")
    used = [name.removeprefix("random_") for name in switches if flags[name]]
    return f"{size}; random {', '.join(used)}" if flags["train_image_size"] is not None and used else size


def _batch(flags: Mapping[str, Any]) -> str:
    sizes = [flags[name] for name in ("batch_size", "gpu_num", "accumulate")]
    if not all(isinstance(size, int) for size in sizes[:2]):
        return ""
    accumulated = f", {sizes[2]} batches per step" if isinstance(sizes[2], int) and sizes[2] > 1 else ""
    return (
        f"{sizes[0]} images on each of {sizes[1]} devices{accumulated}"
        if sizes[1] > 1
        else (f"{sizes[0]} images{accumulated}")
    )


def _schedule(flags: Mapping[str, Any]) -> str:
    return _joined(flags, ("optimizer", "lrn_rate", "lr_schedule", "warmup_steps", "train_max_iter", "epochs"))


def _joined(flags: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_shown(flags[name])}" for name in names if flags[name] not in (None, 0, False))


def _shown(value: Any) -> str:
    return "-" if value is None else shown_value(value)

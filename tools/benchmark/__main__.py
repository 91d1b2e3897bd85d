"""Measures speed and memory of this package, other implementations and other engines, side by side in one run.

python -m tools.benchmark --parts inference,input --json figures.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from database.regular_files import writable_file
from model.choices import DECODERS
from tools.console import import_tensorflow, run_script, set_up_logging
from tools.errors import FlagError
from tools.flags.checks import check_effects
from tools.flags.choices import FLOAT_TYPES, NETWORKS
from tools.flags.definition import Need, flag
from tools.flags.help import Program
from tools.flags.parsing import parse_flags
from tools.flags.values import class_count, comma_separated, file_path, whole_numbers

if TYPE_CHECKING:
    from tools.benchmark.timing import Row

Part = Literal[
    "inference",
    "training",
    "syncbn",
    "checkpointing",
    "input",
    "waiting",
    "frames",
    "startup",
    "growth",
    "models",
    "agreement",
]
PARTS: tuple[Part, ...] = get_args(Part)
_WAITING_RUN = "--database Toy --network resnet_v1_18 --batch_size 4 --train_image_size 120 --weight_decay_mode 0"
_STEPS: tuple[Part, ...] = ("training", "syncbn", "checkpointing")
# These parts measure every one of --float_types; the other parts in its entry use the first.
_EVERY_FLOAT_TYPE = frozenset({"inference", "training", "frames", "agreement"})
_DEFAULT_PARTS = ("inference", "training", "syncbn", "checkpointing", "input", "startup")


def _used_by(*parts: Part) -> Need:
    """Returns the need of a flag that only these parts read; a test compares them with the measuring code."""
    return Need(
        lambda config: bool(set(parts) & set(config.measured)),
        lambda config: f"on --parts {','.join(config.measured)}: add one of {', '.join(parts)}",
    )


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Flags of the benchmark."""

    parts: tuple[str, ...] = flag(
        _DEFAULT_PARTS,
        "parts to measure",
        comma_separated,
        group="measurement",
        choices=PARTS,
        needs=Need(lambda config: not config.models, "with --models, which measures another part: drop --models"),
    )
    models: bool = flag(False, "measure the part models instead of --parts", group="measurement")
    warm_up: int = flag(
        2,
        "calls of each candidate before the timed ones",
        group="measurement",
        minimum=1,
        needs=_used_by("inference", *_STEPS, "waiting", "models"),
    )
    repeats: int = flag(
        7,
        "timed calls of each candidate, of which the median counts",
        group="measurement",
        minimum=1,
        needs=_used_by("inference", *_STEPS, "input", "waiting", "startup", "growth", "models"),
    )
    network: str = flag(
        "resnet_v1_50",
        "encoder",
        group="network",
        choices=NETWORKS,
        needs=_used_by("inference", "training", "syncbn", "frames", "growth"),
    )
    deep_network: str = flag(
        "resnet_v1_101",
        "encoder of the parts checkpointing and startup",
        group="network",
        choices=NETWORKS,
        needs=_used_by("checkpointing", "startup"),
    )
    num_classes: int = flag(
        19,
        "number of classes of the network",
        class_count,
        group="network",
        needs=_used_by("inference", *_STEPS, "frames", "startup", "growth", "models"),
    )
    networks: tuple[str, ...] = flag(
        NETWORKS,
        "encoders of the part models",
        comma_separated,
        group="network",
        choices=NETWORKS,
        needs=_used_by("models"),
    )
    decoders: tuple[str, ...] = flag(
        DECODERS,
        "heads of the part models",
        comma_separated,
        group="network",
        choices=DECODERS,
        needs=_used_by("models"),
    )
    weights_ckpt: str | None = flag(
        None,
        "checkpoint of a trained network, for the part agreement",
        file_path,
        group="network",
        needs=_used_by("agreement"),
    )
    data_dir: str | None = flag(
        None,
        "folder of the checkpoint's dataset",
        file_path,
        group="data",
        metavar="FOLDER",
        unset="as recorded beside the checkpoint",
        needs=_used_by("agreement"),
    )
    images: int = flag(100, "most images of its validation split", group="data", minimum=1, needs=_used_by("agreement"))
    batch_size: int = flag(
        2, "windows at a time in the part inference", group="data", minimum=1, needs=_used_by("inference", "models")
    )
    total_batch_size: int = flag(
        4, "images of a training step over all towers", group="data", minimum=2, needs=_used_by(*_STEPS)
    )
    towers: tuple[int, ...] = flag(
        (1, 2, 4, 8),
        "numbers of towers of the part growth",
        whole_numbers,
        group="data",
        metavar="N,...",
        needs=_used_by("growth"),
    )
    crop_size: int = flag(
        240,
        "height and width of crops, and of windows in the part inference, in pixels",
        group="data",
        metavar="PIXELS",
        minimum=8,
        needs=_used_by("inference", *_STEPS, "input", "startup", "models"),
    )
    crop_sizes: tuple[int, ...] = flag(
        (240, 480, 720),
        "heights and widths of crops of the part growth, in pixels",
        whole_numbers,
        group="data",
        metavar="PIXELS,...",
        needs=_used_by("growth"),
    )
    frames: int = flag(1, "whole frames that are timed", group="data", minimum=1, needs=_used_by("frames"))
    frame_size: tuple[int, ...] = flag(
        (1024, 2048),
        "height and width of whole frames, in pixels",
        whole_numbers,
        group="data",
        metavar="H,W",
        needs=_used_by("frames"),
    )
    window_size: int = flag(
        816,
        "height and width of the windows of whole frames, in pixels",
        group="data",
        metavar="PIXELS",
        minimum=8,
        needs=_used_by("frames"),
    )
    ms: bool = flag(
        False, "predict whole frames at six scales, 0.5 to 1.75", group="prediction", needs=_used_by("frames")
    )
    float_types: tuple[str, ...] = flag(
        ("32",),
        "types of activations",
        comma_separated,
        group="precision",
        choices=FLOAT_TYPES,
        needs=_used_by("inference", "training", "syncbn", "checkpointing", "frames", "agreement"),
    )
    train_flags: str = flag(
        _WAITING_RUN,
        "flags of train.py, of the part waiting, in quotes",
        str,
        group="measurement",
        metavar="FLAGS",
        needs=_used_by("waiting"),
    )
    json: str | None = flag(None, "file for the figures", file_path, group="output")

    program: ClassVar[Program] = Program(
        "python -m tools.benchmark",
        "[--parts PART,...]",
        ("--parts inference,input --json figures.json", "--models --networks resnet_v1_18,resnet_v1_50"),
    )

    def __post_init__(self) -> None:
        choices = {"parts": PARTS, "float_types": FLOAT_TYPES, "networks": NETWORKS, "decoders": DECODERS}
        for name, known in choices.items():
            unknown = [value for value in getattr(self, name) if value not in known]
            if unknown:
                raise FlagError(f"--{name} {unknown[0]} is unknown: use {', '.join(known)}")
        if "agreement" in self.parts and self.weights_ckpt is None:
            raise FlagError("--parts agreement compares predictions of a trained network: give one with --weights_ckpt")
        if len(self.frame_size) != 2:
            raise FlagError(f"--frame_size has {len(self.frame_size)} numbers, expected a height and a width")
        check_effects(self)
        if len(self.float_types) > 1 and not _EVERY_FLOAT_TYPE & set(self.measured):
            unused = ",".join(self.float_types[1:])
            raise FlagError(
                f"--float_types {unused} has no effect on --parts {','.join(self.measured)}, which only measures "
                f"{self.float_types[0]}: give one precision"
            )

    @property
    def measured(self) -> tuple[str, ...]:
        """The parts to measure."""
        return ("models",) if self.models else self.parts


def _inference(config: BenchmarkConfig) -> Iterator[Row]:
    from model.pspnet_mg import Architecture
    from tools.benchmark.inference import InferencePlan, measure_inference

    architecture = Architecture(config.network, config.num_classes)
    for float_type in config.float_types:
        plan = InferencePlan(architecture, float_type, config.crop_size, config.batch_size)
        yield from measure_inference(plan, warm_up=config.warm_up, repeats=config.repeats)


def _training(config: BenchmarkConfig) -> Iterator[Row]:
    from model.pspnet_mg import Architecture
    from model.training_graph import TrainingOptions
    from tools.benchmark.steps import StepPlan
    from tools.benchmark.training import measure_training

    architecture = Architecture(config.network, config.num_classes)
    for float_type in config.float_types:
        options = TrainingOptions(float_type=float_type)
        plan = StepPlan(architecture, options, 1, config.total_batch_size, config.crop_size)
        yield from measure_training(plan, warm_up=config.warm_up, repeats=config.repeats)


def _syncbn(config: BenchmarkConfig) -> Iterator[Row]:
    from model.pspnet_mg import Architecture
    from tools.benchmark.training import measure_towers

    yield from measure_towers(
        Architecture(config.network, config.num_classes),
        float_type=config.float_types[0],
        towers=(1, 2, 4),
        crop_size=config.crop_size,
        total_batch_size=config.total_batch_size,
        warm_up=config.warm_up,
        repeats=config.repeats,
    )


def _checkpointing(config: BenchmarkConfig) -> Iterator[Row]:
    from model.pspnet_mg import Architecture
    from model.training_graph import TrainingOptions
    from tools.benchmark.steps import StepPlan
    from tools.benchmark.training import measure_checkpointing

    architecture = Architecture(config.deep_network, config.num_classes)
    options = TrainingOptions(float_type=config.float_types[0])
    plan = StepPlan(architecture, options, 1, config.total_batch_size, config.crop_size)
    yield from measure_checkpointing(plan, warm_up=config.warm_up, repeats=config.repeats)


def _input(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.input import measure_input

    yield from measure_input(crop_size=config.crop_size, repeats=4 * config.repeats)


def _waiting(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.waiting import measure_waiting

    yield from measure_waiting(config.train_flags, warm_up=config.warm_up, repeats=4 * config.repeats)


def _frames(config: BenchmarkConfig) -> Iterator[Row]:
    from model.pspnet_mg import Architecture
    from tools.benchmark.frames import measure_frames

    height, width = config.frame_size
    for float_type in config.float_types:
        yield from measure_frames(
            Architecture(config.network, config.num_classes),
            float_type=float_type,
            frame_size=(height, width),
            window_size=config.window_size,
            multi_scale=config.ms,
            frames=config.frames,
        )


def _startup(config: BenchmarkConfig) -> Iterator[Row]:
    from model.pspnet_mg import Architecture
    from model.training_graph import TrainingOptions
    from tools.benchmark.startup import measure_startup
    from tools.benchmark.steps import StepPlan

    architecture = Architecture(config.deep_network, config.num_classes)
    plan = StepPlan(architecture, TrainingOptions(), 4, 1, config.crop_size)
    yield from measure_startup(plan, repeats=min(3, config.repeats))


def _growth(config: BenchmarkConfig) -> Iterator[Row]:
    from model.pspnet_mg import Architecture
    from tools.benchmark.training import measure_growth

    yield from measure_growth(
        Architecture(config.network, config.num_classes),
        towers=config.towers,
        crop_sizes=config.crop_sizes,
        repeats=config.repeats,
    )


def _models(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.models import measure_models

    yield from measure_models(
        config.networks,
        config.decoders,
        num_classes=config.num_classes,
        crop_size=config.crop_size,
        batch_size=config.batch_size,
        warm_up=config.warm_up,
        repeats=config.repeats,
    )


def _agreement(config: BenchmarkConfig) -> Iterator[Row]:
    from tools.benchmark.agreement import measure_agreement

    yield from measure_agreement(
        str(config.weights_ckpt), config.data_dir, float_types=config.float_types, images=config.images
    )


_MEASURE: Mapping[str, Callable[[BenchmarkConfig], Iterator[Row]]] = {
    "inference": _inference,
    "training": _training,
    "syncbn": _syncbn,
    "checkpointing": _checkpointing,
    "input": _input,
    "waiting": _waiting,
    "frames": _frames,
    "startup": _startup,
    "growth": _growth,
    "models": _models,
    "agreement": _agreement,
}


def measure(config: BenchmarkConfig) -> Iterator[Row]:
    """Yields the rows of each part as soon as it is measured."""
    for part in config.measured:
        yield from _MEASURE[part](config)


def write_json(rows: Sequence[Row], path: str) -> None:
    """Writes `{row: {"value": number, "unit": text}}`.

    Raises:
        FlagError: the file cannot be written.
    """
    figures = {row.name: {"value": row.value, "unit": row.unit} for row in rows}
    try:
        with open(path, "w", encoding="utf-8", opener=writable_file) as file:
            json.dump(figures, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise FlagError(f"--json: {path} cannot be written ({error.strerror}): give another file") from error


def main(arguments: Sequence[str]) -> None:
    """Parses flags, measures and prints."""
    config = parse_flags(BenchmarkConfig, arguments, "Measure speed.")
    import_tensorflow()
    rows = []
    for row in measure(config):
        print(f"{row.name:<32} {row.value:10.3f} {row.unit}", flush=True)
        rows.append(row)
    if config.json is not None:
        write_json(rows, config.json)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))

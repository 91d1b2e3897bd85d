"""Flags of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from model.choices import DECODERS
from tools.errors import FlagError
from tools.flags import sizes
from tools.flags.checks import check_effects
from tools.flags.choices import FLOAT_TYPES, NETWORKS
from tools.flags.definition import Need, flag
from tools.flags.help import Program
from tools.flags.values import class_count, comma_separated, file_path, whole_numbers

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
    "layers",
    "agreement",
    "export",
    "serve",
    "hosts",
]
PARTS: tuple[Part, ...] = get_args(Part)
_WAITING_RUN = "--database Toy --network resnet_v1_18 --batch_size 4 --train_image_size 120 --weight_decay_mode 0"
_STEPS: tuple[Part, ...] = ("training", "syncbn", "checkpointing")
_TRAINED: tuple[Part, ...] = ("agreement", "export", "serve")  # parts that need a trained network
# These parts measure every one of --float_types; the other parts in its entry use the first.
_EVERY_FLOAT_TYPE = frozenset({"inference", "training", "frames", "agreement"})
# These parts also measure other implementations, which are written for these encoders.
_COMPARED: tuple[Part, ...] = ("inference", "training", "syncbn")
_COMPARED_NETWORKS = tuple(name for name in NETWORKS if name.startswith("resnet_v1_"))
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
    layers: bool = flag(
        False,
        "count operations, parameters and memory of each layer of the models, without measuring: the part layers",
        group="measurement",
        needs=Need(lambda config: config.models, "without models: add --models, or give --parts layers"),
    )
    warm_up: int = flag(
        2,
        "calls of each candidate before the timed ones",
        group="measurement",
        minimum=1,
        needs=_used_by("inference", *_STEPS, "waiting", "models", "export", "hosts"),
    )
    repeats: int = flag(
        7,
        "timed calls of each candidate, of which the median counts",
        group="measurement",
        minimum=1,
        needs=_used_by("inference", *_STEPS, "input", "waiting", "startup", "growth", "models", "export", "hosts"),
    )
    network: str = flag(
        "resnet_v1_50",
        "encoder",
        group="network",
        choices=NETWORKS,
        needs=_used_by("inference", "training", "syncbn", "frames", "growth", "hosts"),
    )
    deep_network: str = flag(
        "resnet_v1_101",
        "encoder of the parts checkpointing, startup and hosts",
        group="network",
        choices=NETWORKS,
        needs=_used_by("checkpointing", "startup", "hosts"),
    )
    num_classes: int = flag(
        19,
        "number of classes of the network",
        class_count,
        group="network",
        needs=_used_by("inference", *_STEPS, "frames", "startup", "growth", "models", "layers", "hosts"),
    )
    networks: tuple[str, ...] = flag(
        NETWORKS,
        "encoders of the parts models and layers",
        comma_separated,
        group="network",
        choices=NETWORKS,
        needs=_used_by("models", "layers"),
    )
    decoders: tuple[str, ...] = flag(
        DECODERS,
        "heads of the parts models and layers",
        comma_separated,
        group="network",
        choices=DECODERS,
        needs=_used_by("models", "layers"),
    )
    weights_ckpt: str | None = flag(
        None,
        "checkpoint of a trained network, for the parts agreement, export and serve",
        file_path,
        group="network",
        needs=_used_by(*_TRAINED),
    )
    data_dir: str | None = flag(
        None,
        "folder of the checkpoint's dataset",
        file_path,
        group="data",
        metavar="FOLDER",
        unset="as recorded beside the checkpoint",
        needs=_used_by(*_TRAINED),
    )
    images: int = flag(
        100,
        "most images of its validation split",
        group="data",
        minimum=1,
        needs=_used_by("agreement", "export"),
    )
    batch_size: int = flag(
        2,
        "windows at a time in the part inference; images per host in the part hosts",
        group="data",
        minimum=1,
        needs=_used_by("inference", "models", "hosts"),
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
    crop_size: sizes.Size = flag(
        240,
        "size of crops, and of windows in the part inference, in pixels: one number, or height x width such as 180x240",
        sizes.crop_size,
        group="data",
        metavar="SIZE",
        needs=_used_by("inference", *_STEPS, "input", "startup", "models", "layers", "hosts"),
    )
    crop_sizes: tuple[sizes.Size, ...] = flag(
        (240, 480, 720),
        "sizes of crops of the part growth, in pixels",
        sizes.crop_sizes,
        group="data",
        metavar="SIZE,...",
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
    window_size: sizes.Size = flag(
        816,
        "size of the windows of whole frames, in pixels",
        sizes.crop_size,
        group="data",
        metavar="SIZE",
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
        compared = next((part for part in self.measured if part in _COMPARED), None)
        if compared and self.network not in _COMPARED_NETWORKS:
            raise FlagError(
                f"--network {self.network}: --parts {compared} compares with other implementations, which are written "
                f"for {', '.join(_COMPARED_NETWORKS)}: use one of these, or --models --networks {self.network}"
            )
        for part in _TRAINED:
            if part in self.parts and self.weights_ckpt is None:
                raise FlagError(
                    f"--parts {part} compares predictions of a trained network: give one with --weights_ckpt"
                )
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
        return (("layers",) if self.layers else ("models",)) if self.models else self.parts

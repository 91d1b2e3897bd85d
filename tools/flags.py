"""Command-line flags of the three scripts, parsed once into one validated frozen configuration each.

Every flag is a field of a dataclass; the parsers are made from the fields. Names are those of the reference
implementation. Switches take 0 or 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, TypeVar

Config = TypeVar("Config", bound="_ClassFlags")

# Known to the model, listed here so that flags are parsed without TensorFlow; a test holds the two equal.
NETWORKS = ("resnet_v1_50", "resnet_v1_101", "resnet_v1_152", "resnet_v1_18", "resnet_v1_34")
STRIDE_CONVENTIONS = ("reference", "slim", "caffe", "contracted", "mmseg")
POOL_PADDINGS = ("same", "symmetric")
RESIZE_GRIDS = ("half_pixel", "align_corners", "legacy")
OUTPUT_STRIDES = (8, 16, 32)
INITIALIZERS = ("he", "xavier")
OPTIMIZERS = ("mom", "sgd", "adam", "rmsp")
FLOAT_TYPES = ("32", "16", "bf16")
DATABASES = ("Cityscapes", "ADE", "SBD", "KITTI", "CamVid", "Toy", "custom")
LOSS_TYPES = re.compile(r"normal|focal_\d+(\.\d+)?")


class FlagError(ValueError):
    """A command line that cannot be followed."""


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def _rising_steps(text: str) -> tuple[int, ...]:
    expected = "steps above 0 that rise, separated by commas"
    try:
        steps = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(expected) from error
    if any(step <= before for before, step in zip((0, *steps), steps, strict=False)):
        raise ValueError(expected)
    return steps


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError("one or more names, separated by commas")
    return names


def _mean(text: str) -> tuple[float, float, float]:
    expected = "three numbers in 0..255, separated by commas"
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(expected) from error
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ValueError(expected)
    return values[0], values[1], values[2]


def _flag(
    default: Any,
    text: str,
    parse: Callable[[str], Any] | None = None,
    *,
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    aliases: Sequence[str] = (),
) -> Any:
    """A field with what the parser needs: help text, parse function, allowed values and other spellings."""
    if parse is None:
        parse = _switch if isinstance(default, bool) else type(default)
    metadata = {"help": text, "parse": parse, "choices": choices, "minimum": minimum, "above": above}
    return dataclasses.field(default=default, metadata={**metadata, "aliases": tuple(aliases)})


def _recorded_or(default: str | int) -> str:
    return f"(default: as recorded beside --fine_tune_filename, otherwise {default})"


@dataclass(frozen=True, kw_only=True)
class _ClassFlags:
    """Which classes there are, and what stands for them."""

    database: str = _flag("Cityscapes", "dataset", choices=DATABASES)
    num_classes: int | None = _flag(None, "custom: number of classes", int, minimum=2)
    palette: str | None = _flag(None, "custom, or any in inference: file with a line 'R G B name' per class", str)
    label_map: str | None = _flag(None, "custom, or any in inference: file with lines 'id training_id'", str)
    image_mean: tuple[float, float, float] | None = _flag(
        None, "custom, or any in inference: mean colour, red,green,blue in 0..255", _mean
    )

    # Those that mean something with --database custom alone.
    own_data_flags: ClassVar[tuple[str, ...]] = (
        "train_list", "val_list", "test_list", "num_classes", "palette", "ignore_label", "label_map", "image_mean",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _FileFlags:
    """Where images and labels are."""

    data_dir: str | None = _flag(None, "folder of the dataset (default: the dataset's place under ./database)", str)
    train_list: str | None = _flag(None, "custom: file with lines 'image label'", str)
    val_list: str | None = _flag(None, "custom: file with lines 'image label'", str)
    test_list: str | None = _flag(None, "custom: file with one image a line", str)
    ignore_label: int | None = _flag(
        None, "custom: id in the label files that is ignored (default: 255)", int, minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_ClassFlags, _FileFlags):
    """Flags of train.py."""

    gpu_num: int = _flag(1, "number of towers; without GPUs, logical CPU devices", minimum=1)
    batch_size: int = _flag(1, "images per tower", minimum=1)
    network: str = _flag("resnet_v1_50", "encoder", choices=NETWORKS)
    subsets_for_training: tuple[str, ...] = _flag(("train",), "splits to train on, by commas", _names)
    train_image_size: int = _flag(480, "height and width of training crops", minimum=8)
    test_image_size: int = _flag(480, "height and width of validation windows", minimum=8)

    weight_decay_mode: int = _flag(1, "0: L2, 1: L2-SP, 2 and 3: norm-aware L2-SP", choices=(0, 1, 2, 3))
    weight_decay_rate: float = _flag(0.0001, "decay rate of pre-trained layers", minimum=0)
    weight_decay_rate2: float = _flag(0.0001, "decay rate of new layers", minimum=0)
    consider_dilated: bool = _flag(False, "count blocks 3 and 4 among the new layers for decay")
    new_layer_names: tuple[str, ...] | None = _flag(None, "scopes of layers that are not pre-trained", _names)
    fine_tune_filename: str | None = _flag(
        None, "ResNet checkpoint (default: ./z_pretrained_weights/<network>.ckpt), or none", str
    )

    lrn_rate: float = _flag(0.01, "initial learning rate", above=0)
    poly_lr: bool = _flag(True, "poly schedule, power 0.9")
    lr_step: tuple[int, ...] | None = _flag(
        None, "steps where the rate falls, by commas; needs --poly_lr 0", _rising_steps
    )
    step_size: float = _flag(0.1, "factor of the rate at each --lr_step", above=0)
    train_max_iter: int = _flag(30000, "training steps", minimum=1)
    snapshot: int = _flag(15000, "steps between snapshots", minimum=1)
    keep: int = _flag(5, "newest snapshots that are kept", minimum=1)
    save_first_iteration: bool = _flag(False, "snapshot before the first step")
    resume_step: int | None = _flag(None, "continue this run's snapshot of that step", int, minimum=0)
    optimizer: str = _flag("mom", "optimizer", choices=OPTIMIZERS)
    momentum: float = _flag(0.9, "momentum of mom and rmsp, beta1 of adam")
    train_like_in_caffe: bool = _flag(
        False, "new layers learn at 10x, their biases at 20x", aliases=["train_like_in_paper"]
    )

    random_scale: bool = _flag(True, "scale images")
    scale_min: float = _flag(0.5, "smallest scale", above=0)
    scale_max: float = _flag(2.0, "largest scale", above=0)
    random_mirror: bool = _flag(True, "mirror images")
    random_rotate: bool = _flag(True, "rotate images, -10 to 10 degrees")
    random_blur: bool = _flag(True, "change brightness, saturation and contrast", aliases=["blur"])
    gaussian_blur: bool = _flag(False, "blur images")
    color_switch: bool | None = _flag(None, f"feed BGR, for weights from Caffe {_recorded_or(0)}", _switch)

    initializer: str = _flag("he", "initializer of new weights", choices=INITIALIZERS)
    has_aux_loss: bool = _flag(True, "auxiliary head on block 3, weight 0.4")
    upsample_logits: bool = _flag(True, "compare at the size of the labels; 0 shrinks labels to that of the logits")
    bn_frozen: bool = _flag(False, "freeze the statistics of pre-trained batch normalization")
    bn_decay: float = _flag(0.9, "decay of the running statistics")
    three_convs_beginning: bool | None = _flag(
        None,
        f"three 3x3 layers at the beginning instead of one 7x7 {_recorded_or(0)}",
        _switch,
        aliases=["structure_in_paper"],
    )
    stride_convention: str | None = _flag(
        None, f"where strides sit {_recorded_or('reference')}", str, choices=STRIDE_CONVENTIONS
    )
    pool_padding: str | None = _flag(
        None, f"padding of the first pooling {_recorded_or('same')}", str, choices=POOL_PADDINGS
    )
    output_stride: int = _flag(8, "input size over feature size", choices=OUTPUT_STRIDES)
    resize_grid: str = _flag("half_pixel", "grid of bilinear upsampling", choices=RESIZE_GRIDS)
    loss_type: str = _flag("normal", "normal or focal_<gamma>")
    float_type: str = _flag("32", "activations: float32, float16 or bfloat16", choices=FLOAT_TYPES)

    eval_only: bool = _flag(False, "only score this run's last (or --resume_step's) snapshot")
    mirror: bool = _flag(True, "add mirrored images when scoring")
    test_max_iter: int | None = _flag(None, "score that many images only", int, minimum=1)

    log_dir: str = _flag("./log", "folder of all runs")
    check_data: str = _flag("sample", "label files read before step 0", choices=("sample", "all", "none"))
    show_period: int = _flag(20, "steps between summaries", minimum=1)
    seed: int = _flag(0, "of initialization, order, augmentation and dropout", minimum=0)

    def __post_init__(self) -> None:
        check_own_data_flags(self, self.database, "--database is")
        if self.database == "custom" and self.num_classes is None:
            raise FlagError("--database custom needs --num_classes")
        if self.scale_min > self.scale_max:
            raise FlagError(f"--scale_min {self.scale_min} is above --scale_max {self.scale_max}: swap them")
        if self.total_batch_size < 2 and not self.eval_only:
            raise FlagError(
                "--batch_size 1 with --gpu_num 1 is a batch of 1 image, which leaves psp/pool1 a single value per "
                "channel to normalize: raise --batch_size or --gpu_num"
            )
        if self.lr_step is not None and self.poly_lr:
            raise FlagError("--lr_step has no effect on the poly schedule: add --poly_lr 0")
        if self.lr_step is None and self.step_size != type(self).step_size:
            raise FlagError(
                f"--step_size {self.step_size} has no effect without steps: add --poly_lr 0 and --lr_step, or drop it"
            )
        if not LOSS_TYPES.fullmatch(self.loss_type):
            raise FlagError(f"--loss_type {self.loss_type} is unknown: use normal or focal_<gamma>, e.g. focal_2")
        if self.weight_decay_mode != 0 and self.starts_from_scratch:
            raise FlagError(
                f"--weight_decay_mode {self.weight_decay_mode} pulls weights towards pre-trained ones, and "
                "--fine_tune_filename none has none: use --weight_decay_mode 0 or give a ResNet checkpoint"
            )
        for name in ("momentum", "bn_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise FlagError(f"--{name} {getattr(self, name)} is not in [0, 1): 0.9 is usual")
        if self.seed >= 2**63:
            raise FlagError(f"--seed {self.seed} does not fit into 64 bits: give a smaller one")

    @property
    def starts_from_scratch(self) -> bool:
        return (self.fine_tune_filename or "").lower() == "none"

    @property
    def total_batch_size(self) -> int:
        return self.batch_size * self.gpu_num


@dataclass(frozen=True, kw_only=True)
class WeightsConfig(_ClassFlags):
    """Flags that predict.py and inference.py share; what is None is read from the record beside the checkpoint."""

    database: str | None = _flag(None, "dataset (default: the checkpoint's)", str, choices=DATABASES)  # type: ignore[assignment]
    network: str | None = _flag(None, "encoder (default: the checkpoint's)", str, choices=NETWORKS)
    weights_ckpt: str | None = _flag(None, "checkpoint (default: the newest snapshot under --log_dir)", str)
    log_dir: str = _flag("./log", "folder of all runs")
    test_image_size: int | None = _flag(None, "height and width of windows", int, minimum=8)
    color_switch: bool | None = _flag(None, "feed BGR, for weights from Caffe", _switch)
    three_convs_beginning: bool | None = _flag(
        None, "three 3x3 layers at the beginning", _switch, aliases=["structure_in_paper"]
    )
    stride_convention: str | None = _flag(None, "where strides sit", str, choices=STRIDE_CONVENTIONS)
    resize_grid: str | None = _flag(None, "grid of bilinear upsampling", str, choices=RESIZE_GRIDS)
    float_type: str = _flag("32", "activations: float32, float16 or bfloat16", choices=FLOAT_TYPES)
    mirror: bool = _flag(True, "add the results from mirrored images")
    ms: bool = _flag(False, "multi-scale: 0.5 to 1.75 instead of 1")
    coloring: bool = _flag(True, "write colours and overlays")
    windows_per_batch: int = _flag(4, "windows the network sees at a time", minimum=1)
    output_dir: str | None = _flag(None, "where results go", str)

    def __post_init__(self) -> None:
        if self.database is not None:
            check_own_data_flags(self, self.database, "--database is")


@dataclass(frozen=True, kw_only=True)
class PredictConfig(WeightsConfig, _FileFlags):
    """Flags of predict.py."""

    mode: str = _flag("val", "split to predict", choices=("val", "test", "train"), aliases=["test_subset"])
    save_prediction: bool = _flag(True, "write label ids")
    test_max_iter: int | None = _flag(None, "predict that many images only", int, minimum=1)


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(WeightsConfig):
    """Flags of inference.py."""

    image_path: str | None = _flag(None, "image or folder of images; asks for paths without it", str)

    own_data_flags: ClassVar[tuple[str, ...]] = ("num_classes",)


def check_own_data_flags(config: _ClassFlags, database: str, told: str) -> None:
    """Refuses flags for own data where the database is another, as they would do nothing.

    Args:
        config: the flags.
        database: the one in use.
        told: who says so, e.g. `--database is`.

    Raises:
        FlagError: such a flag is given.
    """
    given = [name for name in config.own_data_flags if getattr(config, name) is not None]
    if given and database != "custom":
        flag = f"--{given[0]}"
        raise FlagError(
            f"{flag} is for --database custom, and {told} {database}: give --database custom or drop {flag}"
        )


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagError(f"{message} (see --help)")


# What Python's own parse functions expect; those above say it themselves.
_KINDS: dict[Callable[[str], Any], str] = {int: "a whole number", float: "a number"}


def _checked(field: dataclasses.Field) -> Callable[[str], Any]:
    """A parse function for argparse that says what was expected."""
    metadata = field.metadata

    def parse(text: str) -> Any:
        try:
            value = metadata["parse"](text)
        except ValueError as error:
            expected = _KINDS.get(metadata["parse"]) or str(error)
            raise argparse.ArgumentTypeError(f"'{text}' is not {expected}") from error
        minimum, above = metadata["minimum"], metadata["above"]
        if value != value or value in (float("inf"), float("-inf")):
            raise argparse.ArgumentTypeError(f"{text} is not a finite number")
        if minimum is not None and value < minimum:
            raise argparse.ArgumentTypeError(f"{text} is below {minimum}")
        if above is not None and value <= above:
            raise argparse.ArgumentTypeError(f"{text} is not above {above}")
        return value

    return parse


def parse_flags(config: type[Config], arguments: Sequence[str], description: str) -> Config:
    """Parses a command line.

    Args:
        config: TrainConfig, PredictConfig or InferenceConfig.
        arguments: without the program's name.
        description: for --help.

    Raises:
        FlagError: an unknown flag, a value of the wrong kind or out of range, or flags that contradict each other.
        SystemExit: after --help.
    """
    parser = OneLineParser(description=description, allow_abbrev=False)
    for field in dataclasses.fields(config):
        names = [f"--{name}" for name in (field.name, *field.metadata["aliases"])]
        shown = "" if field.default is None else f" (default: {_shown(field.default)})"
        parser.add_argument(
            *names,
            dest=field.name,
            type=_checked(field),
            default=field.default,
            choices=field.metadata["choices"],
            help=field.metadata["help"] + shown,
            metavar="{" + ",".join(map(str, field.metadata["choices"])) + "}" if field.metadata["choices"] else "X",
        )
    return config(**vars(parser.parse_args(list(arguments))))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

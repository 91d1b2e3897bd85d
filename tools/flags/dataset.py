"""Flags that select the dataset, and describe its classes and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tools.errors import FlagError
from tools.flags.channels import ChannelFlags, check_channels
from tools.flags.checks import check_flags_of_database, refuse_without_effect
from tools.flags.definition import Need, Scoring, flag
from tools.flags.values import class_count, file_path, ignored_id, mean_color, switch

# Equals the constant in `database.images`, whose import would make parsing slow; a test compares the two.
MAX_PIXELS = 178_000_000

_PAIRS = "file with lines 'image label', or .odgt,"

DATABASES = ("Cityscapes", "ADE", "SBD", "KITTI", "CamVid", "Toy", "custom")


def _scoring_of_train_list(config: Any) -> Scoring:
    """Scoring reads the training images only if the validation images are held out from them."""
    return "ignored" if config.database == "ADE" or config.val_list is not None else "read"


@dataclass(frozen=True, kw_only=True)
class ClassFlags:
    """Classes of the dataset, their colours and label ids, and the range of its images."""

    database: str = flag("Cityscapes", "dataset", group="data", choices=DATABASES, scoring="read")
    num_classes: int | None = flag(
        None,
        "custom: number of classes",
        class_count,
        group="data",
        identity=False,
        scoring="read",
        databases=("custom",),
    )
    palette: str | None = flag(
        None,
        "custom, or any dataset in inference.py: file with a line 'R G B name' per class",
        file_path,
        group="data",
        resume="content",
        scoring="read",
        databases=("custom",),
    )
    label_map: str | None = flag(
        None,
        "custom, or any dataset in inference.py: file with lines 'id training_id'",
        file_path,
        group="data",
        resume="content",
        scoring="read",
        databases=("custom",),
    )
    image_mean: tuple[float, float, float] | None = flag(
        None,
        "custom, or any dataset in inference.py: mean colour of the images, each channel in 0..255",
        mean_color,
        group="data",
        metavar="R,G,B",
        identity=False,
        scoring="read",
        databases=("custom",),
    )
    input_range: float | None = flag(
        None,
        "value of white in images of more than 8 bits",
        float,
        group="data",
        metavar="VALUE",
        unset="65535 for 16 bits, otherwise 255",
        above=0,
        identity=False,
        scoring="read",
    )
    max_pixels: int = flag(
        MAX_PIXELS,
        "largest image or label that is decoded, in pixels",
        group="data",
        metavar="PIXELS",
        minimum=1,
        resume="free",
        scoring="read",
    )

    # Flags that this program uses with every database, although others do not; see `check_flags_of_database`.
    flags_for_every_database: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class FileFlags:
    """Locations of images and labels."""

    data_dir: str | None = flag(
        None,
        "folder of the dataset",
        file_path,
        group="data",
        metavar="FOLDER",
        unset="the dataset's folder in ./database",
        resume="content",
        shown=False,
        scoring="read",
    )
    train_list: str | None = flag(
        None,
        f"custom, ADE: {_PAIRS} to train on",
        file_path,
        group="data",
        resume="content",
        databases=("custom", "ADE"),
        scoring=_scoring_of_train_list,
    )
    val_list: str | None = flag(
        None,
        f"custom, ADE: {_PAIRS} for validation",
        file_path,
        group="data",
        resume="free",
        shown=True,
        scoring="read",
        databases=("custom", "ADE"),
    )
    test_list: str | None = flag(
        None,
        "custom, ADE: file with one image per line, or .odgt, of the test split",
        file_path,
        group="data",
        resume="free",
        shown=True,
        databases=("custom", "ADE"),
    )
    ignore_label: int | None = flag(
        None,
        "custom: id in the label files that is ignored",
        ignored_id,
        group="data",
        metavar="ID",
        unset="255",
        resume="content",
        scoring="read",
        databases=("custom",),
    )
    reduce_zero_label: bool | None = flag(
        None,
        "custom: ignore id 0 of the label files, and take the ids 1, 2 and so on for the classes 0, 1 and so on",
        switch,
        group="data",
        unset="0",
        resume="content",
        scoring="read",
        databases=("custom",),
        needs=Need(
            lambda config: config.label_map is None, "with --label_map, which gives each id its class: drop --label_map"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class DatasetFlags(FileFlags, ChannelFlags, ClassFlags):
    """Dataset and its location."""

    def __post_init__(self) -> None:
        check_flags_of_database(self, self.database, "--database is")
        if self.database == "custom" and self.num_classes is None:
            raise FlagError("--database custom needs --num_classes")
        check_channels(self)


@dataclass(frozen=True, kw_only=True)
class SplitFlags(DatasetFlags):
    """Dataset, its location, and the images held out for validation."""

    holdout: float | None = flag(
        None,
        "custom, KITTI: fraction of the training images that is held out as the split val",
        float,
        group="data",
        metavar="FRACTION",
        unset="0.2 for KITTI",
        above=0,
        resume="content",
        scoring="read",
        databases=("custom", "KITTI"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.holdout is not None and self.holdout >= 1:
            raise FlagError(f"--holdout {self.holdout:g} leaves no image to train on: 0.2 is usual")
        if self.val_list is not None:
            refuse_without_effect(
                self, "holdout", "with --val_list, which names the validation images: drop --val_list"
            )

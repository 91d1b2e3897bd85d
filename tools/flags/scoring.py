"""Flags of predict.py that say which images are scored, with which scores, and from which files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tools.errors import FlagError
from tools.flags.definition import Need, flag
from tools.flags.values import file_paths

Item = TypeVar("Item")

PREDICTION_IDS = ("label", "train")


@dataclass(frozen=True, kw_only=True)
class ScoringFlags:
    """Which images are scored, with which scores, and from which files; the defaults score all of a split."""

    index_start: int = flag(
        0, "first image to predict, counted from 0, in the order of their paths", group="data", minimum=0
    )
    index_step: int = flag(
        0,
        "number of images to predict from --index_start on; 0: all; the scores of a share are marked as partial",
        group="data",
        minimum=0,
    )
    has_prediction: tuple[str, ...] | None = flag(
        None,
        "score these PNG files instead of predicting: a folder, or the folders of several shares",
        file_paths,
        group="data",
        unset="images are predicted",
    )
    prediction_ids: str = flag(
        "label",
        "ids in the files of --has_prediction: those of the dataset's label files, as predict.py writes them, or the "
        "training ids 0, 1, ..., as semseg",
        str,
        group="data",
        choices=PREDICTION_IDS,
        needs=Need(lambda config: config.has_prediction is not None, "without files to score: add --has_prediction"),
    )
    boundary_iou: bool = flag(
        False, "also score the pixels near outlines, within 2 percent of the image's diagonal", group="output"
    )
    cityscapes_scores: bool = flag(
        False,
        "with the classes of Cityscapes: also score its categories, and the iIoU, which needs *_instanceIds.png",
        group="output",
    )

    @property
    def is_share(self) -> bool:
        """Whether a share of the split is selected."""
        return self.index_start > 0 or self.index_step > 0

    def share_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Returns the items from `index_start` on, as many as `index_step` says.

        Raises:
            FlagError: there are none.
        """
        if self.index_start and self.index_start >= len(items):
            raise FlagError(
                f"--index_start {self.index_start} is after the last image: there are {len(items)}, counted from 0"
            )
        return items[self.index_start : self.index_start + self.index_step if self.index_step else None]

    def share_text(self, chosen: int, count: int) -> str:
        """Describes a share of `chosen` images of `count`, such as `images 100 to 199 of 500`, counted from 0."""
        return f"images {self.index_start} to {self.index_start + chosen - 1} of {count}"

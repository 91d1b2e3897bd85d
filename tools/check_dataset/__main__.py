"""Checks a dataset before training: faults, sizes, colours, class frequencies, and a page of thumbnails.

python -m tools.check_dataset --database CamVid --data_dir <camvid>
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from database.datasets import Dataset
from database.images import set_max_pixels, write_image
from database.layouts import Sample
from database.loading import load_sample
from database.palettes import legend, untinted_class
from tools.check_dataset.contact_sheet import contact_sheet, sheet_width, thumbnail
from tools.check_dataset.label_faults import CheckedSplits, label_faults, sample_faults
from tools.check_dataset.page import page
from tools.check_dataset.report import Findings, as_json, fault_lines, markdown
from tools.check_dataset.scale_faults import scale_faults
from tools.check_dataset.split_faults import copy_faults, find_splits, overlap_faults
from tools.check_dataset.statistics import SplitStatistics, inspect
from tools.console import print_text, run_script, set_up_logging
from tools.flags.checks import check_effects, refuse_repeated_splits, refuse_useless_holdout
from tools.flags.chosen_dataset import dataset_of_flags, dataset_part, existing_folder, is_scored
from tools.flags.dataset import SplitFlags
from tools.flags.definition import Need, flag
from tools.flags.help import Program
from tools.flags.names import split_names
from tools.flags.parsing import parse_flags
from tools.flags.values import file_path
from tools.pages.page import missing_packages
from tools.prediction.tables import write_text
from tools.runtime.background import read_ahead
from tools.runtime.progress import counted

logger = logging.getLogger(__name__)

EXIT_FAULTS = 1

_READ_AT_A_TIME = 4
_COLUMNS = (3, 6)  # of the page of thumbnails: minimum, maximum
_IGNORED, _UNTINTED = (0, 0, 0), (255, 255, 255)  # in the legend
_THUMBNAILS, _EARLIER_THUMBNAILS = "thumbnails.png", "thumbnails-earlier.png"
_PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class CheckConfig(SplitFlags):
    """Flags of the check."""

    subsets_for_training: tuple[str, ...] = flag(
        ("train",), "splits that are trained on together", split_names, group="data", metavar="SPLIT,..."
    )
    allow_missing_classes: bool = flag(
        False, "do not report a class that occurs in no training label as a fault", group="data"
    )
    max_images: int | None = flag(
        None, "check a random sample of N images of each split", int, group="data", unset="all images", minimum=1
    )
    thumbnails: int = flag(
        24, "number of random pictures on the page of thumbnails; 0: no page", group="output", minimum=0
    )
    seed: int = flag(
        0,
        "seed of both samples",
        group="data",
        minimum=0,
        needs=Need(
            lambda config: config.max_images is not None or config.thumbnails > 0,
            "if nothing is drawn at random: add --max_images",
        ),
    )
    out: str | None = flag(
        None,
        "folder for the report",
        file_path,
        group="output",
        metavar="FOLDER",
        unset="./dataset_check/<database>, for own data ./dataset_check/custom-<folder>",
    )

    program: ClassVar[Program] = Program(
        "python -m tools.check_dataset",
        "[--database NAME] [--data_dir FOLDER]",
        (
            "--database CamVid --data_dir camvid",
            "--database custom --num_classes 3 --data_dir photos --max_images 200",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_repeated_splits(self)
        refuse_useless_holdout(self)
        check_effects(self)

    @property
    def folder(self) -> str:
        return self.out or os.path.join("./dataset_check", dataset_part(self.database, self.data_dir))

    @property
    def needed_splits(self) -> frozenset[str]:
        """Splits that training with these flags needs, and splits whose list is given."""
        named = {split for split in ("train", "val", "test") if getattr(self, f"{split}_list") is not None}
        return frozenset({*self.subsets_for_training, *(("val",) if is_scored(self) else ()), *named})


def chosen(samples: Sequence[Sample], most: int | None, seed: int) -> list[Sample]:
    """Returns all samples, or a random choice of `most` of them in their original order."""
    if most is None or most >= len(samples):
        return list(samples)
    positions = np.random.default_rng(seed).choice(len(samples), most, replace=False)
    return [samples[position] for position in sorted(positions)]


def inspect_splits(
    dataset: Dataset, splits: Mapping[str, Sequence[Sample]]
) -> tuple[dict[str, SplitStatistics], list[tuple[str, Sample]]]:
    """Reads samples; returns their statistics, and (split, sample) of those with labels and without faults."""
    statistics = {split: SplitStatistics(dataset.num_classes) for split in splits}
    faultless = []
    for split, samples in splits.items():
        for facts in counted(read_ahead(inspect, samples, _READ_AT_A_TIME), split, len(samples), "img"):
            statistics[split].add(facts)
            if facts.id_counts and not facts.faults:
                faultless.append((split, facts.sample))
    return statistics, faultless


def draw_thumbnails(dataset: Dataset, samples: Sequence[tuple[str, Sample]], title: str) -> np.ndarray:
    """Draws the page of thumbnails of (split, sample) pairs, uint8 [height, width, 3]."""

    untinted = untinted_class(dataset.class_names, dataset.palette)

    def drawn(pair: tuple[str, Sample]) -> tuple[str, np.ndarray]:
        split, sample = pair
        return f"{split}/{sample.name}", thumbnail(*load_sample(sample), dataset.palette, untinted=untinted)

    pictures = list(read_ahead(drawn, samples, _READ_AT_A_TIME))
    columns = min(max(len(pictures), _COLUMNS[0]), _COLUMNS[1])
    names = [f"{name} (no colour)" if index == untinted else name for index, name in enumerate(dataset.class_names)]
    palette = tuple(_UNTINTED if index == untinted else color for index, color in enumerate(dataset.palette))
    names, palette = [*names, "ignored"], (*palette, _IGNORED)
    return contact_sheet(title, pictures, legend(names, palette, sheet_width(columns)), columns)


def examine(config: CheckConfig) -> tuple[Findings, list[tuple[str, Sample]]]:
    """Runs the check that the flags describe; returns its findings and the samples for thumbnails.

    Raises:
        DatasetError, PaletteError: see `database.datasets` and `split_faults.find_splits`.
    """
    dataset = dataset_of_flags(config.database, config)
    data_dir = existing_folder(dataset, config.data_dir)
    splits, absent, faults = find_splits(dataset, data_dir, config.needed_splits)
    trained_on = config.subsets_for_training
    checked = {split: chosen(samples, config.max_images, config.seed) for split, samples in splits.items()}
    statistics, faultless = inspect_splits(dataset, checked)
    faults += [fault for split, found in statistics.items() for fault in sample_faults(split, dataset, found)]
    faults += label_faults(
        CheckedSplits(dataset, splits, checked, statistics),
        trained_on,
        allow_missing_classes=config.allow_missing_classes,
    )
    faults += scale_faults(statistics, None if dataset.input_range is None else dataset.input_range.white)
    faults += overlap_faults(splits, trained_on)
    faults += copy_faults(splits, trained_on)
    counts = {split: len(samples) for split, samples in splits.items()}
    findings = Findings(dataset, data_dir, counts, statistics, absent, faults, config.seed)
    positions = np.random.default_rng(config.seed).permutation(len(faultless))[: config.thumbnails]
    return findings, [faultless[position] for position in sorted(positions)]


def write_report(findings: Findings, samples: Sequence[tuple[str, Sample]], folder: str) -> Iterator[str]:
    """Writes the report, the page of thumbnails if there are samples, and both as HTML if the extra `report` is there.

    Yields:
        The paths.

    Raises:
        TablesError, ImageError: a file cannot be written.
    """
    for name, content in (("report.md", markdown(findings)), ("report.json", as_json(findings))):
        write_text(os.path.join(folder, name), content)
        yield os.path.join(folder, name)
    path, earlier = (os.path.join(folder, name) for name in (_THUMBNAILS, _EARLIER_THUMBNAILS))
    with suppress(OSError):
        os.replace(path, earlier)  # a new report is never beside a page of an earlier check under the same name
    thumbnails = None
    if samples:
        title = f"{findings.dataset.name}: {len(samples)} of {sum(findings.counts.values())} images with their labels"
        thumbnails = draw_thumbnails(findings.dataset, samples, title)
        write_image(path, thumbnails)
        yield path
        with suppress(OSError):
            os.unlink(earlier)
    elif os.path.exists(earlier):
        logger.warning("no thumbnails were drawn; %s is of an earlier check, perhaps of other data", earlier)
    yield from _write_page(findings, thumbnails, os.path.join(folder, _PAGE))


def _write_page(findings: Findings, thumbnails: np.ndarray | None, path: str) -> Iterator[str]:
    """Writes the report as HTML; without the packages for it, removes a page of an earlier check."""
    missing = missing_packages()
    if missing:
        with suppress(OSError):
            os.unlink(path)
        logger.info("%s needs %s: pip install -e '.[report]' in the project's folder", _PAGE, " and ".join(missing))
        return
    write_text(path, page(findings, thumbnails))
    yield path


def main(arguments: Sequence[str]) -> None:
    """Parses flags, checks the dataset and writes the report; exits with code 1 if there is any fault."""
    config = parse_flags(CheckConfig, arguments, "Check a dataset before training.")
    set_max_pixels(config.max_pixels)
    findings, samples = examine(config)
    for line in fault_lines(findings.faults):
        logger.warning("%s", line)
    for path in write_report(findings, samples, config.folder):
        logger.info("wrote %s", path)
    print_text(findings.verdict)
    if findings.faults:
        sys.exit(EXIT_FAULTS)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))

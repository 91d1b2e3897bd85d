"""Looks at a dataset before it is trained on: faults, sizes, colours, pixels of classes, and a page of thumbnails.

python -m tools.check_dataset --database CamVid --data_dir <camvid>
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from database.datasets import Dataset, DatasetError, find_samples, overlapping
from database.images import ImageError, set_max_pixels, write_image
from database.layouts import AbsentSplitError, Sample
from database.loading import load_sample
from database.palettes import PaletteError, legend
from tools.background import read_ahead
from tools.console import run_script, set_up_logging
from tools.contact_sheet import contact_sheet, sheet_width, thumbnail
from tools.dataset_choice import dataset_of_flags, existing_folder
from tools.dataset_flags import DatasetFlags
from tools.dataset_report import Fault, Findings, as_json, fault_lines, markdown
from tools.dataset_statistics import SplitStatistics, inspect
from tools.flag_checks import refuse_without_effect
from tools.flag_parsing import flag, parse_flags
from tools.tables import TablesError, write_text

logger = logging.getLogger(__name__)

EXIT_FAULTS = 1

_READ_AT_A_TIME = 4
_COLUMNS = (3, 6)  # of the page of thumbnails: fewest, most
# Images of these are to be in no other split.
_HELD_OUT = ("val", "test")
_IGNORED = (0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class CheckConfig(DatasetFlags):
    """Flags of the look at a dataset."""

    out: str | None = flag(None, "folder for the report (default: ./dataset_check/<database>)", str)
    max_images: int | None = flag(None, "look at a random sample of so many images of each split", int, minimum=1)
    thumbnails: int = flag(24, "random pictures on the page of thumbnails; 0 for no page", minimum=0)
    seed: int = flag(0, "of both samples", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_images is None and self.thumbnails == 0:
            refuse_without_effect(self, "seed", "where nothing is drawn at random: add --max_images")

    @property
    def folder(self) -> str:
        return self.out or os.path.join("./dataset_check", self.database)


def find_splits(dataset: Dataset, data_dir: str) -> tuple[dict[str, list[Sample]], dict[str, str], list[Fault]]:
    """The samples of each split that is there, why others are not, and what is wrong with their files' names.

    Raises:
        DatasetError: there is no such folder, or nothing of the dataset in it.
    """
    found: dict[str, list[Sample]] = {}
    absent: dict[str, str] = {}
    faults: list[Fault] = []
    for split in dataset.splits:
        try:
            found[split] = find_samples(dataset, data_dir, [split])
        except AbsentSplitError as error:
            absent[split] = str(error)
        except DatasetError as error:
            if not os.path.isdir(data_dir):
                raise
            faults.append(Fault(split, str(error)))
    if not found and not faults:
        raise DatasetError(f"--data_dir {data_dir}: nothing of {dataset.name} is there, expected {dataset.layout}")
    return found, absent, faults


def overlap_faults(splits: Mapping[str, Sequence[Sample]]) -> list[Fault]:
    """Images of a held-out split that are in another split too."""
    return [
        Fault(split, f"{image}: this image is in {other} too")
        for split in _HELD_OUT
        for other in splits
        if split in splits and other not in _HELD_OUT[: _HELD_OUT.index(split) + 1]
        for image in overlapping(splits[other], splits[split])
    ]


def chosen(samples: Sequence[Sample], most: int | None, seed: int) -> list[Sample]:
    """All samples, or a random choice of `most` of them, in their order."""
    if most is None or most >= len(samples):
        return list(samples)
    positions = np.random.default_rng(seed).choice(len(samples), most, replace=False)
    return [samples[position] for position in sorted(positions)]


def look_at(
    dataset: Dataset, splits: Mapping[str, Sequence[Sample]]
) -> tuple[dict[str, SplitStatistics], list[tuple[str, Sample]]]:
    """The statistics of the given samples, and (split, sample) of those with labels and without faults."""
    statistics = {split: SplitStatistics(dataset.num_classes) for split in splits}
    faultless = []
    for split, samples in splits.items():
        for facts in tqdm(read_ahead(inspect, samples, _READ_AT_A_TIME), split, len(samples), unit="img"):
            statistics[split].add(facts)
            if facts.id_counts and not facts.faults:
                faultless.append((split, facts.sample))
    return statistics, faultless


def draw_thumbnails(dataset: Dataset, samples: Sequence[tuple[str, Sample]], title: str) -> np.ndarray:
    """The page of thumbnails of samples, each with its split, uint8 [height, width, 3]."""

    def drawn(pair: tuple[str, Sample]) -> tuple[str, np.ndarray]:
        split, sample = pair
        return f"{split}/{sample.name}", thumbnail(*load_sample(sample), dataset.palette)

    pictures = list(read_ahead(drawn, samples, _READ_AT_A_TIME))
    columns = min(max(len(pictures), _COLUMNS[0]), _COLUMNS[1])
    names, palette = (*dataset.class_names, "ignored"), (*dataset.palette, _IGNORED)
    return contact_sheet(title, pictures, legend(names, palette, sheet_width(columns)), columns)


def examine(config: CheckConfig) -> tuple[Findings, list[tuple[str, Sample]]]:
    """What the flags ask to find out, and the samples for thumbnails.

    Raises:
        DatasetError, PaletteError: see `database.datasets` and `find_splits`.
    """
    dataset = dataset_of_flags(config.database, config)
    data_dir = existing_folder(dataset, config.data_dir)
    splits, absent, faults = find_splits(dataset, data_dir)
    looked_at = {split: chosen(samples, config.max_images, config.seed) for split, samples in splits.items()}
    statistics, faultless = look_at(dataset, looked_at)
    faults += [Fault(split, message) for split in statistics for message in statistics[split].faults]
    faults += overlap_faults(splits)
    counts = {split: len(samples) for split, samples in splits.items()}
    findings = Findings(dataset, data_dir, counts, statistics, absent, faults, config.seed)
    positions = np.random.default_rng(config.seed).permutation(len(faultless))[: config.thumbnails]
    return findings, [faultless[position] for position in sorted(positions)]


def write_report(findings: Findings, samples: Sequence[tuple[str, Sample]], folder: str) -> Iterator[str]:
    """Writes the report, and the page of thumbnails if there are samples; yields the paths.

    Raises:
        TablesError, ImageError: a file cannot be written.
    """
    for name, content in (("report.md", markdown(findings)), ("report.json", as_json(findings))):
        write_text(os.path.join(folder, name), content)
        yield os.path.join(folder, name)
    if samples:
        title = f"{findings.dataset.name}: {len(samples)} of {sum(findings.counts.values())} images with their labels"
        path = os.path.join(folder, "thumbnails.png")
        write_image(path, draw_thumbnails(findings.dataset, samples, title))
        yield path


def main(arguments: Sequence[str]) -> None:
    """Parses flags, looks, writes the report; ends with exit code 1 where there is any fault."""
    config = parse_flags(CheckConfig, arguments, "Look at a dataset.")
    set_max_pixels(config.max_pixels)
    findings, samples = examine(config)
    for line in fault_lines(findings.faults):
        logger.warning("%s", line)
    for path in write_report(findings, samples, config.folder):
        logger.info("written %s", path)
    print(findings.verdict)
    if findings.faults:
        sys.exit(EXIT_FAULTS)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:], (DatasetError, ImageError, PaletteError, TablesError)))

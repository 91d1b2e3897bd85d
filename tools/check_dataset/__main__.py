"""Checks a dataset before training: faults, sizes, colours, class frequencies, and a page of thumbnails.

python -m tools.check_dataset --database CamVid --data_dir <camvid>
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from database.copies import copied_images, copies_fault
from database.datasets import Dataset, find_samples, overlapping, require_split
from database.errors import AbsentSplitError, DatasetError, ImageError
from database.images import set_max_pixels, write_image
from database.layouts import Sample
from database.loading import load_sample, unknown_id
from database.palettes import legend
from tools.check_dataset.contact_sheet import contact_sheet, sheet_width, thumbnail
from tools.check_dataset.report import Fault, Findings, as_json, fault_lines, markdown
from tools.check_dataset.statistics import SplitStatistics, inspect
from tools.console import run_script, set_up_logging
from tools.flags.checks import check_effects, refuse_repeated_splits, refuse_useless_holdout
from tools.flags.chosen_dataset import dataset_of_flags, dataset_part, existing_folder, is_scored
from tools.flags.dataset import SplitFlags
from tools.flags.definition import Need, flag
from tools.flags.help import Program
from tools.flags.names import split_names
from tools.flags.parsing import parse_flags
from tools.flags.values import file_path
from tools.prediction.tables import write_text
from tools.runtime.background import read_ahead
from tools.runtime.progress import counted
from tools.training.index_colors import IndexColors
from tools.training.label_rules import (
    LabelTally,
    classes_held_out,
    ignored_fault,
    missing_class_fault,
    missing_classes,
    tally_missing_classes,
    unknown_id_faults,
)

logger = logging.getLogger(__name__)

EXIT_FAULTS = 1

_READ_AT_A_TIME = 4
_COLUMNS = (3, 6)  # of the page of thumbnails: minimum, maximum
# Their images must not occur in any other split.
_HELD_OUT = ("val", "test")
_IGNORED = (0, 0, 0)


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


def find_splits(
    dataset: Dataset, data_dir: str, needed: Collection[str] = ()
) -> tuple[dict[str, list[Sample]], dict[str, str], list[Fault]]:
    """Finds the samples of each split, the reasons why other splits are absent, and faults of the file names.

    Args:
        dataset: the dataset record.
        data_dir: its folder.
        needed: splits whose absence is a fault.

    Raises:
        DatasetError: the folder does not exist, or has nothing of the dataset; the dataset does not define a needed
            split.
    """
    for split in needed:
        require_split(dataset, split)
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
        reasons = [absent[split] for split in dataset.splits if split in needed] or list(absent.values())[:1]
        nothing = f"--data_dir {data_dir}: nothing of {dataset.name} is there, expected {dataset.layout}"
        raise DatasetError("; ".join([nothing, *reasons]))
    faults += [Fault(split, absent.pop(split)) for split in dataset.splits if split in absent and split in needed]
    return found, absent, faults


def overlap_faults(splits: Mapping[str, Sequence[Sample]], trained_on: Collection[str] = ()) -> list[Fault]:
    """Finds images of a held-out split that also occur in another split; a split of the training is not held out."""
    return [
        Fault(split, f"{image}: this image is in {other} too")
        for split, other in _held_out_pairs(splits, trained_on)
        for image in overlapping(splits[other], splits[split])
    ]


def copy_faults(splits: Mapping[str, Sequence[Sample]], trained_on: Collection[str] = ()) -> list[Fault]:
    """Finds copies of the same image in a held-out split and another; one fault for each pair of splits."""
    return [
        Fault(split, copies_fault(pairs, split, other))
        for split, other in _held_out_pairs(splits, trained_on)
        if (pairs := copied_images(splits[other], splits[split]))
    ]


def _held_out_pairs(splits: Collection[str], trained_on: Collection[str]) -> list[tuple[str, str]]:
    return [
        (split, other)
        for split in _HELD_OUT
        if split not in trained_on
        for other in splits
        if split in splits and other not in _HELD_OUT[: _HELD_OUT.index(split) + 1]
    ]


def split_faults(dataset: Dataset, statistics: SplitStatistics) -> list[str]:
    """Returns the faults of single samples, in order; the first unknown id has a note on what the ids look like."""
    plain = [str(unknown_id(*found)) for found in statistics.tally.unknown]
    advised = dict(zip(plain, unknown_id_faults(statistics.tally, dataset), strict=True))
    return [advised.get(line, line) for line in statistics.faults]


def label_faults(
    config: CheckConfig,
    dataset: Dataset,
    splits: Mapping[str, Sequence[Sample]],
    looked_at: Mapping[str, Sequence[Sample]],
    statistics: Mapping[str, SplitStatistics],
) -> list[Fault]:
    """Finds the faults for which training rejects the labels as a whole: only ignored pixels, and missing classes.

    If the checked sample lacks classes, more labels are read until they occur.

    Args:
        config: flags.
        dataset: described by the flags.
        splits: all samples, by split.
        looked_at: the checked samples.
        statistics: of the checked samples.
    """
    together = config.subsets_for_training
    roles: list[tuple[str, ...]] = [(split,) for split in splits if split != "test" and split not in together]
    if all(split in splits for split in together):
        roles.insert(0, together)
    _tell_index_colors(statistics.values())
    return [
        Fault(",".join(role), fault)
        for role in roles
        for fault in _faults_of_role(config, dataset, role, splits, looked_at, statistics)
    ]


def _tell_index_colors(statistics: Iterable[SplitStatistics]) -> None:
    """Logs a warning about palette images with different colours for an index."""
    colors = IndexColors()
    for found in statistics:
        colors.merge(found.tally.index_colors)
    if colors.contradiction is not None:
        logger.warning("%s", colors.contradiction)


def _faults_of_role(
    config: CheckConfig,
    dataset: Dataset,
    role: Sequence[str],
    splits: Mapping[str, Sequence[Sample]],
    looked_at: Mapping[str, Sequence[Sample]],
    statistics: Mapping[str, SplitStatistics],
) -> list[str]:
    """Returns the faults of `label_faults` of splits that are used together."""
    is_trained_on = role == config.subsets_for_training
    tally = LabelTally()
    for split in role:
        tally.merge(statistics[split].tally)
    known, faults = len(tally.unknown), []
    images = {sample.image for split in role for sample in looked_at[split]}
    others = [sample for split in role for sample in splits[split] if sample.image not in images and sample.label]
    tally_missing_classes(
        others,
        tally,
        dataset.expected_classes if is_trained_on else (),
        unreadable=(ImageError, DatasetError),
        on_fault=lambda error: faults.append(str(error)),
    )
    faults += [str(unknown_id(*found)) for found in tally.unknown[known:]]
    ignored = ignored_fault(tally)
    if ignored is not None:
        faults.append(ignored)
    was_cut_short = bool(others and tally.unknown)
    if not is_trained_on or was_cut_short:
        return faults
    held_out = _held_out_classes(dataset, tally, splits, statistics)
    missing = missing_class_fault(tally, dataset, allowed=config.allow_missing_classes, held_out=held_out)
    if missing is not None:
        if config.allow_missing_classes:
            logger.warning("%s", missing)
        else:
            faults.append(missing)
    return faults


def _held_out_classes(
    dataset: Dataset,
    trained_on: LabelTally,
    splits: Mapping[str, Sequence[Sample]],
    statistics: Mapping[str, SplitStatistics],
) -> set[int]:
    """Returns the classes in the labels of val, if the training labels lack a class."""
    missing = missing_classes(trained_on, dataset)
    if not missing or "val" not in splits:
        return set()
    tally = LabelTally()
    tally.merge(statistics["val"].tally)
    return classes_held_out(splits["val"], missing, unreadable=(ImageError, DatasetError), tally=tally)


def chosen(samples: Sequence[Sample], most: int | None, seed: int) -> list[Sample]:
    """Returns all samples, or a random choice of `most` of them in their original order."""
    if most is None or most >= len(samples):
        return list(samples)
    positions = np.random.default_rng(seed).choice(len(samples), most, replace=False)
    return [samples[position] for position in sorted(positions)]


def look_at(
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

    def drawn(pair: tuple[str, Sample]) -> tuple[str, np.ndarray]:
        split, sample = pair
        return f"{split}/{sample.name}", thumbnail(*load_sample(sample), dataset.palette)

    pictures = list(read_ahead(drawn, samples, _READ_AT_A_TIME))
    columns = min(max(len(pictures), _COLUMNS[0]), _COLUMNS[1])
    names, palette = (*dataset.class_names, "ignored"), (*dataset.palette, _IGNORED)
    return contact_sheet(title, pictures, legend(names, palette, sheet_width(columns)), columns)


def examine(config: CheckConfig) -> tuple[Findings, list[tuple[str, Sample]]]:
    """Runs the check that the flags describe; returns its findings and the samples for thumbnails.

    Raises:
        DatasetError, PaletteError: see `database.datasets` and `find_splits`.
    """
    dataset = dataset_of_flags(config.database, config)
    data_dir = existing_folder(dataset, config.data_dir)
    splits, absent, faults = find_splits(dataset, data_dir, config.needed_splits)
    looked_at = {split: chosen(samples, config.max_images, config.seed) for split, samples in splits.items()}
    statistics, faultless = look_at(dataset, looked_at)
    faults += [Fault(split, line) for split in statistics for line in split_faults(dataset, statistics[split])]
    faults += label_faults(config, dataset, splits, looked_at, statistics)
    faults += overlap_faults(splits, trained_on=config.subsets_for_training)
    faults += copy_faults(splits, trained_on=config.subsets_for_training)
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
    path = os.path.join(folder, "thumbnails.png")
    with suppress(OSError):
        os.unlink(path)  # of an earlier check, perhaps of other data
    if samples:
        title = f"{findings.dataset.name}: {len(samples)} of {sum(findings.counts.values())} images with their labels"
        write_image(path, draw_thumbnails(findings.dataset, samples, title))
        yield path


def main(arguments: Sequence[str]) -> None:
    """Parses flags, checks the dataset and writes the report; exits with code 1 if there is any fault."""
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
    sys.exit(run_script(main, sys.argv[1:]))

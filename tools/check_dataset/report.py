"""Formats the findings of a check as Markdown and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from database.counts import number_of
from database.datasets import Dataset
from database.errors import AbsentSplitError
from database.layouts import Sample
from tools.check_dataset.statistics import SplitStatistics
from tools.prediction.tables import markdown_row, percent
from tools.training.class_weights import weights_of_counts

LISTED_FAULTS = 20


_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        split: where it is.
        message: one line.
        kind: equal for faults of which reports show only the first; None if the fault is always shown.
    """

    split: str
    message: str
    kind: str | None = None

    @classmethod
    def of_sample(cls, split: str, sample: Sample, message: str, advice: str = "") -> Fault:
        """Returns a fault of one sample; its kind is the message without the names of the files and without numbers."""
        kind = message
        for path, part in ((sample.label, "label"), (sample.image, "image")):
            kind = kind.replace(path, part) if path else kind
        return cls(split, f"{message}{advice}", _NUMBER.sub("", kind))


@dataclass(frozen=True)
class Findings:
    """The results of a check.

    Attributes:
        dataset: its definition.
        data_dir: its folder.
        counts: number of images of each existing split.
        statistics: of the checked samples, by split.
        absent: error about a split that is absent and not needed, by split.
        faults: in the order of the splits.
        seed: of the random sample, if not all images were checked.
    """

    dataset: Dataset
    data_dir: str
    counts: Mapping[str, int]
    statistics: Mapping[str, SplitStatistics]
    absent: Mapping[str, AbsentSplitError]
    faults: Sequence[Fault]
    seed: int

    @property
    def verdict(self) -> str:
        """Returns one line with the numbers of images and faults."""
        checked = sum(statistics.images for statistics in self.statistics.values())
        of = sum(self.counts.values())
        images = number_of(of, "image")
        images = images if checked == of else f"{checked} of {images}"
        faults = number_of(len(self.faults), "fault") if self.faults else "no fault"
        if not self.counts:
            return f"{self.dataset.name}: {faults}, and no split whose images could be checked"
        return f"{self.dataset.name}: {faults} in {images} of {', '.join(self.counts)}"


def fault_lines(faults: Sequence[Fault]) -> list[str]:
    """Returns a line for each kind of fault of a split, with the first such fault and the number of the others.

    If there are many kinds, the last line has the number of the faults that are not shown.
    """
    groups: dict[object, list[Fault]] = {}
    for number, fault in enumerate(faults):
        groups.setdefault(number if fault.kind is None else (fault.split, fault.kind), []).append(fault)
    shown = list(groups.values())[:LISTED_FAULTS]
    lines = [f"{group[0].split}: {group[0].message}{_and_others(len(group) - 1)}" for group in shown]
    more = len(faults) - sum(map(len, shown))
    return [*lines, f"and {more} more, in report.json"] if more else lines


def _and_others(count: int) -> str:
    return f" (and {number_of(count, 'fault')} of the same kind, in report.json)" if count else ""


def mean_flag(color: Sequence[float]) -> str:
    """Formats a colour for `--image_mean`."""
    return ",".join(f"{value:.2f}" for value in color)


def channel_flag(values: Sequence[float]) -> str:
    """Formats the means or deviations of channels for their flags."""
    return ",".join(f"{value:.6g}" for value in values)


def markdown(findings: Findings) -> str:
    """Formats the report as Markdown."""
    lines = [f"# {findings.verdict}", "", f"Folder: `{findings.data_dir}`", ""]
    if findings.faults:
        lines += ["## Faults", "", *(f"- {line}" for line in fault_lines(findings.faults)), ""]
    for split, statistics in findings.statistics.items():
        lines += [f"## {split}", "", *_split_lines(findings, split, statistics), ""]
    # Other splits that are not needed are worth a line only if their files seem to be elsewhere.
    missing = [f"- {split}: {error}" for split, error in findings.absent.items() if split == "val" or error.advice]
    if missing:
        lines += ["## Missing splits", "", *missing, ""]
    return "\n".join(lines)


def _split_lines(findings: Findings, split: str, statistics: SplitStatistics) -> list[str]:
    count = findings.counts[split]
    sampled = f"; {statistics.images} of them checked, chosen with seed {findings.seed}"
    images = f"{number_of(count, 'image')}{'' if statistics.images == count else sampled}"
    lines = [f"{images}; {number_of(statistics.labels, 'label')} read.", ""]
    if statistics.sizes:
        lines += [*_size_lines(statistics), "", *_color_lines(findings.dataset, statistics), ""]
        first, *others = statistics.without_data_lines() or [""]
        lines += [first, "", *(f"- {line}" for line in others), ""] if others else []
    if statistics.labels:
        lines += _class_lines(findings.dataset, statistics)
    return lines


def _size_lines(statistics: SplitStatistics) -> list[str]:
    (height, width), times = statistics.sizes.most_common(1)[0]
    lines = [markdown_row(("pixels", "smallest", "median", "largest")), "| :--- | ---: | ---: | ---: |"]
    for name, values in extents(statistics).items():
        cells = (f"{values['min']}", f"{values['median']:g}", f"{values['max']}")
        lines.append(markdown_row((name, *cells)))
    sizes = number_of(len(statistics.sizes), "size")
    most = f"the most frequent is {height}x{width} (height x width), of {times} of {statistics.sizes.total()} images"
    return [*lines, "", f"{sizes}; {most}."]


def extents(statistics: SplitStatistics) -> dict[str, dict[str, float]]:
    """Returns the smallest, median and largest height and width."""
    sizes = np.array(list(statistics.sizes.elements()))
    return {
        name: {
            "min": int(sizes[:, axis].min()),
            "median": float(np.median(sizes[:, axis])),
            "max": int(sizes[:, axis].max()),
        }
        for axis, name in enumerate(("height", "width"))
    }


def _color_lines(dataset: Dataset, statistics: SplitStatistics) -> list[str]:
    mean, deviation = statistics.color_mean, statistics.color_deviation
    if mean is None or deviation is None:
        return ["No mean of the channels: all pixels have no data or an ignored label."]
    if dataset.channels is not None:
        # A constant channel has no deviation to scale by.
        given = [f"--channel_mean {channel_flag(mean)}", f"--channel_std {channel_flag([x or 1 for x in deviation])}"]
        return [
            f"Mean and standard deviation of the {dataset.channels.count} channels: "
            f"`--input_channels {dataset.channels.count} {' '.join(given)}`."
            f"{_left_out(statistics)}"
        ]
    return [
        f"Mean colour, red, green and blue of 0..255: `--image_mean {mean_flag(mean)}`, standard deviation "
        f"{mean_flag(deviation)}. The scripts subtract {mean_flag(dataset.image_mean)} by default."
    ]


def _left_out(statistics: SplitStatistics) -> str:
    if not statistics.left_out:
        return ""
    return (
        f" {percent(statistics.left_out_share)} % of the pixels are left out: they have no data by the file, or their "
        "label is ignored."
    )


def _class_lines(dataset: Dataset, statistics: SplitStatistics) -> list[str]:
    weights = weights_of_counts(statistics.pixels, statistics.seen_among) if statistics.pixels.any() else None
    lines = [
        markdown_row(("id", "class", "pixels", "share %", "images", "weight by median_freq")),
        "| ---: | :--- | ---: | ---: | ---: | ---: |",
    ]
    for train_id, (name, pixels, share, images) in enumerate(
        zip(dataset.class_names, statistics.pixels, statistics.shares, statistics.images_with, strict=True)
    ):
        weight = "" if weights is None or not images else f"{weights[train_id]:.3f}"
        lines.append(markdown_row((str(train_id), name, str(pixels), percent(share), str(images), weight)))
    unknown = f", and {statistics.unknown} pixels have ids of no class" if statistics.unknown else ""
    lines += ["", f"Shares are of the valid pixels; {percent(statistics.ignored_share)} % of all are ignored{unknown}."]
    missing = [name for name, pixels in zip(dataset.class_names, statistics.pixels, strict=True) if not pixels]
    return [*lines, "", f"In no image: {', '.join(missing)}."] if missing else lines


def as_json(findings: Findings) -> str:
    """Formats the report as JSON; fractions are 0..1, sizes in pixels."""
    content = {
        "database": findings.dataset.name,
        "data_dir": findings.data_dir,
        "verdict": findings.verdict,
        "faults": [{"split": fault.split, "message": fault.message} for fault in findings.faults],
        "splits": {
            split: {"images": findings.counts[split], **_split_object(findings.dataset, statistics)}
            for split, statistics in findings.statistics.items()
        },
        "absent": {split: str(error) for split, error in findings.absent.items()},
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _split_object(dataset: Dataset, statistics: SplitStatistics) -> dict[str, Any]:
    sizes = [
        {"height": height, "width": width, "images": count} for (height, width), count in statistics.sizes.most_common()
    ]
    classes = zip(dataset.class_names, statistics.pixels, statistics.shares, statistics.images_with, strict=True)
    return {
        "looked_at": statistics.images,
        "labels": statistics.labels,
        "sizes": sizes,
        "extents": extents(statistics) if statistics.sizes else None,
        "color_mean": statistics.color_mean,
        "color_deviation": statistics.color_deviation,
        "without_data": statistics.without_data,
        "left_out_share": statistics.left_out_share,
        "ignored_pixels": statistics.ignored,
        "ignored_share": statistics.ignored_share,
        "unknown_pixels": statistics.unknown,
        "classes": [
            {"name": name, "pixels": int(pixels), "share": float(share), "images": int(images)}
            for name, pixels, share, images in classes
        ],
    }

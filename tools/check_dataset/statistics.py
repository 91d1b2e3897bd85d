"""Statistics of the images and labels of a split: sizes, colours, class frequencies, and faults."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from database.channel_reading import number_kind, pixels_without_data
from database.classes import IGNORE_LABEL
from database.color_masks import Color
from database.counts import number_of
from database.errors import DatasetError, ImageError
from database.images import read_image, read_label_with_table
from database.layouts import Sample
from database.loading import check_same_size, unknown_id
from tools.check_dataset.moments import Moments
from tools.training.label_rules import LabelTally, counts_by_id

_MOST_NAMED = 5
_LEVELS = np.arange(256)

_Color = tuple[float, ...]


@dataclass(frozen=True)
class SampleFacts:
    """Statistics of one sample.

    Attributes:
        sample: the sample.
        size: (height, width) of the image in pixels, None if it cannot be read.
        color_counts: int64 [3, 256], pixel counts by red, green and blue, None if it cannot be read or is not RGB.
        moments: of the channels of an image that is not RGB, without pixels that have no data or an ignored label; None
            if it cannot be read, is RGB, or has no other pixels.
        left_out: number of those pixels.
        kind: type of the numbers of such an image, and the default number for white; None if it cannot be read or is
            RGB.
        id_counts: pixel count by id in the label file; empty without a label.
        faults: one line each.
        table: colours of a palette image by index, see `images.read_label_with_table`.
        without_data: line about pixels without data that are used, see `channel_reading.pixels_without_data`.
    """

    sample: Sample
    size: tuple[int, int] | None
    color_counts: np.ndarray | None
    id_counts: Mapping[int, int]
    faults: tuple[str, ...]
    table: Sequence[Color] = ()
    moments: Moments | None = None
    without_data: str | None = None
    left_out: int = 0
    kind: tuple[str, float] | None = None


def inspect(sample: Sample) -> SampleFacts:
    """Reads image and label of a sample, and collects their errors instead of raising them."""
    faults: list[str] = []
    image = size = color_counts = ids = None
    id_counts: dict[int, int] = {}
    table: list[Color] = []
    try:
        image = read_image(sample.image, input_range=sample.input_range, channels=sample.channels)
        size = image.shape[0], image.shape[1]
        if sample.channels is None:
            color_counts = np.stack([np.bincount(image[:, :, channel].ravel(), minlength=256) for channel in range(3)])
    except ImageError as error:
        faults.append(str(error))
    try:
        if sample.label is not None:
            ids, table = read_label_with_table(sample.label, colors=sample.colors)
            id_counts = counts_by_id(ids)
            unknown = {file_id: pixels for file_id, pixels in id_counts.items() if file_id not in sample.label_map}
            faults += [str(unknown_id(sample.label, file_id, pixels)) for file_id, pixels in unknown.items()]
            if size is not None:
                check_same_size(sample, size, ids.shape)
    except (DatasetError, ImageError) as error:
        faults.append(str(error))
    facts = SampleFacts(sample, size, color_counts, id_counts, tuple(faults), table)
    if image is None:
        return facts
    without_data = pixels_without_data(sample.image)
    if without_data is not None and not faults:
        facts = dataclasses.replace(facts, without_data=_without_data(sample, *without_data, ids))
    if sample.channels is None:
        return facts
    moments, left_out = _moments(sample, image, ids, None if without_data is None else without_data[1])
    return dataclasses.replace(facts, moments=moments, left_out=left_out, kind=number_kind(sample.image))


def _without_data(sample: Sample, number: float, mask: np.ndarray, ids: np.ndarray | None) -> str:
    """Describes how many pixels of an image have no data by its file, and how many of these have a class."""
    line = f"{sample.name}: {100 * mask.mean():.3g} % of the pixels are {number:g}, its number for no data"
    if ids is None or ids.shape != mask.shape:
        return line
    valid = [file_id for file_id, train_id in sample.label_map.items() if train_id != IGNORE_LABEL]
    used = 100 * np.isin(ids[mask], valid).mean()
    return f"{line}; the label ignores them" if used == 0 else f"{line}; the label gives {used:.3g} % of them a class"


def _moments(
    sample: Sample, image: np.ndarray, ids: np.ndarray | None, without_data: np.ndarray | None
) -> tuple[Moments | None, int]:
    """Computes the moments of the pixels that have data and no ignored label; returns also the number of the others."""
    left_out = np.zeros(image.shape[:2], bool) if without_data is None else without_data.copy()
    if ids is not None and ids.shape == left_out.shape:
        ignored = [file_id for file_id, train_id in sample.label_map.items() if train_id == IGNORE_LABEL]
        left_out |= np.isin(ids, ignored)
    if left_out.all():
        return None, left_out.size
    return Moments.of(image[~left_out] if left_out.any() else image), int(np.count_nonzero(left_out))


class SplitStatistics:
    """Sums over the samples of a split.

    Attributes:
        images: number of samples.
        labels: number of labels that were read.
        sizes: number of images by (height, width).
        pixels: int64 [classes], pixels of each class.
        images_with: int64 [classes], number of labels in which the class occurs.
        seen_among: int64 [classes], valid pixels of these labels.
        channel_pixels, left_out: pixels of the images that are not RGB, and those that `color_mean` leaves out.
        kinds: number of images that are not RGB by type of their numbers and default number for white.
        ignored, unknown: pixels whose id is ignored, or neither a class nor ignored.
        tally: of the ids, for the rules of training.
        faults: sample and line of each, in the order of the samples.
        without_data: lines of images that have pixels without data, see `SampleFacts`.
    """

    def __init__(self, num_classes: int) -> None:
        """Starts with no samples."""
        self.images = self.labels = self.ignored = self.unknown = 0
        self.channel_pixels = self.left_out = 0
        self.kinds: Counter[tuple[str, float]] = Counter()
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.pixels, self.images_with, self.seen_among = (np.zeros(num_classes, np.int64) for _ in range(3))
        self.faults: list[tuple[Sample, str]] = []
        self.without_data: list[str] = []
        self.tally = LabelTally()
        self._color_counts = np.zeros((3, 256), np.int64)
        self._moments: Moments | None = None

    def add(self, facts: SampleFacts) -> None:
        """Adds one sample."""
        self.images += 1
        self.faults += [(facts.sample, fault) for fault in facts.faults]
        if facts.without_data is not None:
            self.without_data.append(facts.without_data)
        if facts.size is not None:
            self.sizes[facts.size] += 1
        if facts.color_counts is not None:
            self._color_counts += facts.color_counts
        if facts.kind is not None and facts.size is not None:
            self.kinds[facts.kind] += 1
            self.channel_pixels += facts.size[0] * facts.size[1]
            self.left_out += facts.left_out
        if facts.moments is not None:
            self._moments = facts.moments if self._moments is None else self._moments + facts.moments
        if facts.id_counts:
            self.labels += 1
            self._add_label(facts)
            self.tally.add(facts.sample, facts.id_counts, facts.table)

    def _add_label(self, facts: SampleFacts) -> None:
        found = np.zeros_like(self.pixels)
        for file_id, count in facts.id_counts.items():
            train_id = facts.sample.label_map.get(file_id)
            if train_id is None:
                self.unknown += count
            elif train_id == IGNORE_LABEL:
                self.ignored += count
            else:
                found[train_id] += count
        self.pixels += found
        self.images_with += found > 0
        self.seen_among += np.where(found > 0, found.sum(), 0)

    @property
    def label_pixels(self) -> int:
        """Number of pixels of all labels."""
        return int(self.pixels.sum()) + self.ignored + self.unknown

    def without_data_lines(self) -> list[str]:
        """Returns lines about images with pixels without data, and what to do; none without such images."""
        if not self.without_data:
            return []
        shown, more = self.without_data[:_MOST_NAMED], len(self.without_data) - _MOST_NAMED
        return [
            "Pixels without data are trained on unless the label ignores them, and count in the mean of RGB images:",
            *shown,
            *([f"and {number_of(more, 'image')} more"] if more > 0 else []),
        ]

    @property
    def shares(self) -> np.ndarray:
        """float64 [classes], share of each class in the valid pixels, 0..1; zeros if there are none."""
        return self.pixels / max(1, int(self.pixels.sum()))

    @property
    def ignored_share(self) -> float:
        """Share of the ignored pixels in all label pixels, 0..1."""
        return self.ignored / max(1, self.label_pixels)

    @property
    def left_out_share(self) -> float:
        """Share of the pixels that `color_mean` leaves out in those of images that are not RGB, 0..1."""
        return self.left_out / max(1, self.channel_pixels)

    @property
    def color_mean(self) -> _Color | None:
        """Mean of each colour, 0..255, over all pixels of all images; None without images.

        Of images that are not RGB it is the mean of each channel over the pixels that have data and no ignored label.
        """
        return self._color_moments()[0]

    @property
    def color_deviation(self) -> _Color | None:
        """Standard deviation of each of them over the same pixels."""
        return self._color_moments()[1]

    def _color_moments(self) -> tuple[_Color | None, _Color | None]:
        if self._moments is not None:
            return tuple(self._moments.means.tolist()), tuple(self._moments.deviations.tolist())
        pixels = self._color_counts[0].sum()
        if not pixels:
            return None, None
        mean = self._color_counts @ _LEVELS / pixels
        variance = (self._color_counts * (_LEVELS - mean[:, np.newaxis]) ** 2).sum(axis=1) / pixels
        deviation = np.sqrt(variance)
        return tuple(mean.tolist()), tuple(deviation.tolist())

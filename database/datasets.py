"""One frozen definition per dataset: classes, colours, label ids, mean, splits and how its files are found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from database import classes, layouts, palettes, synthetic
from database.channels import Channels
from database.classes import IGNORE_LABEL
from database.color_masks import ColorTable, color_table
from database.errors import DatasetError
from database.input_range import InputRange
from database.label_maps import UNKNOWN_LABEL, label_lookup, own_label_map
from database.layout_hints import spelling_hint
from database.layouts import Sample
from database.palettes import Palette

__all__ = [
    "IGNORE_LABEL",
    "UNKNOWN_LABEL",
    "Dataset",
    "DatasetError",
    "Sample",
    "custom_dataset",
    "find_samples",
    "get_dataset",
    "label_lookup",
    "overlapping",
]


_CITYSCAPES_MEAN = (72.41519599, 82.93553322, 73.18188461)
_ADE_MEAN = (122.67891434, 116.66876762, 104.00698793)
_CAMVID_MEAN = (105.03319369, 108.40886315, 110.33102643)  # over all pixels of the 367 training images
_IMAGENET_MEAN = (123.68, 116.779, 103.939)


@dataclass(frozen=True)
class Dataset:
    """The properties of a dataset.

    Attributes:
      name: as given on the command line.
      class_names: by training id.
      palette: colour by training id.
      image_mean: RGB, 0..255, subtracted from the images.
      default_dir: the default of data_dir.
      label_map: id in its label files -> training id; 255 = ignored; other ids are errors.
      splits: the names of its splits.
      find: (data_dir, split) -> samples of one of its splits, in a fixed order.
      layout: the expected folders as text for messages.
      expected_ids: the ids, in its label files, of the classes that occur in it; None for all classes.
      colors: maps the colours in its label files to ids; None if the files store only ids.
      ignored_colors: the colours of ignored pixels.
      input_range: the number that is white in its images.
      channels: of its images; None for RGB, for which `image_mean` is used.
    """

    name: str
    class_names: tuple[str, ...]
    palette: Palette
    image_mean: tuple[float, float, float]
    default_dir: str
    label_map: Mapping[int, int]
    splits: tuple[str, ...]
    find: Callable[[str, str], list[Sample]]
    layout: str
    expected_ids: tuple[int, ...] | None = None
    colors: ColorTable | None = None
    ignored_colors: Palette = ()
    input_range: InputRange | None = field(default=None, compare=False)
    channels: Channels | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def expected_classes(self) -> frozenset[int]:
        """Returns the training ids of the classes that its training labels are expected to contain."""
        if self.expected_ids is None:
            return frozenset(range(self.num_classes))
        return frozenset(self.label_map[file_id] for file_id in self.expected_ids)


_CITYSCAPES = Dataset(
    name="Cityscapes",
    class_names=classes.CITYSCAPES_CLASSES,
    palette=palettes.CITYSCAPES,
    image_mean=_CITYSCAPES_MEAN,
    default_dir="./database/cityscapes",
    label_map=classes.CITYSCAPES_LABEL_MAP,
    splits=("train", "val", "test", "train_extra"),
    find=partial(layouts.cityscapes, label_map=classes.CITYSCAPES_LABEL_MAP),
    layout=layouts.CITYSCAPES_LAYOUT,
)

_ADE_LABEL_MAP = {0: IGNORE_LABEL, **{file_id: file_id - 1 for file_id in range(1, 151)}}
_CAMVID_LABEL_MAP = classes.identity_map(11, ignored_id=11)
_SBD_LABEL_MAP = classes.identity_map(21)

_DATASETS = {
    dataset.name: dataset
    for dataset in (
        _CITYSCAPES,
        Dataset(
            name="ADE",
            class_names=classes.ADE_CLASSES,
            palette=palettes.voc_palette(151)[1:],
            image_mean=_ADE_MEAN,
            default_dir="./database/ADEChallengeData2016",
            label_map=_ADE_LABEL_MAP,
            splits=("train", "val", "test"),
            find=partial(layouts.ade, label_map=_ADE_LABEL_MAP),
            layout=layouts.ADE_LAYOUT,
        ),
        Dataset(
            name="SBD",
            class_names=classes.VOC_CLASSES,
            palette=palettes.voc_palette(21),
            image_mean=_ADE_MEAN,
            default_dir="./database/SBD_all",
            label_map=_SBD_LABEL_MAP,
            splits=("train", "val", "test", "trainaug"),
            find=partial(layouts.sbd, label_map=_SBD_LABEL_MAP),
            layout=layouts.SBD_LAYOUT,
        ),
        replace(
            _CITYSCAPES,
            name="KITTI",
            default_dir="./database/kitti_semantics",
            splits=("train", "val", "test"),
            find=partial(layouts.kitti, label_map=classes.CITYSCAPES_LABEL_MAP),
            layout=layouts.KITTI_LAYOUT,
        ),
        Dataset(
            name="CamVid",
            class_names=classes.CAMVID_CLASSES,
            palette=palettes.CAMVID,
            image_mean=_CAMVID_MEAN,
            default_dir="./database/camvid",
            label_map=_CAMVID_LABEL_MAP,
            splits=("train", "val", "test"),
            find=partial(layouts.camvid, label_map=_CAMVID_LABEL_MAP),
            layout=layouts.CAMVID_LAYOUT,
        ),
        # Its scenes show ten of the classes.
        replace(_CITYSCAPES, name="Toy", default_dir="./database/toy", expected_ids=synthetic.CLASS_IDS),
    )
}


# The known datasets whose splits can be chosen, and by which arguments.
_CHOICES = {"ADE": ("list_paths",), "KITTI": ("holdout",)}


def get_dataset(
    name: str, *, list_paths: Mapping[str, str | None] | None = None, holdout: float | None = None
) -> Dataset:
    """Returns the definition of a known dataset.

    Args:
      name: of the dataset.
      list_paths: ADE: list file by split, see `lists.listed`; splits without a list are found by their folders.
      holdout: KITTI: the fraction of the training images, above 0 and below 1, used as val; a fifth by default.

    Raises:
      DatasetError: the name is unknown, or the dataset does not allow that choice.
    """
    if name not in _DATASETS:
        raise DatasetError(f"dataset '{name}' is unknown, expected one of {', '.join(_DATASETS)}")
    choices = {"list_paths": list_paths if any((list_paths or {}).values()) else None, "holdout": holdout}
    given = {choice: value for choice, value in choices.items() if value is not None}
    for choice in given:
        if choice not in _CHOICES.get(name, ()):
            raise DatasetError(f"{name} has fixed splits: {choice} cannot be given")
    dataset = _DATASETS[name]
    return replace(dataset, find=partial(dataset.find, **given)) if given else dataset


def find_samples(dataset: Dataset, data_dir: str, splits: Sequence[str]) -> list[Sample]:
    """Finds the samples of the given splits, one split after the other, each sorted by image path.

    Args:
      dataset: its definition.
      data_dir: the folder that holds the dataset.
      splits: names of splits, such as ("train", "val").

    Raises:
      DatasetError: data_dir is not a folder; a split is unknown or empty; a folder cannot be read or has the name of an
        image; an image lacks its label or a label its image; a list file is missing or malformed or names a file that
        does not exist.
    """
    require_folder(dataset, data_dir)
    samples: list[Sample] = []
    for split in splits:
        require_split(dataset, split)
        samples.extend(dataset.find(data_dir, split))
    return with_decoding(dataset, samples)


def with_decoding(dataset: Dataset, samples: Sequence[Sample]) -> list[Sample]:
    """Returns samples with the settings by which the images and labels of their dataset are decoded."""
    colors, input_range, channels = dataset.colors, dataset.input_range, dataset.channels
    if colors is None and input_range is None and channels is None:
        return list(samples)
    return [replace(sample, colors=colors, input_range=input_range, channels=channels) for sample in samples]


def require_folder(dataset: Dataset, data_dir: str) -> None:
    """Checks that the folder of a dataset exists, whatever it contains.

    Raises:
      DatasetError: it does not exist.
    """
    if not os.path.isdir(data_dir):
        raise DatasetError(
            f"--data_dir {data_dir}: no such folder; {dataset.name} is expected there as "
            f"{dataset.layout} (default: {dataset.default_dir}){spelling_hint(data_dir)}"
        )


def require_split(dataset: Dataset, split: str) -> None:
    """Checks that a dataset has a split, so that the split's name can be part of file names.

    Raises:
      DatasetError: it does not have that split.
    """
    if split not in dataset.splits:
        raise DatasetError(f"{dataset.name} has no split '{split}', only {', '.join(dataset.splits)}")


def overlapping(samples_a: Sequence[Sample], samples_b: Sequence[Sample]) -> list[str]:
    """Returns the sorted image files that are in both, such as validation images among the training images."""
    images_a, images_b = ({os.path.realpath(sample.image) for sample in samples} for samples in (samples_a, samples_b))
    return sorted(images_a & images_b)


def custom_dataset(
    num_classes: int,
    *,
    train_list: str | None = None,
    val_list: str | None = None,
    test_list: str | None = None,
    holdout: float | None = None,
    palette_file: str | None = None,
    ignore_label: int | None = None,
    label_map_file: str | None = None,
    reduce_zero_label: bool = False,
    image_mean: tuple[float, float, float] | None = None,
    channels: Channels | None = None,
) -> Dataset:
    """Builds the definition of a user's own data.

    Args:
      num_classes: 2..254.
      train_list, val_list, test_list: list files, see `lists.listed`. Without any list, images and labels are found by
        their folders, see `own_trees.own_tree`.
      holdout: for data without a val split, the fraction of the training images, above 0 and below 1, used as val.
      palette_file: see `palettes.read_palette`; by default the VOC colours from the second on. With a palette, label
        files may store its colours instead of ids.
      ignore_label: the id (0..65535) of ignored pixels in the label files; by default 255, unless the label map gives
        that id to a class.
      label_map_file: lines `id train_id` or a JSON object {"id": train_id}; a train_id of 255 or `ignore` is ignored;
        every class needs an id. Without the file, the label files store training ids.
      reduce_zero_label: without such a file, whether id 0 is ignored and the classes are the ids from 1 on.
      image_mean: RGB, 0..255; by default ImageNet's.
      channels: of the images; None for RGB.

    Raises:
      DatasetError: num_classes or ignore_label is out of range, ignore_label is one of the classes, or the label map
        file is unreadable or malformed, has no id for a class, or gives the ignored id to a class.
      PaletteError: the palette file is unreadable or malformed.
    """
    if not 2 <= num_classes <= 254:
        raise DatasetError(f"num_classes {num_classes}: expected 2 to 254")
    label_map = own_label_map(num_classes, ignore_label, label_map_file, reduce_zero_label)
    class_names, palette, ignored_colors = _custom_classes(num_classes, palette_file)
    colors = None if palette_file is None else color_table(palette_file, palette, ignored_colors, label_map)
    list_paths = {"train": train_list, "val": val_list, "test": test_list}
    return Dataset(
        name="custom",
        class_names=class_names,
        palette=palette,
        image_mean=_IMAGENET_MEAN if image_mean is None else image_mean,
        default_dir=".",
        label_map=label_map,
        splits=tuple(list_paths),
        find=partial(layouts.custom, label_map=label_map, list_paths=list_paths, holdout=holdout),
        layout=layouts.CUSTOM_LAYOUT,
        colors=colors,
        ignored_colors=ignored_colors,
        channels=channels,
    )


def _custom_classes(num_classes: int, palette_file: str | None) -> tuple[tuple[str, ...], Palette, Palette]:
    """Returns names, colours and ignored colours: the file's, or `palettes.default_classes` and none."""
    class_names, palette = palettes.default_classes(num_classes)
    if palette_file is None:
        return class_names, palette, ()
    of_file = palettes.read_palette(palette_file, num_classes)
    return of_file.class_names or class_names, of_file.palette, of_file.ignored

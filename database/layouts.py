"""Finds the images and labels of each dataset: walks folders, pairs files and holds out validation images."""

from __future__ import annotations

import math
import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from database.channels import Channels
from database.classes import identity_map
from database.color_masks import ColorTable
from database.data_files import files_below
from database.errors import DatasetError
from database.id_lists import VOC_FOLDERS, IdFolders
from database.input_range import InputRange
from database.layout_hints import flat_hint, has_folder_like, layout_hint, whole_hint
from database.lists import AbsentSplitError, Entry, and_more, listed
from database.own_trees import IMAGES_AND_LABELS, OWN_TREES, own_tree
from database.pairing_hints import mixed_hint, rename_hint
from database.sample_names import sample_names

CITYSCAPES_LAYOUT = (
    "leftImg8bit/<split>/<city>/*_leftImg8bit.png with "
    "gtFine/<split>/<city>/*_gtFine_labelIds.png or *_gtFine_labelTrainIds.png"
)
ADE_LAYOUT = (
    "images/{training,validation}/*.jpg with annotations/{training,validation}/*.png, or lists by --train_list, "
    "--val_list, --test_list"
)
SBD_LAYOUT = (
    "list files train.txt, val.txt, test.txt with lines "
    "'/JPEGImages/x.jpg /SegmentationClassAug/x.png', and the files they name"
)
KITTI_LAYOUT = "training/image_2/*.png with training/semantic/*.png, and testing/image_2/*.png"
CAMVID_LAYOUT = "<split>/*.png with <split>annot/*.png, or list files train.txt, val.txt, test.txt"
CUSTOM_LAYOUT = (
    "images/<split>/ with labels/<split>/, mmsegmentation's or VOC's tree, or lists by --train_list, --val_list, "
    "--test_list"
)

_SBD_FOLDERS = VOC_FOLDERS[1:]
NO_LISTS: Mapping[str, str | None] = {}
KITTI_HOLDOUT = 0.2


def shown_holdout(fraction: float | None) -> str:
    """Formats a held-out fraction for messages."""
    return "none" if fraction is None else f"{fraction:g}"


class Contents(NamedTuple):
    """The bytes of a sample's files; None for a file that is read from its path, or that the sample does not have."""

    image: bytes | None = None
    label: bytes | None = None


@dataclass(frozen=True)
class Sample:
    """One image and, except in test splits, its label.

    Attributes:
      name: unique within its split and free of path separators; used for the names of output files.
      image: path of the image file.
      label: path of the label file, or None.
      label_map: id in the label file -> training id; 255 = ignored; other file ids are errors.
      colors: maps the colours in the label file to ids; None without a palette.
      input_range: the number that is white in the image; None for the default.
      channels: of the image; None for RGB.
    """

    name: str
    image: str
    label: str | None
    label_map: Mapping[int, int]
    colors: ColorTable | None = field(default=None, kw_only=True)
    input_range: InputRange | None = field(default=None, kw_only=True, compare=False)
    channels: Channels | None = field(default=None, kw_only=True)

    def contents(self) -> Contents:
        """Returns the bytes of image and label if they are stored elsewhere than in separate files."""
        return Contents()

    def known_size(self) -> tuple[int, int] | None:
        """Returns (height, width) of the image in pixels if it is known without reading the header."""
        return None


def cityscapes(data_dir: str, split: str, label_map: Mapping[int, int]) -> list[Sample]:
    """Finds Cityscapes: labelIds if the split has any, else labelTrainIds; train_extra is coarse, test has no labels.

    Source: https://github.com/mcordts/cityscapesScripts, "Dataset Structure".
    """
    image_folder = os.path.join(data_dir, "leftImg8bit", split)
    images = files_below(image_folder, ("_leftImg8bit.png",))
    pattern = f"{image_folder}/<city>/*_leftImg8bit.png"
    if split == "test":
        place = _Place(data_dir, (f"leftImg8bit/{split}",))
        return _samples(_unlabelled(images), label_map, split, pattern, place)
    annotation = "gtCoarse" if split == "train_extra" else "gtFine"
    label_folder = os.path.join(data_dir, annotation, split)
    labels = files_below(label_folder, (f"_{annotation}_labelIds.png",))
    if not labels:
        labels = files_below(label_folder, (f"_{annotation}_labelTrainIds.png",))
        if labels:
            label_map = identity_map(num_classes=19)
    place = _Place(data_dir, (f"leftImg8bit/{split}", f"{annotation}/{split}"))
    entries = _paired(images, labels, image_folder, label_folder, place)
    return _samples(entries, label_map, split, pattern, place)


def ade(
    data_dir: str, split: str, label_map: Mapping[int, int], list_paths: Mapping[str, str | None] = NO_LISTS
) -> list[Sample]:
    """Finds ADEChallengeData2016: a split by its list file if there is one, else by the folders.

    The test images are in images/testing or release_test/testing.
    """
    list_path = list_paths.get(split)
    if list_path:
        return _samples(listed(list_path, data_dir, split), label_map, split, list_path)
    if split == "test":
        folders = [os.path.join(data_dir, parent, "testing") for parent in ("images", "release_test")]
        images = files_below(folders[0], (".jpg",)) or files_below(folders[1], (".jpg",))
        pattern = " or ".join(f"{folder}/*.jpg" for folder in folders)
        return _samples(_unlabelled(images), label_map, split, pattern, _Place(data_dir, ("images/testing",)))
    folder = {"train": "training", "val": "validation"}[split]
    place = _Place(data_dir, (f"images/{folder}", f"annotations/{folder}"))
    return _folder_pair(place, label_map, split, image_suffixes=(".jpg",))


def sbd(data_dir: str, split: str, label_map: Mapping[int, int]) -> list[Sample]:
    """Finds PASCAL VOC with the labels of SBD by list files; trainaug is the list train_aug.txt."""
    list_path = os.path.join(data_dir, {"trainaug": "train_aug"}.get(split, split) + ".txt")
    try:
        entries = listed(list_path, data_dir, split, id_folders=_SBD_FOLDERS)
    except AbsentSplitError as error:
        raise AbsentSplitError(str(error), _sbd_hint(data_dir, list_path)) from error
    return _samples(entries, label_map, split, list_path)


def _sbd_hint(data_dir: str, list_path: str) -> str:
    """Describes where the list is, or the archive that it is made from."""
    list_of_voc = os.path.join(data_dir, "ImageSets", "Segmentation", os.path.basename(list_path))
    if os.path.isfile(list_of_voc):
        return f"; VOC's is there: cp {shlex.quote(list_of_voc)} {shlex.quote(list_path)}"
    place = layout_hint(data_dir, [part for folders in _SBD_FOLDERS for part in folders])
    archive = layout_hint(data_dir, ["JPEGImages"])
    return place or (f"{archive}, or put it together with SBD by python -m tools.sbd" if archive else "")


def kitti(data_dir: str, split: str, label_map: Mapping[int, int], holdout: float = KITTI_HOLDOUT) -> list[Sample]:
    """Finds KITTI semantics. Its archive defines no validation images: val is held out of the training images."""
    archive_folder = os.path.join(data_dir, "data_semantics")
    root = archive_folder if os.path.isdir(archive_folder) else data_dir
    if split == "test":
        folder = os.path.join(root, "testing", "image_2")
        entries = _unlabelled(files_below(folder, (".png",)))
        return _samples(entries, label_map, split, f"{folder}/*.png", _Place(root, ("testing/image_2",)))
    place = _Place(root, ("training/image_2", "training/semantic"))
    samples = _folder_pair(place, label_map, split)
    return _held_out_or_rest(samples, holdout, split, place.paths[0])


def _held_out_or_rest(samples: Sequence[Sample], holdout: float, split: str, origin: str) -> list[Sample]:
    """Selects a fraction of the training images for val and the others for train, in the order of the samples.

    A fixed permutation decides which images are held out. They are the same in every run, whatever its seed, and a
    larger fraction includes the images of a smaller one.
    """
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    # 1e-9 corrects products such as 10 * 0.3, which may be a rounding error below a whole number.
    held_out = set(order[: max(1, math.floor(len(samples) * holdout + 1e-9))])
    chosen = [sample for index, sample in enumerate(samples) if (index in held_out) == (split == "val")]
    if not chosen:
        raise DatasetError(
            f"split '{split}' is empty: the only image of {origin} is held out for val, expected two or more images"
        )
    return chosen


def camvid(data_dir: str, split: str, label_map: Mapping[int, int]) -> list[Sample]:
    """Finds CamVid in the layout of the SegNet tutorial: by <split>.txt if it exists, else by the folders."""
    list_path = os.path.join(data_dir, f"{split}.txt")
    if os.path.exists(list_path):
        return _samples(listed(list_path, data_dir, split, by_last_parts=True), label_map, split, list_path)
    return _folder_pair(_Place(data_dir, (split, f"{split}annot")), label_map, split)


def custom(
    data_dir: str,
    split: str,
    label_map: Mapping[int, int],
    list_paths: Mapping[str, str | None],
    holdout: float | None = None,
) -> list[Sample]:
    """Finds a user's own data: by list files if any is given, else by the folders of `own_trees.own_tree`.

    With `holdout`, for data without val, a fraction of the training images is val and train is the others.
    """
    if holdout is None or split == "test":
        return _custom_split(data_dir, split, label_map, list_paths)
    validation = _validation_of_own_data(data_dir, list_paths)
    if validation is not None:
        raise DatasetError(
            f"{validation} already defines the validation images, but --holdout is {holdout:g}: drop one of them"
        )
    samples = _custom_split(data_dir, "train", label_map, list_paths)
    origin = list_paths.get("train") or own_tree(data_dir).images_of(data_dir, "train")
    return _held_out_or_rest(samples, holdout, split, origin)


def _validation_of_own_data(data_dir: str, list_paths: Mapping[str, str | None]) -> str | None:
    """Returns the list or the folder of the validation images; None if there is none."""
    if any(list_paths.values()):
        return list_paths.get("val")
    images = own_tree(data_dir).images_of(data_dir, "val")
    return images if os.path.exists(images) else None


def _custom_split(
    data_dir: str, split: str, label_map: Mapping[int, int], list_paths: Mapping[str, str | None]
) -> list[Sample]:
    if any(list_paths.values()):
        list_path = list_paths.get(split)
        if not list_path:
            raise AbsentSplitError(f"split '{split}' has no list file: give one with --{split}_list")
        folders = IdFolders("images", "labels"), IdFolders(f"images/{split}", f"labels/{split}")
        entries = listed(list_path, data_dir, split, id_folders=(*VOC_FOLDERS, *folders))
        return _samples(entries, label_map, split, list_path)
    tree = own_tree(data_dir)
    if tree.id_list is not None:
        list_path = tree.images_of(data_dir, split)
        return _samples(listed(list_path, data_dir, split, id_folders=[VOC_FOLDERS[0]]), label_map, split, list_path)
    advice = "; or hold out a fraction of the training images with --holdout 0.2" if split == "val" else ""
    may_be_flat = tree == IMAGES_AND_LABELS and split != "test"
    place = _Place(data_dir, tree.folders(split), may_be_flat, without_hint=advice)
    if may_be_flat and os.path.isdir(place.paths[0]) and place.mixed_hint():
        raise DatasetError(f"{place.paths[0]}: there is no {place.paths[1]}{place.mixed_hint()}")
    return _folder_pair(place, label_map, split, image_suffixes=None, label_suffixes=None)


class _Place(NamedTuple):
    """The folders where a split is expected: the images' and possibly the labels', below a data_dir.

    Attributes:
      data_dir, folders: the dataset's folder, and the paths of the folders below it.
      may_be_flat: whether users may have put the files there without split folders.
      without_hint: advice if the split is empty and nothing is known of where its files are.
    """

    data_dir: str
    folders: tuple[str, ...]
    may_be_flat: bool = False
    without_hint: str = ""

    @property
    def paths(self) -> list[str]:
        return [os.path.join(self.data_dir, *folder.split("/")) for folder in self.folders]

    def hint(self) -> str:
        """Describes where the folders are instead; the end of a message."""
        here = layout_hint(self.data_dir, self.folders)
        if here or not self.may_be_flat:
            return here
        return self.mixed_hint() or flat_hint(self.data_dir) or _tree_hint(self.data_dir)

    def mixed_hint(self) -> str:
        """Describes how to divide a folder that has both images and labels; empty if there is a folder of labels."""
        has_labels = has_folder_like(self.data_dir, "labels")
        return "" if has_labels else mixed_hint(self.data_dir, os.path.basename(self.folders[0]))


def _tree_hint(data_dir: str) -> str:
    """Describes where a user's data are in another arrangement of folders; the end of a message."""
    others = [] if IMAGES_AND_LABELS.is_in(data_dir) else [tree for tree in OWN_TREES if tree != IMAGES_AND_LABELS]
    return next(filter(None, (whole_hint(data_dir, tree.tops()) for tree in others)), "")


def _folder_pair(
    place: _Place,
    label_map: Mapping[int, int],
    split: str,
    image_suffixes: Sequence[str] | None = (".png",),
    label_suffixes: Sequence[str] | None = (".png",),
) -> list[Sample]:
    """Pairs the images and labels of two folders by relative path; a test split may have no labels.

    Suffixes are as in `files_below`; None selects all image suffixes.
    """
    image_folder, label_folder = place.paths
    images = files_below(image_folder, image_suffixes)
    if split == "test" and not os.path.isdir(label_folder):
        entries = _unlabelled(images)
    else:
        entries = _paired(images, files_below(label_folder, label_suffixes), image_folder, label_folder, place)
    kinds = " with the suffix of an image" if image_suffixes is None else image_suffixes[0]
    return _samples(entries, label_map, split, f"{image_folder}/*{kinds}", place)


def _unlabelled(images: Mapping[str, str]) -> list[Entry]:
    return [Entry(key, path, None) for key, path in images.items()]


def _paired(
    images: Mapping[str, str], labels: Mapping[str, str], image_folder: str, label_folder: str, place: _Place
) -> list[Entry]:
    labels = _by_keys_of_images(labels, images)
    _refuse_lonely(images, labels, f"image without a label in {label_folder}", place, label_folder)
    _refuse_lonely(labels, images, f"label without an image in {image_folder}", place)
    return [Entry(key, path, labels[key]) for key, path in images.items()]


def _by_keys_of_images(labels: Mapping[str, str], images: Mapping[str, str]) -> dict[str, str]:
    """Renames labels to the keys of their images if they differ only in the form of accented letters (NFC, NFD)."""
    if labels.keys() == images.keys():
        return dict(labels)
    lonely = [Counter(map(_normalized, files.keys() - others.keys())) for files, others in
              ((images, labels), (labels, images))]  # fmt: skip
    keys = {_normalized(key): key for key in images.keys() - labels.keys()}

    def partner(key: str) -> str:
        same = _normalized(key)
        return key if key in images or any(count[same] != 1 for count in lonely) else keys[same]

    return {partner(key): path for key, path in labels.items()}


def _normalized(key: str) -> str:
    return unicodedata.normalize("NFC", key)


def _refuse_lonely(
    files: Mapping[str, str], partners: Mapping[str, str], fault: str, place: _Place, renamed_in: str | None = None
) -> None:
    """Raises DatasetError for files without a partner.

    Args:
      files, partners: paths by key.
      fault: text of the message.
      place: of the files.
      renamed_in: folder of the partners, if the message may advise to rename those there.
    """
    lonely = sorted(set(files) - set(partners))
    if not lonely:
        return
    hint = place.hint()
    if renamed_in is not None and not hint:
        others = partners.keys() - files.keys()
        hint = rename_hint(lonely, others, renamed_in, [partners[key] for key in others])
    raise DatasetError(f"{files[lonely[0]]}: {fault}{and_more(len(lonely) - 1)}{hint}")


def _samples(
    entries: Sequence[Entry], label_map: Mapping[int, int], split: str, pattern: str, place: _Place | None = None
) -> list[Sample]:
    """Makes samples, sorted by their images."""
    if not entries:
        hint = "" if place is None else place.hint()
        check = "" if hint else ": check --data_dir and the names of the splits"
        advice = hint or ("" if place is None else place.without_hint)
        raise AbsentSplitError(f"split '{split}' is empty: no images match {pattern}{check}", advice)
    ordered = sorted(entries, key=lambda entry: entry.image)
    return [
        Sample(name, entry.image, entry.label, label_map)
        for name, entry in zip(sample_names(ordered), ordered, strict=True)
    ]

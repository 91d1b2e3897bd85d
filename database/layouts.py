"""Where each dataset keeps its images and labels: walking of folders, pairing, holding out."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from database.classes import identity_map
from database.color_masks import ColorTable
from database.folders import walked
from database.input_range import InputRange
from database.lists import AbsentSplitError, DatasetError, Entry, and_more, listed

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

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
CUSTOM_LAYOUT = "images/<split>/ with labels/<split>/, or lists by --train_list, --val_list, --test_list"

NO_LISTS: Mapping[str, str | None] = {}
KITTI_HOLDOUT = 0.2


def shown_holdout(fraction: float | None) -> str:
    """A held-out fraction in messages."""
    return "none" if fraction is None else f"{fraction:g}"


class Contents(NamedTuple):
    """The bytes of a sample's files; None for a file that is to be opened by its path, or that the sample lacks."""

    image: bytes | None = None
    label: bytes | None = None


@dataclass(frozen=True)
class Sample:
    """One image and, except in test splits, its label.

    Attributes:
      name: unique within its split and free of path separators; for the names of output files.
      image: path of the image file.
      label: path of the label file, or None.
      label_map: id in the label file -> training id; 255 = ignored; a file id that is absent is a fault.
      colors: the ids that colours in the label file stand for, None where a palette does not tell them.
      input_range: which number is white in the image, None for the usual one.
    """

    name: str
    image: str
    label: str | None
    label_map: Mapping[int, int]
    colors: ColorTable | None = field(default=None, kw_only=True)
    input_range: InputRange | None = field(default=None, kw_only=True, compare=False)

    def contents(self) -> Contents:
        """Image and label, where they are kept in another place than files of their own."""
        return Contents()

    def known_size(self) -> tuple[int, int] | None:
        """(height, width) of the image in pixels, where that is known without its header."""
        return None


def cityscapes(data_dir: str, split: str, label_map: Mapping[int, int]) -> list[Sample]:
    """Cityscapes: labelIds where the split has any, else labelTrainIds; train_extra is coarse, test has none.

    Source: https://github.com/mcordts/cityscapesScripts, "Dataset Structure".
    """
    image_folder = os.path.join(data_dir, "leftImg8bit", split)
    images = _files_below(image_folder, ("_leftImg8bit.png",))
    if split == "test":
        return _samples(_unlabelled(images), label_map, split, f"{image_folder}/<city>/*_leftImg8bit.png")
    annotation = "gtCoarse" if split == "train_extra" else "gtFine"
    label_folder = os.path.join(data_dir, annotation, split)
    labels = _files_below(label_folder, (f"_{annotation}_labelIds.png",))
    if not labels:
        labels = _files_below(label_folder, (f"_{annotation}_labelTrainIds.png",))
        if labels:
            label_map = identity_map(num_classes=19)
    entries = _paired(images, labels, image_folder, label_folder)
    return _samples(entries, label_map, split, f"{image_folder}/<city>/*_leftImg8bit.png")


def ade(
    data_dir: str, split: str, label_map: Mapping[int, int], list_paths: Mapping[str, str | None] = NO_LISTS
) -> list[Sample]:
    """ADEChallengeData2016: a split by its list file where one is given, else by the folders.

    The test images lie in images/testing or release_test/testing.
    """
    list_path = list_paths.get(split)
    if list_path:
        return _samples(listed(list_path, data_dir, split), label_map, split, list_path)
    if split == "test":
        folders = [os.path.join(data_dir, parent, "testing") for parent in ("images", "release_test")]
        images = _files_below(folders[0], (".jpg",)) or _files_below(folders[1], (".jpg",))
        looked_at = " or ".join(f"{folder}/*.jpg" for folder in folders)
        return _samples(_unlabelled(images), label_map, split, looked_at)
    folder = {"train": "training", "val": "validation"}[split]
    label_folder = os.path.join(data_dir, "annotations", folder)
    return _folder_pair(
        os.path.join(data_dir, "images", folder), label_folder, label_map, split, image_suffixes=(".jpg",)
    )


def sbd(data_dir: str, split: str, label_map: Mapping[int, int]) -> list[Sample]:
    """PASCAL VOC with the labels of SBD, by list files; trainaug is the list train_aug.txt."""
    list_path = os.path.join(data_dir, {"trainaug": "train_aug"}.get(split, split) + ".txt")
    return _samples(listed(list_path, data_dir, split), label_map, split, list_path)


def kitti(data_dir: str, split: str, label_map: Mapping[int, int], holdout: float = KITTI_HOLDOUT) -> list[Sample]:
    """KITTI semantics, whose archive names no validation images: val is held out of the training images."""
    archive_folder = os.path.join(data_dir, "data_semantics")
    root = archive_folder if os.path.isdir(archive_folder) else data_dir
    if split == "test":
        folder = os.path.join(root, "testing", "image_2")
        return _samples(_unlabelled(_files_below(folder, (".png",))), label_map, split, f"{folder}/*.png")
    image_folder = os.path.join(root, "training", "image_2")
    samples = _folder_pair(image_folder, os.path.join(root, "training", "semantic"), label_map, split)
    return _held_out_or_rest(samples, holdout, split, image_folder)


def _held_out_or_rest(samples: Sequence[Sample], holdout: float, split: str, origin: str) -> list[Sample]:
    """For val, a fraction of the training images; for train, the others; both in the order of the samples.

    Which are held out is a fixed permutation's choice: the same in every run, whatever its seed, and those of a
    smaller fraction are among those of a larger one.
    """
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    # 1e-9 makes up for products such as 10 * 0.3, which may lie a rounding error below a whole number.
    held_out = set(order[: max(1, math.floor(len(samples) * holdout + 1e-9))])
    chosen = [sample for index, sample in enumerate(samples) if (index in held_out) == (split == "val")]
    if not chosen:
        raise DatasetError(
            f"split '{split}' is empty: the only image of {origin} is held out for val; expected two or more"
        )
    return chosen


def camvid(data_dir: str, split: str, label_map: Mapping[int, int]) -> list[Sample]:
    """CamVid as the SegNet tutorial lays it out: by <split>.txt where there is one, else by the folders."""
    list_path = os.path.join(data_dir, f"{split}.txt")
    if os.path.exists(list_path):
        return _samples(listed(list_path, data_dir, split, by_last_parts=True), label_map, split, list_path)
    label_folder = os.path.join(data_dir, f"{split}annot")
    return _folder_pair(os.path.join(data_dir, split), label_folder, label_map, split)


def custom(
    data_dir: str,
    split: str,
    label_map: Mapping[int, int],
    list_paths: Mapping[str, str | None],
    holdout: float | None = None,
) -> list[Sample]:
    """A user's own data: by list files where any is given, else by images/<split>/ and labels/<split>/.

    With `holdout`, for data without a val, that is a fraction of the training images, and train is the others.
    """
    if holdout is None or split == "test":
        return _custom_split(data_dir, split, label_map, list_paths)
    validation = _validation_of_own_data(data_dir, list_paths)
    if validation is not None:
        raise DatasetError(
            f"{validation}: has the validation images, and --holdout {holdout:g} means others: drop one of them"
        )
    samples = _custom_split(data_dir, "train", label_map, list_paths)
    origin = list_paths.get("train") or os.path.join(data_dir, "images", "train")
    return _held_out_or_rest(samples, holdout, split, origin)


def _validation_of_own_data(data_dir: str, list_paths: Mapping[str, str | None]) -> str | None:
    """The list or the folder of validation images, None if there is none."""
    if any(list_paths.values()):
        return list_paths.get("val")
    image_folder = os.path.join(data_dir, "images", "val")
    return image_folder if os.path.exists(image_folder) else None


def _custom_split(
    data_dir: str, split: str, label_map: Mapping[int, int], list_paths: Mapping[str, str | None]
) -> list[Sample]:
    if any(list_paths.values()):
        list_path = list_paths.get(split)
        if not list_path:
            raise AbsentSplitError(f"split '{split}' has no list file: give one with --{split}_list")
        return _samples(listed(list_path, data_dir, split), label_map, split, list_path)
    label_folder = os.path.join(data_dir, "labels", split)
    return _folder_pair(
        os.path.join(data_dir, "images", split),
        label_folder,
        label_map,
        split,
        image_suffixes=IMAGE_SUFFIXES,
        label_suffixes=IMAGE_SUFFIXES,
    )


def _folder_pair(
    image_folder: str,
    label_folder: str,
    label_map: Mapping[int, int],
    split: str,
    image_suffixes: Sequence[str] = (".png",),
    label_suffixes: Sequence[str] = (".png",),
) -> list[Sample]:
    """The images and labels of two folders, paired by relative path; a test split may have no labels."""
    images = _files_below(image_folder, image_suffixes)
    if split == "test" and not os.path.isdir(label_folder):
        entries = _unlabelled(images)
    else:
        entries = _paired(images, _files_below(label_folder, label_suffixes), image_folder, label_folder)
    kinds = image_suffixes[0] if len(image_suffixes) == 1 else f"{{{','.join(image_suffixes)}}}"
    return _samples(entries, label_map, split, f"{image_folder}/*{kinds}")


def _files_below(folder: str, suffixes: Sequence[str]) -> dict[str, str]:
    """Relative path without suffix -> path, of the visible files below a folder with one of the suffixes."""
    found: dict[str, str] = {}
    for parent, folder_names, names in walked(folder, _refuse_unreadable, _refuse_loop):
        for name in sorted([*names, *folder_names]):
            suffix = next((end for end in suffixes if name.lower().endswith(end.lower())), None)
            if suffix is None or name.startswith("."):
                continue
            path = os.path.join(parent, name)
            if name in folder_names:
                raise DatasetError(f"{path}: a folder, by its name expected to be a file; rename or remove it")
            key = os.path.relpath(path, folder)[: -len(suffix)].replace(os.sep, "/")
            if key in found:
                raise DatasetError(f"{path}: the same name as {found[key]} but for the suffix; keep one")
            found[key] = path
    return found


def _refuse_unreadable(error: OSError) -> None:
    """Called while folders are walked; one that does not exist holds no files."""
    if not isinstance(error, FileNotFoundError):
        raise DatasetError(f"{error.filename}: folder cannot be read ({error.strerror})") from error


def _refuse_loop(path: str) -> None:
    raise DatasetError(
        f"{path}: a link to a folder that it lies in, whose files would be found again and again; remove it"
    )


def _unlabelled(images: Mapping[str, str]) -> list[Entry]:
    return [Entry(key, path, None) for key, path in images.items()]


def _paired(images: Mapping[str, str], labels: Mapping[str, str], image_folder: str, label_folder: str) -> list[Entry]:
    _refuse_lonely(images, labels, f"image without a label in {label_folder}")
    _refuse_lonely(labels, images, f"label without an image in {image_folder}")
    return [Entry(key, path, labels[key]) for key, path in images.items()]


def _refuse_lonely(files: Mapping[str, str], partners: Mapping[str, str], fault: str) -> None:
    lonely = sorted(set(files) - set(partners))
    if lonely:
        raise DatasetError(f"{files[lonely[0]]}: {fault}{and_more(len(lonely) - 1)}")


def _samples(entries: Sequence[Entry], label_map: Mapping[int, int], split: str, looked_at: str) -> list[Sample]:
    """Samples in the order of their images, named by stem, or by whole relative path where stems clash."""
    if not entries:
        raise AbsentSplitError(
            f"split '{split}' is empty: no images by {looked_at}: check --data_dir and the splits asked for"
        )
    ordered = sorted(entries, key=lambda entry: entry.image)
    stems = Counter(os.path.basename(entry.key) for entry in ordered)
    whole = Counter(entry.key for entry in ordered)
    samples = []
    for entry in ordered:
        name = os.path.basename(entry.key)
        if stems[name] > 1:
            suffix = os.path.splitext(entry.image)[1].replace(".", "_") if whole[entry.key] > 1 else ""
            name = entry.key.replace("/", "__") + suffix
        samples.append(Sample(name, entry.image, entry.label, label_map))
    return samples

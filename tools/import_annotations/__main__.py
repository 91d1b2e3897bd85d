"""Turns polygons and masks of labelme, COCO or CVAT into images and label files for --database custom.

python -m tools.import_annotations --format coco --annotations instances.json --images photos --out mine

Each run writes one split: images/<split>, labels/<split>, and palette.txt with the classes. A later run into the same
folder writes another split with the same classes.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import argparse
import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence

from database.counts import and_of, number_of
from tools.console import run_script, set_up_logging
from tools.errors import AnnotationError, FlagError
from tools.flags.parsing import OneLineParser, one_of
from tools.flags.values import file_path
from tools.import_annotations.annotated import Annotations
from tools.import_annotations.class_ids import (
    IGNORE,
    ClassIds,
    found_classes,
    palette_path,
    read_classes,
    refuse_unknown_labels,
)
from tools.import_annotations.coco import read_coco
from tools.import_annotations.cvat import read_cvat
from tools.import_annotations.formats import other_format_hint
from tools.import_annotations.labelme import read_labelme
from tools.import_annotations.writing import find_sources, log_unused, refuse_other_contents, write_split

logger = logging.getLogger(__name__)

FORMATS = ("labelme", "coco", "cvat", "voc")
_SPLITS = ("train", "val", "test")
_CROWDS = (IGNORE, "class")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(
        prog="python -m tools.import_annotations",
        description="Turn polygons and masks of annotation tools into label files.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--format",
        required=True,
        type=one_of("format", FORMATS),
        metavar="{labelme,coco,cvat,voc}",
        help="program or dataset whose files these are; voc imports nothing and says how to use VOC's label files",
    )
    add("--annotations", required=True, type=file_path, help="file, or labelme's folder of files")
    add("--images", required=True, type=file_path, help="folder of the images")
    add("--out", required=True, type=file_path, help="folder to write")
    add("--split", default="train", type=one_of("split", _SPLITS), help="train, val or test (default: %(default)s)")
    add(
        "--background",
        default="background",
        help=f"class of pixels of no instance, or {IGNORE} (default: %(default)s)",
    )
    add(
        "--palette",
        type=file_path,
        help="file with a line 'R G B name' per class, in the order of the ids (default: the classes of the "
        "annotations in VOC's colours)",
    )
    add("--crowd", type=one_of("crowd", _CROWDS), help="coco: what iscrowd is, ignore or class (default: ignore)")
    add("--subset", help="cvat: the subset to import")
    options = parser.parse_args(list(arguments))
    for name, only in (("crowd", "coco"), ("subset", "cvat")):
        if getattr(options, name) is not None and options.format != only:
            raise FlagError(f"--{name} is only used with --format {only}, but --format is {options.format}: drop it")
    options.background = " ".join(options.background.split())
    if not options.background:
        raise FlagError(f"--background is empty, expected the name of a class or {IGNORE}")
    return options


def _refuse_voc(path: str) -> None:
    """Rejects the XML of Pascal VOC, and a tree of VOC, which needs no import."""
    tree = path if os.path.isdir(os.path.join(path, "SegmentationClass")) else None
    if tree is not None:
        raise AnnotationError(
            f"{path}: SegmentationClass has label files already: use the folder itself, with --database custom "
            f"--data_dir {shlex.quote(tree)}"
        )
    raise AnnotationError(
        f"{path}: Pascal VOC's XML has boxes for detection, but no outlines: use its folder with JPEGImages, "
        "SegmentationClass and ImageSets/Segmentation, with --database custom --data_dir"
    )


def _read(options: argparse.Namespace) -> Annotations:
    path = options.annotations
    if options.format == "voc":
        _refuse_voc(path)
    if not os.path.isdir(options.images):
        raise AnnotationError(f"--images {options.images}: no such folder")
    if options.format == "labelme":
        return read_labelme(path)
    return read_cvat(path, options.subset) if options.format == "cvat" else read_coco(path, options.crowd != "class")


def _classes(options: argparse.Namespace, annotations: Annotations) -> ClassIds:
    """Returns the classes of earlier imports into the folder, of --palette, or of the annotations."""
    written, given = palette_path(options.out), options.palette
    earlier = read_classes(written, options.background) if os.path.exists(written) else None
    if given is None and earlier is None:
        return found_classes(annotations, options.background)
    classes = earlier if given is None else read_classes(given, options.background)
    if classes is None or (
        earlier is not None and (classes.names, classes.palette) != (earlier.names, earlier.palette)
    ):
        raise AnnotationError(
            f"--palette {given}: the classes differ from those of earlier imports, in {written}: drop it"
        )
    refuse_unknown_labels(annotations, classes, given or written)
    return classes


def _log_result(options: argparse.Namespace, classes: ClassIds, occurrences: Counter[int], num_images: int) -> None:
    rows = [f"{index} {name}: {occurrences[index]}" for index, name in enumerate(classes.names)]
    logger.info("images with each class: %s", ", ".join(rows))
    logger.info("wrote %s of split %s to %s", number_of(num_images, "image"), options.split, options.out)
    folder = shlex.quote(options.out)
    logger.info(
        "check them: python -m tools.check_dataset --database custom --data_dir %s --num_classes %d --palette %s",
        folder,
        len(classes.names),
        shlex.quote(palette_path(options.out)),
    )


def _log_empty(annotations: Annotations, background: str) -> None:
    """Logs which listed images have no annotation, because all their pixels become background."""
    empty = [image.names[0] for image in annotations.images if not image.instances]
    if empty:
        pixels = "ignored" if background == IGNORE else f"'{background}'"
        logger.info(
            "%s%s: no annotation, so all pixels are %s; take images that are not annotated yet out of the annotations",
            empty[0],
            and_of(len(empty) - 1, "image"),
            pixels,
        )


def main(arguments: Sequence[str]) -> None:
    """Reads annotations and writes a split."""
    options = _parse(arguments)
    if options.format != "voc":
        refuse_other_contents(options.out, options.split)
    try:
        annotations = _read(options)
    except AnnotationError as error:
        raise AnnotationError(f"{error}{other_format_hint(options.annotations, options.format)}") from error
    _log_empty(annotations, options.background)
    sources = find_sources(annotations.images, options.images)
    classes = _classes(options, annotations)
    log_unused(sources, options.images)
    occurrences = write_split(sources, classes, options.out, options.split)
    _log_result(options, classes, occurrences, len(sources))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))

"""Recognizes what a faulty list file looks like, and advises: ends of messages, empty if nothing is known."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence

from database.folders import is_folder
from database.image_suffixes import has_image_suffix

# Names of columns in the header of a list, without punctuation.
_HEADERS = re.compile(
    r"(input|output|image|img|picture|rgb|label|mask|annotation|annot|target|gt|seg|segmentation|file|id)?"
    r"(s|id|ids|file|files|name|names|filename|filenames|path|paths|map|maps)?"
)
# Words in the paths of images, and in the paths of labels.
_OF_IMAGES = re.compile("images?|imgs?|jpegimages|rgb|leftimg")
_OF_LABELS = re.compile(
    "labels?|labelids|labeltrainids|masks?|annotations?|annots?|(train|val|test)annot|gt(fine|coarse)?|seg|segmentation|"
    "segmentationclass(aug)?"
)
_JPEG = (".jpg", ".jpeg")

_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_LATE_COMMENT = re.compile(r"\s#")
_OTHER_BLANK = re.compile(r"[^\S \t]")  # white space that is part of paths, such as no-break spaces
_LONGEST_SHOWN = 300


def hint_for_line(text: str, line: str, fields: Sequence[str]) -> str:
    """Describes what the list looks like, judged by its faulty line.

    Args:
      text: the whole list.
      line: the faulty line.
      fields: the paths found in it.
    """
    if text.lstrip()[:1] in ("{", "["):
        return _json_hint(text)
    if _LATE_COMMENT.search(line):
        return "; put the comment on another line"
    blank = _blank_behind_image(fields)
    if blank is not None:
        bytes_of_blank = "".join(f"\\x{byte:02X}" for byte in blank.encode())
        name = unicodedata.name(blank, "a control character").lower()
        return (
            f"; the white space after the image ({name}, U+{ord(blank):04X}) does not separate paths: put a tab in its "
            f"place, e.g. by sed 's/{bytes_of_blank}/\\t/'"
        )
    separator = next((mark for mark in (";", "|", ",") if mark in line), None)
    if separator is not None:
        return (
            f"; this looks like a CSV file: remove its header, and put a tab in place of '{separator}', e.g. by sed "
            f"""'s/"//g; s/ *{separator} */\\t/'"""
        )
    if '"' in line or line.startswith("'"):
        return "; the paths are in quotes: remove these, and separate image and label by one tab"
    if "\\ " in line:
        return (
            "; the spaces are escaped as in a shell: remove the backslashes, and separate image and label by one "
            r"tab, e.g. by sed 's/\([^\]\) /\1\t/; s/\\ / /g'"
        )
    if "\\" in line or _WINDOWS_DRIVE.match(line):
        return r"; these look like paths of Windows: put / in place of \, e.g. by sed 's,\\,/,g', and remove the drive"
    if len(fields) == 2 and fields[1] in ("-1", "0", "1"):
        return "; this looks like a list of VOC's ImageSets/Main, for classification: use ImageSets/Segmentation"
    return ""


def _blank_behind_image(fields: Sequence[str]) -> str | None:
    """Returns the first white space in a path, other than space and tab, that follows the name of an image."""
    for field in fields:
        found = _OTHER_BLANK.search(field)
        if found and has_image_suffix(field[: found.start()]):
            return found.group()
    return None


def header_hint(number: int, fields: Sequence[str]) -> str:
    """Advises on the first line of a list if it is a header: the end of a message, else empty.

    Args:
      number: number of the line.
      fields: the fields found in it.
    """
    words = [re.sub("[ _-]", "", field.lower()) for field in fields]
    if not all(word and _HEADERS.fullmatch(word) for word in words):
        return ""
    return f"; this looks like a header: remove the line, e.g. by sed '{number}d'"


def columns_named_swapped(rows: Sequence[Sequence[str]]) -> bool:
    """Returns whether all first paths of a list are named like labels, and all second paths like images.

    Args:
      rows: the paths of each line, one or two.
    """
    return _all_pairs(rows) and all(
        _speaks_of(first, _OF_LABELS, _OF_IMAGES) and _speaks_of(second, _OF_IMAGES, _OF_LABELS)
        for first, second in rows
    )


def labels_are_jpeg(rows: Sequence[Sequence[str]]) -> bool:
    """Returns whether all second paths of a list, and no first path, are JPEG files, which do not preserve ids."""
    return _all_pairs(rows) and all(
        second.lower().endswith(_JPEG) and not first.lower().endswith(_JPEG) for first, second in rows
    )


def _all_pairs(rows: Sequence[Sequence[str]]) -> bool:
    return bool(rows) and all(len(paths) == 2 for paths in rows)


def _speaks_of(path: str, words: re.Pattern[str], not_of: re.Pattern[str]) -> bool:
    found = re.split("[^a-z]+", path.lower())
    return any(map(words.fullmatch, found)) and not any(map(not_of.fullmatch, found))


def _json_hint(text: str) -> str:
    if '"fpath_img"' in text:
        return "; this looks like CSAILVision's .odgt: give its name that suffix"
    if '"images"' in text and '"annotations"' in text:
        return (
            "; this looks like COCO's JSON: write its annotations as PNG masks of ids, e.g. with pycocotools, and a "
            "list of lines 'image label'"
        )
    return "; this looks like JSON: write lines 'image label'"


def hint_for_missing(path: str, data_dir: str, list_path: str) -> str:
    """Finds a missing file of a list in another folder, and names the --data_dir to give."""
    if not path.strip("/"):
        return ""
    inside = sorted(entry.path for entry in os.scandir(data_dir) if is_folder(entry)) if os.path.isdir(data_dir) else []
    for folder in (os.path.dirname(os.path.abspath(data_dir)), os.path.dirname(list_path) or ".", ".", *inside):
        if os.path.isfile(os.path.join(folder, path.lstrip("/"))):
            return f"; it is in {folder[:_LONGEST_SHOWN]}: give that as --data_dir"
    return ""

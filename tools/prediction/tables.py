"""Scores as text, Markdown and JSON."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from database.atomic import text_written_atomically
from database.counts import and_of
from tools.errors import TablesError
from tools.prediction.metrics import Scores, classes_never_hit, only_predicted_class
from tools.prediction.score_sections import ScoreSection
from tools.runtime.printable import printable

logger = logging.getLogger(__name__)

_COLUMNS = ("class", "IoU %", "Dice %", "accuracy %")
_MOST_NAMED = 5


# What helps classes that are never hit: the advice, by the flag of training that it is about.
_WAYS_TO_LEARN = {
    "class_weights": "with --class_weights median_freq",
    "class_crops": "with --class_crops 0.5",
    "train_image_size": "with a larger --train_image_size",
}
# Ways that a run on whole images does not have.
_WAYS_OF_CROPS = ("class_crops", "train_image_size")
# After fewer steps, a class without a correct pixel says nothing about the training.
_FEWEST_STEPS = 100


def warn_of_missed_classes(
    scores: Scores, class_names: Sequence[str], flags: Mapping[str, Any] | None = None, step: int | None = None
) -> None:
    """Logs one warning about classes that the network has not learned, which small trainings end with.

    They are all classes but one if every scored pixel was predicted as the same class; otherwise the classes that occur
    in the labels, but of which no pixel was predicted correctly.

    Args:
      scores: of the labels.
      class_names: one name per class.
      flags: of the training; ways that it used already are not advised.
      step: number of steps of the training; None if unknown. There is no warning after few steps.
    """
    if step is not None and step < _FEWEST_STEPS:
        return
    index = only_predicted_class(scores)
    if index is not None:
        logger.warning(
            "every scored pixel was predicted as '%s': the network has not learned the other classes; train longer, "
            "with a larger --batch_size, or with another --lrn_rate (docs/own-data.md)",
            class_names[index],
        )
        return
    missed = [f"'{class_names[index]}'" for index in classes_never_hit(scores)]
    if missed:
        more = and_of(max(0, len(missed) - _MOST_NAMED), "class", "classes")
        logger.warning(
            "in the labels, but never predicted correctly (IoU 0): %s%s; %s (docs/own-data.md)",
            ", ".join(missed[:_MOST_NAMED]),
            more,
            _advice(flags or {}),
        )


def _advice(flags: Mapping[str, Any]) -> str:
    """Lists the ways to learn rare classes that a training has not used yet."""
    used = {name for name in ("class_weights", "class_crops") if flags.get(name)}
    unfit = _WAYS_OF_CROPS if flags.get("dynamic_size") else ()
    left = [way for name, way in _WAYS_TO_LEARN.items() if name not in used and name not in unfit]
    ways = ["train longer", *left]
    return f"{', '.join(ways[:-1])}, or {ways[-1]}" if left else ways[0]


def text_table(scores: Scores, class_names: Sequence[str], sections: Sequence[ScoreSection] = ()) -> str:
    """Formats scores in aligned columns: one line per class, then the scores of the whole set, then the sections.

    Args:
      scores: the scores to show.
      class_names: one name per class, in the order of the class ids.
      sections: further scores.

    Returns:
      Lines ending in a newline; percentages with 2 decimals, `n/a` where there is none.

    Raises:
      TablesError: there are more or fewer names than classes.
    """
    tables: list[list[Sequence[str]]] = [
        [_COLUMNS, *_class_rows(scores, class_names)],
        [*_summary_rows(scores)],
        *map(_section_rows, sections),
    ]
    return "\n".join(map(_aligned, tables))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows in columns, the first aligned left and the others right, each ending in a newline."""
    first, *others = ([len(cell) for cell in column] for column in zip(*rows, strict=True))
    widths = [max(lengths) for lengths in others]
    return "".join(
        "  ".join([f"{name:<{max(first)}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])
        + "\n"
        for name, *cells in rows
    )


def markdown_table(scores: Scores, class_names: Sequence[str], sections: Sequence[ScoreSection] = ()) -> str:
    """Formats scores as Markdown tables: the classes, the whole set, and the sections; see `text_table`."""
    summary: list[Sequence[str]] = [("whole set", "value"), *_summary_rows(scores)]
    tables: list[list[Sequence[str]]] = [
        [_COLUMNS, *_class_rows(scores, class_names)],
        [*summary],
        *map(_section_rows, sections),
    ]
    return "\n".join(map(_markdown, tables))


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows, the first of which is the heading, as a Markdown table."""
    heading, *others = rows
    lines = [markdown_row(heading), "| :--- |" + " ---: |" * (len(heading) - 1), *map(markdown_row, others)]
    return "\n".join(lines) + "\n"


def _section_rows(section: ScoreSection) -> list[Sequence[str]]:
    """Formats the heading, the rows and the means of a section."""
    rows = [(printable(name), *map(percent, row)) for name, row in section.rows.items()]
    return [(section.noun, *section.columns.values()), *rows, ("mean", *map(percent, section.means))]


def to_json_dict(scores: Scores, class_names: Sequence[str], sections: Sequence[ScoreSection] = ()) -> dict[str, Any]:
    """Converts scores to JSON values, without NaN.

    Args:
      scores: the scores to convert.
      class_names: one name per class, in the order of the class ids.
      sections: further scores.

    Returns:
      `mean_iou`, `mean_dice`, `mean_accuracy`, `pixel_accuracy`, `overall_score` and `frequency_weighted_iou` as
      fractions 0..1, `pixels` and `images` as counts, and `classes`, a list of `name`, `iou`, `dice` and `accuracy`
      (fractions too); `loss` if it was computed; then each section by its key. A score that is undefined is None.

    Raises:
      TablesError: there are more or fewer names than classes.
    """
    _check_names(scores, class_names)
    return {
        "mean_iou": _json_value(scores.mean_iou),
        "mean_dice": _json_value(scores.mean_dice),
        "mean_accuracy": _json_value(scores.mean_accuracy),
        "pixel_accuracy": _json_value(scores.pixel_accuracy),
        "overall_score": _json_value(scores.overall_score),
        "frequency_weighted_iou": _json_value(scores.frequency_weighted_iou),
        "pixels": scores.pixels,
        "images": scores.images,
        "classes": [
            {"name": name, "iou": iou, "dice": dice, "accuracy": accuracy}
            for name, iou, dice, accuracy in zip(class_names, scores.iou, scores.dice, scores.accuracy, strict=True)
        ],
        **({} if scores.loss is None else {"loss": scores.loss}),
        **{section.key: _json_value(section.to_json()) for section in sections},
    }


def write_tables(
    scores: Scores,
    class_names: Sequence[str],
    folder: str,
    stem: str = "scores",
    header: Mapping[str, Any] | None = None,
    sections: Sequence[ScoreSection] = (),
) -> list[str]:
    """Writes the scores as stem.txt, stem.md and stem.json, each atomically.

    The JSON file is written last: if it exists, all three exist.

    Args:
      scores: the scores to write.
      class_names: one name per class, in the order of the class ids.
      folder: where to write; created if missing.
      stem: file name without suffix.
      header: facts about the run, such as checkpoint and step: at the top of the text and the Markdown, and as
        `run` in the JSON.
      sections: further scores.

    Returns:
      The paths of the text, JSON and Markdown files.

    Raises:
      TablesError: there are more or fewer names than classes, or a file cannot be written.
    """
    contents = _contents(scores, class_names, dict(header or {}), sections)
    paths = {ending: os.path.join(folder, f"{stem}.{ending}") for ending in contents}
    for ending in ("txt", "md", "json"):
        write_text(paths[ending], contents[ending])
    return list(paths.values())


def _contents(
    scores: Scores, class_names: Sequence[str], facts: Mapping[str, Any], sections: Sequence[ScoreSection]
) -> dict[str, str]:
    """Formats the files of scores, by the ending of their names; see `write_tables`."""
    text = "".join(f"{key}: {value}\n" for key, value in facts.items())
    markdown = "".join(f"- {key}: {value}\n" for key, value in facts.items())
    gap = "\n" if facts else ""
    return {
        "txt": text + gap + text_table(scores, class_names, sections),
        "json": json.dumps(
            {"run": _json_value(facts), **to_json_dict(scores, class_names, sections)},
            indent=2,
            ensure_ascii=False,
            allow_nan=False,
        )
        + "\n",
        "md": markdown + gap + markdown_table(scores, class_names, sections),
    }


def _check_names(scores: Scores, class_names: Sequence[str]) -> None:
    if len(class_names) != len(scores.iou):
        raise TablesError(
            f"{len(class_names)} class names for scores of {len(scores.iou)} classes: expected "
            "one name per class; pass the names of the dataset that was evaluated"
        )


def _class_rows(scores: Scores, class_names: Sequence[str]) -> list[tuple[str, ...]]:
    _check_names(scores, class_names)
    return [
        (printable(name), *map(percent, values))
        for name, *values in zip(class_names, scores.iou, scores.dice, scores.accuracy, strict=True)
    ]


def _summary_rows(scores: Scores) -> list[tuple[str, str]]:
    return [
        ("mIoU %", percent(scores.mean_iou)),
        ("mean Dice %", percent(scores.mean_dice)),
        ("mean accuracy %", percent(scores.mean_accuracy)),
        ("pixel accuracy %", percent(scores.pixel_accuracy)),
        ("overall score %", percent(scores.overall_score)),
        ("frequency weighted IoU %", percent(scores.frequency_weighted_iou)),
        *([] if scores.loss is None else [("cross-entropy", f"{scores.loss:.4f}")]),
        ("images", str(scores.images)),
        ("valid pixels", str(scores.pixels)),
    ]


def is_fraction_or_none(value: Any) -> bool:
    """Returns whether a value read from JSON is a score: None, or a number in 0..1."""
    return value is None or (type(value) in (int, float) and 0 <= value <= 1)


def percent(fraction: float | None) -> str:
    """Formats a fraction as a percentage with 2 decimals, None and nan as `n/a`."""
    return "n/a" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.2f}"


def markdown_row(cells: Sequence[str]) -> str:
    """Formats one row of a Markdown table; bars and asterisks, as in a sum of losses, are escaped."""
    return "| " + " | ".join(re.sub(r"[|*]", r"\\\g<0>", printable(cell)) for cell in cells) + " |"


def _json_value(value: Any) -> Any:
    """Converts a value to JSON types; nan and infinity become None, unknown types their text."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def write_text(path: str, content: str) -> None:
    """Writes a text file atomically; creates its folder if missing.

    Raises:
      TablesError: the file cannot be written.
    """
    try:
        # Names of files may contain bytes that are not UTF-8.
        with text_written_atomically(path, newline="\n", errors="backslashreplace") as file:
            file.write(content)
    except OSError as error:
        raise TablesError(
            f"{path}: table cannot be written ({error.strerror or error}): give another folder"
        ) from error

"""Gets from runs to what their predictions add to the report; what cannot be had becomes a notice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from database.channels import picture
from database.classes import IGNORE_LABEL
from database.datasets import find_samples
from database.images import read_image, set_max_pixels
from database.loading import load_label
from tools.console import USER_FAULTS, import_tensorflow
from tools.errors import RecordError
from tools.flags.chosen_dataset import described_dataset, existing_folder
from tools.flags.dataset import MAX_PIXELS
from tools.flags.recorded import fault_of_recorded
from tools.flags.train import TrainConfig
from tools.prediction.metrics import iou_of, mean_of_present
from tools.prediction.tables import percent
from tools.report.contents import Card, EvaluatedRun, PictureGroup
from tools.report.pictures import LARGEST_SIDE, UNSCORED, Views, choose_images, encode
from tools.report.prediction_options import PredictionOptions
from tools.report.reported_run import ReportedRun
from tools.runtime.background import read_ahead
from tools.runtime.progress import counted

if TYPE_CHECKING:
    from tools.report.predictions import Evaluation

_MOST_CHARACTERS = 8_000_000  # of all pictures of a page: with Plotly's 5 MB, the page stays below 15 MB
_READ_AT_A_TIME = 4


@dataclass
class Evaluations:
    """What predictions and labels add to the report.

    Attributes:
        runs: by the path of the run.
        groups: pictures.
        notices: about what is missing.
    """

    runs: dict[str, EvaluatedRun] = field(default_factory=dict)
    groups: list[PictureGroup] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def evaluations(runs: Sequence[ReportedRun], options: PredictionOptions | None, images: int) -> Evaluations:
    """Predicts the validation images of runs, and counts the pixels of their labels.

    Args:
        runs: of the report.
        options: of the prediction; None to predict nothing.
        images: number of best, median and worst images to show.
    """
    found = Evaluations()
    evaluated: list[tuple[ReportedRun, Evaluation]] = []
    for run in runs:
        if options is None:
            found.notices.append(
                f"{run.name}: no confusion matrix and no pictures, as --images is 0. Give --images 2 for two of each "
                "kind."
            )
        else:
            evaluation = _evaluated(run, options, found)
            evaluated += [(run, evaluation)] if evaluation is not None else []
    try:
        _add_groups(found, evaluated, images)
    except USER_FAULTS as error:
        found.notices.append(f"no pictures: {error}")
    _add_shares(found, runs, None if options is None else options.data_dir)
    return found


def _evaluated(run: ReportedRun, options: PredictionOptions, found: Evaluations) -> Evaluation | None:
    import_tensorflow()
    from tools.report.predictions import evaluate_run

    try:
        evaluation = evaluate_run(run, options)
    except USER_FAULTS as error:
        found.notices.append(_notice(run, str(error)))
        return None
    if evaluation.matrix is None:
        found.notices.append(f"{run.name}: no confusion matrix, as the validation images have no labels.")
    found.runs[run.path] = _of(run, evaluation)
    return evaluation


def _notice(run: ReportedRun, reason: str) -> str:
    advice = "If the images were moved, give their folder with --data_dir."
    if run.is_training and not any(score.step is not None for score in run.run.scores):
        advice = "The run may not have written a snapshot yet: make the report again later."
    return f"{run.name}: no confusion matrix and no pictures ({reason}). {advice}"


def _of(run: ReportedRun, evaluation: Evaluation) -> EvaluatedRun:
    matrix = evaluation.matrix
    snapshot = os.path.relpath(evaluation.prefix, run.path)
    note = f"{snapshot}; {evaluation.settings}; {len(evaluation.images)} validation images"
    if matrix is None:
        return EvaluatedRun(evaluation.record.class_names, None, None, float("nan"), note)
    mean_iou = mean_of_present(iou_of(matrix))
    return EvaluatedRun(evaluation.record.class_names, matrix, _shares(matrix.sum(axis=1)), mean_iou, note)


def _shares(pixels: np.ndarray) -> list[float]:
    return (pixels / max(1, int(pixels.sum()))).tolist()


def _add_groups(found: Evaluations, evaluated: Sequence[tuple[ReportedRun, Evaluation]], images: int) -> None:
    """Adds the pictures of runs with the same validation images and classes, as one group."""
    by_data: dict[str, list[tuple[ReportedRun, Evaluation]]] = {}
    for run, evaluation in evaluated:
        by_data.setdefault(evaluation.data, []).append((run, evaluation))
    for members in by_data.values():
        found.groups.append(_group(members, images, _MOST_CHARACTERS // len(by_data), found))


def _group(
    members: Sequence[tuple[ReportedRun, Evaluation]], count: int, most_characters: int, found: Evaluations
) -> PictureGroup:
    first_run, first = members[0]
    choices = choose_images([image.mean_iou for image in first.images], count)
    views = [_views([evaluation for _, evaluation in members], choice.position) for choice in choices]
    encoded, side = encode(views, most_characters)
    if len(encoded) < len(choices):
        found.notices.append(
            f"{len(choices) - len(encoded)} pictures are left out, as the page would be too large: lower --images."
        )
    cards = [
        Card(choice.kind, first.images[choice.position].sample.name, view, list(_captions(members, choice.position)))
        for choice, view in zip(choices, encoded, strict=False)
    ]
    whose = f"the mean IoU of {first_run.label}" if len(members) > 1 else "the mean IoU"
    by = f"by {whose} over the classes in the image or its prediction"
    ranked = "evenly spaced, as none has a label" if any(card.kind == UNSCORED for card in cards) else f"ranked {by}"
    note = f"{len(first.images)} images, {ranked}. Pictures have at most {side} pixels a side; {first.settings}."
    return PictureGroup(first.record.class_names, first.record.palette, cards, note)


def _views(evaluations: Sequence[Evaluation], index: int) -> Views:
    sample = evaluations[0].images[index].sample
    image = picture(read_image(sample.image, input_range=sample.input_range, channels=sample.channels))
    truth = None if sample.label is None else load_label(sample)
    predictions = [evaluation.train_ids(evaluation.images[index]) for evaluation in evaluations]
    return Views(image, truth, predictions).reduced(LARGEST_SIDE)


def _captions(members: Sequence[tuple[ReportedRun, Evaluation]], index: int) -> Iterator[str]:
    for run, evaluation in members:
        image = evaluation.images[index]
        scores = f"mean IoU {percent(image.mean_iou)} %, pixel accuracy {percent(image.pixel_accuracy)} %"
        scores = scores if image.sample.label is not None else "no label"
        yield f"{run.label}: {scores}" if len(members) > 1 else scores


def _add_shares(found: Evaluations, runs: Sequence[ReportedRun], data_dir: str | None) -> None:
    """Adds the shares of the classes from the labels alone, for runs without predictions."""
    for run in runs:
        if run.path in found.runs or not run.record:
            continue
        try:
            shares = label_shares(run, data_dir)
        except USER_FAULTS as error:
            if not any(str(error) in notice for notice in found.notices):
                found.notices.append(f"{run.name}: no shares of the pixels ({error})")
            continue
        if shares is not None and len(shares) == len(run.class_names):
            found.runs[run.path] = EvaluatedRun(run.class_names, None, shares, float("nan"), "")


def label_shares(run: ReportedRun, data_dir: str | None = None) -> list[float] | None:
    """Counts the pixels of each class in the validation labels of a run; None if they have none.

    Raises:
        DataError, UserError: the dataset or a label cannot be read.
    """
    flags = run.flags
    for name, value in flags.items():
        fault = fault_of_recorded(TrainConfig, name, value)
        if fault is not None:
            raise RecordError(f"{run.path}/config.json: the flag {name} is damaged, expected {fault}")
    set_max_pixels(flags.get("max_pixels", MAX_PIXELS))
    dataset = described_dataset(flags.get("database", "Cityscapes"), flags)
    samples = find_samples(dataset, existing_folder(dataset, data_dir or flags.get("data_dir")), ["val"])
    labelled = [sample for sample in samples if sample.label is not None]
    counts = np.zeros(256, np.int64)
    for ids in counted(read_ahead(load_label, labelled, _READ_AT_A_TIME), f"labels {run.name}", len(labelled), "img"):
        counts += np.bincount(ids.ravel(), minlength=256)
    counts[IGNORE_LABEL] = 0
    return _shares(counts[: dataset.num_classes]) if counts.any() else None

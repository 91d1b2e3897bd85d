"""Predicts a split with sliding windows, writes label ids, colours and overlays, and scores the labels.

python predict.py --ms 1
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports, which may take seconds, ends the process without a traceback; see `run_script`.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from database.classes import IGNORE_LABEL
from database.datasets import find_samples
from database.images import set_max_pixels
from tools.checkpoints.files import identity
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.console import import_tensorflow, print_text, run_script, set_quiet, set_up_logging
from tools.errors import CheckpointError, FlagError, OutputError, RecordError
from tools.flags.checks import refuse_no_results
from tools.flags.parsing import parse_flags
from tools.flags.predict import PredictConfig
from tools.prediction.tables import text_table, warn_of_missed_classes, write_tables
from tools.runtime.chosen_hosts import choose_hosts

if TYPE_CHECKING:
    from database.layouts import Sample
    from tools.distributed.team import Hosted
    from tools.prediction.further_scores import FurtherScores
    from tools.prediction.image_scores import ImageScores
    from tools.prediction.metrics import ConfusionMatrix, Scores
    from tools.prediction.provenance import Provenance
    from tools.prediction.scoring import Predicted
    from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)


class Results(NamedTuple):
    """Folder of results, what they are made from, and the folder of the images, if it is known."""

    folder: str
    provenance: Provenance
    images_in: str | None = None


def predict_checkpoint(config: PredictConfig, prefix: str, hosts: Hosted) -> None:
    """Predicts a split with one checkpoint, writes a PNG file per image and kind, and scores labelled images.

    With --follow, does nothing if this snapshot was scored before. Of several hosts, each predicts its share of the
    images, and that of rank 0 writes the scores of all.
    """
    from tools.prediction.files import remove_unfinished_results, results_folder
    from tools.prediction.further_scores import FurtherScores
    from tools.prediction.provenance import choose_folder, provenance_of
    from tools.prediction.score_files import is_scored
    from tools.prediction.selection import prediction_dataset, record_of_checkpoint
    from tools.prediction.server_zip import check_for_server, write_server_zip
    from tools.prediction.shared_prediction import Selected, check_own_folder, share_of_host

    def select() -> Selected:
        # Network: config.json beside the checkpoint has architecture, mean, channel order and window size.
        trained = record_of_checkpoint(prefix, config)
        # Images, and the names, colours and ids of the classes.
        dataset, data_dir = prediction_dataset(config, trained)
        samples, share = selected_samples(config, find_samples(dataset, data_dir, [config.mode]))
        provenance = provenance_of(config, prefix, trained.for_dataset(dataset), samples, data_dir, share)
        return Selected(trained, dataset, data_dir, samples, provenance)

    selected = hosts.on_each("reading the checkpoint's record and the images", select)
    trained, dataset, data_dir, samples, provenance = selected
    record = trained.for_dataset(dataset)
    own = share_of_host(hosts, prefix, selected)

    # Folder of the results: one per checkpoint, data and settings.
    default = results_folder(f"./{config.mode}_set", config, prefix, trained, dataset.name, data_dir)
    chosen = hosts.from_chief("the folder of results", lambda: choose_folder(config.output_dir, default, provenance))
    folder = chosen if hosts.is_chief else config.output_dir or chosen
    check_own_folder(hosts, folder, provenance)
    if config.follow is not None and provenance.is_of(folder) and is_scored(f"{folder}/scores.json", prefix):
        logger.info("%s is already scored in %s", prefix, folder)
        return
    refuse_no_results(config, has_labels=any(sample.label is not None for sample in samples))
    if config.server_zip:
        check_for_server(dataset.name, samples)
    hosts.on_chief("removing unfinished results", lambda: remove_unfinished_results(folder))

    logger.info("%d images of %s %s with %s", len(samples), dataset.name, config.mode, prefix)
    if hosts.count > 1:
        logger.info("shared out over %d hosts: %d images here", hosts.count, len(own))
    further = FurtherScores(record.class_names, boundary_iou=config.boundary_iou, cityscapes=config.cityscapes_scores)
    results = Results(folder, provenance, data_dir)
    scores = predict_samples(config, prefix, record, own, results, further, hosts)

    def write() -> None:
        logger.info("results: %s", folder)
        if config.server_zip:
            logger.info("archive for the evaluation server: %s", write_server_zip(folder, samples))
        if scores is not None:
            write_scores(record.class_names, scores, further, Results(folder, provenance))
            warn_of_missed_classes(scores, record.class_names, record.flags, checkpoint_step(prefix))
            if config.follow is not None:
                add_to_summaries(config.follow, prefix, record, scores)

    hosts.on_chief("writing the scores", write)


def selected_samples(config: PredictConfig, samples: Sequence[Sample]) -> tuple[Sequence[Sample], str | None]:
    """Returns the samples of a split that the flags select, and describes them if they are a share of it."""
    chosen = config.share_of(samples)[: config.test_max_iter]
    if not config.is_share:
        return chosen, None
    share = config.share_text(len(chosen), len(samples))
    logger.warning("partial: only %s of --mode %s", share, config.mode)
    return chosen, share


def predict_samples(
    config: PredictConfig,
    prefix: str,
    record: ModelRecord,
    samples: Sequence[Sample],
    results: Results,
    further: FurtherScores,
    hosts: Hosted,
) -> Scores | None:
    """Predicts samples and writes their PNG files; returns the scores of those with labels, None without any.

    The scores are those of the samples of all hosts.

    The model subtracts the mean, resizes the image to each scale (--ms), cuts windows, runs the network on them and
    on their mirrored copies (--mirror), averages the probabilities and takes the argmax.
    """
    from tools.prediction.files import PredictionWriter
    from tools.prediction.metrics import ConfusionMatrix, MeanLoss
    from tools.prediction.more_outputs import MoreOutputs
    from tools.prediction.scoring import evaluate
    from tools.prediction.segmentation_model import SegmentationModel
    from tools.prediction.shared_scores import add_loss_over_hosts, add_over_hosts

    more, matrix, loss = MoreOutputs.of_flags(config), ConfusionMatrix(record.architecture.num_classes), MeanLoss()
    images = image_scores(config, matrix, record.class_names, results.folder, further)
    writer = PredictionWriter(
        results.folder,
        record,
        save_prediction=config.save_prediction,
        coloring=config.coloring,
        more=more,
        provenance=results.provenance,
        images_in=results.images_in,
    )

    def write(found: Predicted) -> None:
        writer.write(found.sample.name, found.image, found.prediction, found.sample.image)
        if found.label is not None:
            images.add(found.sample, found.label, found.prediction.labels)

    def predict() -> None:
        with SegmentationModel.built(prefix, config, record, results.provenance, config.gpu_num) as model:
            with writer, images:
                evaluate(model, samples, matrix, visit=write, towers=config.gpu_num, wanted=more.wanted, loss=loss)
            if config.measure_time:
                model.report_times(results.folder)

    hosts.on_each("predicting the images", predict)
    add_over_hosts(matrix, hosts, "adding up the scores")
    add_loss_over_hosts(loss, hosts, "adding up the losses")
    hosts.on_chief("writing the matrix", images.write_matrix)
    return dataclasses.replace(matrix.evaluate(), loss=loss.value) if matrix.images else None


def image_scores(
    config: PredictConfig, matrix: ConfusionMatrix, class_names: Sequence[str], folder: str, further: FurtherScores
) -> ImageScores:
    """Returns what is scored of each image, by the flags; see `ImageScores`."""
    from tools.prediction.image_scores import ImageScores

    return ImageScores(
        matrix,
        class_names,
        folder,
        further,
        per_image=config.per_image,
        confusion_matrix=config.confusion_matrix,
    )


def score_existing(config: PredictConfig) -> None:
    """Scores predictions that exist as PNG files, and writes the scores as `predict_checkpoint` does."""
    from tools.prediction.existing_predictions import Existing, PredictionFiles, results_folder_of_files, score_files
    from tools.prediction.further_scores import FurtherScores
    from tools.prediction.metrics import ConfusionMatrix
    from tools.prediction.provenance import choose_folder, provenance_of_files, provenance_of_pictures
    from tools.prediction.selection import scored_dataset

    folders = config.has_prediction or ()
    dataset, data_dir = scored_dataset(config, provenance_of_pictures(folders[0]) or {})
    split = find_samples(dataset, data_dir, [config.mode])
    found, share = selected_samples(config, split)
    samples = [sample for sample in found if sample.label is not None]
    if not samples:
        raise FlagError(
            f"--has_prediction scores predictions, and no image of --mode {config.mode} has a label: give another split"
        )
    paths = PredictionFiles(folders).paths_of(samples, split)
    provenance = provenance_of_files(config, dataset, samples, data_dir, paths, share)
    folder = choose_folder(config.output_dir, results_folder_of_files(config, dataset.name, data_dir), provenance)

    further = FurtherScores(dataset.class_names, boundary_iou=config.boundary_iou, cityscapes=config.cityscapes_scores)
    matrix = ConfusionMatrix(dataset.num_classes, missed_label=IGNORE_LABEL)
    images = image_scores(config, matrix, dataset.class_names, folder, further)

    def visit(scored: Existing) -> None:
        images.add(scored.sample, scored.label, scored.labels, scored.label_ids)

    with images:
        score_files(paths, samples, dataset, matrix, train_ids=config.prediction_ids == "train", visit=visit)
    images.write_matrix()
    scores = matrix.evaluate()
    write_scores(dataset.class_names, scores, further, Results(folder, provenance))
    warn_of_missed_classes(scores, dataset.class_names)
    logger.info("results: %s", folder)


def write_scores(class_names: Sequence[str], scores: Scores, further: FurtherScores, results: Results) -> None:
    """Writes and prints the scores, which are of one confusion matrix over all labelled images."""
    sections = further.sections()
    write_tables(scores, class_names, results.folder, header=results.provenance.header, sections=sections)
    results.provenance.write(results.folder)
    print_text(text_table(scores, class_names, sections))


def add_to_summaries(run_path: str, prefix: str, record: ModelRecord, scores: Scores) -> None:
    """Writes scores of a snapshot to the TensorBoard summaries of the run that --follow names.

    Logs a warning if they cannot be written, for example to a run that another user trains.
    """
    from tools.runs.following import followed_run
    from tools.runs.writing import writing_to
    from tools.training.summaries import write_validation

    run = followed_run(run_path)
    try:
        with writing_to(run):
            write_validation(run.path, checkpoint_step(prefix) or 0, scores, record.class_names)
    except OutputError as error:
        logger.warning("TensorBoard will not show these scores: %s", error)


def follow(config: PredictConfig) -> None:
    """Predicts with each snapshot of a run: the existing ones, then each new one as training writes it."""
    from tools.distributed.team import ALONE
    from tools.runs.following import appearing_snapshots, followed_run
    from tools.runtime.memory import free_closed_sessions

    for step, prefix in appearing_snapshots(followed_run(str(config.follow)), first_step=config.from_step):
        output = None if config.output_dir is None else os.path.join(config.output_dir, f"step{step}")
        before = identity(prefix)
        try:
            predict_checkpoint(dataclasses.replace(config, output_dir=output), prefix, ALONE)
        except (CheckpointError, RecordError):
            if before is not None and identity(prefix) == before:
                raise
            logger.warning("%s was removed or replaced before it could be read", prefix)
        free_closed_sessions()


def main(arguments: Sequence[str]) -> None:
    """Parses flags, predicts with one checkpoint or follows a run."""
    config = parse_flags(PredictConfig, arguments, "Predict a split and score it.")
    set_quiet(config.quiet)
    set_max_pixels(config.max_pixels)
    config = config.on_hosts(choose_hosts(config.hosts, config.host_rank))  # other machines, usually none
    import_tensorflow()  # after the flags: it takes seconds, and a wrong flag is reported at once
    from tools.prediction.selection import with_chosen_precision
    from tools.prediction.shared_prediction import together
    from tools.runs.chosen_checkpoint import choose_checkpoint, with_unremoved

    if config.has_prediction is not None:
        score_existing(config)
        return
    config = with_chosen_precision(config)
    if config.follow is not None:
        follow(config)
        return
    with together(config) as hosts:  # usually one
        if hosts.count > 1:  # one host would not choose again without the others
            prefix = hosts.on_each("choosing the checkpoint", lambda: choose_checkpoint(config))
            predict_checkpoint(config, prefix, hosts)
        else:
            with_unremoved(lambda: choose_checkpoint(config), lambda prefix: predict_checkpoint(config, prefix, hosts))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))

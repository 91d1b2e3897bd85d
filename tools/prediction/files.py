"""Writes the result files of predict.py and inference.py, and names their folder."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from database import palettes
from database.atomic import remove_unfinished
from database.channels import picture
from database.georeference import Georeference, read_georeference, write_geotiff
from database.images import write_image
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.errors import VideoError
from tools.flags.chosen_dataset import dataset_part
from tools.flags.predict import WeightsConfig
from tools.flags.protocol import PROTOCOL_FLAGS
from tools.flags.values import shown_value
from tools.prediction import more_outputs
from tools.prediction.more_outputs import NOTHING_MORE, MoreFiles, MoreOutputs
from tools.prediction.predictions import Prediction
from tools.prediction.provenance import Provenance
from tools.prediction.result_writing import refuse_links, result_path
from tools.runs.folder import run_name
from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)

# Kinds of pictures, and the names of their folders.
_KINDS = ("prediction", "coloring", "overlay", *more_outputs.KINDS)

# Flags that change results; values other than the default are part of the folder's name.
_NAMED_FLAGS = (
    "mirror", "test_image_size", "float_type", "test_max_iter", "color_switch", "resize_grid", "stride_convention",
    "upsample_input", "input_range", "use_ema", "min_area", *PROTOCOL_FLAGS, "index_start", "index_step",
)  # fmt: skip

# Values that are not part of the folder's name either: what the default `auto` usually selects.
_ALSO_USUAL = {"float_type": "32"}


def results_folder(
    root: str, config: WeightsConfig, prefix: str, trained: ModelRecord, database: str, data_dir: str | None = None
) -> str:
    """Returns the default folder of results: <root>/<dataset>/<run>/step<step>-ms<0 or 1>.

    Results of other datasets, runs, snapshots and flags have other folders.

    Args:
        root: e.g. `./val_set`.
        config: flags; those that change results and differ from the default are added to the last part.
        prefix: of the checkpoint; without a step, its name replaces `step<step>`.
        trained: record of the checkpoint; its dataset is added before the run if the results are of another dataset.
        database: dataset of the results.
        data_dir: folder of own data, whose name is part of the dataset's; None for the data of the training.
    """
    trained_on = dataset_part(trained.database, trained.data_dir)
    in_training = data_dir is None and database == trained.database
    dataset = trained_on if in_training else dataset_part(database, data_dir)
    run = run_name(prefix) if dataset == trained_on else f"{trained_on}-{run_name(prefix)}"
    step = checkpoint_step(prefix)
    parts = [os.path.basename(prefix) if step is None else f"step{step}", f"ms{int(config.ms)}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in _NAMED_FLAGS and value not in (field.default, _ALSO_USUAL.get(field.name, field.default)):
            parts.append(f"{field.name}{shown_value(value)}")
    return os.path.join(root, dataset, run, "-".join(parts))


def picture_path(folder: str, kind: str, name: str, subfolders: Sequence[str] = ()) -> str:
    """Returns the path of the picture of a kind (prediction, coloring, overlay) of an image.

    Raises:
        OutsideError: the image's name is a path that leads out of the folder.
    """
    return result_path(folder, kind, f"{name}_{kind}.png", subfolders)


def remove_unfinished_results(folder: str) -> None:
    """Removes the temporary files that killed processes left in a folder of results; see `atomic.remove_unfinished`."""
    below = (place for kind in _KINDS for place, _, _ in os.walk(os.path.join(folder, kind)))
    for place in (folder, *below):
        removed = remove_unfinished(place)
        if removed:
            logger.info("%s: removed incomplete files of a killed process: %s", place, ", ".join(removed))


class PredictionWriter:
    """Writes label ids, colours and overlays as PNG files, and what else is wanted.

    <folder>/prediction/<name>_prediction.png   label ids of the dataset (Cityscapes: labelIds)
    <folder>/coloring/<name>_coloring.png       colours of the palette
    <folder>/overlay/<name>_overlay.png         colours blended with the image, see `palettes.untinted_class`

    If the image is a GeoTIFF, <folder>/prediction/<name>_prediction.tif has the label ids with its georeference. For
    the other files see `more_outputs.MoreFiles`. Use as a context manager, or call `finish` after the last image: files
    of all images are written then, also after an error.
    """

    def __init__(
        self,
        folder: str,
        record: ModelRecord,
        *,
        save_prediction: bool,
        coloring: bool,
        more: MoreOutputs = NOTHING_MORE,
        provenance: Provenance | None = None,
        images_in: str | None = None,
    ) -> None:
        """Selects what to write; folders and the provenance are created with the first file.

        Args:
            folder: of the results.
            record: of the network.
            save_prediction: whether to write label ids.
            coloring: whether to write colours and overlays.
            more: what else to write.
            provenance: of the results; None to write none.
            images_in: folder that the files named in coco.json are relative to; None for absolute paths.
        """
        self._provenance = provenance
        self._folder = folder
        self._record = record
        self._save_prediction = save_prediction
        self._coloring = coloring
        self._more = MoreFiles(folder, record.class_names, more, images_in)

    def write(
        self,
        name: str,
        image: np.ndarray,
        predicted: np.ndarray | Prediction,
        source: str | None = None,
        subfolders: Sequence[str] = (),
        georeference: Callable[[], Georeference | None] | None = None,
    ) -> list[str]:
        """Writes the files of one image.

        Args:
            name: without folder and suffix.
            image: uint8 [H, W, 3], RGB; or float32 [H, W, channels], of which the overlay shows a picture.
            predicted: training ids [H, W], or a prediction with what `MoreOutputs.wanted` says.
            source: path of the image; None if it has no file.
            subfolders: names of folders below the folder of each kind.
            georeference: returns that of the image; None to read it from the source.

        Returns:
            The paths written.

        Raises:
            ImageError, ResultsFolderError: a file cannot be written.
            OutsideError: the name, or a link in the folder, leads out of it.
        """
        prediction = predicted if isinstance(predicted, Prediction) else Prediction(predicted)
        pictures = self._pictures(image, prediction.labels)
        paths = {kind: picture_path(self._folder, kind, name, subfolders) for kind in pictures}
        more = self._more.paths(name, subfolders)
        written = [*paths.values(), *(path for paths_of_kind in more.values() for path in paths_of_kind)]
        if pictures or self._more.writes_any:
            self.prepare(written)
        for kind, pixels in pictures.items():
            write_image(paths[kind], pixels)
        place = None
        if source is not None and (self._save_prediction or "polygons" in more):
            place = read_georeference(source) if georeference is None else georeference()
        self._more.write(more, "/".join([*subfolders, name]), prediction, source, place)
        return [*written, *self._write_geotiff(name, subfolders, pictures, place)]

    def _write_geotiff(
        self, name: str, subfolders: Sequence[str], pictures: Mapping[str, np.ndarray], place: Georeference | None
    ) -> list[str]:
        """Writes the label ids with the georeference, if there is one; returns the path."""
        if place is None or "prediction" not in pictures:
            return []
        path = result_path(self._folder, "prediction", f"{name}_prediction.tif", subfolders)
        write_geotiff(path, pictures["prediction"], place)
        return [path]

    def prepare(self, paths: Sequence[str]) -> None:
        """Checks paths of results that are to be written, and writes the provenance before the first.

        Results without a provenance would be of unknown origin, and a process may be killed at any moment.

        Raises:
            OutsideError: a folder on the way is a link.
            ResultsFolderError: the provenance cannot be written.
        """
        for path in paths:
            refuse_links(self._folder, path)
        if self._provenance is not None:
            self._provenance.write(self._folder)
            self._provenance = None

    def video_path(self, name: str) -> str:
        """Returns the path of the overlay of a video; see `prepare` for the errors.

        Raises:
            VideoError: overlays are not written.
        """
        if not self._coloring:
            raise VideoError(f"{name}: the result for a video is its overlay: drop --coloring 0, or the video")
        path = result_path(self._folder, "overlay", f"{name}_overlay.mp4")
        self.prepare([path])
        return path

    def finish(self) -> None:
        """Writes the files of all images, such as areas.csv.

        Raises:
            ResultsFolderError: one cannot be written.
        """
        self._more.finish()

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish()

    def _pictures(self, image: np.ndarray, train_ids: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the pictures of one image by their kind."""
        pictures = {}
        if self._save_prediction:
            pictures["prediction"] = palettes.to_label_ids(train_ids, self._record.label_map)
        if self._coloring:
            pictures["coloring"] = palettes.colorize(train_ids, self._record.palette)
            pictures["overlay"] = overlay_of(image, train_ids, self._record, pictures["coloring"])
        return pictures


def overlay_of(
    image: np.ndarray,
    train_ids: np.ndarray,
    record: ModelRecord,
    colors: np.ndarray | None = None,
    alpha: float = 0.5,
) -> np.ndarray:
    """Blends the colours of the classes over an image.

    Args:
        image: uint8 [H, W, 3], RGB; or float32 [H, W, channels], of which a picture is made.
        train_ids: [H, W].
        record: with names and palette of the classes.
        colors: those of the classes, uint8 [H, W, 3], if they are known already.
        alpha: weight of the colours, 0..1.

    Returns:
        uint8 [H, W, 3].
    """
    if colors is None:
        colors = palettes.colorize(train_ids, record.palette)
    untinted = palettes.untinted_class(record.class_names, record.palette)
    return palettes.overlay(picture(image), colors, alpha, None if untinted is None else train_ids == untinted)

"""Writes the result files of predict.py and inference.py, and names their folder."""

from __future__ import annotations

import dataclasses
import logging
import os

import numpy as np

from database import palettes
from database.atomic import remove_unfinished
from database.channels import picture
from database.containment import path_inside, refuse_linked_folder
from database.georeference import read_georeference, write_geotiff
from database.images import write_image
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.flags.chosen_dataset import dataset_part
from tools.flags.predict import WeightsConfig
from tools.prediction.provenance import Provenance
from tools.runs.folder import run_name
from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)

# Kinds of pictures, and the names of their folders.
_KINDS = ("prediction", "coloring", "overlay")

# Flags that change results; values other than the default are part of the folder's name.
_NAMED_FLAGS = (
    "mirror", "test_image_size", "float_type", "test_max_iter", "color_switch", "resize_grid", "stride_convention",
    "upsample_input", "input_range", "use_ema",
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
            parts.append(f"{field.name}{int(value) if isinstance(value, bool) else value}")
    return os.path.join(root, dataset, run, "-".join(parts))


def picture_path(folder: str, kind: str, name: str) -> str:
    """Returns the path of the picture of a kind (prediction, coloring, overlay) of an image.

    Raises:
        OutsideError: the image's name is a path that leads out of the folder.
    """
    return path_inside(folder, kind, f"{name}_{kind}.png")


def remove_unfinished_results(folder: str) -> None:
    """Removes the temporary files that killed processes left in a folder of results; see `atomic.remove_unfinished`."""
    for place in (folder, *(os.path.join(folder, kind) for kind in _KINDS)):
        removed = remove_unfinished(place)
        if removed:
            logger.info("%s: removed incomplete files of a killed process: %s", place, ", ".join(removed))


class PredictionWriter:
    """Writes label ids, colours and overlays as PNG files.

    <folder>/prediction/<name>_prediction.png   label ids of the dataset (Cityscapes: labelIds)
    <folder>/coloring/<name>_coloring.png       colours of the palette
    <folder>/overlay/<name>_overlay.png         colours blended with the image, see `palettes.untinted_class`

    If the image is a GeoTIFF, <folder>/prediction/<name>_prediction.tif has the label ids with its georeference.
    """

    def __init__(
        self,
        folder: str,
        record: ModelRecord,
        *,
        save_prediction: bool,
        coloring: bool,
        provenance: Provenance | None = None,
    ) -> None:
        """Selects what to write; folders and the provenance are created with the first file."""
        self._provenance = provenance
        self._folder = folder
        self._record = record
        self._save_prediction = save_prediction
        self._coloring = coloring

    def write(self, name: str, image: np.ndarray, train_ids: np.ndarray, source: str | None = None) -> list[str]:
        """Writes the files of one image.

        Args:
            name: without folder and suffix.
            image: uint8 [H, W, 3], RGB; or float32 [H, W, channels], of which the overlay shows a picture.
            train_ids: training ids [H, W].
            source: path of the image; None if it has no file.

        Returns:
            The paths written.

        Raises:
            ImageError, ResultsFolderError: a file cannot be written.
            OutsideError: the name, or a link in the folder, leads out of it.
        """
        pictures = {}
        if self._save_prediction:
            pictures["prediction"] = palettes.to_label_ids(train_ids, self._record.label_map)
        if self._coloring:
            pictures["coloring"] = palettes.colorize(train_ids, self._record.palette)
            pictures["overlay"] = self._overlay(image, train_ids, pictures["coloring"])
        paths = {kind: picture_path(self._folder, kind, name) for kind in pictures}
        for path in paths.values():
            refuse_linked_folder(os.path.dirname(path))
        # First: pictures without a provenance are of unknown origin, and a process may be killed at any moment.
        if pictures and self._provenance is not None:
            self._provenance.write(self._folder)
            self._provenance = None
        for kind, pixels in pictures.items():
            write_image(paths[kind], pixels)
        georeference = None if source is None or not self._save_prediction else read_georeference(source)
        if georeference is None:
            return list(paths.values())
        geotiff = path_inside(self._folder, "prediction", f"{name}_prediction.tif")
        write_geotiff(geotiff, pictures["prediction"], georeference)
        return [*paths.values(), geotiff]

    def _overlay(self, image: np.ndarray, train_ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
        untinted = palettes.untinted_class(self._record.class_names, self._record.palette)
        return palettes.overlay(picture(image), colors, untinted=None if untinted is None else train_ids == untinted)

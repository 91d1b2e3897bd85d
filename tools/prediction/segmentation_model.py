"""A checkpoint as an object that segments images: the interface for Python code, which the scripts use too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, overload

import numpy as np
from PIL import Image

from database.input_range import InputRange
from tools.errors import ClosedModelError
from tools.flags.predict import InferenceConfig, WeightsConfig
from tools.prediction.image_values import image_pixels, is_one_image, named_images
from tools.prediction.latency import TimedPredictor
from tools.prediction.more_outputs import NOTHING_MORE, MoreOutputs
from tools.prediction.predictions import LABELS_ONLY, Prediction, Wanted
from tools.prediction.predictor import Predictor, TowerPredictor, image_named
from tools.prediction.provenance import Provenance, provenance_of, require_folder
from tools.prediction.saved_results import SavedResults
from tools.prediction.segmentation import Segmentation
from tools.prediction.selection import build_predictor, inference_record, record_of_checkpoint
from tools.prediction.shared_batches import SharedBatches
from tools.runs.record import ModelRecord
from tools.runtime.memory import free_closed_sessions

OneImage = np.ndarray | Image.Image | str | os.PathLike

# Labels of pixels; see `SegmentationModel.shared`.
SharedLabels = Callable[[np.ndarray, Callable[[], object]], np.ndarray]


class SegmentationModel:
    """Segments images with the network of a checkpoint. Use as a context manager, or close.

    Attributes:
        checkpoint: prefix of the checkpoint.
        record: network, classes and input, see `tools.runs.record.ModelRecord`.
        classes: the name of each class.
        palette: the colour of each class.
        provenance: of the results.
    """

    def __init__(
        self,
        checkpoint: str,
        record: ModelRecord,
        predictor: Predictor | TowerPredictor,
        provenance: Provenance,
        *,
        coloring: bool = True,
        more: MoreOutputs = NOTHING_MORE,
        measures_time: bool = False,
        towers: int = 1,
    ) -> None:
        """Takes what `of_checkpoint` builds.

        Args:
            checkpoint: prefix.
            record: with the names, colours and ids of the classes.
            predictor: with the network; `close` closes it.
            provenance: of the results.
            coloring: whether `Segmentation.save` writes colours and overlays.
            more: what else it writes.
            measures_time: whether to keep the times of all predictions, for `report_times`.
            towers: number of devices of the predictor.
        """
        self.checkpoint = checkpoint
        self.record = record
        self.provenance = provenance
        self.classes = tuple(record.class_names)
        self.palette = record.palette
        self._coloring = coloring
        self._more = more
        self._input_range = InputRange(record.input_range)
        self._channels = record.channels
        self._predictor: Predictor | TowerPredictor | None = predictor
        self._timed = TimedPredictor(predictor, warm_up=towers) if measures_time else None

    @classmethod
    def of_checkpoint(cls, checkpoint: str, config: InferenceConfig) -> SegmentationModel:
        """Builds the network of a checkpoint with the record beside it, changed by the flags.

        Raises:
            RecordError, CheckpointError, FlagError: see `record_of_checkpoint` and `inference_record`.
            Errors of `built`.
        """
        record = inference_record(config, record_of_checkpoint(checkpoint, config))
        # The provenance at once: training may replace the files of the checkpoint later.
        return cls.built(checkpoint, config, record, provenance_of(config, checkpoint, record))

    @classmethod
    def built(
        cls, checkpoint: str, config: WeightsConfig, record: ModelRecord, provenance: Provenance, towers: int = 1
    ) -> SegmentationModel:
        """Builds the network of a checkpoint.

        Args:
            checkpoint: prefix.
            config: flags, which say how to predict, and what `Segmentation.save` writes.
            record: with the names, colours and ids of the classes.
            provenance: of the results.
            towers: number of devices; `predict` may be called by as many threads at a time.

        Raises:
            MissingPackageError: what the flags ask for needs a package that is not installed.
            CheckpointError, DeviceError, OutOfMemoryError: see `build_predictor`.
        """
        more = MoreOutputs.of_flags(config)
        predictor = build_predictor(checkpoint, record, config, towers)
        return cls(
            checkpoint,
            record,
            predictor,
            provenance,
            coloring=config.coloring,
            more=more,
            measures_time=config.measure_time,
            towers=towers,
        )

    @overload
    def segment(  # type: ignore[overload-overlap]
        self, images: OneImage, *, probabilities: bool = False
    ) -> Segmentation: ...

    @overload
    def segment(self, images: Iterable[Any], *, probabilities: bool = False) -> list[Segmentation]: ...

    def segment(self, images: Any, *, probabilities: bool = False) -> Segmentation | list[Segmentation]:
        """Segments an image, or several.

        Args:
            images: a NumPy array uint8 [H, W, 3] in RGB, a PIL image or a path; or an iterable of these, for which all
                results are kept in memory. For the conversion of grey and transparent images, and for networks of
                other channels, see `image_values.image_pixels`.
            probabilities: whether to keep the probabilities of all classes, which takes 4 bytes per pixel and class,
                for example 159 MB for 1024x2048 pixels and 19 classes. Without it, the first access to
                `Segmentation.probabilities` runs the network again.

        Returns:
            The result; a list of results for several images.

        Raises:
            ClosedModelError: the model is closed.
            ImageError: an image is of another type or shape, has no pixels, or cannot be read.
            OutOfMemoryError, NotFiniteError: see `Predictor.predict`.
        """
        self._require_open()
        wanted = self._more.wanted
        if probabilities or wanted.probabilities is not None:
            wanted = Wanted(np.float32)  # from which the others are computed
        if is_one_image(images):
            return self._segment_one(images, "image", wanted)
        return [self._segment_one(image, name, wanted) for name, image in named_images(images)]

    def _segment_one(self, image: Any, name: str, wanted: Wanted) -> Segmentation:
        pixels, path = image_pixels(image, name, self._input_range, self._channels)
        with image_named(path or name):
            return self.segment_pixels(pixels, path, wanted)

    def segment_pixels(self, pixels: np.ndarray, path: str | None, wanted: Wanted = LABELS_ONLY) -> Segmentation:
        """Segments an image that is read already.

        Args:
            pixels: see `images.read_image`.
            path: of the image; None if it has no file.
            wanted: what to keep beside the labels.

        Raises:
            ClosedModelError: the model is closed.
            OutOfMemoryError, NotFiniteError: see `Predictor.predict`.
        """
        return Segmentation(pixels, self.predict(pixels, wanted), self.record, path, self.predict, self._save)

    def predict(self, image: np.ndarray, wanted: Wanted = LABELS_ONLY) -> Prediction:
        """Predicts an image; see `Predictor.predict`.

        Raises:
            ClosedModelError: the model is closed.
        """
        predictor = self._require_open() if self._timed is None else self._timed
        return predictor.predict(image, wanted)

    @contextmanager
    def shared(self, windows_per_batch: int, most_pixels: int | None = None) -> Iterator[SharedLabels]:
        """Yields a function that predicts labels in several threads at a time; batches hold windows of several images.

        The function takes pixels as `segment_pixels` does, and a function that is called before each run of the
        network, whose exception ends the prediction. It returns training ids [H, W], as `segment`.

        Args:
            windows_per_batch: most windows of a batch.
            most_pixels: most pixels of a batch of several images, see `SharedBatches`; None for any.

        Raises:
            ClosedModelError: the model is closed.
        """
        predictor = self._require_open()
        assert isinstance(predictor, Predictor), "inference uses one device"
        with SharedBatches(predictor.run_windows, windows_per_batch, most_pixels) as batches:

            def labels(pixels: np.ndarray, before_run: Callable[[], object]) -> np.ndarray:
                def run(windows: np.ndarray) -> np.ndarray:
                    before_run()
                    return batches(windows)

                return predictor.predict(pixels, run=run).labels

            yield labels

    def window_count(self, height: int, width: int) -> int:
        """Returns how many windows an image needs; see `Predictor.window_count`."""
        return self._require_open().window_count(height, width)

    def results_in(self, folder: str | os.PathLike, images_in: str | None = None) -> SavedResults:
        """Returns a folder of results, to save many images in.

        Its `save` takes results of this model. The files of all images, such as areas.csv, are written at the end of a
        `with` block, or by `finish`; `Segmentation.save` writes them with each image.

        Args:
            folder: created with the first result.
            images_in: folder that the names of files in coco.json are relative to; None for absolute paths.

        Raises:
            ResultsFolderError: the folder contains results of another model or other settings.
        """
        folder = require_folder(self.provenance, os.fspath(folder))
        return SavedResults(
            folder, self.record, self.provenance, coloring=self._coloring, more=self._more, images_in=images_in
        )

    def report_times(self, folder: str) -> None:
        """Logs the time per image, without the first, and writes it into a folder; see `TimedPredictor.report`.

        Raises:
            ValueError: the model was built without `measures_time`.
        """
        if self._timed is None:
            raise ValueError("the model keeps no times: build it with measures_time=True")
        self._timed.report(folder)

    def close(self) -> None:
        """Frees the network; results keep what they have. Closing twice does nothing."""
        if self._predictor is not None:
            self._predictor.close()
            self._predictor = self._timed = None
            free_closed_sessions()

    def __enter__(self) -> SegmentationModel:
        self._require_open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _require_open(self) -> Predictor | TowerPredictor:
        if self._predictor is None:
            raise ClosedModelError(
                f"the model of {self.checkpoint} is closed: use it inside its `with` block, or load it again; "
                "probabilities that are needed later have to be computed before, with segment(..., probabilities=True)"
            )
        return self._predictor

    def _save(self, result: Segmentation, folder: str, name: str | None) -> list[str]:
        """Writes a result; see `Segmentation.save`."""
        with self.results_in(folder) as results:
            return results.save(result, name)

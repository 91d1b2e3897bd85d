"""A trained network as a predict function, and scoring a split with it."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap

import numpy as np
import tensorflow.compat.v1 as tf

from database.images import read_image
from database.layouts import Sample
from database.loading import load_sample
from model.pspnet_mg import FLOAT_TYPES
from tools.errors import NotFiniteError
from tools.prediction.frozen_weights import frozen_forward_graph
from tools.prediction.grid_sizes import whole_sizes
from tools.prediction.latency import LabelsOfImages
from tools.prediction.metrics import ConfusionMatrix, Scores
from tools.prediction.sliding import SCALES_MULTI, SCALES_SINGLE, SlidingPredictor
from tools.runs.record import ModelRecord
from tools.runtime import devices as cluster
from tools.runtime.background import WriteBehind, read_ahead
from tools.runtime.half_precision import avoid_faulty_amx
from tools.runtime.progress import counted
from tools.runtime.session_errors import memory_limits_named

logger = logging.getLogger(__name__)

# About a checkpoint that is not of the network.
_ADVICE = (
    "give a checkpoint of this network (--network, --three_convs_beginning) and with these classes (--database, "
    "--num_classes)"
)

# About weights that do not fit into memory: each device has its own.
_FEWER_WEIGHTS = "end what else needs memory, or lower --gpu_num"


class Predictor:
    """A checkpoint's network in a session of its own, for images of any size.

    The graph is built once and finalized; every image runs through it. Use as a context manager, or close.

    Attributes:
        engine_seconds: how long TensorFlow has worked, in all.
    """

    def __init__(
        self,
        prefix: str,
        record: ModelRecord,
        *,
        multi_scale: bool = False,
        mirror: bool = True,
        float_type: str = "32",
        windows_per_batch: int = 4,
        device: str | None = None,
    ) -> None:
        """Builds the graph with the weights of the checkpoint.

        Args:
            prefix: of the checkpoint.
            record: of the run that wrote it.
            multi_scale: scales 0.5 to 1.75 instead of 1, of images that are enlarged as recorded.
            mirror: add the prediction of the mirrored image.
            float_type: key of `pspnet_mg.FLOAT_TYPES`.
            windows_per_batch: windows the network sees at a time.
            device: from `cluster.tower_devices`; None for that of one tower.

        Raises:
            CheckpointError: the checkpoint is of another network or has another number of classes.
            DeviceError: TensorFlow could not set up the device.
            OutOfMemoryError: the weights do not fit.
        """
        if float_type != "32":
            avoid_faulty_amx()
        self._prefix, self._float_type = prefix, float_type
        self._record = record
        self.engine_seconds = 0.0
        self._session = self._frozen_session(prefix, FLOAT_TYPES[float_type], device or cluster.tower_devices(1)[0])
        self._sliding = SlidingPredictor(
            self._run,
            record.architecture.num_classes,
            record.test_image_size or None,
            scales=[scale * record.upsample_input for scale in (SCALES_MULTI if multi_scale else SCALES_SINGLE)],
            mirror=mirror,
            windows_per_batch=windows_per_batch,
            whole_sizes=whole_sizes(record.architecture),
        )

    def _frozen_session(self, prefix: str, dtype: tf.DType, device: str) -> tf.Session:
        """Builds the graph, from windows to probabilities, with the weights of the checkpoint as constants."""
        size = self._record.test_image_size or None
        with memory_limits_named(f"the weights of {prefix}", _FEWER_WEIGHTS):
            with tf.Graph().as_default() as graph:
                with tf.device(device):
                    self._windows = tf.placeholder(tf.float32, [None, size, size, 3], "windows")
                    [self._probabilities] = frozen_forward_graph(
                        [self._windows], self._record.architecture, prefix, dtype=dtype, advice=_ADVICE
                    )
                graph.finalize()
            return cluster.open_session(graph, [device], weights_are_constants=True)

    def _run(self, windows: np.ndarray) -> np.ndarray:
        with memory_limits_named(
            f"{len(windows)} windows of {windows.shape[1]}x{windows.shape[2]}",
            f"{self._smaller_windows}, or in predict.py and inference.py lower --windows_per_batch",
        ):
            started = time.perf_counter()
            probabilities = self._session.run(self._probabilities, {self._windows: windows})
            self.engine_seconds += time.perf_counter() - started
            return probabilities

    @property
    def _smaller_windows(self) -> str:
        return "lower --test_image_size" if self._record.test_image_size else "give --test_image_size 480"

    def labels(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] RGB -> training ids [H, W].

        Raises:
            OutOfMemoryError: the windows the network sees at a time do not fit, or the rows of the image that they
                reach.
            NotFiniteError: the network gives NaN or infinity; names the checkpoint and the window.
        """
        height, width = image.shape[:2]
        with memory_limits_named(
            f"an image of {height}x{width} and {self._record.architecture.num_classes} classes",
            f"{self._smaller_windows}, give --ms 0, or make the image smaller",
        ):
            centred = image.astype(np.float32) - np.asarray(self._record.image_mean, np.float32)
            with self._not_finite_named():
                return self._sliding.labels(centred[..., ::-1] if self._record.color_switch else centred)

    @contextmanager
    def _not_finite_named(self) -> Iterator[None]:
        try:
            yield
        except NotFiniteError as error:
            advice = f"give --float_type 32 instead of {self._float_type}"
            if self._float_type == "32":
                advice = "give another checkpoint, or the --image_mean and --color_switch that it was trained with"
            raise NotFiniteError(f"{self._prefix}: {error}: {advice}") from error

    def close(self) -> None:
        """Frees the session."""
        self._session.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class TowerPredictor:
    """A predictor on each of several devices; as many threads as there are may ask for labels at a time.

    Use as a context manager, or close.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        self._predictors = list(predictors)
        self._free: queue.SimpleQueue[Predictor] = queue.SimpleQueue()
        for predictor in self._predictors:
            self._free.put(predictor)

    def labels(self, image: np.ndarray) -> np.ndarray:
        """As `Predictor.labels`, on a device that is free; waits for one."""
        predictor = self._free.get()
        try:
            return predictor.labels(image)
        finally:
            self._free.put(predictor)

    def close(self) -> None:
        """Frees the sessions."""
        for predictor in self._predictors:
            predictor.close()

    def __enter__(self) -> TowerPredictor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def image_named(path: str) -> Iterator[None]:
    """Names the image for which NotFiniteError is raised inside."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{path}: {error}") from error


def predictor_on(devices: Sequence[str], build: Callable[[str], Predictor]) -> Predictor | TowerPredictor:
    """A predictor that works on all devices, from a function that builds the one of a device."""
    predictors = [build(device) for device in devices]
    return predictors[0] if len(predictors) == 1 else TowerPredictor(predictors)


def evaluate(
    predictor: LabelsOfImages,
    samples: Sequence[Sample],
    num_classes: int,
    *,
    visit: Callable[[Sample, np.ndarray, np.ndarray], object] | None = None,
    title: str = "predict",
    towers: int = 1,
) -> Scores | None:
    """Predicts samples and scores those that have labels.

    Args:
        predictor: of the network.
        samples: of one split.
        num_classes: of the dataset.
        visit: called with each sample, its image (uint8 [H, W, 3]) and its prediction (training ids [H, W]), in
            their order, by a thread in the background.
        title: what is shown of how far it is.
        towers: images that are predicted at a time, by threads of their own; the results are those of one after the
            other.

    Returns:
        The scores over all labelled samples, None if there are none.

    Raises:
        ImageError, DatasetError: a file cannot be read or does not fit; see `database.loading`.
        NotFiniteError: the network gives NaN or infinity for one; names it.
    """
    matrix = ConfusionMatrix(num_classes)

    def load(sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        if sample.label is not None:
            return load_sample(sample)
        return read_image(sample.image, input_range=sample.input_range), None

    def leave(sample: Sample, image: np.ndarray, label: np.ndarray | None, predicted: np.ndarray) -> None:
        if label is not None:
            matrix.process(label, predicted)
        if visit is not None:
            visit(sample, image, predicted)

    def predict(
        sample: Sample, loaded: tuple[np.ndarray, np.ndarray | None]
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        image, label = loaded
        with image_named(sample.image):
            return image, label, predictor.labels(image)

    loaded = zip(samples, read_ahead(load, samples, max(2, towers)), strict=True)
    predictions = starmap(predict, loaded) if towers == 1 else read_ahead(lambda pair: predict(*pair), loaded, towers)
    with WriteBehind() as behind:
        for sample, results in counted(zip(samples, predictions, strict=True), title, len(samples), "img"):
            behind.call(leave, sample, *results)
    has_labels = any(sample.label is not None for sample in samples)
    return matrix.evaluate() if has_labels else None

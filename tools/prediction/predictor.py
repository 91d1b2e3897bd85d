"""Predicts the labels of images with the network of a checkpoint, on one device or several."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import tensorflow.compat.v1 as tf

from model.pspnet_mg import FLOAT_TYPES, forward_graph, mirrored_forward_graph
from model.utils_mg import TowerList
from tools.errors import NotFiniteError
from tools.flags.sizes import sides
from tools.prediction.frozen_weights import frozen_forward_graph
from tools.prediction.grid_sizes import whole_sizes
from tools.prediction.predictions import LABELS_ONLY, Prediction, Wanted
from tools.prediction.protocols import SINGLE_SCALE, EvaluationProtocol
from tools.prediction.sliding import SlidingPredictor
from tools.runs.record import ModelRecord
from tools.runtime.devices import open_session, tower_devices
from tools.runtime.half_precision import avoid_faulty_amx
from tools.runtime.session_errors import memory_limits_named

# What to do about a checkpoint of another network.
_ADVICE = (
    "give a checkpoint of this network (--network, --three_convs_beginning) and with these classes (--database, "
    "--num_classes)"
)

# What to do about weights that do not fit into memory: each device has a copy.
_FEWER_WEIGHTS = "end other programs that need memory, or lower --gpu_num"


class Predictor:
    """Runs the network of a checkpoint on images of any size.

    The graph is built once and finalized; every image uses the same session. Use as a context manager, or close.

    Attributes:
        engine_seconds: total time in TensorFlow's session.
    """

    def __init__(
        self,
        prefix: str,
        record: ModelRecord,
        *,
        protocol: EvaluationProtocol = SINGLE_SCALE,
        mirror: bool = True,
        float_type: str = "32",
        windows_per_batch: int = 4,
        use_averages: bool = True,
        device: str | None = None,
    ) -> None:
        """Builds the graph with the weights of the checkpoint.

        Args:
            prefix: of the checkpoint.
            record: of the run that wrote it.
            protocol: sizes and windows; images are also enlarged by the factor in the record.
            mirror: average with the prediction of mirrored copies, as the protocol says.
            float_type: key of `pspnet_mg.FLOAT_TYPES`.
            windows_per_batch: number of windows per run of the network, mirrored copies included.
            use_averages: use the averages of the weights, if the checkpoint has them.
            device: from `devices.tower_devices`; None for the default device.

        Raises:
            CheckpointError: the checkpoint is of another network or has another number of classes.
            DeviceError: TensorFlow could not set up the device.
            OutOfMemoryError: the weights do not fit.
            FlagError: the record has a factor of enlargement, and the protocol determines the sizes of images.
        """
        if float_type != "32":
            avoid_faulty_amx()
        self._prefix, self._float_type = prefix, float_type
        self._record = record
        self.engine_seconds = 0.0
        protocol = protocol.enlarged(record.upsample_input)
        flips_windows = mirror and protocol.flipped != "image"
        build = partial(mirrored_forward_graph, combination=protocol.flipped) if flips_windows else forward_graph
        self._session = self._frozen_session(device or tower_devices(1)[0], use_averages, build)
        # Mirrored windows are in the same batch.
        windows = max(1, windows_per_batch // 2) if flips_windows else windows_per_batch
        self._sliding = self._sliding_predictor(protocol, mirror and not flips_windows, windows)

    def _sliding_predictor(
        self, protocol: EvaluationProtocol, mirror: bool, windows_per_batch: int
    ) -> SlidingPredictor:
        """Sets windows and sizes; `mirror` is for copies of the whole image."""
        record = self._record
        return SlidingPredictor(
            self.run_windows,
            record.architecture.num_classes,
            sides(record.test_image_size) if record.test_image_size else None,
            scales=protocol.sizes,
            mirror=mirror,
            windows_per_batch=windows_per_batch,
            placing=protocol.placing,
            whole_sizes=whole_sizes(record.architecture),
            channels=record.architecture.input_channels,
        )

    def _frozen_session(self, device: str, use_averages: bool, build: Callable[..., TowerList]) -> tf.Session:
        """Builds the graph from windows to probabilities, with the weights of the checkpoint as constants."""
        size = self._record.test_image_size
        height, width = sides(size) if size else (None, None)
        with memory_limits_named(f"the weights of {self._prefix}", _FEWER_WEIGHTS):
            with tf.Graph().as_default() as graph:
                with tf.device(device):
                    self._windows = tf.placeholder(
                        tf.float32, [None, height, width, self._record.architecture.input_channels], "windows"
                    )
                    [self._probabilities] = frozen_forward_graph(
                        [self._windows],
                        self._record.architecture,
                        self._prefix,
                        dtype=FLOAT_TYPES[self._float_type],
                        advice=_ADVICE,
                        use_averages=use_averages,
                        build=build,
                    )
                graph.finalize()
            return open_session(graph, [device], weights_are_constants=True)

    def run_windows(self, windows: np.ndarray) -> np.ndarray:
        """Runs the network on a batch of windows.

        Args:
            windows: float32 [N, h, w, channels], with the mean subtracted.

        Returns:
            float32 [N, h, w, classes], 0..1.

        Raises:
            OutOfMemoryError: the batch does not fit into memory.
        """
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
        """Predicts training ids [H, W] of an image; see `predict`."""
        return self.predict(image).labels

    def predict(
        self, image: np.ndarray, wanted: Wanted = LABELS_ONLY, *, run: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> Prediction:
        """Predicts an image: mean, channel order, scales, windows, network, averages, argmax.

        Args:
            image: uint8 [H, W, 3], RGB; or float32 [H, W, channels], see `images.read_image`.
            wanted: what to keep beside the labels.
            run: runs the network instead of `run_windows`. If it is thread-safe, so is this method.

        Returns:
            The labels are training ids.

        Raises:
            OutOfMemoryError: a batch of windows, or the rows of the image that it covers, do not fit into memory.
            NotFiniteError: the network outputs NaN or infinity; the message names the checkpoint and the window.
        """
        height, width = image.shape[:2]
        with (
            memory_limits_named(
                f"an image of {height}x{width} and {self._record.architecture.num_classes} classes",
                f"{self._smaller_windows}, give --ms 0, or make the image smaller",
            ),
            self._not_finite_named(),
        ):
            sliding = self._sliding if run is None else self._sliding.calling(run)
            return sliding.predict(self._normalized(image), wanted)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Predicts the probabilities of an image, float32 [H, W, classes]; see `predict`."""
        probabilities = self.predict(image, Wanted(np.float32)).probabilities
        assert probabilities is not None
        return probabilities

    def _normalized(self, image: np.ndarray) -> np.ndarray:
        """Returns what the network gets for an image."""
        if self._record.channels is not None:
            return self._record.channels.normalized(image)
        centred = image.astype(np.float32) - np.asarray(self._record.image_mean, np.float32)
        return centred[..., ::-1] if self._record.color_switch else centred

    def window_count(self, height: int, width: int) -> int:
        """Returns how many windows an image needs, over all scales and mirrored copies."""
        return self._sliding.window_count(height, width)

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
        """Closes the session."""
        self._session.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class TowerPredictor:
    """Shares images among several predictors, one per device; `predict` may be called from several threads.

    Use as a context manager, or close.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        self._predictors = list(predictors)
        self._free: queue.SimpleQueue[Predictor] = queue.SimpleQueue()
        for predictor in self._predictors:
            self._free.put(predictor)

    def labels(self, image: np.ndarray) -> np.ndarray:
        """Predicts training ids [H, W] of an image; see `predict`."""
        return self.predict(image).labels

    def predict(self, image: np.ndarray, wanted: Wanted = LABELS_ONLY) -> Prediction:
        """Predicts an image with the next free predictor, as `Predictor.predict`; waits for one."""
        predictor = self._free.get()
        try:
            return predictor.predict(image, wanted)
        finally:
            self._free.put(predictor)

    def window_count(self, height: int, width: int) -> int:
        """Returns how many windows an image needs; see `Predictor.window_count`."""
        return self._predictors[0].window_count(height, width)

    def close(self) -> None:
        """Closes the sessions."""
        for predictor in self._predictors:
            predictor.close()

    def __enter__(self) -> TowerPredictor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def image_named(path: str) -> Iterator[None]:
    """Adds the path of the image to a NotFiniteError that the block raises."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{path}: {error}") from error


def predictor_on(devices: Sequence[str], build: Callable[[str], Predictor]) -> Predictor | TowerPredictor:
    """Builds a predictor for each device; several are combined into a `TowerPredictor`."""
    predictors = [build(device) for device in devices]
    return predictors[0] if len(predictors) == 1 else TowerPredictor(predictors)

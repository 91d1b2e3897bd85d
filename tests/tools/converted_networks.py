"""Converts files and runs the checkpoints from their folders alone, as predict.py does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import encoders, pspnet_mg
from model import utils_mg as layers
from model.architecture import Architecture
from tools.checkpoints.find import resolve_checkpoint
from tools.checkpoints.reading import restore
from tools.convert import __main__ as convert
from tools.runs.record import BackboneRecord, ModelRecord


def random_images(size: tuple[int, int], seed: int) -> np.ndarray:
    """uint8 [1, height, width, 3]: blocks of colours under noise."""
    rng = np.random.default_rng(seed)
    height, width = size
    blocks = np.kron(rng.integers(0, 200, (-(-height // 16), -(-width // 16), 3)), np.ones((16, 16, 1), int))
    noise = rng.integers(0, 56, (height, width, 3))
    return (blocks[:height, :width] + noise).astype(np.uint8)[np.newaxis]


def run_convert(*arguments: object) -> None:
    """python -m tools.convert ..."""
    convert.main([str(argument) for argument in arguments])


def prepared(images: np.ndarray, record: ModelRecord | BackboneRecord) -> np.ndarray:
    """What a network is fed of uint8 images [N, H, W, 3]: float32, less the mean, in its order of channels."""
    centred = images.astype(np.float32) - np.asarray(record.image_mean, np.float32)
    return centred[..., ::-1] if record.color_switch else centred


class ConvertedPSPNet:
    """The PSPNet in a folder, built as its record says, for inputs of any size, and built otherwise."""

    def __init__(self, folder: object, *, has_auxiliary: bool, changes: Sequence[Mapping[str, object]] = ()) -> None:
        """Builds the graph and restores the checkpoint.

        Args:
            folder: that the converter wrote.
            has_auxiliary: whether to build the auxiliary head.
            changes: to the recorded architecture, for the networks built otherwise from the same variables.
        """
        record = ModelRecord.read(str(folder))
        assert record is not None
        self.record = record
        with tf.Graph().as_default() as graph:
            self._images = tf.placeholder(tf.float32, [None, None, None, 3])
            outputs = pspnet_mg.pspnet(
                [self._images], record.architecture, is_training=False, has_auxiliary=has_auxiliary
            )
            self._logits = [outputs.logits[0], *(tower for (tower,) in outputs.auxiliary)]
            self._changed_logits = [self._changed(change) for change in changes]
            saver = tf.train.Saver()
        self._session = tf.Session(graph=graph)
        restore(self._session, resolve_checkpoint(str(folder)), saver)

    def _changed(self, change: Mapping[str, object]) -> tf.Tensor:
        architecture = Architecture(**{**vars(self.record.architecture), **change})
        return pspnet_mg.pspnet([self._images], architecture, is_training=False, reuse=True).logits[0]

    def logits(self, images: np.ndarray) -> list[np.ndarray]:
        """Logits [N, H, W, classes], and those of the auxiliary head, of uint8 images [N, H, W, 3]."""
        return self._session.run(self._logits, {self._images: prepared(images, self.record)})

    def changed_logits(self, images: np.ndarray) -> list[np.ndarray]:
        """Logits of the main head with each of the changes."""
        return self._session.run(self._changed_logits, {self._images: prepared(images, self.record)})

    def __enter__(self) -> ConvertedPSPNet:
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()


def converted_features(
    folder: object, images: Sequence[np.ndarray], output_stride: int, convention: str | None = None
) -> list[np.ndarray]:
    """Block 4 of the encoder in a folder, built and fed as its record says, or with another stride convention."""
    record = BackboneRecord.read(str(folder))
    assert record is not None
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, None, None, 3])
        with tf.variable_scope(record.network), slim.arg_scope([layers.batch_norm], is_training=False):
            convention = convention or record.stride_convention
            endpoints = encoders.encoder(record.network, convention)(
                [inputs],
                record.network,
                convention=convention,
                output_stride=output_stride,
                stem=record.stem,
                pool_padding=record.pool_padding,
            )
        restore(session, resolve_checkpoint(str(folder)), tf.train.Saver())
        return [session.run(endpoints["block4"][0], {inputs: prepared(batch, record)}) for batch in images]

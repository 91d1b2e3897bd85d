"""Loads a sample whose crop is placed on a pixel of a given class."""

from __future__ import annotations

import numpy as np

from database.augment import Augmentation, draws_showing, rows_shown
from database.images import read_first_rows
from database.layouts import Sample
from database.loading import check_same_size, decode_label

# Uniform numbers that `load_class_crop` takes.
PLACE_DRAWS = 3


def load_class_crop(
    sample: Sample, train_id: int, place: np.ndarray, draws: np.ndarray, augmentation: Augmentation
) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Loads a sample and moves its crop so that it shows a pixel of a class, all of which are equally likely.

    Args:
        sample: a sample with a label. If the label does not show the class, the crop stays where it is.
        train_id: the class.
        place: float [PLACE_DRAWS] in [0, 1): which pixel, and the row and column of the crop around it.
        draws: float32 [augmentation.num_draws], see `augment.augment`.
        augmentation: the settings.

    Returns:
        `(image, label, height, draws)`: the first rows of the image that the crop needs, [rows, W, channels]; the
        label, uint8 [H, W]; the height of the whole image; and the draws of the moved crop.

    Raises:
        ImageError, TFRecordError, DatasetError: see `loading.load_sample`.
    """
    contents = sample.contents()
    label = decode_label(sample, contents)
    pixels = np.flatnonzero(label == train_id)
    if pixels.size:
        row, column = divmod(int(pixels[int(float(place[0]) * pixels.size)]), label.shape[1])
        draws = draws_showing((row, column), label.shape, place[1:], draws, augmentation)
    image, height = read_first_rows(
        sample.image,
        contents.image,
        lambda height: rows_shown(draws, height, augmentation),
        sample.input_range,
        sample.channels,
    )
    check_same_size(sample, (height, image.shape[1]), label.shape)
    return image, label, height, draws

"""What the flags of a training run mean to its parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

from database.augment import Augmentation
from database.dynamic_sizes import DynamicSizes
from database.layouts import Sample
from model.architecture import Architecture
from model.schedules import Schedule
from model.training_options import TrainingOptions
from tests.tools.toy_runs import NETWORK, SIZE, tiny_config, toy_record
from tools.errors import FlagError
from tools.flags.train import TrainConfig
from tools.training import settings
from tools.training.settings import (
    augmentation_of,
    batches_of,
    dynamic_sizes_of,
    learning_rate_at,
    options_of,
    schedule_of,
    with_steps,
)


def test_augmentation_by_flags():
    config = TrainConfig(batch_size=2, train_image_size=713)
    by_default = Augmentation(
        (713, 713), scale_range=(0.5, 2.0), max_rotation=10.0, mirror=True, jitter_colors=True, gaussian_blur=False
    )
    assert augmentation_of(config) == by_default
    config = TrainConfig(
        batch_size=2, train_image_size=713, random_scale=False, random_rotate=False, random_mirror=False,
        random_blur=False, gaussian_blur=True,
    )  # fmt: skip
    assert augmentation_of(config) == dataclasses.replace(
        by_default, scale_range=(1.0, 1.0), max_rotation=0.0, mirror=False, jitter_colors=False, gaussian_blur=True
    )
    assert augmentation_of(TrainConfig(batch_size=2, scale_min=0.7, scale_max=0.9)).scale_range == (0.7, 0.9)


def test_dynamic_sizes_by_flags():
    config = TrainConfig(batch_size=2, dynamic_size=True, dynamic_short_sides=(240, 320), random_mirror=False)
    architecture = Architecture(NETWORK, 3, output_stride=16)
    assert dynamic_sizes_of(config, architecture) == DynamicSizes((240, 320), 1000, multiple=16, jitter_colors=True)
    changed = dataclasses.replace(config, random_mirror=True, random_blur=False, gaussian_blur=True)
    expected = DynamicSizes((240, 320), 1000, multiple=16, mirror=True, gaussian_blur=True)
    assert dynamic_sizes_of(changed, architecture) == expected


@pytest.mark.parametrize("color_switch", [False, True])
def test_batches_are_fed_as_recorded(tmp_path, color_switch):
    """From the second step on: each image less the mean, RGB or BGR."""
    mean = np.array((10.5, 20.25, 30.0))
    samples, pixels = [], np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        image_path, label_path = (str(tmp_path / f"{kind}-{index}.png") for kind in ("image", "label"))
        Image.fromarray(image).save(image_path)
        Image.fromarray(np.full((SIZE, SIZE), index, np.uint8)).save(label_path)
        samples.append(Sample(str(index), image_path, label_path, {0: 2, 1: 0, 2: 1}))
    config = tiny_config(
        str(tmp_path), str(tmp_path / "log"), color_switch=color_switch, random_scale=False, random_rotate=False,
        random_mirror=False, random_blur=False, seed=4,
    )  # fmt: skip
    record = dataclasses.replace(toy_record(config), image_mean=tuple(mean))
    drawn = []
    for first_step in (0, 1):
        with tf.Graph().as_default(), tf.Session() as session:
            batches = batches_of(config, record, samples, ["/cpu:0"], first_step)
            session.run(batches.initializer)
            for _ in range(2 - first_step):
                indices, [images], [labels] = session.run([batches.sample_indices, batches.images, batches.labels])
                drawn.append(indices.tolist())
                fed = (pixels[indices] - mean)[..., :: -1 if color_switch else 1]
                np.testing.assert_allclose(images, fed, rtol=0, atol=1e-4)
                np.testing.assert_array_equal(labels[:, 0, 0], np.array([2, 0, 1])[indices])
    assert drawn[1] == drawn[2]
    assert drawn[0] != drawn[1]


def test_training_options_by_flags():
    changes = {
        "loss_type": "ohem", "ohem_threshold": 0.5, "ohem_min_kept": 77, "label_smoothing": 0.1,
        "has_aux_loss": False, "weight_decay_mode": 3, "weight_decay_rate": 0.5,
        "weight_decay_rate2": 0.25, "consider_dilated": True, "new_layer_names": ("psp",), "bn_frozen": True,
        "bn_decay": 0.75, "initializer": "xavier", "optimizer": "adam", "momentum": 0.5, "train_like_in_caffe": True,
        "float_type": "bf16", "seed": 9, "freeze": ("conv1",), "train_beta_gamma": False, "clip_norm": 2.0,
        "accumulate": 3, "ema_decay": 0.5, "new_layer_multiplier": 3.0, "new_bias_multiplier": 7.0,
        "deterministic": True,
    }  # fmt: skip
    weights = (1.0, 2.0)
    config = TrainConfig(batch_size=2, class_weights="weights.txt", **changes)
    assert options_of(config, weights) == TrainingOptions(class_weights=weights, **changes)


def test_defaults_of_the_options_are_those_of_the_flags():
    """Except that of the weight decay: L2-SP needs pre-trained weights, which other callers may not have."""
    fields = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
    flags = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    assert {name for name in fields.keys() & flags.keys() if fields[name] != flags[name]} == {"weight_decay_mode"}
    assert fields.keys() - flags.keys() == {"dropout", "encoder_multiplier", "decoder_multiplier"}


def test_rates_of_the_parts_are_multiples_of_the_rate():
    options = options_of(TrainConfig(lrn_rate=0.01, lrn_rate_encoder=0.001, lrn_rate_decoder=0.05))
    assert (options.encoder_multiplier, options.decoder_multiplier) == (pytest.approx(0.1), pytest.approx(5.0))
    options = options_of(TrainConfig(lrn_rate=0.01))
    assert (options.encoder_multiplier, options.decoder_multiplier) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("epochs", "images", "accumulate", "steps"),
    [(1.0, 12, 1, 3), (1.0, 13, 1, 4), (0.1, 12, 1, 1), (30.0, 367, 1, 2753), (2.0, 13, 3, 3)],
)
def test_steps_of_epochs(caplog, epochs, images, accumulate, steps):
    caplog.set_level("INFO")
    config = with_steps(TrainConfig(epochs=epochs, batch_size=2, gpu_num=2, accumulate=accumulate), images)
    assert config == TrainConfig(train_max_iter=steps, batch_size=2, gpu_num=2, accumulate=accumulate)
    assert f"--epochs {epochs:g}: {steps} steps of {4 * accumulate} images" in caplog.text
    assert with_steps(config, 5) is config


def test_lr_steps_after_the_last_of_the_epochs_are_refused():
    config = TrainConfig(epochs=3, batch_size=2, lr_schedule="step", lr_step=(100,))
    with pytest.raises(FlagError, match=r"--lr_step 100 .*after the last step, 30: .*--epochs"):
        with_steps(config, 20)
    assert with_steps(config, 200).train_max_iter == 300


def test_patience_without_a_score_in_the_epochs_is_refused():
    config = TrainConfig(epochs=3, batch_size=2, val_every=30, patience=1)
    with pytest.raises(FlagError, match=r"--patience 1 .*--val_every 30 in 30 steps"):
        with_steps(config, 20)
    assert with_steps(config, 40).train_max_iter == 60


@pytest.mark.parametrize("first_step", [0, 3])
def test_whole_images_are_continued_after_all_batches_of_the_steps(monkeypatch, first_step):
    seen = {}
    monkeypatch.setattr(settings, "dynamic_batches", lambda samples, **arguments: seen.update(arguments))
    config = TrainConfig(batch_size=2, accumulate=4, dynamic_size=True, random_rotate=False, seed=5)
    batches_of(config, toy_record(config), [], [""], first_step)
    assert (seen["first_step"], seen["batch_size"], seen["seed"]) == (4 * first_step, 2, 5)


def test_schedule_by_flags():
    config = TrainConfig(
        lrn_rate=0.2, train_max_iter=40, lr_schedule="exponential", step_size=0.25, warmup_steps=4, warmup_factor=0.5
    )
    expected = Schedule("exponential", 0.2, 40, factor=0.25, warmup_steps=4, warmup_factor=0.5)
    assert schedule_of(config) == expected
    assert learning_rate_at(config, 20) == pytest.approx(0.2 * 0.5)
    assert learning_rate_at(config, 2) == pytest.approx(0.2 * 0.25**0.05 * 0.75)
    assert schedule_of(TrainConfig(poly_lr=False, lr_step=(3,))).name == "step"
    assert schedule_of(TrainConfig(lr_schedule="step", lr_step=(3,))) == schedule_of(
        TrainConfig(poly_lr=False, lr_step=(3,))
    )
    assert schedule_of(TrainConfig(lr_power=2.0)) == Schedule("poly", 0.01, 30000, power=2.0)

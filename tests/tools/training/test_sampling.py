"""How a run's flags choose its images, and what the log says of it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from database.class_sampling import ClassDraws, Sampling, repeat_factors
from database.datasets import find_samples, get_dataset
from database.synthetic import write_dataset
from tests.tools.command_lines import refusal
from tests.tools.toy_runs import tiny_config
from tools.errors import PreflightError
from tools.flags.train import TrainConfig
from tools.training import sampling as sampling_module
from tools.training.sampling import sampling_lines, sampling_of
from tools.training.settings import augmentation_of

COUNTS = np.array([[90, 10, 0], [100, 0, 0], [80, 15, 5], [100, 0, 0]], np.int64)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write_dataset(str(folder), train=3, val=1, test=1, height=24, width=32)
    return str(folder)


def chosen(toy, tmp_path, **flags):
    config = tiny_config(toy, str(tmp_path / "log"), **flags)
    dataset = get_dataset("Toy")
    return sampling_of(config, dataset, find_samples(dataset, toy, ["train"]))


def test_by_default_nothing_is_chosen_counted_or_written(toy, tmp_path):
    assert chosen(toy, tmp_path) is None
    mixing = chosen(toy, tmp_path, class_mix=0.25)
    assert (mixing.class_mix, mixing.class_crops, mixing.repeats, mixing.round_length) == (0.25, 0.0, None, 3)
    assert not (tmp_path / "log").exists()


def test_flags_are_passed_on(toy, tmp_path, caplog):
    caplog.set_level("INFO")
    found = chosen(toy, tmp_path, class_crops=0.25, class_temperature=5.0, repeat_rare=1.0, class_mix=0.5)
    counts = sampling_module.kept_class_counts(
        find_samples(get_dataset("Toy"), toy, ["train"]), 19, str(tmp_path / "log" / "Toy"), toy
    )
    assert counts.shape == (3, 19)
    assert (found.class_crops, found.class_mix) == (0.25, 0.5)
    np.testing.assert_array_equal(found.classes.probabilities, ClassDraws(counts, 5.0).probabilities)
    np.testing.assert_array_equal(found.repeats, repeat_factors(counts, 1.0))
    assert "class crops: 25% of the crops" in caplog.text
    augmentation = augmentation_of(TrainConfig(batch_size=2, color_jitter=0.5, cutout=0.25))
    assert (augmentation.color_jitter, augmentation.cutout) == (0.5, 0.25)


def test_the_log_has_the_shares_before_and_after():
    classes = ClassDraws(COUNTS, 0.05)
    sampling = Sampling(4, repeats=repeat_factors(COUNTS, 1.0), class_crops=0.5, classes=classes)
    first, second, _, rarest, *others = sampling_lines(COUNTS, sampling, ["road", "car", "sign"])
    assert "2 of 4 images are repeated, up to 2.00 times; all are shown in 5 crops, which are 1.25 epochs" in first
    assert "50% of the crops" in second
    # Repeats: sqrt(2), 1, 2, 1. Class draws: image 2 shows all of class 2, half of class 1, a quarter of class 0.
    of_class = classes.probabilities
    share = 0.5 * 2 / (4 + np.sqrt(2)) + 0.5 * (of_class[2] + of_class[1] / 2 + of_class[0] / 4)
    assert re.fullmatch(
        rf"  sign: images 25\.0% -> {share:.1%}, pixels 1\.25% -> {0.05 * share:.2%}; "
        rf"{0.5 * of_class[2]:.1%} of the crops are placed on it",
        rarest,
    )
    assert [line.split(":")[0] for line in others] == ["  car", "  road"]


def test_labels_without_classes_are_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling_module, "kept_class_counts", lambda *_: np.zeros((3, 19), np.int64))
    for flags in ({"class_crops": 0.5}, {"repeat_rare": 0.5}):
        with pytest.raises(PreflightError, match=r"--class_crops and --repeat_rare .* are ignored"):
            chosen(toy, tmp_path, **flags)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--class_crops 0.5 --dynamic_size 1 --random_rotate 0", "--class_crops 0.5 .*--dynamic_size 1"),
        ("--repeat_rare 0.5 --dynamic_size 1 --random_rotate 0", "--repeat_rare 0.5 .*--dynamic_size 1"),
        ("--class_mix 0.5 --dynamic_size 1 --random_rotate 0", "--class_mix 0.5 .*--dynamic_size 1"),
        ("--cutout 0.5 --dynamic_size 1 --random_rotate 0", "--cutout 0.5 .*--dynamic_size 1"),
        ("--color_jitter 0.5 --dynamic_size 1 --random_rotate 0", "--color_jitter 0.5 .*--dynamic_size 1"),
        ("--class_temperature 0.1", "--class_temperature 0.1 .*--class_crops 0.5"),
        ("--repeat_rare 0.5 --class_crops 1", "--repeat_rare 0.5 .*--class_crops 1"),
        ("--class_crops 1.5", "--class_crops: 1.5 .*1"),
        ("--class_mix -1", "--class_mix: -1 .*0"),
        ("--cutout 1.01", "--cutout: 1.01 .*1"),
        ("--color_jitter 2", "--color_jitter: 2 .*1"),
        ("--repeat_rare 2", "--repeat_rare: 2 .*1"),
        ("--class_crops 0.5 --class_temperature 0", "--class_temperature: 0 is not above 0"),
    ],
)
def test_flags_without_effect_or_out_of_range(flags, named):
    assert re.search(named, refusal(flags))

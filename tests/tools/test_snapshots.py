"""What flags must share with the run whose snapshot they score or continue."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import custom_dataset, find_samples, get_dataset
from tests.tools.runs import tiny_config, write_checkpoint
from tools.flags import FlagError, TrainConfig
from tools.model_record import ModelRecord
from tools.run_folder import RunFolder, run_folder
from tools.snapshots import check_same_classes, check_same_run, check_same_starting_points, with_pretrained
from tools.training_run import validate

OWN = {"num_classes": 5, "ignore_label": 9, "image_mean": (1.0, 2.0, 3.0)}


@pytest.fixture
def palettes(tmp_path):
    """Paths of two palettes of 5 classes, of which the fourth differs in its name."""
    paths = []
    for name in ("pole", "mast"):
        names = ("road", "wall", "sky", name, "car")
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(f"{10 * i} 0 0 {each}\n" for i, each in enumerate(names)))
        paths.append(str(path))
    return paths


def own_run(**flags):
    """Flags, dataset and record of a run on own data."""
    config = TrainConfig(database="custom", batch_size=2, **flags)
    dataset = custom_dataset(
        config.num_classes, ignore_label=255 if config.ignore_label is None else config.ignore_label,
        image_mean=config.image_mean, label_map_file=config.label_map, palette_file=config.palette,
    )  # fmt: skip
    return config, dataset, ModelRecord.of_run(config, dataset)


def refusal(trained, **flags):
    config, dataset, _ = own_run(**flags)
    with pytest.raises(FlagError) as caught:
        check_same_classes(trained, config, dataset, "log/model.ckpt-3")
    message = str(caught.value)
    assert "\n" not in message
    ending = " when log/model.ckpt-3 was trained: score it with the flags of the run"
    assert message.endswith(ending)
    return message.removesuffix(ending)


def test_scored_on_the_classes_of_the_training(palettes, tmp_path):
    """Also where a label map says by itself what --ignore_label said, and without the mean, which is recorded."""
    (tmp_path / "same.txt").write_text("".join(f"{i} {i}\n" for i in range(5)) + "9 ignore\n")
    _, _, trained = own_run(**OWN, palette=palettes[0])
    short = {"num_classes": 5, "ignore_label": 9}
    for flags in (OWN, short, {**short, "label_map": str(tmp_path / "same.txt")}):
        config, dataset, record = own_run(**flags, palette=palettes[0])
        assert record.label_map == trained.label_map
        check_same_classes(trained, config, dataset, "log/model.ckpt-3")


def test_scored_on_other_classes(palettes, tmp_path):
    (tmp_path / "map.txt").write_text("0 0\n1 1\n2 2\n3 3\n4 3\n5 4\n")
    _, _, trained = own_run(**OWN, palette=palettes[0])
    same = {**OWN, "palette": palettes[0]}
    assert refusal(trained, num_classes=3) == "--num_classes is 3 and was 5"
    ids = "by --label_map and --ignore_label and had"
    assert refusal(trained, **{**same, "ignore_label": 8}) == f"label id 8 has the training id 255 {ids} unknown"
    other_map = {**same, "label_map": str(tmp_path / "map.txt")}
    assert refusal(trained, **other_map) == f"label id 4 has the training id 3 {ids} 4"
    assert refusal(trained, **{**same, "palette": palettes[1]}) == "a class is 'mast' by --palette and was 'pole'"
    mean = (3.0, 2.0, 1.0)
    assert refusal(trained, **{**same, "image_mean": mean}) == f"--image_mean is {mean} and was (1.0, 2.0, 3.0)"


def test_validation_looks_at_the_record(tiny_run, toy_dir, tmp_path):
    toy = get_dataset("Toy")
    samples = find_samples(toy, toy_dir, ["val"])
    own = TrainConfig(database="custom", num_classes=3, eval_only=True)
    with pytest.raises(FlagError, match="--num_classes is 3 and was 19 when .*ckpt-4 was trained"):
        validate(own, custom_dataset(3), samples, tiny_run.folder.snapshot(4), RunFolder(str(tmp_path)))


@pytest.mark.parametrize(("poly_lr", "lines"), [(True, 1), (False, 0)])
def test_schedule_of_another_length_is_told(tmp_path, caplog, poly_lr, lines):
    caplog.set_level("INFO")
    config = tiny_config("toy", str(tmp_path), train_max_iter=6, poly_lr=poly_lr)
    folder = run_folder(config)
    ModelRecord.of_run(config, get_dataset("Toy")).write(folder.snapshots)
    check_same_run(folder, config)
    assert caplog.messages == []
    check_same_run(folder, dataclasses.replace(config, train_max_iter=9))
    assert caplog.messages == ["the poly schedule has 9 steps from here on, before it had 6"] * lines


@pytest.mark.parametrize("version", [tf.train.SaverDef.V2, tf.train.SaverDef.V1])
def test_starting_points_are_known_by_their_content(tmp_path, version):
    config = tiny_config("toy", str(tmp_path / "log"))
    folder = run_folder(config)
    first, second = (
        write_checkpoint(str(tmp_path / name), {"a": np.full(3, value, np.float32)}, version)
        for name, value in (("first.ckpt", 1), ("second.ckpt", 2))
    )
    check_same_starting_points(folder, first)  # no record: nothing to compare
    record = ModelRecord.of_run(config, get_dataset("Toy"))
    record.write(folder.snapshots)
    check_same_starting_points(folder, first)  # nor in this record
    with_pretrained(record, first).write(folder.snapshots)
    check_same_starting_points(folder, first)
    for name in os.listdir(tmp_path):
        if name.startswith("first"):
            os.rename(tmp_path / name, tmp_path / name.replace("first", "moved"))
    check_same_starting_points(folder, str(tmp_path / "moved.ckpt"))
    with pytest.raises(FlagError) as caught:
        check_same_starting_points(folder, second)
    assert str(caught.value) == (
        f"{second} is not the checkpoint that {folder.path} was started from, {first}, and w0 is read from it again: "
        "give that one with --fine_tune_filename"
    )

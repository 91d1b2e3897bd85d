"""Checks of flags against the run that is resumed, scored or used for prediction."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil

import pytest

from database.datasets import custom_dataset, find_samples, get_dataset
from tests.tools.toy_runs import NETWORK, tiny_config
from tools.errors import FlagError
from tools.flags.predict import PredictConfig
from tools.flags.train import TrainConfig
from tools.runs.agreement import check_same_classes, check_same_flags, check_same_network, check_same_run
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder, run_folder
from tools.runs.origin_entries import with_samples
from tools.runs.record import ModelRecord
from tools.training.samples import RunData
from tools.training.validation import validate

OWN = {"num_classes": 5, "ignore_label": 9, "image_mean": (1.0, 2.0, 3.0)}
CLASS_NAMES = ("road", "wall", "sky", "pole", "car")


def write_palette(path, names=CLASS_NAMES, red=10):
    """A palette file; returns its path."""
    path.write_text("".join(f"{red * i} 0 0 {name}\n" for i, name in enumerate(names)))
    return str(path)


@pytest.fixture
def palettes(tmp_path):
    """Paths of two palettes of 5 classes, of which the fourth differs in its name."""
    return [write_palette(tmp_path / f"{name}.txt", ("road", "wall", "sky", name, "car")) for name in ("pole", "mast")]


def own_run(**flags):
    """Flags, dataset and record of a run on own data."""
    config = TrainConfig(database="custom", batch_size=2, **flags)
    dataset = custom_dataset(
        config.num_classes, ignore_label=255 if config.ignore_label is None else config.ignore_label,
        image_mean=config.image_mean, label_map_file=config.label_map, palette_file=config.palette,
        train_list=config.train_list,
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
    """A label map may replace an equal --ignore_label, and the mean may be left out, because it is recorded."""
    (tmp_path / "same.txt").write_text("".join(f"{i} {i}\n" for i in range(5)) + "9 ignore\n")
    _, _, trained = own_run(**OWN, palette=palettes[0])
    short = {"num_classes": 5, "ignore_label": 9}
    for flags in (OWN, short, {**short, "label_map": str(tmp_path / "same.txt")}):
        config, dataset, record = own_run(**flags, palette=palettes[0])
        assert record.label_map == trained.label_map
        check_same_classes(trained, config, dataset, "log/model.ckpt-3")


def test_scored_in_other_colours(palettes, tmp_path):
    _, _, trained = own_run(**OWN, palette=palettes[0])
    config, dataset, _ = own_run(**OWN, palette=write_palette(tmp_path / "red.txt", red=20))
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


def test_scored_and_resumed_with_another_input_range():
    """The flag must also be given again, because samples are read according to the flags."""
    config, dataset, record = own_run(**OWN)
    deep = dataclasses.replace(record, input_range=4095.0)
    assert refusal(record, **OWN, input_range=4095.0) == "--input_range is 4095.0 and was None"
    assert refusal(deep, **OWN) == "--input_range is None and was 4095.0"
    config = dataclasses.replace(config, input_range=4095.0)
    check_same_classes(deep, config, dataset, "log/model.ckpt-3")


def test_resumed_with_other_ignored_colours(tmp_path):
    plain = tmp_path / "palette.txt"
    write_palette(plain)
    _, dataset, record = own_run(**OWN, palette=str(plain))
    record.write(str(tmp_path))
    assert ModelRecord.read(str(tmp_path)).ignored_colors == ()
    plain.write_text(f"{plain.read_text()}0 0 9 ignore\n")
    config, dataset, record = own_run(**OWN, palette=str(plain))
    folder = RunFolder(str(tmp_path / "run"))
    own_run(**OWN, palette=str(plain))[2].write(folder.snapshots)
    check_same_run(folder, config, dataset, DataChecksums.of([], str(tmp_path)))
    assert ModelRecord.read(folder.snapshots).ignored_colors == ((0, 0, 9),)
    plain.write_text(plain.read_text().replace("0 0 9 ignore", "9 9 9 ignore"))
    config, dataset, _ = own_run(**OWN, palette=str(plain))
    with pytest.raises(FlagError, match=r"ignored colours are \(\(9, 9, 9\),\) by --palette and were \(\(0, 0, 9\),\)"):
        check_same_run(folder, config, dataset, DataChecksums.of([], str(tmp_path)))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TrainConfig(database="custom", num_classes=3, network=NETWORK, eval_only=True), "--num_classes is 3 and was"),
        (TrainConfig(network="resnet_v1_34", eval_only=True), f"--network is resnet_v1_34 .* trained with {NETWORK}"),
        (TrainConfig(network=NETWORK, output_stride=16, eval_only=True), "--output_stride is 16 .* trained with 8"),
    ],
)
def test_validation_looks_at_the_record(tiny_run, toy_dir, tmp_path, config, words):
    samples = find_samples(get_dataset("Toy"), toy_dir, ["val"])
    dataset = custom_dataset(3) if config.database == "custom" else get_dataset("Toy")
    data = RunData.of(dataset, toy_dir, [], samples)
    with pytest.raises(FlagError, match=words):
        validate(config, data, RunFolder(str(tmp_path)), tiny_run.folder.snapshot(4))
    assert os.listdir(tmp_path) == []


RECORDED = {
    "network": "resnet_v1_101", "decoder": "upernet", "three_convs_beginning": True, "pool_padding": "symmetric",
    "stride_convention": "caffe", "output_stride": 16, "resize_grid": "align_corners", "color_switch": True,
    "upsample_input": 1, "activation": "leaky_relu",
}  # fmt: skip
OTHER = {
    "network": "resnet_v1_50", "decoder": "ppm", "three_convs_beginning": False, "pool_padding": "same",
    "stride_convention": "slim", "output_stride": 8, "resize_grid": "legacy", "color_switch": False,
    "upsample_input": 2, "activation": "relu",
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_network_of_the_flags_is_that_of_the_checkpoint(name):
    trained = ModelRecord.of_run(TrainConfig(batch_size=2, **RECORDED), get_dataset("Cityscapes"))
    same = TrainConfig(batch_size=2, **RECORDED)
    silent = TrainConfig(batch_size=2, network="resnet_v1_101")  # of the others, only upsample_input has a default
    for config in (same, silent):
        check_same_network(trained, config, "log/model.ckpt-3")
    with pytest.raises(FlagError) as caught:
        check_same_network(trained, dataclasses.replace(same, **{name: OTHER[name]}), "log/model.ckpt-3")
    now, then = (int(value) if isinstance(value, bool) else value for value in (OTHER[name], RECORDED[name]))
    assert str(caught.value).startswith(
        f"--{name} is {now} and log/model.ckpt-3 was trained with {then}: give --{name} {then}, or a checkpoint"
    )


def test_recorded_flags_that_a_script_does_not_have_are_not_checked():
    trained = ModelRecord.of_run(TrainConfig(batch_size=2, **RECORDED), get_dataset("Cityscapes"))
    config = PredictConfig(network="resnet_v1_101")
    assert not hasattr(config, "output_stride")
    check_same_network(trained, config, "log/model.ckpt-3")
    with pytest.raises(FlagError, match="--resize_grid is legacy .* trained with align_corners"):
        check_same_network(trained, dataclasses.replace(config, resize_grid="legacy"), "log/model.ckpt-3")


def test_narrow_beginning_of_three_layers():
    """The stem that no value of the switch selects."""
    config = TrainConfig(batch_size=2, three_convs_beginning=True)
    trained = ModelRecord.of_run(config, get_dataset("Cityscapes"))
    trained = dataclasses.replace(trained, architecture=dataclasses.replace(trained.architecture, stem="deep_64"))
    check_same_network(trained, config, "log/model.ckpt-3")


def check_resume(folder, config):
    """Compares flags and generated scenes with a run."""
    toy = get_dataset("Toy")
    check_same_run(
        folder, config, toy, DataChecksums.of(find_samples(toy, config.data_dir, ["train"]), config.data_dir)
    )


@pytest.mark.parametrize(("name", "now"), [("resize_grid", "legacy"), ("seed", 9), ("subsets_for_training", ("val",))])
def test_resume_with_other_flags_is_rejected(tiny_run, name, now):
    check_resume(tiny_run.folder, dataclasses.replace(tiny_run.config, train_max_iter=9, save_memory=True))
    check_resume(tiny_run.folder, dataclasses.replace(tiny_run.config, device="cpu"))
    with pytest.raises(FlagError, match=f"--{name} is .* was started with .*: resume with the flags of the run"):
        check_resume(tiny_run.folder, dataclasses.replace(tiny_run.config, **{name: now}))


def test_all_other_flags_are_named_in_one_line(tiny_run):
    changed = dataclasses.replace(tiny_run.config, seed=9, random_mirror=False, train_max_iter=9)
    for check in (check_resume, check_same_flags):
        with pytest.raises(FlagError) as caught:
            check(tiny_run.folder, changed)
        message = str(caught.value)
        now, then = message.split("was started with")
        for name, value, before in (("seed", 9, tiny_run.config.seed), ("random_mirror", False, True)):
            assert f"--{name} is {value}" in now
            assert f"--{name} {before}" in then
        assert "train_max_iter" not in message
        assert "--run_name" in then
        assert f"--fine_tune_filename {tiny_run.folder.path}" in then
        assert "\n" not in message
    check_same_flags(tiny_run.folder, dataclasses.replace(tiny_run.config, train_max_iter=9))
    check_same_flags(RunFolder(f"{tiny_run.folder.path}-absent"), changed)


def test_resume_on_a_copy_of_the_data(tiny_run, toy_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(toy_dir, copy)
    config = dataclasses.replace(tiny_run.config, data_dir=str(copy))
    check_resume(tiny_run.folder, config)
    for path in (copy / "gtFine" / "train").rglob("*.png"):
        os.rename(path, str(path).replace("labelIds", "labelTrainIds"))
    with pytest.raises(FlagError, match="the 6 training images and labels in .*copy are not those that .* was started"):
        check_resume(tiny_run.folder, config)


@pytest.mark.parametrize(("poly_lr", "lines"), [(True, 1), (False, 0)])
def test_schedule_of_another_length_is_logged(tmp_path, toy_dir, caplog, poly_lr, lines):
    caplog.set_level("INFO")
    config = tiny_config(toy_dir, str(tmp_path), train_max_iter=6, poly_lr=poly_lr)
    folder = run_folder(config)
    ModelRecord.of_run(config, get_dataset("Toy")).write(folder.snapshots)
    check_resume(folder, config)
    assert caplog.messages == []
    check_resume(folder, dataclasses.replace(config, train_max_iter=9))
    assert len(caplog.messages) == lines
    assert all(re.search("poly schedule .* 9 steps .* 6$", message) for message in caplog.messages)


@pytest.fixture
def own_files(tmp_path):
    """Flags of a run on own data with a list, a palette and a label map, and its folder with the record."""
    data = tmp_path / "data"
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
        for name in "ab":
            (data / kind / f"{name}.png").write_text("")
    (tmp_path / "train.txt").write_text("images/a.png labels/a.png\nimages/b.png labels/b.png\n")
    (tmp_path / "ids.txt").write_text("".join(f"{i} {i}\n" for i in range(5)) + "9 ignore\n")
    files = {"train_list": str(tmp_path / "train.txt"), "label_map": str(tmp_path / "ids.txt")}
    flags = {"num_classes": 5, "data_dir": str(data), "palette": write_palette(tmp_path / "colours.txt"), **files}
    config, dataset, record = own_run(**flags)
    folder = RunFolder(str(tmp_path / "log" / "run"))
    with_samples(record, DataChecksums.of(find_samples(dataset, str(data), ["train"]), str(data))).write(
        folder.snapshots
    )
    return flags, folder


def resume_own(folder, flags):
    config, dataset, _ = own_run(**flags)
    check_same_run(
        folder,
        config,
        dataset,
        DataChecksums.of(find_samples(dataset, flags["data_dir"], ["train"]), flags["data_dir"]),
    )


def test_resume_with_files_that_were_moved(own_files, tmp_path):
    flags, folder = own_files
    for name in ("train_list", "label_map", "palette"):
        flags[name] = shutil.move(flags[name], f"{flags[name]}.moved")
    resume_own(folder, {**flags, "val_list": "other.txt", "test_list": "other.txt"})
    flags["data_dir"] = shutil.move(flags["data_dir"], f"{flags['data_dir']}.moved")
    resume_own(folder, flags)
    (tmp_path / "again.txt").write_text("".join(f"{i} {i}\n" for i in range(5)) + "255 ignore\n")
    resume_own(folder, {**flags, "label_map": str(tmp_path / "again.txt"), "ignore_label": 9})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("label_map", "0 0\n1 1\n2 2\n3 4\n4 3\n9 ignore\n", "label id 3 has the training id 4 by --label_map .*had 3"),
        ("palette", "0 0 0 road\n10 0 0 wall\n20 0 0 sky\n30 0 0 mast\n40 0 0 car\n", "a class is 'mast' by --palette"),
        (
            "palette", "0 0 0 road\n10 0 0 wall\n20 0 0 sky\n30 0 9 pole\n40 0 0 car\n",
            r"the colour of 'pole' is \(30, 0, 9\) by --palette and was \(30, 0, 0\)",
        ),
        ("train_list", "images/a.png labels/a.png\n", "the 1 training images and labels in .*data are not those"),
        ("train_list", "images/a.png labels/b.png\nimages/b.png labels/a.png\n", "the 2 training images and labels"),
    ],
    ids=["ids", "names", "colours", "fewer images", "labels exchanged"],
)  # fmt: skip
def test_resume_with_files_that_have_changed(own_files, name, text, words):
    flags, folder = own_files
    with open(flags[name], "w", encoding="utf-8") as file:
        file.write(text)
    with pytest.raises(FlagError, match=f"^{words}.* was started.*: resume with the .*") as caught:
        resume_own(folder, flags)
    assert "\n" not in str(caught.value)


def test_resume_of_a_run_without_a_record(tmp_path, toy_dir):
    check_resume(RunFolder(str(tmp_path)), tiny_config(toy_dir, "log"))

"""Tests `python -m tools.make_tfrecord` on known datasets and on own data."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.classes import CITYSCAPES_LABEL_MAP, identity_map
from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError, ImageError, TFRecordError
from database.layouts import Sample
from database.loading import load_sample
from database.synthetic import write_dataset
from database.tfrecord_samples import find_tfrecord_samples
from tools.errors import FlagError
from tools.flags.train import TrainConfig
from tools.make_tfrecord.__main__ import main
from tools.training.samples import training_samples, validation_samples

TOY = get_dataset("Toy")


def are_equal(found: list[Sample], expected: list[Sample]) -> bool:
    """Returns whether samples have the same names, paths, label maps and pixels."""
    facts = [[(s.name, s.image, s.label, s.label_map) for s in samples] for samples in (found, expected)]
    pairs = zip(map(load_sample, found), map(load_sample, expected), strict=True)
    return facts[0] == facts[1] and all(
        image.tobytes() == image_too.tobytes() and label.tobytes() == label_too.tobytes()
        for (image, label), (image_too, label_too) in pairs
    )


@pytest.mark.usefixtures("usual_pixel_limit")
def test_too_many_pixels_are_refused(data_dir):
    with pytest.raises(ImageError, match=r"512 pixels.* --max_pixels is 9\b"):
        main(["--database", "Toy", "--data_dir", data_dir, "--shards", "1", "--max_pixels", "9"])


def test_the_script_writes_into_the_folder_of_the_data(data_dir, caplog):
    caplog.set_level("INFO")
    main(["--database", "Toy", "--data_dir", data_dir, "--shards", "3", "--workers", "2"])
    folder = Path(data_dir, "tfrecord")
    assert sorted(os.listdir(folder)) == [*(f"train-0000{i}-of-00003.tfrecord" for i in range(3)), "train.index.json"]
    # The sample of labels does not show all classes, so others are read too.
    looking, progress, *others = caplog.messages
    assert looking.startswith("looking for classes: ")
    assert progress.startswith("TFRecords of train: 7 of 7 img in ")
    [written] = others
    assert re.search(f"7 samples in 3 shards .*{folder}$", written)
    values = json.loads((folder / "train.index.json").read_text())
    assert [len(shard["samples"]) for shard in values["shards"]] == [2, 2, 3]
    assert (values["database"], values["split"], values["from_list"]) == ("Toy", "train", False)
    assert are_equal(find_tfrecord_samples(TOY, data_dir, ["train"]), find_samples(TOY, data_dir, ["train"]))


def test_pixels_that_are_no_number_are_refused_and_dark_or_bright_ones_left_to_training(data_dir):
    sample = find_samples(TOY, data_dir, ["train"])[4]
    numbers = np.full((16, 32), 4000, np.float32)
    flags = ["--database", "Toy", "--data_dir", data_dir, "--shards", "1"]
    for value in (1e32, np.nan):
        numbers[0, 7] = value
        Image.fromarray(numbers).save(sample.image, format="TIFF")
        if np.isfinite(value):
            main([*flags, "--out", os.path.join(data_dir, "bright")])
        else:
            with pytest.raises(ImageError, match=f"^{sample.image}: .*1 of 512 pixels .*nan in row 0, column 7"):
                main(flags)


def test_default_number_of_shards(data_dir, tmp_path):
    flags = ["--database", "Toy", "--data_dir", data_dir, "--out", str(tmp_path / "a" / "b")]
    main([*flags, "--split", "val"])
    assert sorted(os.listdir(tmp_path / "a" / "b")) == [
        "val-00000-of-00002.tfrecord", "val-00001-of-00002.tfrecord", "val.index.json",
    ]  # fmt: skip
    with pytest.raises(FlagError, match="--shards is 8, expected at most 7"):
        main([*flags, "--shards", "8"])


def test_a_split_without_labels_is_refused(data_dir):
    with pytest.raises(DatasetError, match="this image has no label"):
        main(["--database", "Toy", "--data_dir", data_dir, "--split", "test"])
    with pytest.raises(DatasetError, match="Toy has no split 'dev', only train"):
        main(["--database", "Toy", "--data_dir", data_dir, "--split", "dev"])


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_with_either_kind_of_labels(data_dir, tmp_path, kind):
    if kind == "labelTrainIds":
        for path in Path(data_dir, "gtFine").rglob("*_labelIds.png"):
            ids = np.vectorize(CITYSCAPES_LABEL_MAP.get)(np.array(Image.open(path))).astype(np.uint8)
            Image.fromarray(ids).save(str(path).replace("labelIds", "labelTrainIds"))
            path.unlink()
    cityscapes = get_dataset("Cityscapes")
    main(["--database", "Cityscapes", "--data_dir", data_dir, "--shards", "2"])
    found = find_tfrecord_samples(cityscapes, data_dir, ["train"])
    assert found[0].label_map == {"labelIds": CITYSCAPES_LABEL_MAP, "labelTrainIds": identity_map(19)}[kind]
    assert found[0].label.endswith(f"{kind}.png")
    assert are_equal(found, find_samples(cityscapes, data_dir, ["train"]))
    write_dataset(str(tmp_path / "same"), train=7, val=2, test=1, height=16, width=32)
    expected = find_samples(cityscapes, str(tmp_path / "same"), ["train"])
    for sample, as_label_ids in zip(found, expected, strict=True):
        np.testing.assert_array_equal(load_sample(sample)[1], load_sample(as_label_ids)[1])


@pytest.fixture
def own_flags(tmp_path) -> list[str]:
    """Flags of own data with a list and a label map; one image lies elsewhere and is listed by its whole path."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    rng = np.random.default_rng(0)
    for name in (data / "a", elsewhere / "b", data / "c"):
        Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(f"{name}.jpg")
        Image.fromarray(rng.choice(np.array([0, 7, 11], np.uint8), (5, 6))).save(f"{name}.png")
    (tmp_path / "train.txt").write_text(f"a.jpg a.png\n{elsewhere}/b.jpg {elsewhere}/b.png\nc.jpg c.png\n")
    (tmp_path / "ids.txt").write_text("7 0\n11 1\n0 ignore\n")
    lists = ["--train_list", str(tmp_path / "train.txt"), "--label_map", str(tmp_path / "ids.txt")]
    return ["--database", "custom", "--data_dir", str(data), "--num_classes", "2", *lists]


def test_own_data_with_a_list_and_a_label_map(own_flags, tmp_path):
    main([*own_flags, "--shards", "2"])
    data_dir, label_map_file = str(tmp_path / "data"), str(tmp_path / "ids.txt")
    dataset = custom_dataset(2, train_list=str(tmp_path / "train.txt"), label_map_file=label_map_file)
    expected = find_samples(dataset, data_dir, ["train"])
    # The list is not needed any more, the label map is.
    assert are_equal(
        find_tfrecord_samples(custom_dataset(2, label_map_file=label_map_file), data_dir, ["train"]), expected
    )
    values = json.loads((tmp_path / "data" / "tfrecord" / "train.index.json").read_text())
    assert values["from_list"] is True
    assert [sample[1] for shard in values["shards"] for sample in shard["samples"]] == [
        "a.jpg", "c.jpg", str(tmp_path / "elsewhere" / "b.jpg"),
    ]  # fmt: skip
    with pytest.raises(TFRecordError, match="label id 0 has the training id 0 by .* had 255 when"):
        find_tfrecord_samples(custom_dataset(2), data_dir, ["train"])
    (tmp_path / "ids.txt").write_text("7 1\n11 0\n0 ignore\n")
    with pytest.raises(TFRecordError, match="example 0 of a.jpg has changed"):
        main([*own_flags, "--shards", "2"])


def test_held_out_images_of_a_list(own_flags, tmp_path):
    for split in ("train", "val"):
        main([*own_flags, "--holdout", "0.4", "--split", split])
    label_map_file, data_dir = str(tmp_path / "ids.txt"), str(tmp_path / "data")
    listed = custom_dataset(2, train_list=str(tmp_path / "train.txt"), label_map_file=label_map_file, holdout=0.4)
    held_out = find_samples(listed, data_dir, ["val"])
    assert len(held_out) == 1
    config = TrainConfig(
        batch_size=2, database="custom", num_classes=2, label_map=label_map_file, holdout=0.4, data_format="tfrecord"
    )
    dataset = custom_dataset(2, label_map_file=label_map_file, holdout=0.4)
    assert are_equal(validation_samples(config, dataset, data_dir), held_out)
    assert are_equal(training_samples(config, dataset, data_dir), find_samples(listed, data_dir, ["train"]))
    os.remove(tmp_path / "data" / "tfrecord" / "val.index.json")
    with pytest.raises(TFRecordError, match="val.index.json: the index does not exist"):
        validation_samples(config, dataset, data_dir)


def test_labels_as_a_whole(tmp_path, caplog):
    """The rules of training apply, but a missing class is only a warning, and no other split is read for it."""
    folder = tmp_path / "own"
    for split, ids in (("train", [[0, 255]]), ("val", [[1, 1]])):
        for kind, array in (("images", np.zeros((1, 2, 3))), ("labels", np.array(ids))):
            (folder / kind / split).mkdir(parents=True)
            Image.fromarray(array.astype(np.uint8)).save(folder / kind / split / "a.png")
    flags = ["--database", "custom", "--data_dir", str(folder), "--num_classes", "2", "--split"]
    main([*flags, "train"])
    [line] = caplog.messages
    assert re.match(r"class 1 \(class_1\) occurs in no label of the training image.* 0 and 255 only", line)
    caplog.clear()
    main([*flags, "val"])
    assert caplog.messages == []
    for value, words in ((255, "a.png: every pixel of this"), (9, r"a.png: id 9 \(2 pixels\) is neither")):
        Image.fromarray(np.full((1, 2), value, np.uint8)).save(folder / "labels" / "train" / "a.png")
        with pytest.raises(DatasetError, match=words):
            main([*flags, "train", "--out", str(tmp_path / "other")])
        assert not (tmp_path / "other").exists()


def test_tfrecords_of_labels_in_colours_belong_to_their_palette(tmp_path):
    """They are checked with the palette while they are written, and are not read with another one."""
    colors = np.array([[[9, 0, 0], [0, 9, 0], [0, 0, 0]]], np.uint8)
    for split_folder, array in (("images/train", colors), ("labels/train", colors)):
        (tmp_path / split_folder).mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / split_folder / "a.png")
    names = {"right": "9 0 0 road\n0 9 0 sky\n0 0 0 ignore\n", "swapped": "0 9 0 sky\n9 0 0 road\n0 0 0 ignore\n"}
    for name, text in names.items():
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "short.txt").write_text("9 0 0 road\n0 9 0 sky\n")
    line = ["--database", "custom", "--num_classes", "2", "--data_dir", str(tmp_path), "--shards", "1"]
    with pytest.raises(DatasetError, match=r"a\.png: pixel x 2, y 0 has the colour 0 0 0"):
        main([*line, "--palette", str(tmp_path / "short.txt")])
    main([*line, "--palette", str(tmp_path / "right.txt")])
    dataset = custom_dataset(2, palette_file=str(tmp_path / "right.txt"))
    [sample] = find_tfrecord_samples(dataset, str(tmp_path), ["train"])
    np.testing.assert_array_equal(load_sample(sample)[1], [[0, 1, 255]])
    with pytest.raises(TFRecordError, match="--palette has other colours"):
        find_tfrecord_samples(custom_dataset(2, palette_file=str(tmp_path / "swapped.txt")), str(tmp_path), ["train"])
    with pytest.raises(TFRecordError, match="--palette"):
        find_tfrecord_samples(custom_dataset(2), str(tmp_path), ["train"])


def test_palette_images_that_contradict_the_palette_are_neither_written_nor_read(tmp_path):
    """TFRecords that were written without a palette are checked with it when they are read."""
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([0, 9, 0, 9, 0, 0])
    for folder in ("images", "labels"):
        (tmp_path / folder / "train").mkdir(parents=True)
        image.save(tmp_path / folder / "train" / "a.png")
    (tmp_path / "palette.txt").write_text("9 0 0 road\n0 9 0 tree\n")
    line = ["--database", "custom", "--num_classes", "2", "--data_dir", str(tmp_path), "--shards", "1"]
    fault = r"a\.png: this palette image gives index 0 the colour 0 9 0, which .*palette\.txt gives to id 1"
    with pytest.raises(DatasetError, match=fault):
        main([*line, "--palette", str(tmp_path / "palette.txt")])
    assert not (tmp_path / "tfrecord").exists()
    main(line)
    dataset = custom_dataset(2, palette_file=str(tmp_path / "palette.txt"))
    [sample] = find_tfrecord_samples(dataset, str(tmp_path), ["train"])
    with pytest.raises(DatasetError, match=fault):
        load_sample(sample)

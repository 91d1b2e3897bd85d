"""What is found out about label files before the first step."""

from __future__ import annotations

import dataclasses
import os
from unittest import mock

import numpy as np
import pytest

from database.datasets import custom_dataset
from database.errors import DatasetError, ImageError
from database.images import write_image
from database.layouts import Sample
from tests.tools.command_lines import refusal
from tests.tools.toy_runs import tiny_config, toy_record
from tools.errors import PreflightError
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.training import label_rules
from tools.training.preflight import (
    check_disjoint,
    check_labels,
    check_training_data,
    check_training_labels,
    choose_samples,
)

LABEL_MAP = {0: 255, 1: 0, 2: 1, 255: 255}
DATASET = dataclasses.replace(custom_dataset(2), class_names=("road", "sky"), label_map=LABEL_MAP)


def write_sample(folder, name, ids, image_size=None):
    """Writes a label file and a black image, of the same size by default."""
    ids = np.asarray(ids, np.uint8)
    image, label = (os.path.join(str(folder), f"{name}_{kind}.png") for kind in ("image", "label"))
    write_image(label, ids)
    write_image(image, np.zeros((*(image_size or ids.shape), 3), np.uint8))
    return Sample(name, image, label, LABEL_MAP)


def test_classes_and_ignored_pixels_are_counted_in_one_line(tmp_path, caplog):
    samples = [write_sample(tmp_path, "a", [[1, 1, 2], [0, 255, 1]]), write_sample(tmp_path, "b", [[2, 2]])]
    caplog.set_level("INFO")
    assert check_labels(samples, "all", DATASET) == {0: 1, 1: 3, 2: 3, 255: 1}
    [line] = caplog.messages
    assert line.startswith("labels: 2 of 2 training files checked; 2 of 2 expected classes occur, 25.0%")


def test_the_line_names_the_split(tmp_path, caplog):
    caplog.set_level("INFO")
    check_labels([write_sample(tmp_path, "a", [[1]])], "all", DATASET, title="validation")
    assert caplog.messages[0].startswith("labels: 1 of 1 validation files checked; 1 of 2 expected classes occur, 0.0%")


def test_unknown_id_is_named_with_its_file(tmp_path):
    samples = [write_sample(tmp_path, "good", [[1]]), write_sample(tmp_path, "bad", [[1, 7, 7]])]
    with pytest.raises(DatasetError, match=r"bad_label.png: id 7 \(2 pixels\)"):
        check_labels(samples, "all", DATASET)


def test_sizes_that_differ(tmp_path):
    sample = write_sample(tmp_path, "a", np.ones((4, 6)), image_size=(6, 4))
    with pytest.raises(ImageError, match=r"a_label.png: the label is 4x6 but its image .*a_image.png is 6x4"):
        check_labels([sample], "sample", DATASET)


def test_missing_file(tmp_path):
    sample = write_sample(tmp_path, "a", [[1]])
    os.remove(sample.label)
    with pytest.raises(ImageError, match="a_label.png"):
        check_labels([sample], "sample", DATASET)


def test_files_that_may_be_unreadable(tmp_path, caplog):
    samples = [write_sample(tmp_path, name, [[1, 2]]) for name in "abc"]
    os.remove(samples[0].label)
    os.remove(samples[2].label)
    assert check_labels(samples, "all", DATASET, max_bad_files=2) == {1: 1, 2: 1}
    assert [line.partition("_label.png: ")[0] for line in caplog.messages] == [
        f"skipped: {tmp_path}/{name}" for name in "ac"
    ]
    with pytest.raises(ImageError, match="c_label.png"):
        check_labels(samples, "all", DATASET, max_bad_files=1)


def test_nothing_but_ignored_pixels(tmp_path):
    samples = [write_sample(tmp_path, name, [[0, 255]]) for name in "abc"]
    with pytest.raises(PreflightError, match=r"a_label.png: every pixel of this and of 2 more label files is ignored"):
        check_labels(samples, "all", DATASET)
    assert check_labels([*samples, write_sample(tmp_path, "d", [[1]])], "all", DATASET)[1] == 1


def test_none_reads_nothing(tmp_path):
    missing = Sample("x", str(tmp_path / "no.png"), str(tmp_path / "no.png"), LABEL_MAP)
    assert check_labels([missing], "none", DATASET) == {}
    assert check_labels([], "all", DATASET) == {}


@pytest.mark.parametrize(
    ("count", "how", "chosen"),
    [(10, "all", 10), (10, "sample", 10), (64, "sample", 64), (1000, "sample", 64), (1000, "all", 1000),
     (1000, "none", 0), (1, "sample", 1)],
)  # fmt: skip
def test_numbers_of_chosen_samples(count, how, chosen):
    samples = [Sample(str(number), "", "", {}) for number in range(count)]
    found = choose_samples(samples, how)
    assert len(found) == len({sample.name for sample in found}) == chosen
    if how == "sample":
        assert (found[0], found[-1]) == (samples[0], samples[-1])


def test_chosen_samples_are_spread_evenly():
    positions = [int(s.name) for s in choose_samples([Sample(str(n), "", "", {}) for n in range(1000)], "sample")]
    steps = np.diff(positions)
    assert set(steps) <= {15, 16}  # 999 / 63 = 15.86


def test_validation_images_among_the_training_images(tmp_path):
    a, b, c = (write_sample(tmp_path, name, [[1]]) for name in "abc")
    check_disjoint([a, b], [c])
    check_disjoint([], [c])
    os.symlink(c.image, tmp_path / "link.png")
    linked = Sample("other name", str(tmp_path / "link.png"), c.label, LABEL_MAP)
    with pytest.raises(PreflightError, match="c_image.png, a validation image, is among the training images"):
        check_disjoint([a, linked], [b, c])
    with pytest.raises(PreflightError, match="a_image.png and 2 more validation images are among the training images"):
        check_disjoint([a, b, c], [c, b, a])


def test_a_validation_image_with_the_bytes_of_a_training_image_is_warned_of(tmp_path, caplog):
    train, val = (write_sample(tmp_path, name, [[1, 2]]) for name in ("a", "b"))
    os.remove(val.image)
    os.link(train.image, val.image)  # the same bytes under two names
    config = tiny_config("data", "log")
    check(config, [train], RunFolder(str(tmp_path / "run")), [val])
    [message] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert message.startswith(f"1 image is in both train and val ({val.image} is a copy of {train.image}): ")
    caplog.clear()
    check(dataclasses.replace(config, subsets_for_training=("train", "val")), [train], RunFolder("run"), [val])
    assert not caplog.records


@pytest.fixture
def many_samples(tmp_path) -> list[Sample]:
    """200 labels of one pixel each, all road; a sample of them leaves out the place 100."""
    samples = [write_sample(tmp_path, str(number), [[1]]) for number in range(200)]
    assert samples[100] not in choose_samples(samples, "sample")
    return samples


def test_a_class_that_the_sample_lacks_is_looked_for(many_samples, caplog):
    caplog.set_level("INFO")
    write_image(many_samples[100].label, np.array([[2]], np.uint8))
    counts = check_training_labels(many_samples, "sample", DATASET)
    assert counts[2] == 1
    assert counts.total() > 64
    assert f"labels: {counts.total()} of 200 training files checked; 2 of 2 expected classes" in caplog.text
    # Where no class is needed, the sample is enough.
    assert check_labels(many_samples, "sample", DATASET) == {1: 64}


def test_looking_for_a_class_ends_with_it(many_samples):
    chosen = {sample.name for sample in choose_samples(many_samples, "sample")}
    for sample in many_samples:
        if sample.name not in chosen:
            write_image(sample.label, np.array([[2]], np.uint8))
    assert check_training_labels(many_samples, "sample", DATASET) == {1: 64, 2: 1}


@pytest.mark.parametrize("how", ["sample", "all"])
def test_a_class_that_occurs_nowhere(many_samples, how, caplog):
    with pytest.raises(
        PreflightError, match=r"class 1 \(sky\) occurs in no label of the 200 training images; the ids .* 1;"
    ):
        check_training_labels(many_samples, how, DATASET)
    caplog.clear()
    assert check_training_labels(many_samples, how, DATASET, allow_missing_classes=True) == {1: 200}
    [line] = caplog.messages
    assert line.endswith(" --allow_missing_classes 1")


def test_validation_labels_are_read_only_for_the_error(tmp_path, caplog):
    samples, held_out = [write_sample(tmp_path, "a", [[1]])], [write_sample(tmp_path, "b", [[0, 1, 2]])]
    with pytest.raises(PreflightError, match="labels of val show it"):
        check_training_labels(samples, "all", DATASET, held_out=held_out)
    os.remove(held_out[0].label)
    caplog.clear()
    read = mock.patch.object(label_rules, "label_counts", wraps=label_rules.label_counts)
    with read as counted:
        check_training_labels(samples, "all", DATASET, allow_missing_classes=True, held_out=held_out)
    assert [call.args[0] for call in counted.call_args_list] == samples
    [line] = caplog.messages
    assert line.endswith(" --allow_missing_classes 1")


def test_what_is_met_while_a_class_is_looked_for(many_samples):
    write_image(many_samples[100].label, np.array([[9]], np.uint8))
    with pytest.raises(DatasetError, match=r"/100_label.png: id 9 \(1 pixel\) is neither"):
        check_training_labels(many_samples, "sample", DATASET)
    os.remove(many_samples[100].label)
    with pytest.raises(ImageError, match=r"/100_label.png"):
        check_training_labels(many_samples, "sample", DATASET)


def test_a_sample_of_ignored_labels_is_not_all_there_is(many_samples):
    for sample in many_samples:
        write_image(sample.label, np.array([[1 if sample is many_samples[100] else 0]], np.uint8))
    assert check_labels(many_samples, "sample", DATASET)[1] == 1


def check(config: TrainConfig, samples, folder: RunFolder, held_out=()) -> None:
    check_training_data(config, DATASET, samples, held_out, folder)


def test_a_run_that_goes_on_was_allowed_to_lack_a_class(tmp_path):
    samples = [write_sample(tmp_path, "a", [[1]])]
    folder = RunFolder(str(tmp_path / "run"))
    config = tiny_config("data", "log")
    resumed = dataclasses.replace(config, resume_step=1)
    record = toy_record(config)
    for flags, allowed in (
        ({"allow_missing_classes": True}, True), ({"allow_missing_classes": False}, False), ({}, True),
    ):  # fmt: skip
        dataclasses.replace(record, flags=flags).write(folder.snapshots)
        for begun in (config, *([] if allowed else [resumed])):
            with pytest.raises(PreflightError, match=r"class 1 \(sky\)"):
                check(begun, samples, folder)
        if allowed:
            check(resumed, samples, folder)
    check(dataclasses.replace(config, allow_missing_classes=True), samples, folder)


def test_training_data_of_which_no_label_is_read(tmp_path, caplog):
    samples = [write_sample(tmp_path, "a", [[9]])]
    config = tiny_config("data", "log", check_data="none")
    check(config, samples, RunFolder(str(tmp_path)))
    assert caplog.messages[0].startswith("--check_data none: labels are not checked before step 0")
    with pytest.raises(PreflightError, match="among the training images"):
        check(config, samples, RunFolder(str(tmp_path)), samples)
    assert "--allow_missing_classes 1 has no effect if no label is read: drop --check_data none" in refusal(
        "--batch_size 2 --check_data none --allow_missing_classes 1"
    )


def test_validation_labels_need_not_show_every_class(tmp_path):
    samples = [write_sample(tmp_path, "a", [[1, 2]])]
    held_out = [write_sample(tmp_path, "b", [[2]])]
    config = tiny_config("data", "log")
    check(config, samples, RunFolder(str(tmp_path)), held_out)
    ignored = [write_sample(tmp_path, "c", [[0]])]
    with pytest.raises(PreflightError, match=r"c_label.png: every pixel of this label file is ignored"):
        check(config, samples, RunFolder(str(tmp_path)), ignored)

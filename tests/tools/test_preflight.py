"""What is found out about label files before the first step."""

from __future__ import annotations

import os

import numpy as np
import pytest

from database.datasets import DatasetError
from database.images import ImageError, write_image
from database.layouts import Sample
from tools.preflight import PreflightError, check_disjoint, check_labels, choose_samples

LABEL_MAP = {0: 255, 1: 0, 2: 1, 255: 255}
NAMES = ("road", "sky")


def write_sample(folder, name, ids, image_size=None):
    """Writes a label file and a black image, of the same size unless told otherwise."""
    ids = np.asarray(ids, np.uint8)
    image, label = (os.path.join(str(folder), f"{name}_{kind}.png") for kind in ("image", "label"))
    write_image(label, ids)
    write_image(image, np.zeros((*(image_size or ids.shape), 3), np.uint8))
    return Sample(name, image, label, LABEL_MAP)


def test_histogram(tmp_path, caplog):
    samples = [write_sample(tmp_path, "a", [[1, 1, 2], [0, 255, 1]]), write_sample(tmp_path, "b", [[2, 2]])]
    caplog.set_level("INFO")
    assert check_labels(samples, "all", NAMES) == {0: 1, 1: 3, 2: 3, 255: 1}
    lines = [" ".join(record.getMessage().split()) for record in caplog.records]
    assert lines == [
        "label ids in 2 of 2 files:", "id 0 12.50% ignored", "id 1 37.50% road", "id 2 37.50% sky",
        "id 255 12.50% ignored",
    ]  # fmt: skip


def test_histogram_has_a_title(tmp_path, caplog):
    caplog.set_level("INFO")
    check_labels([write_sample(tmp_path, "a", [[1]])], "all", NAMES, title="validation label ids")
    assert caplog.messages[0] == "validation label ids in 1 of 1 files:"


def test_unknown_id_is_named_with_its_file(tmp_path):
    samples = [write_sample(tmp_path, "good", [[1]]), write_sample(tmp_path, "bad", [[1, 7, 7]])]
    with pytest.raises(DatasetError, match=r"bad_label.png: id 7 \(2 pixels\)"):
        check_labels(samples, "all", NAMES)


def test_sizes_that_differ(tmp_path):
    sample = write_sample(tmp_path, "a", np.ones((4, 6)), image_size=(6, 4))
    with pytest.raises(ImageError, match=r"a_label.png: the label is 4x6 but its image .*a_image.png is 6x4"):
        check_labels([sample], "sample", NAMES)


def test_missing_file(tmp_path):
    sample = write_sample(tmp_path, "a", [[1]])
    os.remove(sample.label)
    with pytest.raises(ImageError, match="a_label.png"):
        check_labels([sample], "sample", NAMES)


def test_files_that_may_be_unreadable(tmp_path, caplog):
    samples = [write_sample(tmp_path, name, [[1, 2]]) for name in "abc"]
    os.remove(samples[0].label)
    os.remove(samples[2].label)
    assert check_labels(samples, "all", NAMES, max_bad_files=2) == {1: 1, 2: 1}
    assert [line.partition(": ")[0] for line in caplog.messages] == ["cannot be read"] * 2
    with pytest.raises(ImageError, match="c_label.png"):
        check_labels(samples, "all", NAMES, max_bad_files=1)


def test_nothing_but_ignored_pixels(tmp_path):
    samples = [write_sample(tmp_path, name, [[0, 255]]) for name in "abc"]
    with pytest.raises(PreflightError, match=r"a_label.png: every pixel of this and of 2 more label files is ignored"):
        check_labels(samples, "all", NAMES)
    assert check_labels([*samples, write_sample(tmp_path, "d", [[1]])], "all", NAMES)[1] == 1


def test_none_reads_nothing(tmp_path):
    missing = Sample("x", str(tmp_path / "no.png"), str(tmp_path / "no.png"), LABEL_MAP)
    assert check_labels([missing], "none", NAMES) == {}
    assert check_labels([], "all", NAMES) == {}


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
    with pytest.raises(PreflightError, match="c_image.png and 0 more validation images are among the training"):
        check_disjoint([a, linked], [b, c])

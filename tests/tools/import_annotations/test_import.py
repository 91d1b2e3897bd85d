"""The folder that is written: its classes, its splits, and that nothing is mixed or left behind."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from database.datasets import custom_dataset, find_samples
from database.loading import load_sample
from tests.tools.import_annotations.annotation_files import (
    LARGE,
    SIZE,
    SQUARE,
    annotation,
    coco,
    cvat,
    flat,
    imported,
    label_of,
    labelme,
    refused,
    shape,
    write_photos,
)
from tests.tools.import_annotations.even_odd import filled
from tools.import_annotations import writing
from tools.import_annotations.__main__ import main


@pytest.fixture
def instances(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(coco([annotation([flat(SQUARE)], 3), annotation([flat(LARGE)], image=2)]))
    return path


def one_label(tmp_path, label, name="one.json", image="a.png"):
    path = tmp_path / name
    path.write_text(labelme([shape(label, SQUARE)], image))
    return path


def contents(folder):
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder) for parent, _, names in os.walk(folder) for name in names
    )


def test_the_folder_is_own_data(tmp_path, photos, instances):
    out = tmp_path / "mine"
    assert imported("coco", instances, photos, out) == 0
    assert contents(out) == [
        "images/train/a.png", "images/train/sub/b.png", "labels/train/a.png", "labels/train/sub/b.png", "palette.txt",
    ]  # fmt: skip
    dataset = custom_dataset(3, palette_file=str(out / "palette.txt"))
    assert dataset.class_names == ("background", "dog", "cat")
    first, second = (load_sample(sample) for sample in find_samples(dataset, str(out), ["train"]))
    np.testing.assert_array_equal(first[1], filled(SQUARE, *SIZE))
    np.testing.assert_array_equal(second[1], 2 * filled(LARGE, *SIZE))
    with Image.open(photos / "a.png") as photo:
        np.testing.assert_array_equal(first[0], np.array(photo))


def test_the_next_command_is_logged(tmp_path, photos, instances, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "my photos"
    write_photos(photos, ["c.png"])
    assert imported("coco", instances, photos, out) == 0
    assert f"--data_dir '{out}' --num_classes 3 --palette '{out}/palette.txt'" in caplog.text
    assert "0 background: 2, 1 dog: 1, 2 cat: 1" in caplog.text
    assert f"1 image has no annotations and is left out, such as {photos}/c.png" in caplog.text


def test_an_image_beside_others_of_the_same_name(tmp_path, photos):
    """Of which only one is annotated."""
    write_photos(photos, ["a.bmp"])
    assert imported("labelme", one_label(tmp_path, "x"), photos, tmp_path / "out") == 0
    assert contents(tmp_path / "out/images") == ["train/a.png"]


def test_background_is_a_class_of_any_name_or_ignored(tmp_path, photos):
    path = tmp_path / "one.json"
    path.write_text(
        labelme(
            [
                shape("x", SQUARE),
                shape("road", [[0, 0], [1, 0], [1, 1], [0, 1]]),
                shape("y", [[8, 0], [9, 0], [9, 1], [8, 1]]),
            ]
        )
    )  # noqa: E501
    assert imported("labelme", path, photos, tmp_path / "named", "--background", "road") == 0
    found = label_of(tmp_path / "named")
    assert (found[0, 0], found[7, 0], found[3, 3], found[0, 8]) == (0, 0, 1, 2)
    assert imported("labelme", path, photos, tmp_path / "ignored", "--background", "ignore") == 0
    found = label_of(tmp_path / "ignored")
    assert (found[0, 0], found[7, 0], found[3, 3], found[0, 8]) == (0, 255, 1, 2)
    rows = (tmp_path / "ignored/palette.txt").read_text().splitlines()
    assert rows[1:] == ["128 0 0 road", "0 128 0 x", "128 128 0 y"]


def test_a_second_split_has_the_classes_of_the_first(tmp_path, photos, capsys):
    out = tmp_path / "out"
    path = tmp_path / "first.json"
    path.write_text(labelme([shape("b", LARGE), shape("c", SQUARE)]))
    assert imported("labelme", path, photos, out) == 0
    assert imported("labelme", one_label(tmp_path, "c"), photos, out, "--split", "val") == 0
    assert label_of(out, split="val").max() == 2  # it would be 1 without the first
    assert imported("labelme", one_label(tmp_path, "d"), photos, out, "--split", "test") == 2
    message = capsys.readouterr().err
    assert "'d' is no class of" in message
    assert str(out / "palette.txt") in message
    assert not (out / "images/test").exists()


def test_a_split_is_never_written_twice(tmp_path, photos, instances, capsys):
    out = tmp_path / "out"
    assert imported("coco", instances, photos, out) == 0
    before = contents(out)
    assert imported("labelme", one_label(tmp_path, "dog", image="b.png"), photos / "sub", out) == 2
    assert f"{out}/images/train: the split is there already" in capsys.readouterr().err
    assert contents(out) == before


def test_other_contents_are_kept(tmp_path, photos, instances, capsys):
    before = contents(photos)
    assert imported("coco", instances, photos, photos) == 2
    assert f"--out {photos}: the folder has contents of something else" in capsys.readouterr().err
    assert contents(photos) == before
    assert imported("coco", instances, photos, instances) == 2
    assert "--out" in capsys.readouterr().err


def test_another_background_is_not_mixed_in(tmp_path, photos, instances, capsys):
    out = tmp_path / "out"
    assert imported("coco", instances, photos, out) == 0
    assert imported("coco", instances, photos, out, "--split", "val", "--background", "ignore") == 2
    assert "'background' there, but --background is ignore" in capsys.readouterr().err


def test_palette_sets_order_and_colours(tmp_path, photos, instances, capsys):
    palette = tmp_path / "colours.txt"
    palette.write_text("1 2 3 cat\n4 5 6 sky\n7 8 9 background\n10 11 12 dog\n0 0 0 ignore\n")
    out = tmp_path / "out"
    assert imported("coco", instances, photos, out, "--palette", str(palette)) == 0
    assert sorted(np.unique(label_of(out))) == [2, 3]
    assert (out / "palette.txt").read_text().splitlines()[1:] == palette.read_text().splitlines()
    assert imported("coco", instances, photos, out, "--split", "val", "--palette", str(palette)) == 0
    palette.write_text("1 2 3 cat\n10 11 12 dog\n7 8 9 background\n")
    assert imported("coco", instances, photos, out, "--split", "test", "--palette", str(palette)) == 2
    assert "differ from those of earlier imports" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("1 2 3 cat\n4 5 6 background\n", "the label 'dog' is no class"),
        ("1 2 3 cat\n4 5 6 dog\n", "no class 'background'"),
        ("1 2 3\n4 5 6\n", "2 colours, expected 2 to 254 with names"),
        ("1 2 3 cat\n", "1 colours, expected 2"),
        ("1 2 cat\n", "line 1"),
    ],
)
def test_palettes_that_do_not_fit(text, named, tmp_path, photos, instances, capsys):
    palette = tmp_path / "colours.txt"
    palette.write_text(text)
    assert imported("coco", instances, photos, tmp_path / "out", "--palette", str(palette)) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_more_classes_than_ids(tmp_path, photos, capsys):
    path = tmp_path / "many.json"
    path.write_text(labelme([shape(f"class {index:03}", SQUARE) for index in range(254)]))
    assert imported("labelme", path, photos, tmp_path / "out") == 2
    assert "found 255 classes" in capsys.readouterr().err
    assert imported("labelme", path, photos, tmp_path / "out", "--background", "ignore") == 0
    assert label_of(tmp_path / "out")[3, 3] == 253


@pytest.mark.parametrize(
    "name", ["/etc/passwd.png", "../a.png", "sub/../../a.png", "", ".", "..\\a.png", "a\0.png", "sub/.b.png", "a.txt"]
)
def test_names_outside_of_the_folder_are_refused(name, tmp_path, photos, capsys):
    path = tmp_path / "instances.json"
    path.write_text(coco([], images=[{"id": 1, "file_name": name, "height": SIZE[0], "width": SIZE[1]}]))
    assert imported("coco", path, photos, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "images[0]: the image is" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_images_that_would_share_a_label_are_refused(tmp_path, photos, capsys):
    write_photos(photos, ["a.bmp"])
    entries = [{"id": index, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
               for index, name in enumerate(["a.png", "./a.bmp"])]  # fmt: skip
    path = tmp_path / "instances.json"
    path.write_text(coco([], images=entries))
    assert imported("coco", path, photos, tmp_path / "out") == 2
    assert "images[1]: a.bmp has, up to the suffix, the name of the image of" in capsys.readouterr().err


@pytest.mark.parametrize("is_new", [True, False], ids=["new folder", "second split"])
def test_a_damaged_image_leaves_nothing(is_new, tmp_path, photos, instances, capsys):
    out = tmp_path / "out"
    if not is_new:
        assert imported("coco", instances, photos, out, "--split", "val") == 0
    before = contents(tmp_path)
    damaged = photos / "sub/b.png"
    content = damaged.read_bytes()
    damaged.write_bytes(b"no image")
    assert imported("coco", instances, photos, out) == 2
    message = capsys.readouterr().err
    assert str(damaged) in message
    assert message.splitlines()[-1].startswith("error: ")
    assert contents(tmp_path) == before
    assert not (out / "labels/train").exists()
    damaged.write_bytes(content)
    assert imported("coco", instances, photos, out) == 0


def test_an_interruption_leaves_nothing(tmp_path, photos, instances, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "draw_label", interrupted)
    assert imported("coco", instances, photos, tmp_path / "out") == 130
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.partial").exists()


def test_missing_files_and_folders_are_named(tmp_path, photos, instances, capsys):
    assert imported("coco", tmp_path / "none.json", photos, tmp_path / "out") == 2
    assert f"{tmp_path}/none.json" in capsys.readouterr().err
    assert imported("coco", instances, tmp_path / "none", tmp_path / "out") == 2
    assert f"--images {tmp_path}/none: no such folder" in capsys.readouterr().err
    os.mkfifo(tmp_path / "pipe")
    for kind in ("coco", "labelme", "cvat"):
        assert imported(kind, tmp_path / "pipe", photos, tmp_path / "out") == 2
        assert "a pipe or a device" in capsys.readouterr().err
    (photos / "sub/b.png").unlink()
    assert imported("coco", instances, photos, tmp_path / "out") == 2
    assert "images[1]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--subset", "x"], "--subset is only used with --format cvat"),
        (["--split", "all"], "--split"),
        (["--crowd", "no"], "--crowd"),
        (["--background", " "], "--background is empty"),
    ],
)
def test_flags_that_do_not_fit(flags, named, tmp_path, photos, instances, capsys):
    assert imported("coco", instances, photos, tmp_path / "out", *flags) == 2
    assert named in capsys.readouterr().err
    assert imported("labelme", instances, photos, tmp_path / "out", "--crowd", "class") == 2
    assert "--crowd is only used with --format coco" in capsys.readouterr().err


def test_a_label_with_line_ends_is_one_name(tmp_path, photos):
    assert imported("labelme", one_label(tmp_path, "a\n1 2 3 b"), photos, tmp_path / "out") == 0
    assert (tmp_path / "out/palette.txt").read_text().splitlines()[1:] == ["0 0 0 background", "128 0 0 a 1 2 3 b"]


def test_a_file_that_is_not_utf8(tmp_path, photos, capsys):
    path = tmp_path / "x.json"
    path.write_bytes(json.dumps({}).encode() + b"\xff")
    assert imported("coco", path, photos, tmp_path / "out") == 2
    assert "byte 3 is not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "given", "looks_like"),
    [
        (coco([annotation([flat(SQUARE)])]), "labelme", "coco"),
        (coco([annotation([flat(SQUARE)])]), "cvat", "coco"),
        (coco([annotation([flat(SQUARE)])]), "voc", "coco"),
        (labelme([shape("cat", SQUARE)]), "coco", "labelme"),
        (labelme([shape("cat", SQUARE)]), "cvat", "labelme"),
        (cvat(""), "coco", "cvat"),
        (cvat(""), "labelme", "cvat"),
        ("<annotation><object/></annotation>", "cvat", "voc"),
        ("<annotation><object/></annotation>", "coco", "voc"),
        (labelme([shape("cat", SQUARE)], imageHeight="x"), "labelme", None),
        ("{}", "coco", None),
    ],
)
def test_another_format_is_recognized(tmp_path, photos, text, given, looks_like, capsys):
    message = refused(tmp_path, photos, given, text, capsys)
    assert re.findall("looks like .* give --format ([a-z]+)", message) == ([] if looks_like is None else [looks_like])


def test_a_folder_of_another_format_is_recognized(tmp_path, photos, capsys):
    folder = tmp_path / "json"
    folder.mkdir()
    (folder / "instances.json").write_text(coco([]))
    assert imported("labelme", folder, photos, tmp_path / "out") == 2
    assert "give --format coco" in capsys.readouterr().err


@pytest.mark.parametrize(("background", "words"), [("background", "are 'background'"), ("ignore", "are ignored")])
def test_images_without_an_instance_are_logged(tmp_path, photos, caplog, background, words):
    caplog.set_level("INFO")
    path = tmp_path / "instances.json"
    path.write_text(coco([annotation([flat(SQUARE)])]))
    assert imported("coco", path, photos, tmp_path / "out", "--background", background) == 0
    [line] = [line for line in caplog.messages if "no annotation" in line]
    assert line.startswith("sub/b.png: ")
    assert words in line


def test_help_says_what_the_format_voc_is_for(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "voc imports nothing" in " ".join(capsys.readouterr().out.split())

"""Tests lists of other kinds: accepted if they are unambiguous, otherwise rejected with a hint on their kind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import unicodedata
from pathlib import Path

import pytest

from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError
from database.layouts import Sample
from tests.database.dataset_files import touch

IDS = ("2007_000032", "2007_000039")
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 1, "segmentation": []}],
        "categories": [],
    }
)


@pytest.fixture
def data_dir(tmp_path) -> Path:
    root = tmp_path / "data"
    touch(root, "img/a.jpg", "lab/a.png", "img/b c.jpg", "lab/b c.png")
    return root


def samples_of(data_dir: Path, content: str | bytes, split: str = "train", name: str = "list.txt") -> list[Sample]:
    path = data_dir.parent / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return find_samples(custom_dataset(2, **{f"{split}_list": str(path)}), str(data_dir), [split])


def refusal(data_dir: Path, content: str | bytes, split: str = "train", name: str = "list.txt") -> str:
    with pytest.raises(DatasetError) as caught:
        samples_of(data_dir, content, split, name)
    message = str(caught.value)
    assert message.startswith(str(data_dir.parent / name))
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("img/a.jpg,lab/a.png\n", "line 1: found 1 paths, .*; this looks like a CSV file: .* a tab in place of ','"),
        ("image,label\nimg/a.jpg,lab/a.png\n", "line 1: found 1 paths, .* CSV file: remove its header"),
        ("img/a.jpg; lab/a.png\n", "line 1: names img/a.jpg;, .*CSV file: .* in place of ';'"),
        ('"img/a.jpg","lab/a.png"\n', "CSV file"),
        ("img/a.jpg|lab/a.png\n", "line 1: found 1 paths, .* CSV file: .* a tab in place of '\\|'"),
        ("img/a.jpg | lab/a.png\n", "line 1: found 3 paths, .* CSV file: .* a tab in place of '\\|'"),
        ("image label\nimg/a.jpg lab/a.png\n", "line 1: names image, .*; this looks like a header: .* sed '1d'$"),
        ("# all\nfilename\tmask_path\nimg/a.jpg\tlab/a.png\n", "line 2: names filename, .* header: .* sed '2d'$"),
        ("image\nimg/a.jpg lab/a.png\n", "line 1: found 1 paths, .*; this looks like a header: .* sed '1d'$"),
        ("image_id\na\n", "line 1: image_id is only an id: .*; this looks like a header: .* sed '1d'$"),
        ("img/a.jpg lab/a.png\nimage label\n", "line 2: names image, which is not a file in .*/data .and 1 more.$"),
        ('"img/a.jpg" "lab/a.png"\n', 'line 1: names "img/a.jpg", .*; the paths are in quotes: remove these'),
        ("'img/b c.jpg' 'lab/b c.png'\n", "line 1: found 4 paths, .* in quotes: remove these, .* by one tab"),
        ("img\\a.jpg lab\\a.png\n", r"line 1: names img\\a.jpg, .*; these look like paths of Windows: put / in"),
        ("C:/data/img/a.jpg C:/data/lab/a.png\n", "paths of Windows: .* and remove the drive"),
        ("img/b\\ c.jpg lab/b\\ c.png\n", "line 1: found 4 paths, .*; the spaces are escaped .* backslashes, .* tab"),
        ("img/b\\ c.jpg\tlab/b\\ c.png\n", r"line 1: names img/b\\ c.jpg, .*; the spaces are escaped"),
        ("img/a.jpg\u00a0lab/a.png\n", r"line 1: found 1 paths, .*no-break space, U\+00A0.* a tab in its place"),
        ("img/a.jpg\u3000lab/a.png\n", r"ideographic space, U\+3000"),
        ("no/d\u00a0e.jpg lab/a.png\n", "line 1: names no/d\u00a0e.jpg, which is not a file in .*/data$"),
        ("2007_000032 -1\n2007_000039  1\n", "line 1: names 2007_000032, .*VOC's ImageSets/Main.*ImageSets/Segm"),
        ("img/a.jpg lab/a.png # x, y\n", "line 1: found 5 paths, .*; put the comment on another line$"),
        ("img/a.jpg\tlab/a.png # x\n", "line 1: names lab/a.png # x, .*; put the comment on another line$"),
        ("img/a.jpg\n", "line 1: found 1 paths, .*; the line has no label: write the label after"),
        (COCO, "line 1: found [0-9]+ paths, .*; this looks like COCO's JSON: write its annotations as PNG masks"),
        (json.dumps(json.loads(COCO), indent=1), "line 1: found 1 paths, .*COCO"),
        ('["img/a.jpg"]', "this looks like JSON: write lines 'image label'"),
        ('{"fpath_img": "img/a.jpg", "fpath_segm": "lab/a.png"}\n', "CSAILVision's .odgt: give its name that suffix"),
        ("data/img/a.jpg data/lab/a.png\n", "names data/img/a.jpg, .*1 more.; it is in .*: give that as --data_dir"),
        ("a.jpg a.png\n", "names a.jpg, .*; it is in .*/data/img: give that as --data_dir"),
        ("no/where.jpg lab/a.png\n", "line 1: names no/where.jpg, which is not a file in .*/data$"),
        ("img/b c.jpg lab/b c.png\n", "line 1: found 4 paths, .*paths that contain spaces by one tab.$"),
    ],
)  # fmt: skip
def test_what_a_list_looks_like(data_dir, content, words):

    assert re.search(words, refusal(data_dir, content))


@pytest.mark.parametrize(
    "content",
    [
        "img/a.jpg,lab/a.png\n",
        "img/a.jpg; lab/a.png\n",
        '"img/a.jpg","lab/a.png"\n',
        "img\\a.jpg lab\\a.png\n",
        "img/a.jpg|lab/a.png\n",
        "img/a.jpg | lab/a.png\n",
        "image label\nimg/a.jpg lab/a.png\n",
        "img/a.jpg\u00a0lab/a.png\n",
        "img/a\\ b.jpg lab/a\\ b.png\n",
        "img/a\\ b.jpg\tlab/a\\ b.png\n",
    ],
)
def test_the_advice_corrects_the_list(data_dir, content):
    touch(data_dir, "img/a b.jpg", "lab/a b.png")
    message = refusal(data_dir, content)
    program = message.partition("by sed ")[2].split("'")[1]
    corrected = subprocess.run(["sed", program], input=content, capture_output=True, text=True, check=True).stdout
    assert [sample.name for sample in samples_of(data_dir, corrected)] == ["a b" if "a\\ b" in content else "a"]


def columns_in_order(wrong: str, message: str) -> str:
    """Returns the list after the command that a message advises."""
    options, program = re.search("by awk(.*) '(.*)'$", message).groups()
    command = ["awk", *([f"-F{options.split(chr(39))[1]}"] if options else []), program]
    return subprocess.run(command, input=wrong, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("images", "labels"), [("x/1.jpg", "y/1.png"), ("x/1.JPEG", "y/1.tif")])
def test_jpeg_files_in_the_column_of_labels_are_refused(data_dir, images, labels):
    touch(data_dir, images, labels)
    wrong = f"{labels} {images}\n"
    message = refusal(data_dir, wrong)
    assert f"line 1: {labels} is where the image is expected and {images} where the label is, but " in message
    corrected = columns_in_order(wrong, message)
    assert [sample.label for sample in samples_of(data_dir, corrected)] == [f"{data_dir}/{labels}"]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/train/a.png", "labels/train/a.png"), ("JPEGImages/1.png", "SegmentationClass/1.png"),
        ("leftImg8bit/b_leftImg8bit.png", "gtFine/b_gtFine_labelIds.png"), ("img/1 2.png", "my masks/1 2.png"),
    ],
)  # fmt: skip
def test_columns_that_are_swapped_by_their_names_are_warned_of(data_dir, images, labels, caplog):
    """Only a warning is logged, because names prove nothing."""
    touch(data_dir, images, labels)
    separator = "\t" if " " in images else " "
    right, wrong = (f"{separator.join(pair)}\n" for pair in ((images, labels), (labels, images)))
    assert [sample.label for sample in samples_of(data_dir, wrong)] == [f"{data_dir}/{images}"]
    [message] = caplog.messages
    assert f"line 1: {labels} is where the image is expected and {images} where the label is, and " in message
    caplog.clear()
    corrected = columns_in_order(wrong, message)
    assert corrected.replace("\t", separator) == right
    assert [sample.label for sample in samples_of(data_dir, corrected)] == [f"{data_dir}/{labels}"]
    assert not caplog.messages


def test_names_of_folders_refuse_no_valid_list(data_dir):
    """`label_me` is a dataset, and `ids/img0.png` stores the ids of an image."""
    touch(data_dir, "label_me/photo0.png", "ids/img0.png")
    [sample] = samples_of(data_dir, "label_me/photo0.png ids/img0.png\n")
    assert sample.label == f"{data_dir}/ids/img0.png"


def test_columns_whose_names_do_not_say_so_stay(data_dir):
    touch(
        data_dir, "labels/images/1.png", "images/labels/1.png", "labels/2.png", "a/2.png", "masks/3.png", "image/3.png"
    )
    content = "labels/images/1.png images/labels/1.png\nlabels/2.png a/2.png\n"
    assert len(samples_of(data_dir, content)) == 2
    assert len(samples_of(data_dir, f"{content}masks/3.png image/3.png\n")) == 3  # not all of the lines are swapped


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def test_accents_as_macos_writes_them(data_dir):
    """The list has one form of Unicode and the files the other, and both forms occur side by side."""
    name = "caf\u00e9"
    touch(
        data_dir, f"img/{decomposed(name)}.jpg", f"lab/{decomposed(name)}.png", f"img/x{name}.jpg", f"lab/x{name}.png"
    )
    content = f"img/{name}.jpg lab/{name}.png\n{decomposed(f'img/x{name}.jpg lab/x{name}.png')}\n"
    assert [Path(sample.image).name for sample in samples_of(data_dir, content)] == [
        f"{decomposed(name)}.jpg", f"x{name}.jpg",
    ]  # fmt: skip
    touch(data_dir, f"img/{name}.jpg", f"lab/{name}.png")
    assert [Path(sample.image).name for sample in samples_of(data_dir, f"img/{name}.jpg lab/{name}.png\n")] == [
        f"{name}.jpg"
    ]
    again = f"img/x{name}.jpg lab/x{name}.png\n{decomposed(f'img/x{name}.jpg lab/x{name}.png')}\n"
    assert "is already listed in line 1" in refusal(data_dir, again)


def test_accents_of_ids_and_of_paired_files(data_dir):
    name = "caf\u00e9"
    touch(data_dir, f"JPEGImages/{decomposed(name)}.jpg", f"SegmentationClass/{name}.png")
    for listed_name in (name, decomposed(name)):
        [sample] = samples_of(data_dir, f"{listed_name}\n")
        assert (Path(sample.image).stem, Path(sample.label).stem) == (decomposed(name), name)
    touch(data_dir, f"images/train/{decomposed(name)}.jpg", f"labels/train/{name}.png", "images/train/b.jpg")
    touch(data_dir, "labels/train/b.png")
    paired = find_samples(custom_dataset(2), str(data_dir), ["train"])
    assert [Path(sample.label).stem for sample in paired] == ["b", name]
    touch(data_dir, f"labels/train/{decomposed(name)}.png")  # now one of the two labels has no image
    with pytest.raises(DatasetError, match="label without an image"):
        find_samples(custom_dataset(2), str(data_dir), ["train"])


def test_homes_variables_and_addresses(data_dir, monkeypatch):
    monkeypatch.setenv("HOME", str(data_dir))
    monkeypatch.setenv("LABELS", str(data_dir / "lab"))
    for line in (
        "~/img/a.jpg $LABELS/a.png",
        f"file://{data_dir}/img/a.jpg\t${{LABELS}}/a.png",
        "img/a.jpg $HOME/lab/a.png",
    ):
        [sample] = samples_of(data_dir, f"{line}\n")
        assert (sample.image, sample.label) == (f"{data_dir}/img/a.jpg", f"{data_dir}/lab/a.png")
    assert "line 1: names $ABSENT/a.png, which is not a file" in refusal(data_dir, "img/a.jpg $ABSENT/a.png\n")


def test_a_list_in_the_folder_of_the_data(data_dir):
    (data_dir / "train.txt").write_text("img/a.jpg lab/a.png")
    with pytest.raises(DatasetError) as caught:
        find_samples(custom_dataset(2, train_list="train.txt"), str(data_dir), ["train"])
    message = str(caught.value)
    assert message.startswith("train.txt: the list of split 'train' cannot be read (No such file or directory); ")
    assert message.endswith(f": give {data_dir}/train.txt")


def test_several_tabs_are_one(data_dir):
    assert [sample.name for sample in samples_of(data_dir, "img/b c.jpg\t\tlab/b c.png\t\n")] == ["b c"]


def test_other_blanks_are_part_of_paths(data_dir):
    name = "d\u00a0e\u3000f\u2028g\x1ch"
    touch(data_dir, f"img/{name}.jpg", f"lab/{name}.png")
    assert [sample.name for sample in samples_of(data_dir, f"img/{name}.jpg lab/{name}.png\n")] == [name]


def test_comments_and_names_that_begin_like_them(data_dir):
    touch(data_dir, "#1.jpg", "#1.png")
    assert len(samples_of(data_dir, "# all\n#img/a.jpg lab/a.png\n ./#1.jpg #1.png\n")) == 1
    assert "line 2: the line begins with # like a comment, but names the file #1.jpg: write ./#1.jpg" in refusal(
        data_dir, "img/a.jpg lab/a.png\n#1.jpg #1.png\n"
    )


@pytest.mark.parametrize("again", ["./img/a.jpg", "img/../img/a.jpg", "{root}/img/a.jpg", "link/a.jpg", "/img/a.jpg"])
def test_an_image_is_listed_once_by_whatever_path(data_dir, again):
    (data_dir / "link").symlink_to(data_dir / "img")
    again = again.format(root=data_dir)
    content = f"img/b c.jpg\tlab/b c.png\nimg/a.jpg lab/a.png\n{again} lab/a.png\n"
    assert f"line 3: {again} is already listed in line 2, as img/a.jpg" in refusal(data_dir, content)


@pytest.mark.parametrize(
    ("split", "images", "labels"),
    [
        ("train", "JPEGImages", "SegmentationClass"),
        ("train", "JPEGImages", "SegmentationClassAug"),
        ("val", "images", "labels"),
        ("val", "images/val", "labels/val"),
        ("test", "JPEGImages", None),
        ("test", "images/test", None),
    ],
)
def test_lists_of_ids(data_dir, split, images, labels):
    for name in IDS:
        touch(data_dir, f"{images}/{name}.jpg", *([f"{labels}/{name}.png"] if labels else []))
    samples = samples_of(data_dir, "\r\n".join(IDS) + "\r\n", split)
    assert [(sample.name, sample.image, sample.label) for sample in samples] == [
        (name, str(data_dir / images / f"{name}.jpg"), labels and str(data_dir / labels / f"{name}.png"))
        for name in IDS
    ]


def test_ids_of_sub_folders(data_dir):
    touch(data_dir, "images/day/1.png", "labels/day/1.png", "images/night/1.png", "labels/night/1.png")
    samples = samples_of(data_dir, "day/1\nnight/1\n")
    assert [sample.name for sample in samples] == ["images__day__1", "images__night__1"]


def test_ids_of_sbd_have_its_labels(data_dir):
    for name in IDS:
        touch(data_dir, f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png", f"SegmentationClassAug/{name}.png")
    (data_dir / "train_aug.txt").write_text("\n".join(IDS))
    samples = find_samples(get_dataset("SBD"), str(data_dir), ["trainaug"])
    assert [sample.label for sample in samples] == [f"{data_dir}/SegmentationClassAug/{name}.png" for name in IDS]


def test_ids_that_could_mean_two_files(data_dir):
    for name in IDS:
        touch(data_dir, f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png", f"SegmentationClassAug/{name}.png")
    content = "\n".join(IDS) + "\n"
    message = refusal(data_dir, content)
    assert "line 1: 2007_000032 is only an id: JPEGImages with SegmentationClass and JPEGImages with Segm" in message
    program = message.partition("by sed ")[2].split("'")[1]
    corrected = subprocess.run(["sed", program], input=content, capture_output=True, text=True, check=True).stdout
    assert [os.path.dirname(str(sample.label)) for sample in samples_of(data_dir, corrected)] == [
        f"{data_dir}/SegmentationClass"
    ] * 2
    os.unlink(data_dir / "SegmentationClass" / f"{IDS[1]}.png")  # now only the other folder has all ids
    assert samples_of(data_dir, content)[0].label == f"{data_dir}/SegmentationClassAug/{IDS[0]}.png"
    touch(data_dir, f"JPEGImages/{IDS[1]}.png")
    assert f"line 2: {IDS[1]} is only an id: {data_dir}/JPEGImages/{IDS[1]}.jpg and {IDS[1]}.png both" in refusal(
        data_dir, content
    )


def test_ids_without_files(data_dir):
    touch(data_dir, "JPEGImages/2007_000032.jpg", "SegmentationClass/2007_000032.png", "JPEGImages/2007_000039.jpg")
    message = refusal(data_dir, "\n".join(IDS))
    assert (
        f"line 2: 2007_000039 is only an id: no image file of that name is in {data_dir}/SegmentationClass:" in message
    )
    assert message.endswith(": write lines 'image label', or check --data_dir")


def test_linked_folders_of_labels_are_one(data_dir):
    touch(data_dir, "JPEGImages/a.jpg", "SegmentationClass/a.png")
    (data_dir / "SegmentationClassAug").symlink_to("SegmentationClass")
    assert len(samples_of(data_dir, "a\n")) == 1

"""Tests the folders and lists of every dataset in the exact public layout, complete and with faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from database import layouts
from database.datasets import custom_dataset, find_samples
from database.errors import DatasetError
from tests.database.dataset_files import cityscapes_files, find, touch


def relative(samples: list[layouts.Sample], root: Path) -> list[tuple[str, str, str | None]]:
    return [
        (
            sample.name,
            str(Path(sample.image).relative_to(root)),
            sample.label and str(Path(sample.label).relative_to(root)),
        )
        for sample in samples
    ]


@pytest.mark.parametrize("name", ["Cityscapes", "Toy"])
def test_cityscapes_fine_labels(tmp_path, name):
    touch(
        tmp_path,
        *cityscapes_files("train", "bonn_000001_000019", "aachen_000000_000019"),
        "gtFine/train/bonn/bonn_000001_000019_gtFine_color.png",
        "gtFine/train/bonn/bonn_000001_000019_gtFine_labelTrainIds.png",
        "gtFine/train/bonn/bonn_000001_000019_gtFine_polygons.json",
        "leftImg8bit/train/bonn/._bonn_000001_000019_leftImg8bit.png",
    )
    samples = find(name, tmp_path, "train")
    assert relative(samples, tmp_path) == [
        (
            stem,
            f"leftImg8bit/train/{city}/{stem}_leftImg8bit.png",
            f"gtFine/train/{city}/{stem}_gtFine_labelIds.png",
        )
        for city, stem in (("aachen", "aachen_000000_000019"), ("bonn", "bonn_000001_000019"))
    ]
    assert samples[0].label_map[7] == 0


def test_cityscapes_train_ids_where_there_are_no_label_ids(tmp_path):
    touch(tmp_path, *cityscapes_files("val", "ulm_000000_000019", label="gtFine_labelTrainIds"))
    (sample,) = find("Cityscapes", tmp_path, "val")
    assert sample.label is not None
    assert sample.label.endswith("ulm_000000_000019_gtFine_labelTrainIds.png")
    assert dict(sample.label_map) == {**{index: index for index in range(19)}, 255: 255}


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_train_extra_is_coarse(tmp_path, kind):
    touch(tmp_path, *cityscapes_files("train_extra", "konz_000000_000019", label=f"gtCoarse_{kind}"))
    (sample,) = find("Cityscapes", tmp_path, "train_extra")
    assert sample.label is not None
    assert sample.label.endswith(f"gtCoarse/train_extra/konz/konz_000000_000019_gtCoarse_{kind}.png")


def test_cityscapes_test_has_no_labels(tmp_path):
    touch(tmp_path, *cityscapes_files("test", "berlin_000000_000019"))
    assert [sample.label for sample in find("Cityscapes", tmp_path, "test")] == [None]


def test_images_without_labels_and_labels_without_images_are_named(tmp_path):
    touch(tmp_path, *cityscapes_files("train", "bonn_0_0", "bonn_1_0", "bonn_2_0"))
    for number in (1, 2):
        (tmp_path / f"gtFine/train/bonn/bonn_{number}_0_gtFine_labelIds.png").unlink()
    with pytest.raises(DatasetError, match="bonn_1_0_leftImg8bit.png: image without a label in .*and 1 more"):
        find("Cityscapes", tmp_path, "train")
    for number in (0, 1, 2):
        (tmp_path / f"leftImg8bit/train/bonn/bonn_{number}_0_leftImg8bit.png").unlink()
    with pytest.raises(DatasetError, match="bonn_0_0_gtFine_labelIds.png: label without an image in .*n$"):
        find("Cityscapes", tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "split", "pattern"),
    [
        ("Cityscapes", "train", r"leftImg8bit/train/<city>/\*_leftImg8bit.png"),
        ("Cityscapes", "test", r"leftImg8bit/test/<city>/\*_leftImg8bit.png"),
        ("ADE", "val", r"images/validation/\*.jpg"),
        ("ADE", "test", r"images/testing/\*.jpg or .*release_test/testing/\*.jpg"),
        ("KITTI", "train", r"training/image_2/\*.png"),
        ("KITTI", "test", r"testing/image_2/\*.png"),
        ("CamVid", "test", r"test/\*.png"),
    ],
)
def test_empty_splits_name_the_pattern_of_files(tmp_path, name, split, pattern):
    with pytest.raises(DatasetError, match=f"split '{split}' is empty: no images match .*{pattern}"):
        find(name, tmp_path, split)


def test_ade(tmp_path):
    touch(
        tmp_path,
        "images/training/ADE_train_00000002.jpg",
        "annotations/training/ADE_train_00000002.png",
        "images/training/ADE_train_00000001.jpg",
        "annotations/training/ADE_train_00000001.png",
        "images/validation/ADE_val_00000001.jpg",
        "annotations/validation/ADE_val_00000001.png",
    )
    assert relative(find("ADE", tmp_path, "train"), tmp_path) == [
        (stem, f"images/training/{stem}.jpg", f"annotations/training/{stem}.png")
        for stem in ("ADE_train_00000001", "ADE_train_00000002")
    ]
    (sample,) = find("ADE", tmp_path, "val")
    assert (sample.name, sample.label_map[1]) == ("ADE_val_00000001", 0)


@pytest.mark.parametrize("folder", ["images/testing", "release_test/testing"])
def test_ade_test_images(tmp_path, folder):
    touch(tmp_path, f"{folder}/ADE_test_00000001.jpg")
    assert relative(find("ADE", tmp_path, "test"), tmp_path) == [
        ("ADE_test_00000001", f"{folder}/ADE_test_00000001.jpg", None)
    ]


def sbd_files(root: Path, *stems: str) -> str:
    for stem in stems:
        touch(root, f"JPEGImages/{stem}.jpg", f"SegmentationClassAug/{stem}.png")
    return "".join(f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png\n" for stem in stems)


@pytest.mark.parametrize(("split", "file_name"), [("train", "train.txt"), ("trainaug", "train_aug.txt")])
def test_sbd_lists(tmp_path, split, file_name):
    (tmp_path / file_name).write_text(sbd_files(tmp_path, "2008_000002", "2007_000033") + "\n")
    assert relative(find("SBD", tmp_path, split), tmp_path) == [
        (stem, f"JPEGImages/{stem}.jpg", f"SegmentationClassAug/{stem}.png") for stem in ("2007_000033", "2008_000002")
    ]


def test_sbd_test_list_without_labels(tmp_path):
    sbd_files(tmp_path, "2008_000006")
    (tmp_path / "test.txt").write_text("JPEGImages/2008_000006.jpg\r\n")
    assert relative(find("SBD", tmp_path, "test"), tmp_path) == [("2008_000006", "JPEGImages/2008_000006.jpg", None)]


def test_sbd_list_missing(tmp_path):
    with pytest.raises(DatasetError, match="train_aug.txt: the list of split 'trainaug' cannot be read .No"):
        find("SBD", tmp_path, "trainaug")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("/JPEGImages/a.jpg\n", "train.txt, line 1: found 1 paths, expected 'image label'"),
        ("/JPEGImages/b.jpg /SegmentationClassAug/b.png\na b c\n", "train.txt, line 2: found 3 paths"),
        (
            "/JPEGImages/b.jpg /SegmentationClassAug/b.png\n" * 2,
            "train.txt, line 2: .*b.jpg is already listed in line 1",
        ),
        (
            "/JPEGImages/x.jpg /SegmentationClassAug/x.png\n/JPEGImages/b.jpg /SegmentationClassAug/y.png\n",
            "train.txt, line 1: names /JPEGImages/x.jpg, which is not a file in .*and 2 more",
        ),
        ("\n", "split 'train' is empty: no images match .*train.txt"),
    ],
)
def test_list_faults_name_file_and_line(tmp_path, lines, message):
    sbd_files(tmp_path, "a", "b")
    (tmp_path / "train.txt").write_text(lines)
    with pytest.raises(DatasetError, match=message):
        find("SBD", tmp_path, "train")


def test_own_data_without_validation_images_may_hold_some_out(tmp_path):
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").touch()
    with pytest.raises(DatasetError, match=r"split 'val' is empty: .*images/val/.* --holdout 0\.2$") as caught:
        custom_dataset(2).find(str(tmp_path), "val")
    assert str(caught.value).count("--holdout") == 1
    with pytest.raises(DatasetError, match="split 'test' is empty") as caught:
        custom_dataset(2).find(str(tmp_path), "test")
    assert "--holdout" not in str(caught.value)


@pytest.mark.parametrize("archive_folder", ["", "data_semantics/"])
def test_kitti_holds_out_a_fifth(tmp_path, archive_folder):
    stems = [f"{index:06d}_10" for index in range(20)]
    for stem in stems:
        touch(
            tmp_path,
            f"{archive_folder}training/image_2/{stem}.png",
            f"{archive_folder}training/semantic/{stem}.png",
            f"{archive_folder}training/semantic_rgb/{stem}.png",
            f"{archive_folder}testing/image_2/{stem}.png",
        )
    train, val = ([sample.name for sample in find("KITTI", tmp_path, split)] for split in ("train", "val"))
    assert len(val) == 4
    assert sorted(train + val) == stems
    assert (train, val) == (sorted(train), sorted(val))
    assert val == [sample.name for sample in find("KITTI", tmp_path, "val")]
    test = find("KITTI", tmp_path, "test")
    assert [sample.name for sample in test] == stems
    assert {sample.label for sample in test} == {None}
    (first, *_) = find("KITTI", tmp_path, "train")
    assert first.label == str(tmp_path / f"{archive_folder}training/semantic/{first.name}.png")
    assert first.label_map[7] == 0


def test_kitti_with_a_single_image_has_nothing_to_train_on(tmp_path):
    touch(tmp_path, "training/image_2/000000_10.png", "training/semantic/000000_10.png")
    assert len(find("KITTI", tmp_path, "val")) == 1
    with pytest.raises(DatasetError, match="split 'train' is empty: the only image of .*image_2 is held out"):
        find("KITTI", tmp_path, "train")


def test_camvid_list_names_paths_of_another_root(tmp_path):
    touch(tmp_path, "train/0001TP_006690.png", "trainannot/0001TP_006690.png", "train/unlisted.png")
    (tmp_path / "train.txt").write_text(
        "/SegNet/CamVid/train/0001TP_006690.png /SegNet/CamVid/trainannot/0001TP_006690.png\n"
    )
    assert relative(find("CamVid", tmp_path, "train"), tmp_path) == [
        ("0001TP_006690", "train/0001TP_006690.png", "trainannot/0001TP_006690.png")
    ]


def test_camvid_list_prefers_the_whole_path(tmp_path):
    touch(tmp_path, "val/a.png", "valannot/a.png", "SegNet/CamVid/val/a.png", "SegNet/CamVid/valannot/a.png")
    (tmp_path / "val.txt").write_text("/SegNet/CamVid/val/a.png /SegNet/CamVid/valannot/a.png\n")
    assert relative(find("CamVid", tmp_path, "val"), tmp_path) == [
        ("a", "SegNet/CamVid/val/a.png", "SegNet/CamVid/valannot/a.png")
    ]


def test_camvid_without_list_pairs_folders(tmp_path):
    touch(tmp_path, "test/b.png", "test/a.png", "testannot/b.png", "testannot/a.png")
    assert relative(find("CamVid", tmp_path, "test"), tmp_path) == [
        ("a", "test/a.png", "testannot/a.png"),
        ("b", "test/b.png", "testannot/b.png"),
    ]


def test_custom_folders(tmp_path):
    touch(
        tmp_path,
        "images/train/day/1.JPG",
        "labels/train/day/1.png",
        "images/train/2.tiff",
        "labels/train/2.bmp",
        "images/train/notes.txt",
        "images/test/3.webp",
    )
    dataset = custom_dataset(2)
    assert relative(find_samples(dataset, str(tmp_path), ["train"]), tmp_path) == [
        ("2", "images/train/2.tiff", "labels/train/2.bmp"),
        ("1", "images/train/day/1.JPG", "labels/train/day/1.png"),
    ]
    assert relative(find_samples(dataset, str(tmp_path), ["test"]), tmp_path) == [("3", "images/test/3.webp", None)]


def test_names_are_whole_relative_paths_where_stems_clash(tmp_path):
    for stem in ("day/1", "night/1", "night/2"):
        touch(tmp_path, f"images/val/{stem}.png", f"labels/val/{stem}.png")
    samples = find_samples(custom_dataset(2), str(tmp_path), ["val"])
    assert [sample.name for sample in samples] == ["day__1", "night__1", "2"]


def test_names_of_listed_images_that_differ_in_suffix_only(tmp_path):
    touch(tmp_path, "a/1.png", "a/1.jpg")
    (tmp_path / "list.txt").write_text("a/1.png\na/1.jpg\n")
    samples = find_samples(custom_dataset(2, test_list=str(tmp_path / "list.txt")), str(tmp_path), ["test"])
    assert [sample.name for sample in samples] == ["a__1_jpg", "a__1_png"]


def test_folders_refuse_two_images_of_one_name(tmp_path):
    touch(tmp_path, "images/val/1.png", "images/val/1.jpg", "labels/val/1.png")
    with pytest.raises(DatasetError, match="1.png: .*1.jpg differ only in their suffix"):
        find_samples(custom_dataset(2), str(tmp_path), ["val"])


def test_custom_lists_with_spaces_tabs_and_absolute_paths(tmp_path):
    touch(tmp_path, "data/my images/1.png", "data/my labels/1.png", "elsewhere/2.png", "data/l/2.png")
    train_list = tmp_path / "train.lst"
    train_list.write_text(
        f"my images/1.png\tmy labels/1.png\n{tmp_path}/elsewhere/2.png l/2.png\n", encoding="utf-8-sig"
    )
    dataset = custom_dataset(2, train_list=str(train_list))
    assert relative(find_samples(dataset, str(tmp_path / "data"), ["train"]), tmp_path) == [
        ("1", "data/my images/1.png", "data/my labels/1.png"),
        ("2", "elsewhere/2.png", "data/l/2.png"),
    ]


def test_custom_split_without_its_list_names_the_flag(tmp_path):
    (tmp_path / "train.lst").write_text("")
    dataset = custom_dataset(2, train_list=str(tmp_path / "train.lst"))
    with pytest.raises(DatasetError, match="split 'val' has no list file: give one with --val_list"):
        find_samples(dataset, str(tmp_path), ["val"])


def test_custom_lists_are_not_resolved_by_their_last_parts(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "val.lst").write_text("/other/a/1.png /other/b/1.png\n")
    with pytest.raises(DatasetError, match="names /other/a/1.png"):
        find_samples(custom_dataset(2, val_list=str(tmp_path / "val.lst")), str(tmp_path), ["val"])

"""What the files of COCO, CVAT and VOC say arrives in the labels; damaged ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.import_annotations.annotation_files import (
    LARGE,
    SIZE,
    SQUARE,
    annotation,
    coco,
    cvat,
    cvat_image,
    cvat_points,
    flat,
    imported,
    label_of,
    read,
    refused,
    square_in_large,
)
from tests.tools.import_annotations.even_odd import filled
from tools.errors import AnnotationError
from tools.import_annotations.coco import counts_of_text


def test_coco_polygons_are_a_union_and_categories_in_order_of_their_ids(tmp_path, photos):
    overlapping = [[4, 4], [9, 4], [9, 8], [4, 8]]
    text = coco([annotation([flat(SQUARE), flat(overlapping)]), annotation([flat(LARGE)], 3)])
    expected = np.zeros(SIZE)
    expected[filled(LARGE, *SIZE)] = 1
    expected[filled(SQUARE, *SIZE) | filled(overlapping, *SIZE)] = 2
    np.testing.assert_array_equal(read(tmp_path, photos, "coco", text), expected)
    assert label_of(tmp_path / "out", "sub/b.png").max() == 0
    rows = (tmp_path / "out/palette.txt").read_text().splitlines()[1:]
    assert rows == ["0 0 0 background", "128 0 0 dog", "0 128 0 cat"]


def test_coco_run_lengths_with_a_hole(tmp_path, photos):
    mask = np.zeros(SIZE, bool)
    mask[1:7, 2:10] = True
    mask[3:5, 4:8] = False
    changes = np.flatnonzero(np.diff(np.concatenate([[False], mask.T.ravel()])))
    counts = np.diff([0, *changes, mask.size]).tolist()
    text = coco([annotation({"size": list(SIZE), "counts": counts})])
    np.testing.assert_array_equal(read(tmp_path, photos, "coco", text), 2 * mask)


def test_coco_crowds_are_ignored_or_a_class(tmp_path, photos):
    text = coco([annotation([flat(SQUARE)], iscrowd=1), annotation([flat(LARGE)], 3)])
    np.testing.assert_array_equal(read(tmp_path, photos, "coco", text), square_in_large(255, 1))
    (tmp_path / "out").rename(tmp_path / "ignored")
    np.testing.assert_array_equal(read(tmp_path, photos, "coco", text, "--crowd", "class"), square_in_large(2, 1))


# Size and share of masks that are drawn from seed 0, and the texts that pycocotools 2.0.11 writes for them.
VECTORS = [
    ((5, 7), 0.5, "3110001020O0N31M11O"),
    (
        (40, 60),
        0.02,
        "?1e10S10WN0_O0L0h00l00]N0F0P20gN0l00]O010]40dJ0m20QM030g0090mN0e1070]O0PO0n00lN0`20fM0_10\\O0F0]O020e10_O0Q10"
        "eN0O0QO06020U30aN0lN0b20mL031?O10RO0m20VN0Y10UO0`0",
    ),
    (
        (300, 200),
        0.0005,
        "Zc01gn00kc10a[O0ok20iPL0PS40Y\\K0oI0]m00V30Xg10bM0WaN0^<0_f00WbN0fG0R^O0`\\20]QN0`00Ub00bP10nbN0Q@0jd00k_O0`j"
        "20]RO0Se30QRK0\\^O0o40TX10afN",
    ),
]


def test_compressed_run_lengths_of_pycocotools():
    random = np.random.default_rng(0)
    for (height, width), share, text in VECTORS:
        mask = random.random((height, width)) < share
        counts = counts_of_text(text, "x")
        np.testing.assert_array_equal(np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T, mask)


def test_compressed_run_lengths_as_pycocotools_decodes_them():
    masks = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(0)
    for height, width, share in ((1, 1, 1.0), (5, 7, 0.5), (40, 60, 0.02), (300, 200, 0.0005), (300, 200, 0.0)):
        mask = random.random((height, width)) < share
        text = masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        counts = counts_of_text(text, "x")
        np.testing.assert_array_equal(np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T, mask)


@pytest.mark.parametrize("text", ["\x00", "é", "0o", "oooooooooooooooooooo0", "~"])
def test_texts_that_are_no_run_lengths(text):
    with pytest.raises(AnnotationError, match="a.json.*run lengths"):
        counts_of_text(text, "a.json")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (coco([annotation([flat(SQUARE)], image=5)]), "image_id 5"),
        (coco([annotation([flat(SQUARE)], 9)]), "category_id 9"),
        (coco([annotation([flat(SQUARE)], "7")]), "the id '7'"),
        (coco([annotation([flat(SQUARE)[:-1]])]), "7 coordinates"),
        (coco([annotation([flat(SQUARE)]), annotation([]), annotation([])]), "annotations[1] (and 1 more)"),
        (coco([{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}]), "no segmentation"),
        (coco([annotation("text")]), "'segmentation' is text"),
        (coco([annotation({"size": [8], "counts": "0"})]), "'size' has 1"),
        (coco([annotation({"size": [8, 12], "counts": None})]), "'counts' is None"),
        (coco([annotation({"size": [8, 12], "counts": [96.0]})]), "'counts' is [96.0]"),
        (coco([annotation({"size": [8, 12], "counts": [10, 3]})]), "13 pixels, expected 96"),
        (coco([annotation({"size": [12, 8], "counts": [96]})]), "8x12 pixels, expected 12x8"),
        (coco([annotation({"size": [8, 12], "counts": "\u00e9"})]), "run lengths"),
        (coco([annotation([flat(SQUARE)], iscrowd="no")]), "'iscrowd'"),
        (coco([], categories=[{"id": 1, "name": "x"}, {"id": 1, "name": "y"}]), "occurs twice"),
        (coco([], categories=[{"id": 1, "name": "x"}, {"id": 2, "name": " x"}]), "'x' occurs twice"),
        (coco([], categories=7), "'categories' is 7"),
        (coco([], images=[]), "found no image"),
        (coco([], images=[{"id": 1, "file_name": "a.png", "height": 8, "width": 12}] * 2), "the id 1"),
        (coco([], images=[{"id": 1, "file_name": 5, "height": 8, "width": 12}]), "'file_name' is '5'"),
        (coco([], images=[{"id": 1, "file_name": "a.png", "height": 8}]), "'width'"),
    ],
)
def test_damaged_coco_is_refused(text, named, tmp_path, photos, capsys):
    assert named in refused(tmp_path, photos, "coco", text, capsys)


def test_cvat_draws_by_z_order_then_area(tmp_path, photos):
    square, large = cvat_points(SQUARE), cvat_points(LARGE)
    shapes = (
        f'<polygon label="car" occluded="1" z_order="0" points="{square}"/>'
        f'<polygon label="road" occluded="0" z_order="0" points="{large}"><attribute name="a">b</attribute></polygon>'
    )
    found = read(tmp_path, photos, "cvat", cvat(cvat_image(shapes)))
    np.testing.assert_array_equal(found, square_in_large(1, 2))
    (tmp_path / "out").rename(tmp_path / "first")
    above = shapes.replace('z_order="0" points="0', 'z_order="1" points="0')
    found = read(tmp_path, photos, "cvat", cvat(cvat_image(above)))
    np.testing.assert_array_equal(found, 2 * filled(LARGE, *SIZE))


def test_cvat_boxes_ellipses_and_masks(tmp_path, photos):
    shapes = (
        '<box label="car" xtl="0.00" ytl="0.00" xbr="3.00" ybr="2.00" rotation="0.0"/>'
        '<ellipse label="road" cx="9" cy="4" rx="2" ry="3"/>'
        '<mask label="road" rle="1, 2, 4, 1" left="3" top="4" width="4" height="2"/><tag label="day"/>'
    )
    row, column = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    expected = np.zeros(SIZE)
    expected[((column - 9) / 2) ** 2 + ((row - 4) / 3) ** 2 <= 1] = 2
    expected[4:6, 3:7][np.array([[0, 1, 1, 0], [0, 0, 0, 1]], bool)] = 2
    expected[:2, :3] = 1
    np.testing.assert_array_equal(read(tmp_path, photos, "cvat", cvat(cvat_image(shapes))), expected)


def test_cvat_subsets_have_to_be_chosen(tmp_path, photos, capsys):
    box = '<box label="car" xtl="0" ytl="0" xbr="3" ybr="2"/>'
    text = cvat(cvat_image(box, subset="Train") + cvat_image("", "sub/b.png", subset="Validation"))
    assert "Train, Validation: choose one with --subset" in refused(tmp_path, photos, "cvat", text, capsys)
    assert "--subset Test" in refused(tmp_path, photos, "cvat", text, capsys, "--subset", "Test")
    read(tmp_path, photos, "cvat", text, "--subset", "Train")
    assert not (tmp_path / "out/labels/train/sub").exists()


BOMB = '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><annotations>&z;</annotations>'
FILE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (BOMB, "<!DOCTYPE>"),
        (FILE, "<!DOCTYPE>"),
        ("<annotations>&x;</annotations>", "not XML"),
        ("<a>" * 100_000, "nested more than 64"),
        ("", "not XML"),
        ("<annotation><object/></annotation>", "<annotation>"),
        (cvat("<track/>"), "CVAT for video"),
        (cvat(""), "found no image"),
        (cvat(cvat_image('<polyline label="car" points="1,2;3,4"/>')), "polyline 0: has no area"),
        (cvat(cvat_image('<points label="car" points="1,2"/>')), "has no area"),
        (cvat(cvat_image('<cuboid label="car"/>')), "has no area"),
        (cvat(cvat_image('<polygon label="car" points="1,2;3"/>')), "'points' is '1,2;3'"),
        (cvat(cvat_image('<polygon label="car"/>')), "'points'"),
        (cvat(cvat_image('<polygon points="1,2;3,4;5,6"/>')), "'label'"),
        (cvat(cvat_image('<box label="car" xtl="x"/>')), "'xtl' is 'x'"),
        (cvat(cvat_image('<mask label="car" rle="x" left="0" top="0" width="1" height="1"/>')), "'rle' is 'x'"),
        (cvat(cvat_image('<mask label="car" rle="4" left="0" top="7" width="2" height="2"/>')), "rows 7 to 8"),
        (cvat(cvat_image('<mask label="car" rle="3" left="0" top="0" width="2" height="2"/>')), "3 pixels, expected 4"),
        (cvat(cvat_image("", "../a.png")), "inside --images"),
    ],
)
def test_damaged_cvat_is_refused(text, named, tmp_path, photos, capsys):
    assert named in refused(tmp_path, photos, "cvat", text, capsys)


def test_voc_is_refused_with_the_way_that_works(tmp_path, photos, capsys):
    assert "boxes for detection" in refused(tmp_path, photos, "voc", "<annotation/>", capsys)
    (tmp_path / "tree/SegmentationClass").mkdir(parents=True)
    assert imported("voc", tmp_path / "tree", photos, tmp_path / "out") == 2
    assert f"--database custom --data_dir {tmp_path}/tree" in capsys.readouterr().err

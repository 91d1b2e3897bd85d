"""Tests that label files of every kind give the ids 0, 1, 2 back or are rejected with an error that names the file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from database.errors import ImageError
from database.images import read_first_label_rows, read_label
from tests.database import label_files

IDS = np.random.default_rng(0).integers(0, 3, (5, 7))
BINARY = IDS % 2
COLORS = [(255 - index, index, 7) for index in range(256)]
GREYS = [(index, index, index) for index in range(256)]
TIFF_CASES = [
    (bits, order, photometric, sample_format, fill_order, compression)
    for order in "<>"
    for compression in (1, 5, 8, 32946, 32773)
    for bits, photometric, sample_format, fill_order in [
        *[(bits, photometric, 1, fill) for bits in (1, 2, 4, 8) for photometric in (1, 3) for fill in (1, 2)],
        (12, 1, 1, 1), (16, 1, 1, 1), (16, 1, 1, 2), (32, 1, 1, 1), (8, 1, 2, 1), (16, 1, 2, 1), (32, 1, 2, 1),
    ]
    if not (compression == 32773 and fill_order == 2)
]  # fmt: skip


def ids_or_refusal(content: bytes) -> np.ndarray | str:
    try:
        return read_label("a/label", content)
    except ImageError as error:
        path, reason = str(error).split(": ", 1)
        return reason if path == "a/label" else f"does not begin with the file: {error}"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparency", [None, b"\0\1"], ids=["opaque", "transparent"])
def test_png_of_grey(bits, transparency):
    ids = IDS % 2**bits
    np.testing.assert_array_equal(read_label("x", label_files.png(ids, bits, transparency=transparency)), ids)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [None, b"\0\xff"], ids=["opaque", "transparent"])
def test_png_of_palette_indices(bits, transparency):
    ids = IDS % 2**bits
    content = label_files.png(ids, bits, palette=True, transparency=transparency)
    np.testing.assert_array_equal(read_label("x", content), ids)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("maxval", [2, 3, 7, 18, 33, 100, 254, 255, 256, 257, 1000, 4095, 65534, 65535])
def test_pgm_of_any_maxval(maxval, plain):
    ids = read_label("x", label_files.pgm(IDS, maxval, plain=plain))
    assert ids.dtype == (np.uint8 if maxval < 256 else np.int32)
    np.testing.assert_array_equal(ids, IDS)


@pytest.mark.parametrize("plain", [False, True])
def test_pgm_of_maxval_1(plain):
    np.testing.assert_array_equal(read_label("x", label_files.pgm(BINARY, 1, plain=plain)), BINARY)


def test_ids_of_a_pgm_above_its_maxval_are_those_that_are_stored():
    """Ignored pixels have id 255 although the maxval is 2: Pillow would clip them to 2."""
    ids = np.array([[0, 1, 2, 255]])
    np.testing.assert_array_equal(read_label("x", label_files.pgm(ids, 2)), ids)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_ids_in_a_pgm(data):
    maxval = data.draw(st.integers(1, 65535))
    size = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 6)))
    ids = np.array(data.draw(st.lists(st.integers(0, maxval), min_size=size[0] * size[1], max_size=size[0] * size[1])))
    content = label_files.pgm(ids.reshape(size), maxval, plain=data.draw(st.booleans()))
    np.testing.assert_array_equal(read_label("x", content), ids.reshape(size))


@pytest.mark.parametrize("plain", [False, True])
def test_pbm_is_refused(plain):
    assert "PBM" in ids_or_refusal(label_files.pbm(BINARY, plain=plain))


@pytest.mark.parametrize("core", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bmp_of_palette_indices(bits, core):
    ids = IDS % 2**bits
    np.testing.assert_array_equal(read_label("x", label_files.bmp(ids, bits, COLORS[: 2**bits], core=core)), ids)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 33])
@pytest.mark.parametrize("colors", [2, 3, 16, 256])
@pytest.mark.parametrize("greys", [GREYS, [(0, 0, 0), (255, 255, 255)]], ids=["ramp", "black and white"])
def test_bmp_with_a_palette_of_greys_gives_its_indices_or_is_refused(bits, width, colors, greys):
    """Pillow drops all-grey palettes, and reads the indices as pixels of the bit depth that it then assumes."""
    palette = greys[: min(colors, 2**bits)]
    ids = np.random.default_rng(1).integers(0, min(3, len(palette)), (4, width))
    read = ids_or_refusal(label_files.bmp(ids, bits, palette))
    if isinstance(read, str):
        assert "BMP" in read
    else:
        np.testing.assert_array_equal(read, ids)
    if bits == 8 and len(palette) > 2:
        assert not isinstance(read, str)


@pytest.mark.parametrize("case", TIFF_CASES, ids=str)
@pytest.mark.parametrize("width", [7, 8])
def test_tiff_gives_its_ids_or_is_refused(case, width):
    bits, order, photometric, sample_format, fill_order, compression = case
    ids = np.random.default_rng(2).integers(0, min(3, 2**bits), (4, width))
    content = label_files.tiff(
        ids, bits, order=order, photometric=photometric, sample_format=sample_format, fill_order=fill_order,
        compression=compression,
    )  # fmt: skip
    read = ids_or_refusal(content)
    if isinstance(read, str):
        assert read.startswith(("not an image that can be read", "TIFF ", "ids packed as TIFF"))
        assert not (bits in (1, 8, 16, 32) and order == "<" and fill_order == 1)
    else:
        np.testing.assert_array_equal(read, ids)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("sample_format", [1, 2])
@pytest.mark.parametrize("compression", [5, 8])
def test_tiff_with_differences_along_rows(bits, order, sample_format, compression):
    content = label_files.tiff(
        IDS, bits, order=order, compression=compression, predictor=2, sample_format=sample_format
    )
    read = ids_or_refusal(content)
    if (order, bits, sample_format) == (">", 32, 1):  # Pillow does not know this format
        assert "cannot identify" in read
    else:
        np.testing.assert_array_equal(read, IDS)


@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "photometric"), [(8, 1), (8, 3), (16, 1), (32, 1)])
@pytest.mark.parametrize("size", [(5, 7), (16, 32), (37, 41)])
def test_tiff_of_tiles(size, bits, photometric, order, compression):
    ids = np.random.default_rng(4).integers(0, 3, size)
    if bits > 8:
        ids[0] += 300
    content = label_files.tiled_tiff(ids, bits, order=order, photometric=photometric, compression=compression)
    if (order, bits) == (">", 32):  # Pillow does not know this format
        assert "cannot identify" in ids_or_refusal(content)
        return
    np.testing.assert_array_equal(read_label("x", content), ids)
    rows, height = read_first_label_rows("x", content, lambda height: 3)
    np.testing.assert_array_equal(rows, ids[:3])
    assert height == size[0]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_ids_in_a_tiff(data):
    """Large and negative ids are included."""
    bits, kind = data.draw(st.sampled_from([(8, 1), (8, 2), (16, 1), (16, 2), (32, 2)]))
    low, high = (0, 2**bits - 1) if kind == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    size = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 6)))
    ids = np.array(data.draw(st.lists(st.integers(low, high), min_size=size[0] * size[1], max_size=size[0] * size[1])))
    order, compression = data.draw(st.sampled_from("<>")), data.draw(st.sampled_from([1, 5, 8, 32773]))
    predictor = data.draw(st.sampled_from([1, 2])) if compression in (5, 8) else 1
    read = ids_or_refusal(
        label_files.tiff(
            ids.reshape(size), bits, order=order, sample_format=kind, compression=compression, predictor=predictor
        )
    )
    np.testing.assert_array_equal(read, ids.reshape(size))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_tiff_that_stores_white_as_0_is_refused(bits):
    assert "MinIsWhite" in ids_or_refusal(label_files.tiff(IDS % 2**bits, bits, photometric=0))


@pytest.mark.parametrize(
    ("compression", "name"), [(7, "jpeg"), (6, "tiff_jpeg"), (50001, "webp"), (4, "group4"), (34676, "tiff_sgilog")]
)
def test_tiff_of_lossy_compression_or_of_a_fax_is_refused_before_it_is_decoded(compression, name):
    photometric = 6 if compression == 6 else 1
    content = label_files.tiff(BINARY, 8, compression=compression, photometric=photometric)
    assert f"the TIFF compression {name} is lossy" in ids_or_refusal(content)


@pytest.mark.parametrize("more_pages", [(1,), (4,), (5, 1)])
def test_tiff_with_reduced_copies_and_masks_gives_its_first_page(more_pages):
    np.testing.assert_array_equal(read_label("x", label_files.tiff(IDS, 8, more_pages=more_pages)), IDS)


@pytest.mark.parametrize("more_pages", [(0,), (1, 0), (2,)])
def test_tiff_of_several_pages_is_refused(more_pages):
    assert "frames or pages" in ids_or_refusal(label_files.tiff(IDS, 8, more_pages=more_pages))


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("grey", [False, True])
def test_gif_gives_its_indices(bits, grey):
    ids = np.random.default_rng(3).integers(0, min(3, 2**bits), (9, 11))
    np.testing.assert_array_equal(read_label("x", label_files.gif(ids, bits, grey=grey)), ids)


def test_gif_of_several_frames_and_of_one_that_leaves_pixels_out_are_refused():
    assert "2 frames" in ids_or_refusal(label_files.gif(IDS, 8, frames=2))
    assert "the frame of the GIF is smaller" in ids_or_refusal(label_files.gif(IDS, 8, canvas=(9, 9)))


@pytest.mark.parametrize("palette", [False, True])
@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("run_lengths", [False, True])
def test_tga(palette, top_down, run_lengths):
    content = label_files.tga(IDS, palette=palette, top_down=top_down, run_lengths=run_lengths)
    np.testing.assert_array_equal(read_label("x", content), IDS)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("width", [6, 7])
def test_pcx(grey, width):
    np.testing.assert_array_equal(read_label("x", label_files.pcx(IDS[:, :width], grey=grey)), IDS[:, :width])


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".jp2"])
def test_lossy_formats_are_refused_whatever_they_hold(suffix):
    file = io.BytesIO()
    Image.fromarray(IDS.astype(np.uint8)).save(file, Image.registered_extensions()[suffix])
    assert "lossy" in ids_or_refusal(file.getvalue())


def test_every_format_that_pillow_writes_gives_the_ids_back_or_is_refused():
    """All modes that may store ids are tried; formats with separate rules are tested byte by byte above."""
    Image.init()
    tried = set()
    for file_format in sorted(Image.SAVE):
        for mode in ("1", "L", "P", "I", "I;16"):
            picture = Image.fromarray(BINARY.astype(np.uint8) * (255 if mode == "1" else 1)).convert(mode)
            file = io.BytesIO()
            try:
                picture.save(file, file_format)
            except (OSError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError):
                continue
            read = ids_or_refusal(file.getvalue())
            tried.add(file_format)
            if not isinstance(read, str):
                stored = 255 if mode == "1" and read.max() == 255 else 1  # 255 in formats that have no such mode
                np.testing.assert_array_equal(read, BINARY * stored, err_msg=f"{file_format} {mode}")
    assert len(tried) > 15


@pytest.mark.parametrize(
    "content",
    [label_files.pgm(IDS, 2), label_files.pgm(IDS, 2, plain=True), label_files.png(IDS, 2), label_files.tiff(IDS, 8)],
    ids=["pgm", "plain pgm", "png", "tiff"],
)
def test_first_rows_are_those_of_the_whole(content):
    for rows in range(1, 6):
        ids, height = read_first_label_rows("x", content, lambda height, rows=rows: rows)
        np.testing.assert_array_equal(ids, IDS[:rows])
        assert height == 5

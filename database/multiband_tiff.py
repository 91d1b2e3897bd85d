"""Reads the channels of TIFFs, such as GeoTIFFs of satellites, of which Pillow opens few kinds.

Pillow's libtiff decompresses them all the same: a strip or tile of several channels of any type is, byte for byte, one
of a grey image of 8 bits that is as many times as wide as a pixel has bytes. Strips and tiles are copied into such a
TIFF in memory, and the bytes of its pixels are then taken for what they are.

Source: TIFF 6.0 (Adobe 1992), sections 8, 14 and 15; TIFF Technical Note 3 for the floating-point predictor.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import IO, Any, NamedTuple

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from database.errors import ImageError
from database.image_opening import DECODE_ERRORS, check_pixels, decode_tiff_of_any_size
from database.pages import is_copy, pages_fault

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _CHANNELS, _STRIP_ROWS, _STRIP_BYTES, _PLANES = 273, 274, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 317, 322, 323, 324, 325
_NUMBER_KIND, _NO_DATA = 339, 42113

_UNCOMPRESSED, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _ZSTD = 1, 5, 8, 32946, 32773, 50000
_COMPRESSIONS = (_UNCOMPRESSED, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _ZSTD)
# Stored numbers are brightness or colours; inverted grey, palettes and YCbCr are left to Pillow.
_BRIGHTNESS, _COLORS, _INKS = 1, 2, 5
_KINDS = {1: "u", 2: "i", 3: "f"}
_BYTES_OF_KIND = {"u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8)}
_NO_PREDICTOR, _DIFFERENCES, _OF_FRACTIONS = 1, 2, 3

_BIG = b"II+\0"  # Pillow reads no BigTIFF with the high byte first

_LARGEST_TILE = 2048  # pixels, or the size of the image if that is more
_MOST_PAGES = 1000  # that are looked at
_LONG = 4
_MOST_BYTES = (1 << 31) - 1  # of a decompressed image, and the largest offset that is written


class TiffLayout(NamedTuple):
    """How a TIFF stores its pixels.

    Attributes:
        height, width: in pixels.
        channels: per pixel.
        dtype: of a number, in the byte order of the file.
        is_planar: whether each channel is stored by itself.
        is_tiled: whether the blocks are tiles, which may reach beyond the image, not strips.
        block: rows and columns of a strip or tile.
        compression, predictor: as in the file.
        offsets, counts: first byte and number of bytes of each strip or tile.
        no_data: the number of pixels without data, None if there is none.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype
    is_planar: bool
    is_tiled: bool
    block: tuple[int, int]
    compression: int
    predictor: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    no_data: float | None

    @property
    def grid(self) -> tuple[int, int]:
        """Returns the number of strips or tiles below and beside each other."""
        return -(-self.height // self.block[0]), -(-self.width // self.block[1])

    @property
    def planes(self) -> int:
        """Returns the number of grey images that the strips or tiles belong to."""
        return self.channels if self.is_planar else 1

    @property
    def pixel_bytes(self) -> int:
        """Returns the bytes of a pixel in one plane."""
        return self.channels // self.planes * self.dtype.itemsize


def is_tiff(file: IO[bytes]) -> bool:
    """Returns whether a file begins as a TIFF, or as a BigTIFF with the low byte first; it stays at its beginning."""
    start = file.read(4)
    file.seek(0)
    return start in (b"II*\0", b"MM\0*", _BIG)


def read_layout(path: str, file: IO[bytes]) -> TiffLayout | None:
    """Reads the layout of a TIFF of one page.

    Args:
        path: for messages.
        file: at its beginning.

    Returns:
        The layout; None if the numbers are stored in a way that is left to Pillow.

    Raises:
        ImageError: the image has too many pixels or several pages, is turned, or its strips or tiles are not as its
            size needs.
        ValueError, OSError: the header is damaged.
    """
    directory = read_directory(file)
    pages = 1 + _further_pages(file)
    if pages > 1:
        raise ImageError(f"{path}: {pages_fault('TIFF', pages)}")
    height, width = size_in(directory)
    channels = _number(directory, _CHANNELS, 1)
    if channels < 1:
        raise ValueError("no channels")
    check_pixels(path, height, width)
    dtype, compression = _dtype(directory, channels), _number(directory, _COMPRESSION, _UNCOMPRESSED)
    predictor = _number(directory, _PREDICTOR, _NO_PREDICTOR)
    is_plain = (
        _number(directory, _PHOTOMETRIC, _BRIGHTNESS) in (_BRIGHTNESS, _COLORS, _INKS)
        and _number(directory, _FILL_ORDER, 1) == 1
        and predictor in (_NO_PREDICTOR, _DIFFERENCES, _OF_FRACTIONS)
    )
    if dtype is None or compression not in _COMPRESSIONS or not is_plain:
        return None
    orientation = _number(directory, _ORIENTATION, 1)
    if orientation != 1:
        raise ImageError(f"{path}: its pixels are turned by orientation {orientation}, expected 1: save it upright")
    is_tiled = _TILE_OFFSETS in directory
    layout = TiffLayout(
        height,
        width,
        channels,
        dtype,
        is_planar=_number(directory, _PLANES, 1) == 2 and channels > 1,
        is_tiled=is_tiled,
        block=_block(directory, height, width, is_tiled),
        compression=compression,
        predictor=_NO_PREDICTOR if compression in (_UNCOMPRESSED, _PACKBITS) else predictor,
        offsets=_numbers(directory, _TILE_OFFSETS if is_tiled else _STRIP_OFFSETS),
        counts=_numbers(directory, _TILE_BYTES if is_tiled else _STRIP_BYTES),
        no_data=_no_data(directory),
    )
    _check_blocks(path, layout)
    return layout


def described(file: IO[bytes]) -> str:
    """Describes the numbers and the compression of a TIFF, for messages."""
    directory = read_directory(file)
    bits = "/".join(sorted({str(bits) for bits in _numbers(directory, _BITS, (1,))}))
    return f"{bits} bits, compression {_number(directory, _COMPRESSION, _UNCOMPRESSED)}"


def number_type(directory: ImageFileDirectory_v2) -> str:
    """Returns the type of the numbers of a TIFF, such as `uint16`, for messages; the bits if NumPy has no such type."""
    try:
        dtype = _dtype(directory, _number(directory, _CHANNELS, 1))
        return f"{_number(directory, _BITS, 1)} bits" if dtype is None else dtype.name
    except ValueError:
        return "of an unknown type"


def read_pixels(path: str, file: IO[bytes], layout: TiffLayout) -> np.ndarray:
    """Reads all channels of a TIFF: [height, width, channels] of the layout's type, in the byte order of the machine.

    Raises:
        ImageError: the file is shorter than its strips or tiles.
        OSError, ValueError: they are damaged.
    """
    per_plane = layout.grid[0] * layout.grid[1]
    planes = []
    for first in range(0, len(layout.offsets), per_plane):
        blocks = []
        for offset, count in zip(
            layout.offsets[first : first + per_plane], layout.counts[first : first + per_plane], strict=True
        ):
            file.seek(offset)
            blocks.append(file.read(count))
            if len(blocks[-1]) != count:
                raise ImageError(f"{path}: the file ends within its pixels: copy or download it again")
        planes.append(_decoded(blocks, layout))
    return np.concatenate(planes, axis=2)


def read_directory(file: IO[bytes]) -> ImageFileDirectory_v2:
    """Reads the tags of the first page of a TIFF; raises ValueError, OSError or the like if they are damaged."""
    directory = next(_directories(file), None)
    file.seek(0)
    if directory is None:
        raise ValueError("no page")
    return directory


def _directories(file: IO[bytes]) -> Iterator[ImageFileDirectory_v2]:
    """Yields the tags of each page of a TIFF."""
    file.seek(0)
    header = file.read(8)
    if header[:4] == _BIG:
        header += file.read(8)
    offset, seen = ImageFileDirectory_v2(header).next, {0}
    while offset not in seen:
        directory = ImageFileDirectory_v2(header)
        file.seek(offset)
        directory.load(file)
        yield directory
        seen.add(offset)
        offset = directory.next


def _further_pages(file: IO[bytes]) -> int:
    """Returns the number of pages after the first that are no smaller copies or masks; damaged ones are left out."""
    count = 0
    with suppress(*DECODE_ERRORS):
        count = sum(not is_copy(directory) for directory in islice(_directories(file), 1, _MOST_PAGES))
    file.seek(0)
    return count


def size_in(directory: ImageFileDirectory_v2) -> tuple[int, int]:
    """Returns (height, width) in pixels, as stored; raises ValueError if there are none."""
    height, width = _number(directory, _HEIGHT, 0), _number(directory, _WIDTH, 0)
    if min(height, width) < 1:
        raise ValueError(f"{height}x{width} pixels")
    return height, width


def _numbers(directory: ImageFileDirectory_v2, tag: int, default: Any = ()) -> tuple[int, ...]:
    value = directory.get(tag, default)
    values = value if isinstance(value, tuple) else (value,)
    if not values or not all(type(number) is int and number >= 0 for number in values):
        raise ValueError(f"tag {tag} is missing or no list of whole numbers")
    return values


def _number(directory: ImageFileDirectory_v2, tag: int, default: int) -> int:
    return _numbers(directory, tag, default)[0]


def _dtype(directory: ImageFileDirectory_v2, channels: int) -> np.dtype | None:
    """Returns the type of the numbers; None if it is none of NumPy's, or differs between channels."""
    bits, kinds = set(_numbers(directory, _BITS, 1)), set(_numbers(directory, _NUMBER_KIND, 1))
    if len(bits) > 1 or len(kinds) > 1:
        return None
    size, kind = bits.pop() / 8, _KINDS.get(kinds.pop())
    if kind is None or size not in _BYTES_OF_KIND[kind]:
        return None
    order = "<" if directory.prefix == b"II" else ">"
    return np.dtype(f"{order}{kind}{int(size)}")


def _block(directory: ImageFileDirectory_v2, height: int, width: int, is_tiled: bool) -> tuple[int, int]:
    if not is_tiled:
        return max(1, min(_number(directory, _STRIP_ROWS, height), height)), width
    return _number(directory, _TILE_HEIGHT, 0), _number(directory, _TILE_WIDTH, 0)


def _no_data(directory: ImageFileDirectory_v2) -> float | None:
    """Returns GDAL's number of pixels without data; None if there is none that can be read."""
    try:
        return float(directory.get(_NO_DATA, ""))
    except (TypeError, ValueError):
        return None


def _check_blocks(path: str, layout: TiffLayout) -> None:
    """Rejects strips and tiles that are not as many, or not as large, as the image needs."""
    longest = (max(layout.height, _LARGEST_TILE) + 15, max(layout.width, _LARGEST_TILE) + 15)
    if not all(1 <= side <= most for side, most in zip(layout.block, longest, strict=True)):
        raise ImageError(f"{path}: tiles of {layout.block[0]}x{layout.block[1]}, expected up to {_LARGEST_TILE}")
    needed = layout.grid[0] * layout.grid[1] * layout.planes
    if (len(layout.offsets), len(layout.counts)) != (needed, needed):
        raise ImageError(
            f"{path}: {len(layout.offsets)} strips or tiles with {len(layout.counts)} lengths, expected {needed}: "
            "the file is damaged"
        )
    block_bytes = layout.block[0] * layout.block[1] * layout.pixel_bytes
    if not all(0 < count <= 2 * block_bytes + 1024 for count in layout.counts):
        raise ImageError(
            f"{path}: strips or tiles of {min(layout.counts)} to {max(layout.counts)} bytes, expected 1 to "
            f"{2 * block_bytes + 1024}: fill empty ones, for example with gdal_translate -co SPARSE_OK=FALSE"
        )
    plane_bytes = block_bytes * needed // layout.planes
    if plane_bytes > _MOST_BYTES:
        raise ImageError(f"{path}: {plane_bytes} bytes of pixels, expected up to {_MOST_BYTES}: cut it into tiles")


def _decoded(blocks: list[bytes], layout: TiffLayout) -> np.ndarray:
    """Decompresses the strips or tiles of one plane: [height, width, channels of the plane]."""
    across, columns = layout.grid[1], layout.block[1]
    grey = decode_tiff_of_any_size(_grey_tiff(blocks, layout)).reshape(-1, across, columns * layout.pixel_bytes)
    shape = grey.shape[0], across * columns, layout.channels // layout.planes
    return _without_predictor(grey, layout).reshape(shape)[: layout.height, : layout.width]


def _without_predictor(grey: np.ndarray, layout: TiffLayout) -> np.ndarray:
    """Turns the bytes of blocks, uint8 [rows, across, bytes], into numbers [rows, across, columns, channels]."""
    size, channels = layout.dtype.itemsize, layout.channels // layout.planes
    native = layout.dtype.newbyteorder("=")
    if layout.predictor == _OF_FRACTIONS:
        sums = np.cumsum(grey.reshape(*grey.shape[:2], -1, channels), axis=2, dtype=np.uint8)
        # The first bytes of all numbers of the row, then the second ones; the first are the most significant.
        planes = sums.reshape(*grey.shape[:2], size, -1)
        numbers = np.ascontiguousarray(np.moveaxis(planes, 2, 3)).view(native.newbyteorder(">"))
        return numbers.astype(native).reshape(*grey.shape[:2], -1, channels)
    numbers = np.ascontiguousarray(grey).view(layout.dtype).reshape(*grey.shape[:2], -1, channels)
    numbers = numbers.astype(native, copy=False)
    if layout.predictor == _DIFFERENCES:
        whole = np.dtype(f"u{size}")
        return np.cumsum(numbers.view(whole), axis=2, dtype=whole).view(native)
    return numbers


def _grey_tiff(blocks: list[bytes], layout: TiffLayout) -> bytes:
    """Writes a grey TIFF of 8 bits with given strips or tiles."""
    (down, across), (rows, columns) = layout.grid, layout.block
    width = columns * layout.pixel_bytes
    ends = np.cumsum([8, *map(len, blocks)])
    offsets, counts = ends[:-1].tolist(), [len(block) for block in blocks]
    entries: dict[int, list[int]] = {
        _WIDTH: [across * width],
        _HEIGHT: [down * rows if layout.is_tiled else layout.height],
        _BITS: [8],
        _COMPRESSION: [layout.compression],
        _PHOTOMETRIC: [_BRIGHTNESS],
        _CHANNELS: [1],
        **(
            {_TILE_WIDTH: [width], _TILE_HEIGHT: [rows], _TILE_OFFSETS: offsets, _TILE_BYTES: counts}
            if layout.is_tiled
            else {_STRIP_OFFSETS: offsets, _STRIP_ROWS: [rows], _STRIP_BYTES: counts}
        ),
    }
    end = int(ends[-1])
    return b"".join([b"II*\0", struct.pack("<I", end), *blocks, _packed(dict(sorted(entries.items())), end)])


def _packed(entries: dict[int, list[int]], start: int) -> bytes:
    """Packs a directory that begins at a byte of the file: its entries, and then the lists."""
    table, lists = struct.pack("<H", len(entries)), b""
    after = start + 2 + 12 * len(entries) + 4
    for tag, values in entries.items():
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, lists = struct.pack("<I", after + len(lists)), lists + packed
        table += struct.pack("<HHI", tag, _LONG, len(values)) + packed
    return table + bytes(4) + lists

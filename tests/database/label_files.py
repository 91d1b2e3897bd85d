"""Builds label files byte by byte, so that their content is known independently of Pillow."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np


def packed_rows(ids: np.ndarray, bits: int) -> list[bytes]:
    """Packs ids of 1, 2, 4, 8, 12 or 16 bits into rows, the highest bit first, each row padded to whole bytes."""
    spread = (ids[:, :, np.newaxis].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
    return [row.tobytes() for row in np.packbits(spread.reshape(ids.shape[0], -1).astype(np.uint8), axis=1)]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Builds a chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(ids: np.ndarray, bits: int, *, palette: bool = False, transparency: bytes | None = None) -> bytes:
    """Builds a PNG of grey or palette indices; `transparency` is the content of its chunk tRNS."""
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 3 if palette else 0, 0, 0, 0)
    colors = b"".join(bytes((255 - index, index, 7)) for index in range(2**bits)) if palette else b""
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            png_chunk(b"PLTE", colors) if palette else b"",
            b"" if transparency is None else png_chunk(b"tRNS", transparency),
            png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in packed_rows(ids, bits)))),
            png_chunk(b"IEND", b""),
        )
    )


def pgm(ids: np.ndarray, maxval: int, *, plain: bool = False) -> bytes:
    """Builds a PGM; its ids may be above its maxval if they have the same number of bytes."""
    height, width = ids.shape
    if plain:
        lines = "\n".join(" ".join(map(str, row)) for row in ids.tolist())
        return f"P2\n# ids\n{width} {height}\n{maxval}\n{lines}\n".encode()
    return f"P5\n{width} {height}\n{maxval}\n".encode() + ids.astype(">u2" if maxval > 255 else np.uint8).tobytes()


def pbm(ids: np.ndarray, *, plain: bool = False) -> bytes:
    """Builds a PBM, in which 1 is black."""
    height, width = ids.shape
    if plain:
        return f"P1\n{width} {height}\n".encode() + "\n".join(" ".join(map(str, row)) for row in ids.tolist()).encode()
    return f"P4\n{width} {height}\n".encode() + b"".join(packed_rows(ids, 1))


def bmp(ids: np.ndarray, bits: int, palette: Sequence[tuple[int, int, int]], *, core: bool = False) -> bytes:
    """Builds a BMP of palette indices, from the bottom up; `core` selects OS/2's short header."""
    height, width = ids.shape
    rows = [row.ljust(-(-len(row) // 4) * 4, b"\0") for row in packed_rows(ids, bits)][::-1]
    if core:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
        colors = b"".join(bytes(color[::-1]) for color in [*palette, *[(9, 9, 9)] * (2**bits - len(palette))])
    else:
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, len(palette), 0)
        colors = b"".join(bytes((*color[::-1], 0)) for color in palette)
    offset = 14 + len(header) + len(colors)
    pixels = b"".join(rows)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + header + colors + pixels


def tiff(
    ids: np.ndarray,
    bits: int,
    *,
    order: str = "<",
    photometric: int = 1,
    sample_format: int = 1,
    fill_order: int = 1,
    compression: int = 1,
    predictor: int = 1,
    more_pages: Sequence[int] = (),
) -> bytes:
    """Builds a TIFF with one strip.

    Args:
        ids: [H, W].
        bits: 1, 2, 4, 8, 12, 16 or 32.
        order: byte order, "<" or ">".
        photometric: 0 if white is 0, 1 if black is 0, 3 for a palette.
        sample_format: 1 unsigned, 2 signed, 3 fractions.
        fill_order: 2 for the lowest bit of a byte first.
        compression: 1 none, 5 LZW, 8 and 32946 deflate, 32773 PackBits.
        predictor: 2 for differences along rows, with LZW or deflate.
        more_pages: subfile types of further pages with the same pixels, 1 for a reduced copy.
    """
    height, width = ids.shape
    if bits >= 8 and bits != 12:
        kind = {1: "u", 2: "i", 3: "f"}[sample_format]
        values = ids.astype(f"{kind}{bits // 8}")
        if predictor == 2:
            unsigned = values.view(f"u{bits // 8}")
            values = np.concatenate([unsigned[:, :1], unsigned[:, 1:] - unsigned[:, :-1]], axis=1)
        rows = [row.astype(values.dtype.newbyteorder(order)).tobytes() for row in values]
    else:
        rows = packed_rows(ids, bits)
    pixels = b"".join(rows)
    if fill_order == 2:
        pixels = bytes(int(f"{byte:08b}"[::-1], 2) for byte in pixels)
    if compression in (8, 32946):
        pixels = zlib.compress(pixels)
    elif compression == 5:
        pixels = lzw(pixels)
    elif compression == 32773:  # literal runs only
        pixels = b"".join(
            bytes([len(part) - 1]) + part
            for row in rows
            for part in (row[start : start + 128] for start in range(0, len(row), 128))
        )
    size = 2**bits if photometric == 3 else 0
    colors = [(index * 257 * channel) % 65536 for channel in (1, 3, 7) for index in range(size)]
    out = bytearray(struct.pack(order + "2sHI", {"<": b"II", ">": b"MM"}[order], 42, 8))
    for page, subfile in enumerate((0, *more_pages)):
        entries = {
            254: (4, [subfile]), 256: (4, [width]), 257: (4, [height]), 258: (3, [bits]), 259: (3, [compression]),
            262: (3, [photometric]), 266: (3, [fill_order]), 273: (4, [0]), 277: (3, [1]), 278: (4, [height]),
            279: (4, [len(pixels)]), 317: (3, [predictor]), 339: (3, [sample_format]),
        }  # fmt: skip
        if photometric == 3:
            entries[320] = (3, colors)
        start = len(out)
        extra = start + 2 + 12 * len(entries) + 4
        colors_at, pixels_at = extra, extra + (2 * len(colors) if photometric == 3 else 0)
        entries[273] = (4, [pixels_at])
        out += struct.pack(order + "H", len(entries))
        for tag, (kind, values) in sorted(entries.items()):
            field = {3: "H", 4: "I"}[kind]
            inside = struct.pack(order + field, values[0]).ljust(4, b"\0")
            out += struct.pack(order + "HHI", tag, kind, len(values))
            out += inside if len(values) == 1 else struct.pack(order + "I", colors_at)
        end = pixels_at + len(pixels) + len(pixels) % 2
        out += struct.pack(order + "I", end if page < len(more_pages) else 0)
        if photometric == 3:
            out += struct.pack(f"{order}{len(colors)}H", *colors)
        out += pixels + b"\0" * (len(pixels) % 2)
    return bytes(out)


def lzw(data: bytes) -> bytes:
    """Encodes LZW as in TIFF without compressing: a 9-bit code per byte, with clear codes before codes get longer."""
    codes = [code for at in range(0, len(data), 200) for code in (256, *data[at : at + 200])] + [257]
    number = 0
    for code in codes:
        number = number << 9 | code
    filled = -9 * len(codes) % 8
    return (number << filled).to_bytes((9 * len(codes) + filled) // 8, "big")


def tiled_tiff(
    ids: np.ndarray, bits: int, *, order: str = "<", photometric: int = 1, compression: int = 1, tile: int = 16
) -> bytes:
    """Builds a TIFF with square tiles, padded with 3 at the right and at the bottom.

    Args:
        ids: [H, W].
        bits: 8, 16 or 32.
        order, photometric: see `tiff`.
        compression: 1 none, 5 LZW, 8 deflate.
        tile: height and width of a tile, a multiple of 16.
    """
    height, width = ids.shape
    across, down = -(-width // tile), -(-height // tile)
    filled = np.pad(ids, ((0, down * tile - height), (0, across * tile - width)), constant_values=3)
    pack = {1: bytes, 5: lzw, 8: zlib.compress}[compression]
    tiles = [
        pack(filled[row : row + tile, column : column + tile].astype(f"{order}u{bits // 8}").tobytes())
        for row in range(0, down * tile, tile)
        for column in range(0, across * tile, tile)
    ]
    size = 256 if photometric == 3 else 0
    colors = [(index * 257 * channel) % 65536 for channel in (1, 3, 7) for index in range(size)]
    out = bytearray(struct.pack(order + "2sHI", {"<": b"II", ">": b"MM"}[order], 42, 0))

    def placed(content: bytes) -> int:
        out.extend(b"\0" * (len(out) % 2))
        place = len(out)
        out.extend(content)
        return place

    offsets = [placed(content) for content in tiles]
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits]), 259: (3, [compression]), 262: (3, [photometric]),
        277: (3, [1]), 322: (4, [tile]), 323: (4, [tile]), 324: (4, offsets), 325: (4, [len(t) for t in tiles]),
        **({320: (3, colors)} if colors else {}),
    }  # fmt: skip
    fields = []
    for tag, (kind, values) in sorted(entries.items()):
        letter = {3: "H", 4: "I"}[kind]
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        inside = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(order + "I", placed(packed))
        fields.append(struct.pack(order + "HHI", tag, kind, len(values)) + inside)
    directory = placed(struct.pack(order + "H", len(fields)) + b"".join(fields) + bytes(4))
    out[4:8] = struct.pack(order + "I", directory)
    return bytes(out)


def gif(
    ids: np.ndarray, bits: int, *, canvas: tuple[int, int] | None = None, frames: int = 1, grey: bool = False
) -> bytes:
    """Builds an uncompressed GIF of palette indices: a code per index, with clear codes before codes get longer.

    `canvas` is the height and width of the image if they differ from those of the frame; `grey` selects a grey palette.
    """
    height, width = canvas or ids.shape
    colors = b"".join(bytes((i, i, i)) if grey else bytes((255 - i, i, 7)) for i in range(2**bits))
    smallest = max(2, bits)
    clear, end = 2**smallest, 2**smallest + 1
    codes: list[int] = []
    for position, index in enumerate(ids.ravel().tolist()):
        if position % (2**smallest - 2) == 0:
            codes.append(clear)
        codes.append(index)
    number = sum(code << (place * (smallest + 1)) for place, code in enumerate([*codes, end]))
    data = number.to_bytes(((len(codes) + 1) * (smallest + 1) + 7) // 8, "little")
    blocks = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, ids.shape[1], ids.shape[0], 0) + bytes([smallest]) + blocks + b"\0"
    header = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80 | (bits - 1), 0, 0) + colors
    return header + frame * frames + b"\x3b"


def tga(ids: np.ndarray, *, palette: bool = False, top_down: bool = False, run_lengths: bool = False) -> bytes:
    """Builds a TGA of grey or palette indices."""
    height, width = ids.shape
    kind = (1 if palette else 3) + (8 if run_lengths else 0)
    header = struct.pack(
        "<BBBHHBHHHHBB", 0, int(palette), kind, 0, 256 if palette else 0, 24 if palette else 0, 0, 0, width, height, 8,
        0x20 if top_down else 0,
    )  # fmt: skip
    colors = b"".join(bytes((7, index, 255 - index)) for index in range(256)) if palette else b""
    rows = [row.tobytes() for row in ids.astype(np.uint8)]
    if run_lengths:
        rows = [b"".join(bytes([0, value]) for value in row) for row in rows]
    return header + colors + b"".join(rows if top_down else rows[::-1])


def pcx(ids: np.ndarray, *, grey: bool = False) -> bytes:
    """Builds an 8-bit PCX with a palette of colours or of all greys."""
    height, width = ids.shape
    stride = width + width % 2
    header = struct.pack("<BBBBHHHHHH", 10, 5, 1, 8, 0, 0, width - 1, height - 1, 72, 72) + bytes(48)
    header += struct.pack("<BBHH", 0, 1, stride, 1) + bytes(58)
    rows = b"".join(
        b"".join(bytes([0xC1, value]) for value in row.tolist()) + b"\xc1\0" * (stride - width) for row in ids
    )
    colors = b"".join(bytes((i, i, i)) if grey else bytes((255 - i, i, 7)) for i in range(256))
    return header + rows + b"\x0c" + colors

"""Ways to damage the bytes of a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Damage = Callable[[bytearray, np.random.Generator], bytearray]


def flip_bit(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Changes one bit."""
    if content:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return content


def flip_bit_of_the_header(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Changes one bit of the first 100 bytes, where most formats say the most."""
    if content:
        content[rng.integers(min(len(content), 100))] ^= 1 << rng.integers(8)
    return content


def cut_off(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Leaves a beginning."""
    return content[: rng.integers(len(content) + 1)]


def cut_out(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Takes up to 20 bytes out."""
    start = int(rng.integers(len(content) + 1))
    return content[:start] + content[start + int(rng.integers(1, 20)) :]


def repeat(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Puts a part in a second time."""
    first, last = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    return content[:last] + content[first:last] + content[last:]


def overwrite(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Sets up to 8 bytes to the smallest or the largest numbers, or to noise."""
    start, length = int(rng.integers(len(content) + 1)), int(rng.integers(1, 9))
    for position in range(start, min(start + length, len(content))):
        content[position] = (0, 255, 127, int(rng.integers(256)))[rng.integers(4)]
    return content


def insert_text(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Puts in what text formats give a meaning to."""
    start, words = int(rng.integers(len(content) + 1)), _WORDS[rng.integers(len(_WORDS))]
    return content[:start] + words + content[start:]


_WORDS = (
    b"-1", b"9" * 5000, b"1e999", b"NaN", b"Infinity", b"null", b"true", b"{}", b"[]", b'""', b"\n", b"\t", b" ", b"\0",
    b"\xff\xfe", "\u2028".encode(), b"\\ud800", b"[" * 2000, b'{"a":' * 2000, b"&a [*a]", b"!!int ''", b"!!bool x",
    b"!!timestamp x", b"!!python/object/apply:os.getcwd []", b"0x" + b"f" * 5000, b"<<: 1", b"%", b"#", b": ", b"- ",
    b"../", b"\\n", b"'", b'"', b"=", b"--", b"2020-13-45", b"!!binary x", b"? [a]: b", b"*a",
)  # fmt: skip

DAMAGES: tuple[Damage, ...] = (
    flip_bit, flip_bit_of_the_header, cut_off, cut_out, repeat, overwrite, insert_text,
)  # fmt: skip


def damaged(content: bytes, rng: np.random.Generator, most: int = 4) -> bytes:
    """Damages bytes once, or up to `most` times."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, most + 1)):
        changed = DAMAGES[rng.integers(len(DAMAGES))](changed, rng)
    return bytes(changed)

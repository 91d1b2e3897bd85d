"""Tests the reader of text files that users write: encodings, line ends and comments, in every kind of file."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database.datasets import custom_dataset
from database.errors import TextFileError
from database.lists import listed
from database.palettes import read_palette
from database.text_files import numbered_lines, read_text, text_lines
from tests.database.dataset_files import touch
from tools.flags.config_file import config_arguments
from tools.sbd import read_names
from tools.training.class_weights import read_class_weights

# As written by Notepad, Excel, PowerShell and Linux.
ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "utf-16-le with mark": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "utf-16-be with mark": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
}
LINE_ENDS = {"unix": "\n", "windows": "\r\n", "old mac": "\r"}

# Every kind of file: its name, its text, a reader, and the expected result.
FILES = {
    "label map": (
        "ids.txt",
        "# ids\n7 0\n  # more\n11 1\n",
        lambda path: dict(custom_dataset(2, label_map_file=path).label_map),
        {255: 255, 7: 0, 11: 1},
    ),
    "label map in JSON": (
        "ids.json",
        '{"7": 0,\n"11": 1}',
        lambda path: dict(custom_dataset(2, label_map_file=path).label_map),
        {255: 255, 7: 0, 11: 1},
    ),
    "palette": (
        "colours.txt",
        "# colours\n1 2 3 Straße C#\n4 5 6 sky\n",
        lambda path: read_palette(path, 2),
        (("Straße C#", "sky"), ((1, 2, 3), (4, 5, 6)), ()),
    ),
    "palette in JSON": (
        "colours.json",
        '[{"name": "Straße", "color": [1, 2, 3]},\n{"name": "sky", "color": [4, 5, 6]}]',
        lambda path: read_palette(path, 2),
        (("Straße", "sky"), ((1, 2, 3), (4, 5, 6)), ()),
    ),
    "class weights": ("weights.txt", "# weights\n0.5\n2e0\n", lambda path: read_class_weights(path, 2), (0.5, 2.0)),
    "flags in YAML": (
        "run.yaml",
        "# flags\nlog_dir: Läufe\nms: 1\n",
        config_arguments,
        ["--log_dir=Läufe", "--ms=1"],
    ),
    "flags in JSON": ("run.json", '{"log_dir": "Läufe",\n"ms": 1}', config_arguments, ["--log_dir=Läufe", "--ms=1"]),
    "names of VOC": ("names.txt", "# names\n2007_000032\n2007_000033\n", read_names, ("2007_000032", "2007_000033")),
    "list": (
        "train.txt",
        "# list\nbücher/1#a.png l.png\n",
        lambda path: [entry.key for entry in listed(path, path.removesuffix("train.txt"), "train")],
        ["bücher/1#a"],
    ),
    "list of CSAIL": (
        "train.odgt",
        '{"fpath_img": "bücher/1#a.png", "fpath_segm": "l.png"}\n',
        lambda path: [entry.key for entry in listed(path, path.removesuffix("train.odgt"), "train")],
        ["bücher/1#a"],
    ),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_every_kind_of_file_in_every_encoding(tmp_path, kind, encoding, line_end):
    name, text, read, expected = FILES[kind]
    touch(tmp_path, "bücher/1#a.png", "l.png")
    path = tmp_path / name
    path.write_bytes(ENCODINGS[encoding](text.replace("\n", LINE_ENDS[line_end])))
    assert read(str(path)) == expected


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# one\n# caf\xe9\n", "line 2, byte 12: 0xE9 is not UTF-8, expected UTF-8, or UTF-16 with a byte-order mark"),
        ("# one\n".encode("utf-16-le"), "line 1, byte 2: found a NUL character"),
        ("# one\n".encode("utf-32"), "line 1, byte 1: found UTF-32, expected UTF-8"),
    ],
)
def test_every_reader_names_the_encoding_that_it_refuses(tmp_path, kind, content, words):
    name, _, read, _ = FILES[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
        read(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff")), st.sampled_from(sorted(ENCODINGS)))
def test_any_text_comes_back(tmp_path, text, encoding):
    path = tmp_path / "text"
    path.write_bytes(ENCODINGS[encoding](text))
    assert read_text(str(path)) == text


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(), st.binary().map(lambda content: b"\xff\xfe" + content)))
def test_any_bytes_are_text_or_an_error_with_their_place(tmp_path, content):
    path = tmp_path / "text"
    path.write_bytes(content)
    text, message = "", f"{path}, line 1, byte 1: "
    try:
        text = read_text(str(path))
    except TextFileError as error:
        message = str(error)
    place = int(message.removeprefix(f"{path}, line ").split("byte ")[1].split(":")[0])
    assert 1 <= place <= max(1, len(content))
    assert not {"\0", "\r"} & set(text)


def test_lines_end_only_at_line_ends_and_comments_begin_them():
    text = "a\x1cb\x0cc\u2028d\x85e # f\n\n  # g\n#h\n i#j \n"
    assert list(numbered_lines(text)) == [(1, "a\x1cb\x0cc\u2028d\x85e # f"), (3, "# g"), (4, "#h"), (5, "i#j")]
    assert list(text_lines(text)) == [(1, "a\x1cb\x0cc\u2028d\x85e # f"), (5, "i#j")]


def test_the_place_in_utf_16(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xff\xfe" + "ab\r\nc".encode("utf-16-le") + b"\x00\xd8")  # half of a surrogate pair
    with pytest.raises(TextFileError, match="text, line 2, byte 13: 0x00 is not UTF-16"):
        read_text(str(path))

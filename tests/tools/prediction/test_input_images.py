"""The images of a folder, and names for results that no two images share."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.errors import ImageError
from tools.prediction.input_images import images_in, typed_paths_in


def test_images_in_a_folder(tmp_path, caplog):
    caplog.set_level("INFO")
    for name in ("b.PNG", "a.jpg", "c.tiff", "d.gif", "e.ppm", "notes.txt", "png", ".hidden.png", "Thumbs.db"):
        (tmp_path / name).write_text("")
    (tmp_path / "deeper.png").mkdir()
    (tmp_path / "deeper.png" / "d.png").write_text("")
    assert images_in(str(tmp_path)) == [
        (name.split(".")[0], str(tmp_path / name)) for name in ("a.jpg", "b.PNG", "c.tiff", "d.gif", "e.ppm")
    ]
    files, folders = caplog.messages
    assert re.fullmatch(f"{tmp_path}: 2 of 7 files are ignored .*: 1 .txt, 1 without", files)
    assert folders.startswith(f"{tmp_path}: 1 subfolder is")
    (tmp_path / "a.png").write_text("")
    assert [name for name, _ in images_in(str(tmp_path))] == ["a_jpg", "a_png", "b", "c", "d", "e"]
    (tmp_path / "a_png.png").write_text("")
    assert [name for name, _ in images_in(str(tmp_path))] == ["a_jpg", "a_png", "a_png-2", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        (("a.jpg", "b.jpg", "a_mask.png", "b_mask.png"), "2 files look like masks of others .* a_mask.png, "),
        (("a.png", "b.png", "label_b.png"), "1 file looks like a mask of others .* label_b.png, "),
        (("a.jpg", "a_small.jpg"), None),  # JPEG holds no labels
        (("frame_1.png", "frame_1_2.png", "frame_2.png"), None),
        (("a.png", "b_mask.png"), None),
    ],
)
def test_masks_beside_their_images_are_warned_of(tmp_path, caplog, names, warned):
    for name in names:
        (tmp_path / name).touch()
    assert len(images_in(str(tmp_path))) == len(names)
    assert len(caplog.messages) == (warned is not None)
    assert warned is None or re.search(warned + ".*another folder", caplog.text)


def test_links_that_lead_to_themselves(tmp_path):
    """One is listed as an image, which cannot be read; the others do not matter."""
    (tmp_path / "a.png").write_text("")
    for name in ("b.png", "c"):
        (tmp_path / name).symlink_to(name)
    (tmp_path / "d.png").symlink_to(".")
    assert [name for name, _ in images_in(str(tmp_path))] == ["a", "b"]


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ImageError, match=": this folder contains no image, .* 1 file: 1 .txt: "):
        images_in(str(tmp_path))


def test_folder_of_folders(tmp_path):
    for name in ("b c", "a", "@eaDir", ".git"):
        (tmp_path / name).mkdir()
    words = (
        f": this folder contains no image, .* its 0 files; it has 2 subfolders, a, b c: .* --image_path {tmp_path}/a$"
    )
    with pytest.raises(ImageError, match=words):
        images_in(str(tmp_path))


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("a.png", ["a.png"]),
        (" 'has space.png' ", ["has space.png"]),
        ('"has space.png"', ["has space.png"]),
        ("has space.png", ["has space.png"]),
        (r"has\ space.png", ["has space.png"]),
        ("file://{here}/has%20space.png", ["{here}/has space.png"]),
        ("file://localhost{here}/a.png", ["{here}/a.png"]),
        ("FILE://{here}/%C3%A4.png", ["{here}/ä.png"]),
        (r"a.png has\ space.png 'has space.png'", ["a.png", "has space.png", "has space.png"]),
        ("file://{here}/a.png file://{here}/has%20space.png", ["{here}/a.png", "{here}/has space.png"]),
        (r"back\slash.png", [r"back\slash.png"]),
        ("it's.png", ["it's.png"]),
        (r"it\'s.png", ["it's.png"]),
        ("~/a.png", ["{here}/a.png"]),
        ("$PICTURES/a.png", ["{here}/a.png"]),
        ("${PICTURES}/absent.png", ["{here}/absent.png"]),
        (r"$PICTURES/a.png $PICTURES/has\ space.png", ["{here}/a.png", "{here}/has space.png"]),
        ("$NOT_SET/a.png", ["$NOT_SET/a.png"]),
        ("absent one.png", ["absent one.png"]),
        ("'absent.png'", ["absent.png"]),
        ("a.png absent.png", ["a.png absent.png"]),
        ("file:///no%20where.png", ["/no where.png"]),
        ("'", [""]),
    ],
)
def test_paths_as_terminals_write_them(tmp_path, monkeypatch, line, paths):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PICTURES", str(tmp_path))
    monkeypatch.delenv("NOT_SET", raising=False)
    for name in ("a.png", "has space.png", "ä.png", r"back\slash.png", "it's.png"):
        (tmp_path / name).touch()
    here = str(tmp_path)
    assert typed_paths_in(line.replace("{here}", here)) == [path.replace("{here}", here) for path in paths]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=6).map(
    lambda name: f"{name[:2]} {name[2:]}.png".replace("/", "#")
)


@settings(deadline=None, max_examples=60)
@given(st.lists(NAMES, min_size=1, max_size=2, unique=True))
def test_any_name_is_found_however_it_is_written(names):
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in names]
        for path in paths:
            Path(path).touch()
        escaped = [re.sub(r"([^A-Za-z0-9/._-])", r"\\\1", path) for path in paths]
        assert typed_paths_in(" ".join(map(shlex.quote, paths))) == paths
        assert typed_paths_in(" ".join(escaped)) == paths
        assert typed_paths_in(" ".join(Path(path).as_uri() for path in paths)) == paths
        for path in paths:
            assert typed_paths_in(path) == [path]


def test_folder_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match=r"absent: the folder cannot be read \(No such file or directory\)"):
        images_in(str(tmp_path / "absent"))

    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)  # the user who runs the tests may have all permissions
    with pytest.raises(ImageError, match=r"closed: the folder cannot be read \(Permission denied\)"):
        images_in("closed")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_images_in_subfolders_keep_the_names_of_these(tmp_path):
    touch(tmp_path, "b.png", "x/a.png", "x/a.jpg", "x/y z/a.png", ".hidden/c.png", "@eaDir/d.png", "x/notes.txt")
    assert [name for name, _ in images_in(str(tmp_path))] == ["b"]
    found = images_in(str(tmp_path), recursive=True)
    assert [name for name, _ in found] == ["b", "x/a_jpg", "x/a_png", "x/y z/a"]
    assert [path for _, path in found] == [
        str(tmp_path / name) for name in ("b.png", "x/a.jpg", "x/a.png", "x/y z/a.png")
    ]


def test_images_only_in_subfolders(tmp_path):
    touch(tmp_path, "x/y/a.png", "notes.txt")
    with pytest.raises(ImageError, match="add --recursive 1, or give one of them"):
        images_in(str(tmp_path))
    assert [name for name, _ in images_in(str(tmp_path), recursive=True)] == ["x/y/a"]


def test_folders_of_results_are_not_walked(tmp_path):
    """The default folder of results may lie in the folder that is walked again."""
    touch(tmp_path, "a.png", "out/provenance.json", "out/overlay/a_overlay.png")
    assert [name for name, _ in images_in(str(tmp_path), recursive=True)] == ["a"]


def test_links_that_lead_back_are_not_followed(tmp_path):
    touch(tmp_path, "x/a.png")
    (tmp_path / "x" / "back").symlink_to(tmp_path)
    assert [name for name, _ in images_in(str(tmp_path), recursive=True)] == ["x/a"]


def test_no_image_in_any_subfolder(tmp_path):
    touch(tmp_path, "x/notes.txt", "y/more.txt")
    with pytest.raises(ImageError, match="contains no image, by the suffixes of its 2 files: 2 .txt"):
        images_in(str(tmp_path), recursive=True)


def test_a_subfolder_that_cannot_be_read(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "x/a.png")
    real = os.scandir

    def refuse(folder):
        if str(folder).endswith("x"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageError, match=r"x: the folder cannot be read \(Permission denied\)"):
        images_in(str(tmp_path), recursive=True)

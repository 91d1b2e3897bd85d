"""inference.py, as a user starts it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from database.datasets import get_dataset
from tests.scripts.starting import LABEL_IDS, start, the_error
from tests.tools.toy_runs import NETWORK, SIZE


def write_images(folder: Path) -> dict[str, tuple[int, int]]:
    """Images of many kinds; returns (width, height) by file name."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    colour = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    grey16 = rng.integers(0, 65536, (9, 5)).astype(np.uint16)
    Image.fromarray(colour).save(folder / "rgb.jpg")
    Image.fromarray(colour[..., 0]).save(folder / "grey.png")
    Image.fromarray(np.dstack([colour, colour[..., :1]])).save(folder / "rgba.png")
    Image.fromarray(colour).quantize(16).save(folder / "palette.png")
    Image.fromarray(grey16).save(folder / "sixteen_bit.png")
    Image.fromarray(colour[:1, :1]).save(folder / "one_pixel.png")
    large = {name: (30, 20) for name in ("rgb.jpg", "grey.png", "rgba.png", "palette.png")}
    return {**large, "sixteen_bit.png": (5, 9), "one_pixel.png": (1, 1)}


def escaped(name: str) -> str:
    """The name as it is printed: bytes that are not UTF-8 as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def test_inference_asks_for_paths(place, tmp_path):
    sizes = {**write_images(tmp_path / "images"), "\udcff.png": (30, 20)}  # not valid UTF-8
    shutil.copy(tmp_path / "images" / "rgba.png", tmp_path / "images" / "\udcff.png")
    (tmp_path / "not_an_image.txt").write_text("words")
    paths = ["no/such/file", "not_an_image.txt", "images", *(f"images/{name}" for name in sizes)]
    done = start("inference", "--log_dir", place.log_dir, cwd=tmp_path, stdin="\n".join(paths) + "\n")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "Enter the image filename" not in done.stdout + done.stderr  # a pipe is not asked
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in errors] == [*paths[:3], "standard input"]
    assert f"3 of {len(paths)} images could not be read" in errors[-1]
    results = tmp_path / "inference_set" / "Toy" / "some-run" / "step7-ms0"
    for name, size in sizes.items():
        stem = os.path.splitext(name)[0]
        assert f"images/{escaped(name)}: " in done.stdout
        for kind in ("prediction", "coloring", "overlay"):
            path = results / kind / f"{stem}_{kind}.png"
            assert escaped(str(path.relative_to(tmp_path))) in done.stdout
            assert Image.open(path).size == size
        assert set(np.unique(np.array(Image.open(results / "prediction" / f"{stem}_prediction.png")))) <= LABEL_IDS
    assert len(os.listdir(results / "prediction")) == len(sizes)


def type_lines(monkeypatch, lines, end=EOFError):
    """Answers the prompt with lines, as somebody at a terminal does, then with the end of input or Ctrl-C."""
    waiting = iter(lines)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))

    def typed(prompt):
        line = next(waiting, None)
        if line is None:
            raise end
        return line

    monkeypatch.setattr("builtins.input", typed)


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_inference_asks_again_after_an_empty_line(main, place, monkeypatch, tmp_path, capsys, end):
    monkeypatch.chdir(tmp_path)
    type_lines(monkeypatch, ["", "  ", "absent.png"], end)
    assert main("inference", "--log_dir", place.log_dir) == 0
    assert "absent.png: no such file" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_inference_of_paths_as_terminals_write_them(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "has space").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "has space" / name)
    type_lines(monkeypatch, [f"file://{tmp_path}/has%20space/a.png", r"has\ space/b.png 'has space/c.png'"])
    assert main("inference", "--log_dir", place.log_dir, "--output_dir", "out", "--coloring", "0") == 0
    assert sorted(os.listdir("out/prediction")) == [f"{name}_prediction.png" for name in "abc"]


def test_inference_of_images_of_one_name(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, grey in (("a", 0), ("b", 255)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((9, 9), grey, np.uint8)).save(tmp_path / folder / "street.png")
    type_lines(monkeypatch, ["a/street.png", "b/street.png", "a/../a/street.png"])
    assert main("inference", "--log_dir", place.log_dir, "--output_dir", "out") == 0
    written = [line.split(", ")[-1] for line in capsys.readouterr().out.split("\n") if line]
    assert written == [f"out/overlay/{name}_overlay.png" for name in ("street", "street-2", "street")]
    for name, grey in (("street", 0), ("street-2", 255)):
        overlay, coloring = (
            np.array(Image.open(f"out/{kind}/{name}_{kind}.png")).astype(int) for kind in ("overlay", "coloring")
        )
        assert np.abs(2 * overlay - coloring - grey).max() <= 1


FOLDER_FLAGS = ("--image_path", "images", "--output_dir", "out", "--coloring", "0")


def test_inference_of_a_folder_skips_files_that_are_not_images(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    assert main("inference", "--log_dir", place.log_dir, *FOLDER_FLAGS) == 0
    assert capsys.readouterr().out.count(" s -> out/prediction/") == 6
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.array([[9, np.nan]], np.float32)).save(tmp_path / "images" / "gap.tif")
    assert main("inference", "--log_dir", place.log_dir, *FOLDER_FLAGS) == 2
    output = capsys.readouterr()
    errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith("error: images/broken.png: not an image")
    assert errors[1].startswith("error: images/gap.tif: fractions, 1 of 2 pixels out of range (the first is nan ")
    assert errors[2:] == ["error: images: 2 of 8 images could not be read, 6 were segmented"]
    assert output.out.count(" s -> out/prediction/") == 6
    assert sorted(os.listdir("out")) == ["images.jsonl", "prediction", "provenance.json"]


def test_inference_of_a_folder_without_a_readable_image(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in "ab":
        (tmp_path / "images" / f"{name}.png").write_text("words")
    assert main("inference", "--log_dir", place.log_dir, *FOLDER_FLAGS) == 2
    output = capsys.readouterr()
    assert output.err.splitlines()[-1] == "error: images: 2 of 2 images could not be read, 0 were segmented"
    assert output.out == ""
    assert os.listdir(tmp_path) == ["images"]


@pytest.mark.parametrize("typed", [False, True])
def test_inference_ends_where_results_cannot_be_written(main, place, monkeypatch, tmp_path, capsys, typed):
    monkeypatch.chdir(tmp_path)
    sizes = write_images(tmp_path / "images")
    (tmp_path / "out").write_text("")
    paths = iter([f"images/{name}" for name in sizes])
    monkeypatch.setattr("builtins.input", lambda prompt: next(paths))
    flags = FOLDER_FLAGS[2:] if typed else FOLDER_FLAGS
    assert main("inference", "--log_dir", place.log_dir, *flags) == 2
    assert re.search(r"out/provenance\.json: cannot be written", the_error(capsys.readouterr().err))


def test_inference_of_one_image(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    (tmp_path / "none").mkdir()
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", "out", "--test_image_size", str(SIZE)]
    assert main("inference", *flags, "--image_path", "images/grey.png") == 0
    assert sorted(os.listdir("out")) == ["coloring", "images.jsonl", "overlay", "prediction", "provenance.json"]
    capsys.readouterr()
    assert main("inference", *flags, "--image_path", "absent.png") == 2
    assert "absent.png: no such file" in the_error(capsys.readouterr().err)
    assert main("inference", *flags, "--image_path", "none") == 2
    assert "none: this folder contains no image" in the_error(capsys.readouterr().err)


@pytest.mark.usefixtures("usual_pixel_limit")
def test_inference_of_an_image_with_too_many_pixels(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", "out", "--max_pixels", "599"]
    assert main("inference", *flags, "--image_path", "images/rgb.jpg") == 2
    words = "images/rgb.jpg: 20x30 (height x width) are 600 pixels, and --max_pixels is 599: give a smaller image"
    assert words in the_error(capsys.readouterr().err)


def test_inference_in_own_colours(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    colors = [(i, 100 + i, 200 + i) for i in range(19)]
    Path("colours.txt").write_text("".join(f"{r} {g} {b}\n" for r, g, b in colors))
    flags = ["--weights_ckpt", place.snapshot, "--output_dir", "out", "--image_path", "images/rgb.jpg"]
    assert main("inference", *flags, "--palette", "colours.txt") == 0
    dataset = get_dataset("Toy")
    ids = np.array(Image.open("out/prediction/rgb_prediction.png"))
    expected = [colors[dataset.label_map[i]] for i in ids.ravel()]
    np.testing.assert_array_equal(np.array(Image.open("out/coloring/rgb_coloring.png")).reshape(-1, 3), expected)
    capsys.readouterr()
    Path("colours.txt").write_text("0 0 0\n")
    assert main("inference", *flags, "--palette", "colours.txt") == 2
    assert "colours.txt: found 1 colour, expected 19" in the_error(capsys.readouterr().err)


def test_record_with_an_unknown_network(main, place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in os.listdir(os.path.dirname(place.snapshot)):
        os.link(os.path.join(os.path.dirname(place.snapshot), name), tmp_path / "run" / name)
    text = (tmp_path / "run" / "config.json").read_text()
    (tmp_path / "run" / "config.json").unlink()
    (tmp_path / "run" / "config.json").write_text(text.replace(NETWORK, "resnet_v9"))
    assert main("inference", "--weights_ckpt", "run") == 2
    words = r"run/config.json: 'architecture.network' is \"resnet_v9\", expected one of .*resnet_v1_50"
    assert re.search(words, the_error(capsys.readouterr().err))

"""Annotation files and images that tests import."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.tools.import_annotations.even_odd import filled
from tools.console import run_script
from tools.import_annotations.__main__ import main

SIZE = (8, 12)  # height, width

SQUARE = [[2, 2], [6, 2], [6, 6], [2, 6]]
LARGE = [[0, 0], [10, 0], [10, 8], [0, 8]]


def write_photos(folder: Path, names: Sequence[str] = ("a.png",)) -> Path:
    """Writes images of different noise; returns the folder."""
    random = np.random.default_rng(len(names))
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*SIZE, 3), np.uint8)).save(path)
    return folder


def labelme(shapes: Sequence[dict[str, Any]], image: str = "a.png", **changes: Any) -> str:
    """The text of labelme's file."""
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None,
               "imageHeight": SIZE[0], "imageWidth": SIZE[1]}  # fmt: skip
    return json.dumps({**content, **changes})


def shape(label: Any, points: Any, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def coco(annotations: Sequence[dict[str, Any]], **changes: Any) -> str:
    """The text of COCO's instances: images 1 (a.png) and 2 (sub/b.png), categories 7 (cat) and 3 (dog)."""
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]},
            {"id": 2, "file_name": "sub/b.png", "height": SIZE[0], "width": SIZE[1]},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": annotations,
    }
    return json.dumps({**content, **changes})


def annotation(segmentation: Any, category: Any = 7, image: Any = 1, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def flat(points: Sequence[Sequence[float]]) -> list[float]:
    return [value for point in points for value in point]


def cvat(images: str, labels: Sequence[str] = ("car", "road")) -> str:
    """The text of CVAT's file with image elements."""
    names = "".join(f"<label><name>{name}</name><color>#ff0000</color></label>" for name in labels)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><labels>'
        f"{names}</labels></task></meta>{images}</annotations>"
    )


def cvat_image(shapes: str, name: str = "a.png", **more: Any) -> str:
    attributes = "".join(f' {key}="{value}"' for key, value in more.items())
    return f'<image id="0" name="{name}" width="{SIZE[1]}" height="{SIZE[0]}"{attributes}>{shapes}</image>'


def cvat_points(points: Sequence[Sequence[float]]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in points)


def imported(kind: str, annotations: Path, photos: Path, out: Path, *more: str) -> int:
    """The exit code of the command."""
    flags = ["--format", kind, "--annotations", annotations, "--images", photos, "--out", out]
    return run_script(main, [*map(str, flags), *more])


def label_of(out: Path, name: str = "a.png", split: str = "train") -> np.ndarray:
    with Image.open(out / "labels" / split / name) as image:
        assert image.mode == "L"
        return np.array(image)


def square_in_large(square: int, large: int, background: int = 0) -> np.ndarray:
    expected = np.full(SIZE, background)
    expected[filled(LARGE, *SIZE)] = large
    expected[filled(SQUARE, *SIZE)] = square
    return expected


def read(tmp_path, photos, kind, text, *more, name="a.png"):
    path = tmp_path / "annotations"
    path.write_text(text)
    assert imported(kind, path, photos, tmp_path / "out", *more) == 0
    return label_of(tmp_path / "out", name)


def refused(tmp_path, photos, kind, text, capsys, *more):
    """The message, which is one line; nothing is left."""
    path = tmp_path / "annotations"
    path.write_text(text)
    assert imported(kind, path, photos, tmp_path / "out", *more) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["annotations", "photos"]
    return message

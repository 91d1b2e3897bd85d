"""Generates a small street-scene dataset in the layout of Cityscapes, to try training and evaluation on."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from database.atomic import folder_written_atomically
from database.errors import ImageError
from database.images import write_image

# Cityscapes labelIds.
_EGO_VEHICLE, _DYNAMIC = 1, 5
_ROAD, _SIDEWALK, _BUILDING, _POLE, _TRAFFIC_SIGN = 7, 8, 11, 17, 20
_VEGETATION, _TERRAIN, _SKY, _PERSON, _CAR = 21, 22, 23, 24, 26

# The ids that are classes; the other two are ignored.
CLASS_IDS = (_ROAD, _SIDEWALK, _BUILDING, _POLE, _TRAFFIC_SIGN, _VEGETATION, _TERRAIN, _SKY, _PERSON, _CAR)

# A scene's colour for a class is its base colour shifted by up to this much per channel.
_SCENE_SHIFT = 14
_BASE_COLORS = {
    _SKY: (150, 185, 220),
    _ROAD: (92, 90, 96),
    _SIDEWALK: (176, 160, 158),
    _TERRAIN: (150, 158, 78),
    _VEGETATION: (52, 96, 44),
    _POLE: (58, 58, 62),
    _EGO_VEHICLE: (28, 28, 34),
    _DYNAMIC: (110, 80, 50),
}
_BUILDING_COLORS = ((168, 112, 88), (186, 158, 120), (140, 120, 112), (160, 90, 74))
_CAR_COLORS = ((180, 30, 34), (40, 60, 160), (226, 226, 230), (30, 120, 120))
_COAT_COLORS = ((220, 80, 150), (240, 140, 40), (130, 60, 170))
_SIGN_COLORS = ((238, 206, 40), (30, 90, 220), (220, 40, 40))
_SKIN, _TROUSERS = (226, 180, 150), (60, 50, 90)
_GLASS, _TYRE, _PAINT = (60, 76, 90), (20, 20, 22), (220, 220, 214)

# Amplitudes of the per-pixel grain and of the smooth blotches, in grey levels.
_GRAIN = 5.0
_BLOTCHES = 9.0

_CITIES = {"train": "toytown", "val": "toyburg", "test": "toyham"}

_Color = tuple[int, int, int]
_Points = tuple[tuple[float, float], ...]


class _Canvas:
    """An image and its label map, drawn together in units of the scene's height and width (0..1)."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        self.height, self.width = height, width
        self.image = Image.new("RGB", (width, height))
        self.labels = Image.new("L", (width, height))
        self._pens = ImageDraw.Draw(self.image), ImageDraw.Draw(self.labels)

    def color(self, base: _Color, shift: int = _SCENE_SHIFT) -> _Color:
        red, green, blue = (np.array(base) + self.rng.integers(-shift, shift + 1, 3)).clip(0, 255).tolist()
        return red, green, blue

    def _pixels(self, points: _Points) -> list[tuple[int, int]]:
        return [(round(x * self.width), round(y * self.height)) for x, y in points]

    def rectangle(self, left: float, top: float, right: float, bottom: float, label: int, color: _Color) -> None:
        corners = self._pixels(((left, top), (right, bottom)))
        self._pens[0].rectangle([*corners[0], *corners[1]], fill=color)
        self._pens[1].rectangle([*corners[0], *corners[1]], fill=label)

    def ellipse(self, left: float, top: float, right: float, bottom: float, label: int, color: _Color) -> None:
        corners = self._pixels(((left, top), (right, bottom)))
        self._pens[0].ellipse([*corners[0], *corners[1]], fill=color)
        self._pens[1].ellipse([*corners[0], *corners[1]], fill=label)

    def polygon(self, points: _Points, label: int, color: _Color) -> None:
        pixels = self._pixels(points)
        self._pens[0].polygon(pixels, fill=color)
        self._pens[1].polygon(pixels, fill=label)


@dataclass(frozen=True)
class _Ground:
    """The road: x of its left and right edge at the horizon and at the bottom, and y of the horizon."""

    horizon: float
    far: tuple[float, float]
    near: tuple[float, float]
    paved_side: int  # the side with the sidewalk; the other has vegetation

    def edge(self, side: int, y: float) -> float:
        depth = (y - self.horizon) / (1.0 - self.horizon)
        return self.far[side] + (self.near[side] - self.far[side]) * depth

    def beside(self, side: int, y: float, offset: float) -> float:
        """Returns x of a point `offset` outside the road's edge, clipped to the picture."""
        return min(max(self.edge(side, y) + (offset if side else -offset), 0.04), 0.96)


def render_scene(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws one street scene: ten of Cityscapes' classes, nearly all in every scene, and ignored pixels.

    Args:
      rng: the only source of randomness.
      height, width: pixels; intended to be about twice as wide as high, at least 64 x 128.

    Returns:
      The image, uint8 [height, width, 3] RGB, and its Cityscapes labelIds, uint8 [height, width].
    """
    canvas = _Canvas(rng, height, width)
    middle = rng.uniform(0.42, 0.58)
    half = rng.uniform(0.04, 0.07)
    ground = _Ground(
        horizon=rng.uniform(0.42, 0.48),
        far=(middle - half, middle + half),
        near=(rng.uniform(0.0, 0.14), rng.uniform(0.86, 1.0)),
        paved_side=int(rng.integers(2)),
    )
    _draw_background(canvas, ground)
    _draw_ground(canvas, ground)
    _draw_traffic(canvas, ground)
    _draw_roadside(canvas, ground)
    hood = canvas.color(_BASE_COLORS[_EGO_VEHICLE])
    canvas.ellipse(-0.2, rng.uniform(0.9, 0.94), 1.2, 1.4, _EGO_VEHICLE, hood)
    return _lit(rng, np.asarray(canvas.image)), np.array(canvas.labels)


def _draw_background(canvas: _Canvas, ground: _Ground) -> None:
    """Draws the sky, a row of buildings with windows, and trees in front of them on the side without sidewalk."""
    rng = canvas.rng
    canvas.rectangle(0.0, 0.0, 1.0, 1.0, _SKY, canvas.color(_BASE_COLORS[_SKY]))
    base = ground.horizon + 0.03
    left = -rng.uniform(0.0, 0.1)
    while left < 1.0:
        right = left + rng.uniform(0.13, 0.24)
        top = rng.uniform(0.06, 0.26)
        color = canvas.color(_BUILDING_COLORS[rng.integers(len(_BUILDING_COLORS))])
        canvas.rectangle(left, top, right, base, _BUILDING, color)
        for x in np.arange(left + 0.02, right - 0.03, 0.045):
            for y in np.arange(top + 0.05, base - 0.1, 0.11):
                canvas.rectangle(x, y, x + 0.015, y + 0.05, _BUILDING, canvas.color(_GLASS, shift=6))
        left = right + (rng.uniform(0.05, 0.12) if rng.random() < 0.4 else 0.0)
    leaves = canvas.color(_BASE_COLORS[_VEGETATION])
    grown = (0.0, ground.far[0]) if ground.paved_side else (ground.far[1], 1.0)
    canvas.rectangle(grown[0], ground.horizon - 0.06, grown[1], base, _VEGETATION, leaves)
    for _ in range(rng.integers(2, 4)):
        x, top, size = rng.uniform(*grown), rng.uniform(0.1, 0.22), rng.uniform(0.14, 0.22)
        canvas.ellipse(x - size / 2, top, x + size / 2, base, _VEGETATION, canvas.color(leaves, shift=6))


def _draw_ground(canvas: _Canvas, ground: _Ground) -> None:
    """Draws terrain on one side, the sidewalk on the other, and between them the road with its dashed line."""
    horizon, side = ground.horizon, float(ground.paved_side)
    canvas.rectangle(0.0, horizon + 0.02, 1.0, 1.0, _TERRAIN, canvas.color(_BASE_COLORS[_TERRAIN]))
    middle = sum(ground.far) / 2
    canvas.polygon(
        ((middle, horizon), (side, horizon + 0.02), (side, 1.0), (0.5, 1.0)),
        _SIDEWALK,
        canvas.color(_BASE_COLORS[_SIDEWALK]),
    )
    canvas.polygon(
        ((ground.far[0], horizon), (ground.far[1], horizon), (ground.near[1], 1.0), (ground.near[0], 1.0)),
        _ROAD,
        canvas.color(_BASE_COLORS[_ROAD]),
    )
    for depth in (0.1, 0.25, 0.5, 0.75):
        top, bottom = (horizon + (1.0 - horizon) * end for end in (depth, 1.3 * depth))
        x_top, x_bottom = ((ground.edge(0, y) + ground.edge(1, y)) / 2 for y in (top, bottom))
        half = 0.008 * depth
        canvas.polygon(
            ((x_top - half, top), (x_top + half, top), (x_bottom + half, bottom), (x_bottom - half, bottom)),
            _ROAD,
            canvas.color(_PAINT),
        )


def _draw_traffic(canvas: _Canvas, ground: _Ground) -> None:
    """Draws a bin by the road in half of the scenes, and two or three cars from behind, the farthest first."""
    rng = canvas.rng
    if rng.random() < 0.5:
        foot = rng.uniform(0.56, 0.62)
        x = ground.beside(ground.paved_side, foot, 0.03)
        canvas.rectangle(x - 0.02, foot - 0.1, x + 0.02, foot, _DYNAMIC, canvas.color(_BASE_COLORS[_DYNAMIC]))
    for depth in sorted(rng.uniform(0.25, 0.75, rng.integers(2, 4))):
        bottom = ground.horizon + (1.0 - ground.horizon) * depth
        wide = 0.09 + 0.16 * depth
        first = ground.edge(0, bottom) + 0.01
        last = max(ground.edge(1, bottom) - wide, first)
        _draw_car(canvas, rng.uniform(first, last), bottom, wide, wide * rng.uniform(1.35, 1.6))


def _draw_car(canvas: _Canvas, left: float, bottom: float, wide: float, high: float) -> None:
    color = canvas.color(_CAR_COLORS[canvas.rng.integers(len(_CAR_COLORS))])
    roof, waist, right = bottom - high, bottom - 0.6 * high, left + wide
    for x in (left + 0.06 * wide, right - 0.26 * wide):
        canvas.rectangle(x, bottom - 0.2 * high, x + 0.2 * wide, bottom, _CAR, canvas.color(_TYRE, shift=4))

    def cabin(top: float, inset_above: float, inset_below: float) -> _Points:
        """Returns the corners of a trapezoid above the waist; insets are in widths of the car."""
        above, below = inset_above * wide, inset_below * wide
        return (left + above, top), (right - above, top), (right - below, waist), (left + below, waist)

    canvas.polygon(cabin(roof, 0.2, 0.04), _CAR, color)
    canvas.polygon(cabin(roof + 0.08 * high, 0.26, 0.14), _CAR, canvas.color(_GLASS, 6))
    canvas.rectangle(left, waist, right, bottom - 0.12 * high, _CAR, color)


def _draw_roadside(canvas: _Canvas, ground: _Ground) -> None:
    """Draws a sign on its pole, and one or two pedestrians on the sidewalk."""
    rng, side = canvas.rng, ground.paved_side
    foot = rng.uniform(0.66, 0.84)
    _draw_sign(canvas, ground.beside(1 - side, foot, rng.uniform(0.03, 0.08)), foot)
    for foot in sorted(rng.uniform(0.66, 0.9, rng.integers(1, 3))):
        _draw_person(canvas, ground.beside(side, foot, rng.uniform(0.04, 0.16)), foot)


def _draw_sign(canvas: _Canvas, x: float, foot: float) -> None:
    rng = canvas.rng
    top, size = rng.uniform(0.14, 0.22), rng.uniform(0.09, 0.11)
    canvas.rectangle(x - 0.02, top, x + 0.02, foot, _POLE, canvas.color(_BASE_COLORS[_POLE], shift=8))
    color = canvas.color(_SIGN_COLORS[rng.integers(len(_SIGN_COLORS))])
    box = (x - size / 2, top - 0.06, x + size / 2, top - 0.06 + 2 * size)
    if rng.random() < 0.5:
        canvas.ellipse(*box, _TRAFFIC_SIGN, color)
    else:
        canvas.rectangle(*box, _TRAFFIC_SIGN, color)


def _draw_person(canvas: _Canvas, x: float, foot: float) -> None:
    rng = canvas.rng
    high = 0.32 + 0.3 * (foot - 0.6)
    half = 0.13 * high
    hip, shoulder = foot - 0.45 * high, foot - 0.82 * high
    coat = canvas.color(_COAT_COLORS[rng.integers(len(_COAT_COLORS))])
    canvas.rectangle(x - 0.7 * half, hip, x + 0.7 * half, foot, _PERSON, canvas.color(_TROUSERS))
    canvas.rectangle(x - half, shoulder, x + half, hip, _PERSON, coat)
    canvas.ellipse(x - 0.6 * half, foot - high, x + 0.6 * half, shoulder + 0.02, _PERSON, canvas.color(_SKIN))


def _lit(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Adds uneven light, smooth blotches and per-pixel grain to an image."""
    height, width = image.shape[:2]
    y, x = np.linspace(-0.5, 0.5, height)[:, np.newaxis], np.linspace(-0.5, 0.5, width)
    light = rng.uniform(0.85, 1.1) + rng.uniform(-0.2, 0.2) * x + rng.uniform(-0.15, 0.15) * y
    coarse = rng.normal(0.0, _BLOTCHES, (9, 17)).astype(np.float32)
    blotches = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    grain = rng.normal(0.0, _GRAIN, image.shape)
    lit = image * light[:, :, np.newaxis] + blotches[:, :, np.newaxis] + grain
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def write_dataset(
    root: str,
    *,
    train: int = 48,
    val: int = 12,
    test: int = 4,
    height: int = 128,
    width: int = 256,
    seed: int = 0,
) -> None:
    """Writes leftImg8bit/ and, except for test, gtFine/ with labelIds, with Cityscapes' folder and file names.

    Each scene depends only on the seed, the split and its number: more scenes do not change the first ones, and writing
    again changes nothing. A new dataset appears only when it is complete.

    Args:
      root: the dataset's folder.
      train, val, test: numbers of scenes.
      height, width: pixels.
      seed: not negative.

    Raises:
      database.images.ImageError: a file or the folder cannot be written.
    """
    try:
        with folder_written_atomically(root) as folder:
            for split_number, (split, count) in enumerate((("train", train), ("val", val), ("test", test))):
                for index in range(count):
                    rng = np.random.default_rng((seed, split_number, index))
                    _write_scene(folder, split, index, *render_scene(rng, height, width))
    except OSError as error:
        raise ImageError(f"{root}: the dataset cannot be written ({error.strerror or error})") from error


def _write_scene(folder: str, split: str, index: int, image: np.ndarray, label_ids: np.ndarray) -> None:
    city = _CITIES[split]
    stem = f"{city}_{index:06d}_000019"
    write_image(os.path.join(folder, "leftImg8bit", split, city, f"{stem}_leftImg8bit.png"), image)
    if split != "test":
        write_image(os.path.join(folder, "gtFine", split, city, f"{stem}_gtFine_labelIds.png"), label_ids)

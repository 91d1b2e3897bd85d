"""Draws a page of small pictures, each with its name below, and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from database.channels import picture as picture_of
from database.palettes import Palette, colorize, overlay

BOX = (180, 240)  # height and width, pixels, into which a picture is fitted

_WHITE, _BLACK, _GREY = (255, 255, 255), (0, 0, 0), (110, 110, 110)
_GAP = 12
_TITLE_SIZE, _NAME_SIZE = 20, 12
_TITLE_HEIGHT, _NAME_HEIGHT = 34, 20


def thumbnail(
    image: np.ndarray,
    train_ids: np.ndarray,
    palette: Palette,
    box: tuple[int, int] = BOX,
    untinted: int | None = None,
) -> np.ndarray:
    """Overlays an image with the colours of its label, and fits it into a box.

    The colours are overlaid before the image is reduced, so that thin objects stay visible; small images are enlarged
    with nearest neighbours. Ignored pixels are darkened.

    Args:
        image: as by `images.read_image`.
        train_ids: integer [H, W].
        palette: the colour of each training id.
        box: height and width in pixels.
        untinted: the class whose pixels stay as they are in the image, see `palettes.untinted_class`.

    Returns:
        uint8 [h, w, 3], as high or as wide as the box.
    """
    mask = None if untinted is None else train_ids == untinted
    picture = Image.fromarray(overlay(picture_of(image), colorize(train_ids, palette), untinted=mask))
    scale = min(box[0] / picture.height, box[1] / picture.width)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST))


def sheet_width(columns: int, box: tuple[int, int] = BOX) -> int:
    """Returns the width of a sheet, which its legend should have, in pixels."""
    return columns * box[1] + (columns + 1) * _GAP


def contact_sheet(
    title: str,
    pictures: Sequence[tuple[str, np.ndarray]],
    legend_strip: np.ndarray,
    columns: int,
    box: tuple[int, int] = BOX,
) -> np.ndarray:
    """Draws pictures in a grid on white.

    Args:
        title: text above them.
        pictures: (name, uint8 [h, w, 3] that fits into the box), row by row; names that are too long are shortened in
            the middle.
        legend_strip: uint8 [h, `sheet_width`, 3], below them.
        columns: number of pictures per row.
        box: height and width of a cell of the grid.

    Returns:
        uint8 [height, `sheet_width`, 3].
    """
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.shape[0] for _, picture in row) for row in rows]
    bottom = _TITLE_HEIGHT + sum(height + _NAME_HEIGHT + _GAP for height in heights)
    canvas = Image.new("RGB", (sheet_width(columns, box), bottom + legend_strip.shape[0]), _WHITE)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _TITLE_HEIGHT // 2), title, fill=_BLACK, font=ImageFont.load_default(_TITLE_SIZE), anchor="lm")
    font = ImageFont.load_default(_NAME_SIZE)
    top = _TITLE_HEIGHT
    for row, height in zip(rows, heights, strict=True):
        for column, (name, picture) in enumerate(row):
            left = _GAP + column * (box[1] + _GAP)
            # Centred horizontally, and aligned with the bottom of the row.
            canvas.paste(
                Image.fromarray(picture), (left + (box[1] - picture.shape[1]) // 2, top + height - picture.shape[0])
            )
            place = left + box[1] // 2, top + height + _NAME_HEIGHT // 2
            draw.text(place, _shortened(name, font, box[1]), fill=_GREY, font=font, anchor="mm")
        top += height + _NAME_HEIGHT + _GAP
    canvas.paste(Image.fromarray(legend_strip), (0, bottom))
    return np.array(canvas)


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Removes the middle of a name until it is at most `width` pixels wide."""
    kept, shown = len(name), name
    while font.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = f"{name[: kept // 2]}…{name[-(kept - kept // 2) :]}"
    return shown

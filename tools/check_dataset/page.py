"""Formats the findings of a check as an HTML page, in the style of the reports on runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from database.counts import number_of
from tools.check_dataset.report import Findings, extents, fault_lines, mean_flag
from tools.check_dataset.statistics import SplitStatistics
from tools.pages.charts import class_bars
from tools.pages.page import render
from tools.prediction.tables import percent

_QUALITY = 88
_MOST_CHARACTERS = 8_000_000  # of the picture; the page stays below 15 MB


def page(findings: Findings, thumbnails: np.ndarray | None) -> str:
    """Formats the report as a page that needs no other file.

    Args:
        findings: of the check.
        thumbnails: uint8 [H, W, 3], the page of thumbnails; None without one.

    Returns:
        HTML; the extra `report` has to be installed.
    """
    charts: dict[str, Any] = {}
    splits = []
    for number, (split, statistics) in enumerate(findings.statistics.items()):
        about = _about(findings, split, statistics)
        if statistics.labels:
            about["chart"] = f"classes-{number}"
            charts[about["chart"]] = _bars(findings, statistics)
        splits.append(about)
    context = {
        "verdict": findings.verdict,
        "faults": fault_lines(findings.faults),
        "folder": findings.data_dir,
        "splits": splits,
        "absent": [f"{split}: {error}" for split, error in findings.absent.items() if split == "val" or error.advice],
        "names": findings.dataset.class_names,
        "palette": findings.dataset.palette,
        "thumbnails": None if thumbnails is None else _address(thumbnails),
        "has_thumbnails": thumbnails is not None,
    }
    return render("dataset.html", context, title=f"Dataset {findings.dataset.name}", charts=charts)


def _bars(findings: Findings, statistics: SplitStatistics) -> dict[str, Any]:
    shown = (statistics.images_with / statistics.labels).tolist()
    series: Sequence[tuple[str, Any]] = [("images with the class", shown)]
    return class_bars(findings.dataset.class_names, series, statistics.shares.tolist(), "%")


def _about(findings: Findings, split: str, statistics: SplitStatistics) -> dict[str, Any]:
    names = findings.dataset.class_names
    rows = zip(names, statistics.pixels, statistics.shares, statistics.images_with, strict=True)
    return {
        "name": split,
        "facts": list(_facts(findings, split, statistics)),
        "chart": None,
        "classes": [[name, f"{pixels:,}", percent(share), str(images)] for name, pixels, share, images in rows],
        "missing": [name for name, pixels in zip(names, statistics.pixels, strict=True) if not pixels],
    }


def _facts(findings: Findings, split: str, statistics: SplitStatistics) -> list[tuple[str, str]]:
    count = findings.counts[split]
    sampled = "" if statistics.images == count else f", {statistics.images} checked, seed {findings.seed}"
    facts = [("images", f"{count:,}{sampled}"), ("labels", f"{number_of(statistics.labels, 'label')} read")]
    if statistics.sizes:
        (height, width), times = statistics.sizes.most_common(1)[0]
        sizes = number_of(len(statistics.sizes), "size")
        facts.append(("sizes", f"{sizes}; most frequent {height}x{width} (height x width), of {times} images"))
        facts += [
            (name, f"{values['min']} to {values['max']} pixels, median {values['median']:g}")
            for name, values in extents(statistics).items()
        ]
    if statistics.color_mean is not None and statistics.color_deviation is not None:
        mean, deviation = mean_flag(statistics.color_mean), mean_flag(statistics.color_deviation)
        facts.append(("mean colour", f"{mean} (red, green, blue), standard deviation {deviation}"))
    first, *others = statistics.without_data_lines() or [""]
    if others:
        facts.append(("without data", f"{first} {'; '.join(others)}"))
    if statistics.labels:
        facts.append(("ignored", f"{percent(statistics.ignored_share)} % of the label pixels"))
    if statistics.unknown:
        facts.append(("unknown ids", f"{statistics.unknown:,} pixels of no class"))
    return facts


def _address(picture: np.ndarray) -> str | None:
    """Returns a picture as a `data:` address; None if it is too large for a page."""
    file = io.BytesIO()
    try:
        Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY)
    except OSError:  # JPEG holds up to 65535 rows
        return None
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/jpeg;base64,{text}" if len(text) <= _MOST_CHARACTERS else None

"""The report on a dataset as HTML: its figures, and hostile names."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("plotly", reason="needs the extra report")

from tests.browser import browser  # noqa: E402, F401
from tests.tools.check_dataset.test_report import DATASET, findings  # noqa: E402, F401
from tests.tools.pages.parsed import ParsedPage  # noqa: E402
from tools.check_dataset import __main__ as check_dataset  # noqa: E402
from tools.check_dataset.page import page  # noqa: E402
from tools.check_dataset.report import Fault, Findings  # noqa: E402

HOSTILE = "<script>alert(1)</script>"


def test_figures(findings: Findings) -> None:  # noqa: F811
    """Those of the Markdown report, which are worked out by hand there."""
    found = ParsedPage(page(findings, None))
    shown, shares = found.json["charts"]["classes-0"]["data"]
    assert shares["x"] == pytest.approx([100 * 45 / 70, 100 * 25 / 70, 0])
    assert shown["x"] == pytest.approx([100, 100 / 3, 0])
    assert list(found.json["charts"]) == ["classes-0"]  # test has no labels
    for text in ("CamVid: 1 fault in 4 of 10 images of train, test", "train: b.png: id 7", "val: no list",
                 "test: none: give one", "2 to 4 pixels, median 2", "25.00,20.00,45.00", "In no image: car.",
                 "11.25 % of the label pixels", "9, 3 checked, seed 5"):  # fmt: skip
        assert text in found.text
    assert "nothing is there" not in found.text


def test_thumbnails_are_in_the_page(findings: Findings) -> None:  # noqa: F811
    picture = np.full((30, 40, 3), 200, np.uint8)
    [address] = [tag["src"] for tag in ParsedPage(page(findings, picture)).attributes("img")]
    content = base64.b64decode(str(address).removeprefix("data:image/jpeg;base64,"))
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(content))), picture, atol=3)
    tall = page(findings, np.zeros((70000, 2, 3), np.uint8))
    assert "open thumbnails.png" in ParsedPage(tall).text


def test_names_are_never_html(findings: Findings) -> None:  # noqa: F811
    dataset = dataclasses.replace(DATASET, class_names=(HOSTILE, "road", HOSTILE))
    hostile = dataclasses.replace(findings, dataset=dataset, data_dir=HOSTILE, faults=[Fault("train", HOSTILE)])
    found = ParsedPage(page(hostile, None))
    assert found.text.count(HOSTILE) >= 4
    assert len(found.scripts) == len(ParsedPage(page(findings, None)).scripts)
    assert "<script" not in str(found.json["charts"])


def test_page_in_a_browser(findings: Findings, browser, tmp_path) -> None:  # noqa: F811
    (tmp_path / "report.html").write_text(page(findings, np.full((30, 40, 3), 200, np.uint8)))
    browser.open(tmp_path / "report.html", "document.querySelectorAll('#classes-0 .barlayer .trace').length === 2")
    assert browser.find("img.thumbnails")[0].get_property("naturalWidth") == 40
    assert browser.messages() == []
    assert len(browser.requests()) == 1


def test_without_the_packages_the_other_files_are_written(findings: Findings, tmp_path, monkeypatch, caplog) -> None:  # noqa: F811
    caplog.set_level("INFO")
    (tmp_path / "report.html").write_text("of an earlier check")
    monkeypatch.setattr(check_dataset, "missing_packages", lambda: ["plotly"])
    paths = list(check_dataset.write_report(findings, [], str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]
    assert len(paths) == 2
    assert "pip install -e '.[report]'" in caplog.text

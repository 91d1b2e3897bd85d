"""A report in headless Chromium: charts are drawn, the slider moves, hovering names the class, nothing is loaded."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("plotly", reason="needs the extra report")

from database.datasets import find_samples, get_dataset  # noqa: E402
from database.images import read_label  # noqa: E402
from database.loading import load_label, to_train_ids  # noqa: E402
from tests.tools.report.written_run import NAMES, write_run  # noqa: E402
from tools.report import __main__ as report  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

READY = "document.querySelectorAll('.card:not([data-ready])').length === 0"
HOSTILE = "<img src=x onerror=document.title='hacked'><a href=https://example.test>b</a>&lt;"


@pytest.fixture
def opened(run_copy, browser):
    """A report on two runs, opened; and the folder of the predictions of the first."""
    other = run_copy.parent / "other"
    shutil.copytree(run_copy, other, copy_function=os.link)
    report.main([str(run_copy), str(other), "--images", "1", "--out", "report.html"])
    browser.open(run_copy.parents[2] / "report.html", READY)
    return browser


def test_report(opened, toy_dir):
    """One page for all checks, as making it takes most of the time."""
    browser = opened
    check_charts(browser)
    check_slider(browser)
    check_hover(browser, toy_dir)
    check_layout(browser)
    assert browser.messages() == []
    assert [place.rpartition("/")[2] for place in browser.requests()] == ["report.html"]


def check_charts(browser):
    charts = browser.find(".chart")
    assert {chart.get_attribute("id") for chart in charts} == {
        "curve-loss", "curve-miou", "curve-rate", "curve-decay", "classes-0", "matrix-0", "matrix-1",
    }  # fmt: skip
    for chart in charts:
        assert len(chart.find_elements("css selector", "svg.main-svg")) > 0
    assert len(browser.find("#curve-loss .scatterlayer .trace")) == 4
    assert len(browser.find("#classes-0 .barlayer .trace")) == 3
    assert len(browser.find("#matrix-0 .heatmaplayer image")) == 1


def opacities(browser) -> dict[str, list[float]]:
    """The opacity of each layer in the panes of the first card."""
    canvases = browser.find(".card")[0].find_elements("css selector", "canvas")
    found: dict[str, list[float]] = {}
    for canvas in canvases:
        found.setdefault(canvas.get_attribute("data-layer"), []).append(
            float(browser.run("return getComputedStyle(arguments[0]).opacity", canvas))
        )
    return found


def check_slider(browser):
    from selenium.webdriver.common.keys import Keys

    slider = browser.find(".card input")[0]
    assert opacities(browser) == {"truth": [1, 1], "prediction": [1, 1], "error": [0, 0]}
    browser.run("arguments[0].value = 1.5; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))", slider)
    assert opacities(browser) == {"truth": [1, 1], "prediction": [0.5, 0.5], "error": [0, 0]}
    slider.send_keys(Keys.HOME)
    assert opacities(browser) == {"truth": [0, 0], "prediction": [0, 0], "error": [0, 0]}
    slider.send_keys(Keys.END)
    assert opacities(browser)["error"] == [1, 1]
    buttons = browser.find(".card")[0].find_elements("css selector", ".ticks button")
    buttons[1].click()
    assert [button.text for button in buttons] == ["image", "truth", "prediction", "error"]
    assert opacities(browser) == {"truth": [1, 1], "prediction": [0, 0], "error": [0, 0]}
    assert buttons[1].get_attribute("aria-pressed") == "true"


def check_hover(browser, toy_dir):
    """The class below the pointer, and the drawn colours, are those of the label file and of the prediction."""
    dataset = get_dataset("Toy")
    card = browser.find(".card")[0]
    name = card.find_element("css selector", "h3").text.removeprefix("best: ")
    [sample] = [sample for sample in find_samples(dataset, toy_dir, ["val"]) if sample.name == name]
    truth = load_label(sample)
    path = next(
        os.path.join(folder, file)
        for folder, _, files in os.walk("val_set")
        for file in files
        if file == f"{name}_prediction.png" and "tiny" in folder
    )
    predicted = to_train_ids(read_label(path), dataset.label_map, path)
    stage = card.find_element("css selector", ".stage")
    for right, down in ((0, 0), (-200, 60), (150, -70)):
        browser.hover(stage, right, down)
        box = stage.rect
        row, column = (
            int((size / 2 + offset) / size * count)
            for size, offset, count in zip((box["height"], box["width"]), (down, right), truth.shape, strict=True)
        )
        near = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
        lines = stage.find_element("css selector", ".tip").text.splitlines()
        name_of = [*dataset.class_names, *["ignored"] * (256 - dataset.num_classes)]
        assert lines[0] in {f"truth: {name_of[index]}" for index in np.unique(truth[near])}
        assert lines[1] in {f"prediction: {name_of[index]}" for index in np.unique(predicted[near])}
    drawn = drawn_pixels(browser, stage, "truth")
    palette = np.array([*dataset.palette, *[(0, 0, 0)] * (256 - dataset.num_classes)])
    np.testing.assert_array_equal(drawn, palette[truth])
    error = drawn_pixels(browser, stage, "error")
    assert {tuple(color) for color in error[(truth == predicted) & (truth != 255)]} <= {(233, 238, 243)}
    assert {tuple(color) for color in error[(truth != predicted) & (truth != 255)]} <= {(214, 39, 40)}


def drawn_pixels(browser, stage, layer: str) -> np.ndarray:
    """The pixels of a layer, [H, W, 3]."""
    canvas = stage.find_element("css selector", f"canvas[data-layer={layer}]")
    script = (
        "const c = arguments[0]; return [c.height, c.width, "
        "[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    height, width, values = browser.run(script, canvas)
    return np.array(values).reshape(height, width, 4)[..., :3]


def check_layout(browser):
    """Nothing is wider than the window, also on a small one, and no text is tiny."""
    for width in (1280, 700, 420):
        browser.driver.set_window_size(width, 900)
        browser.wait(lambda: browser.run("return document.documentElement.scrollWidth <= innerWidth"))
    script = (
        "return Math.min(...[...document.querySelectorAll('body *')].filter(e => e.textContent.trim() && "
        "!e.closest('script')).map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert browser.run(script) >= 12
    browser.driver.set_window_size(1280, 1000)


def test_hostile_names_are_shown_as_they_are(browser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path, "run", scores={40: 0.5}, data_dir=HOSTILE)
    for name in ("config.json", "scores-40.json"):
        content = json.loads((folder / name).read_text())
        text = json.dumps(content).replace(json.dumps(NAMES[0]), json.dumps(HOSTILE))
        (folder / name).write_text(text)
    report.main([str(folder), "--images", "0", "--out", "report.html"])
    browser.open(tmp_path / "report.html", "document.querySelectorAll('#classes-0 svg').length > 0")
    label = browser.find("#classes-0 .yaxislayer-above text")[0].text
    assert label == HOSTILE[:25] + "…"
    browser.hover(browser.find("#classes-0 .bars path")[0])
    browser.wait(lambda: browser.find("#classes-0 .hoverlayer text"))
    assert "<img src=x" in browser.find("#classes-0 .hoverlayer")[0].text
    assert browser.find("#classes-0 a, #classes-0 img") == []
    assert "hacked" not in browser.driver.title
    assert browser.messages() == []
    assert len(browser.requests()) == 1

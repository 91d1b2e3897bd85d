"""The page in headless Chromium: a picture is segmented, opacity and classes change it, files are saved."""

from __future__ import annotations

import csv
import json
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from tests.tools.serve.colors import CLASSES, running, strongest  # noqa: E402

READY = "document.body.dataset.ready === '1'"
HOSTILE = "<img src=x onerror=document.title='hacked'>.png"
SIZE = (60, 80)


def stripes() -> np.ndarray:
    """A picture with three vertical stripes, one per class; the last is narrow."""
    pixels = np.full((*SIZE, 3), 40, np.uint8)
    for channel, columns in enumerate((slice(0, 40), slice(40, 70), slice(70, 80))):
        pixels[:, columns, channel] = 200
    return pixels


@pytest.fixture
def opened(browser, tmp_path):
    """The page of a server, and the folder of what it saves."""
    saved = tmp_path / "saved"
    saved.mkdir()
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(saved)})
    with running() as address:
        visit(browser, address, "document.getElementById('limits').textContent !== ''")
        yield browser, address, saved
        browser.driver.get("about:blank")


def visit(browser, address, ready):
    for kind in ("browser", "performance"):
        browser.driver.get_log(kind)
    browser.driver.get(address)
    browser.wait(lambda: browser.run(f"return {ready}"))


def choose(browser, path):
    browser.run("delete document.body.dataset.ready")
    browser.find("#file")[0].send_keys(str(path))


def color_at(browser, canvas, column):
    """Red, green, blue and alpha of a pixel of a canvas."""
    script = "getContext('2d').getImageData(arguments[1], 30, 1, 1).data"
    return browser.run(f"return Array.from(document.getElementById(arguments[0]).{script})", canvas, column)


def alphas(browser):
    """The alpha of the overlay in each stripe: 255 where its class is shown."""
    return [color_at(browser, "overlay", column)[3] for column in (5, 50, 75)]


def saved_file(browser, folder, selector, name):
    browser.find(selector)[0].click()
    browser.wait(lambda: (folder / name).exists() and not list(folder.glob("*.crdownload")))
    return folder / name


def test_page(opened, tmp_path):
    """One page for all checks, as starting takes most of the time."""
    browser, address, saved = opened
    street = tmp_path / "street.png"
    Image.fromarray(stripes()).save(street)
    assert not browser.find("#result")[0].is_displayed()
    choose(browser, street)
    browser.wait(lambda: browser.run(f"return {READY}"))
    check_result(browser)
    check_opacity(browser)
    check_classes(browser)
    check_hover(browser)
    check_files(browser, saved)
    assert browser.messages() == []
    assert {place.split("?")[0].removeprefix(address) for place in browser.requests()} <= {
        "", "style.css", "serve.css", "page.js", "tip.js", "v1/model", "v1/segment"
    } | {f"blob:{address}"}  # fmt: skip


def check_result(browser):
    assert browser.find("#result")[0].is_displayed()
    assert browser.find("#name")[0].text == "street.png (80 × 60 pixels)"
    rows = [" ".join(row.text.split()) for row in browser.find("#classes tbody tr")]
    assert rows == ["red 50.0 % 2,400", "green 37.5 % 1,800", "blue <b> 12.5 % 600"]
    overlay = browser.find("#overlay")[0]
    assert (overlay.size["width"], overlay.size["height"]) == tuple(
        browser.find("#picture")[0].size[name] for name in ("width", "height")
    )
    found = [color_at(browser, "overlay", column) for column in (5, 50, 75)]
    assert found == [[*color, 255] for color in CLASSES.palette]
    assert color_at(browser, "picture", 5) == [200, 40, 40, 255]
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def check_opacity(browser):
    from selenium.webdriver.common.keys import Keys

    def opacity():
        return float(browser.run("return getComputedStyle(document.getElementById('overlay')).opacity"))

    slider = browser.find("#opacity")[0]
    assert opacity() == 0.55
    slider.send_keys(Keys.ARROW_RIGHT)
    assert opacity() == 0.56
    slider.send_keys(Keys.HOME)
    assert opacity() == 0
    slider.send_keys(Keys.END)
    assert opacity() == 1
    assert browser.find("#percent")[0].text == "100 %"


def check_classes(browser):
    boxes = browser.find("#classes input")
    boxes[1].click()
    assert alphas(browser) == [255, 0, 255]
    browser.find("#none")[0].click()
    assert alphas(browser) == [0, 0, 0]
    browser.find("#all")[0].click()
    assert alphas(browser) == [255, 255, 255]
    assert all(box.is_selected() for box in boxes)


def check_hover(browser):
    browser.hover(browser.find("#stage")[0], right=60)
    assert browser.find("#tip")[0].text == "green"


def check_files(browser, saved):
    boxes = browser.find("#classes input")
    boxes[0].click()
    overlay = np.asarray(Image.open(saved_file(browser, saved, "#save-overlay", "street_overlay.png")))
    assert overlay[30, [5, 50, 75], :3].tolist() == [[200, 40, 40], [0, 255, 0], [0, 0, 255]]
    labels = np.asarray(Image.open(saved_file(browser, saved, "#save-labels", "street_labels.png")))
    np.testing.assert_array_equal(labels, strongest(stripes()))
    rows = list(csv.DictReader(saved_file(browser, saved, "#save-csv", "street_areas.csv").read_text().splitlines()))
    assert [(row["class"], row["pixels"]) for row in rows] == [("red", "2400"), ("green", "1800"), ("blue <b>", "600")]
    polygons = json.loads(saved_file(browser, saved, "#save-geojson", "street.geojson").read_text())
    assert [feature["properties"]["pixels"] for feature in polygons["features"]] == [2400, 1800, 600]


def test_bad_files(opened, tmp_path):
    """The message is shown, the earlier result stays, and names are no HTML."""
    browser, _, _ = opened
    bad, hostile = tmp_path / "bad.png", tmp_path / HOSTILE.replace("/", "")
    bad.write_bytes(b"no picture")
    Image.fromarray(stripes()).save(hostile)
    choose(browser, hostile)
    browser.wait(lambda: browser.run(f"return {READY}"))
    assert browser.find("#name")[0].text.startswith(hostile.name)
    choose(browser, bad)
    status = browser.find("#status")[0]
    browser.wait(lambda: "bad" in status.get_attribute("class"))
    assert "bad.png: the image" in status.text
    assert "cannot identify" in status.text
    assert browser.find("#result")[0].is_displayed()
    large = tmp_path / "large.png"
    large.write_bytes(bytes(100_001))
    choose(browser, large)
    browser.wait(lambda: "100001 bytes" in status.text)
    choose(browser, hostile)
    browser.wait(lambda: browser.run(f"return {READY}"))
    assert not status.is_displayed()
    assert browser.run("return document.title") == "Segmentation"
    expected = [message for message in browser.messages() if "415" not in message]
    assert expected == []  # Chromium itself logs answers above 399


def test_a_picture_that_is_dropped(opened):
    """The events of a drop, with a picture that the page makes."""
    browser, _, _ = opened
    browser.run("""
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [10, 10];
        canvas.getContext("2d").fillStyle = "#00ff00";
        canvas.getContext("2d").fillRect(0, 0, 10, 10);
        canvas.toBlob((blob) => {
          const data = new DataTransfer();
          data.items.add(new File([blob], "dropped.png", { type: "image/png" }));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        });
    """)
    browser.wait(lambda: browser.run(f"return {READY}"))
    assert browser.find("#name")[0].text.startswith("dropped.png")
    assert browser.messages() == []


def test_a_second_picture_replaces_the_first_at_once(browser, tmp_path):
    """The page drops its first request, which then does not hold up the second one."""
    ended = threading.Event()

    def slow_for_small(pixels, check):
        while len(pixels) < 10:
            threading.Event().wait(0.01)
            try:
                check()
            except BaseException:
                ended.set()
                raise
        return strongest(pixels)

    small, large = tmp_path / "small.png", tmp_path / "large.png"
    Image.fromarray(stripes()[:5]).save(small)
    Image.fromarray(stripes()).save(large)
    with running(slow_for_small, parallel=1) as address:
        visit(browser, address, "document.getElementById('limits').textContent !== ''")
        choose(browser, small)
        browser.wait(lambda: "busy" in browser.find("#status")[0].get_attribute("class"))
        choose(browser, large)
        browser.wait(lambda: browser.run(f"return {READY}"))
        assert browser.find("#name")[0].text.startswith("large.png")
        assert ended.wait(10)
        browser.driver.get("about:blank")


def stripes_of(channel: int) -> np.ndarray:
    """A picture of one class."""
    pixels = np.full((*SIZE, 3), 40, np.uint8)
    pixels[..., channel] = 200
    return pixels


def files_of(folder, names):
    paths = [folder / name for name in names]
    for channel, path in enumerate(paths):
        Image.fromarray(stripes_of(channel)).save(path)
    return paths


def test_what_is_saved_is_of_the_picture_that_was_shown(browser, tmp_path):
    """Although another one is shown when the answer arrives."""
    asked, gate = [], threading.Event()

    def held(pixels, check):
        asked.append(pixels)
        if len(asked) == 2:  # for the table of the first picture
            gate.wait(60)
        return strongest(pixels)

    first, second = files_of(tmp_path, ["first.png", "second.png"])
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    with running(held) as address:
        visit(browser, address, "document.getElementById('limits').textContent !== ''")
        choose(browser, first)
        browser.wait(lambda: browser.run(f"return {READY}"))
        browser.find("#save-csv")[0].click()
        browser.wait(lambda: len(asked) == 2)
        choose(browser, second)
        browser.wait(lambda: browser.run(f"return {READY}"))
        gate.set()
        browser.wait(lambda: list(tmp_path.glob("*_areas.csv")))
        [saved] = tmp_path.glob("*_areas.csv")
        browser.wait(lambda: saved.stat().st_size)
        rows = list(csv.DictReader(saved.read_text().splitlines()))
        assert saved.name == "first_areas.csv"
        assert [row["pixels"] for row in rows] == ["4800", "0", "0"]
        browser.driver.get("about:blank")


def test_a_picture_that_is_decoded_late_is_not_mixed_with_the_next(opened, tmp_path):
    browser, _, _ = opened
    first, second = files_of(tmp_path, ["first.png", "second.png"])
    browser.run("""
        const decode = window.createImageBitmap;
        window.createImageBitmap = (blob, ...options) => blob.name !== "first.png" ? decode(blob, ...options)
          : new Promise((resolve) => { window.release = () => resolve(decode(blob, ...options)); });
    """)
    choose(browser, first)
    browser.wait(lambda: browser.run("return window.release !== undefined"))
    choose(browser, second)
    browser.wait(lambda: browser.run(f"return {READY}"))
    browser.driver.execute_async_script("window.release(); setTimeout(arguments[0], 300)")
    assert browser.find("#name")[0].text.startswith("second.png")
    assert color_at(browser, "picture", 5) == [40, 200, 40, 255]
    assert color_at(browser, "overlay", 5) == [*CLASSES.palette[1], 255]


def test_a_browser_that_changes_the_pixels_that_a_page_reads(opened, tmp_path):
    """Some do so against fingerprinting. The classes are numbers, so that they stay right."""
    browser, _, _ = opened
    browser.run("""
        const read = CanvasRenderingContext2D.prototype.getImageData;
        CanvasRenderingContext2D.prototype.getImageData = function (...area) {
          const found = read.apply(this, area);
          for (let index = 0; index < found.data.length; index += 4) found.data[index] ^= 1;
          return found;
        };
    """)
    [path] = files_of(tmp_path, ["street.png"])
    choose(browser, path)
    browser.wait(lambda: browser.run(f"return {READY}"))
    browser.hover(browser.find("#stage")[0])
    assert browser.find("#tip")[0].text == "red"


def test_documents(browser):
    with running() as address:
        visit(browser, f"{address}docs", READY)
        assert [heading.text for heading in browser.find(".operation h3")] == [
            "POST /v1/segment", "GET /v1/model", "GET /healthz", "GET /openapi.json"
        ]  # fmt: skip
        assert f"{address}v1/segment" in browser.find("#example")[0].text
        assert browser.messages() == []
        assert all(place.startswith(address) for place in browser.requests())
        browser.driver.get("about:blank")

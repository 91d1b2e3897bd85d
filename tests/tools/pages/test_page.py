"""Pages need nothing but themselves, and text in them is never HTML."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from tests.tools.pages.parsed import ParsedPage
from tools.errors import MissingPackageError
from tools.pages import page
from tools.runtime import extras

pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("plotly", reason="needs the extra report")

HOSTILE = '</script><script>alert("1")</script><img src=x onerror=alert(2)>&amp;"\'\x1b[31m\udcff\u202e'
EMPTY = {
    "runs": [], "comparisons": [], "differing_flags": [], "class_charts": [], "matrices": [], "groups": [],
    "curve_charts": [], "notices": [],
}  # fmt: skip


def run_named(name: str) -> dict:
    texts = dict.fromkeys(("name", "label", "state", "command", "unknown_flags"), name)
    return texts | {
        "commands": [name, name],
        "figures": [(name, name)],
        "facts": [(name, name)],
        "flags": [(name, name)],
        "scores": [[name] * 5],
    }


def rendered(name: str, **more) -> str:
    values = {**EMPTY, "runs": [run_named(name)], "notices": [name]}
    return page.render("report.html", values, title=name, identity="0123", **more)


def test_text_is_never_html():
    parsed = ParsedPage(rendered(HOSTILE, charts={"a": {"name": HOSTILE}}, pictures={"classes": [HOSTILE]}))
    harmless = ParsedPage(rendered("harmless", charts={"a": {}}, pictures={"classes": []}))
    assert [tag for tag, _ in parsed.tags] == [tag for tag, _ in harmless.tags]
    assert [{*attributes} for _, attributes in parsed.tags] == [{*attributes} for _, attributes in harmless.tags]
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\udcff", "\\udcff").replace("\u202e", "\\u202e")
    assert parsed.text.count(shown) >= 8
    assert parsed.json["charts"] == {"a": {"name": HOSTILE}}
    assert parsed.json["pictures"] == {"classes": [HOSTILE]}


def test_a_command_of_an_earlier_version_is_made_from_the_flags():
    run = {**run_named("run"), "commands": [], "command": "python train.py --lrn_rate 1", "unknown_flags": "old_name"}
    text = ParsedPage(page.render("report.html", {**EMPTY, "runs": [run]}, title="run")).text
    assert "python train.py --lrn_rate 1" in text
    assert "those that train.py no longer has: old_name" in text


def test_only_the_written_scripts_may_run():
    parsed = ParsedPage(rendered("run", charts={"a": {}}))
    [policy] = [tag["content"] for tag in parsed.attributes("meta") if tag.get("http-equiv")]
    directives = dict(part.strip().split(" ", 1) for part in str(policy).split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "data: blob:"
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in parsed.scripts
    }
    assert {*directives["script-src"].split()} == hashes
    assert len(hashes) == 4


def test_nothing_is_loaded_from_elsewhere():
    parsed = ParsedPage(rendered("run", charts={"a": {}}))
    places = [
        value for _, tag in parsed.tags for name, value in tag.items() if name in ("src", "href", "action", "srcset")
    ]
    assert all(re.match(r"data:|#", str(place)) for place in places)
    [style] = re.findall(r"<style>(.*?)</style>", rendered("run"), re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_plotly_is_left_out_where_no_chart_is():
    assert len(rendered("run", charts={"a": {}})) > 10 * len(rendered("run"))


def test_identity_is_near_the_beginning():
    assert page.identity_line("0123") in rendered("run")[:1000]


def test_missing_package_is_named(monkeypatch):
    page.require_packages("this")
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "plotly")
    with pytest.raises(MissingPackageError, match=r"this needs the package plotly.*pip install -e '\.\[report\]'"):
        page.require_packages("this")


def test_values_that_are_no_json_are_a_bug():
    with pytest.raises(ValueError, match="JSON"):
        rendered("run", charts={"a": float("nan")})

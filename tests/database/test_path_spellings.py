"""Tests paths with shell syntax in places where no shell expands it."""

from __future__ import annotations

import unicodedata
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.path_spellings import other_spellings, path_as_given, path_of_url


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.setenv("EMPTY", "")
    for name in ("ABSENT", "Absent", "absent", "usd"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/x", "/home/me/x"), ("~", "/home/me"), ("a~b/~", "a~b/~"), ("$HOME/x", "/home/me/x"),
        ("${SCRATCH}/log/$HOME", "/scratch/log//home/me"), ("file:///a%20b.png", "/a b.png"),
        ("FILE://host/a.png", "/a.png"), ("none", "none"), ("a$/b", "a$/b"), ("l$2", "l$2"), ("new ", "new "),
        ("cost$usd/a", "cost$usd/a"), ("${absent}/$Absent", "${absent}/$Absent"), ("$HOME/$absent", "/home/me/$absent"),
    ],
)  # fmt: skip
def test_what_a_flag_means(text, path):
    assert path_as_given(text) == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a path: it is empty, perhaps from an unset shell variable"), (" \t", "it is empty"),
        ("$ABSENT/x", "the variable ABSENT, which is not set"), ("a/${ABSENT}", "the variable ABSENT"),
        ("$EMPTY/x", "the variable EMPTY"), ("s3://bucket/x", "s3:// begins a URL"),
        ("https://example.org/a.png", "https:// begins a URL"),
    ],
)  # fmt: skip
def test_what_is_no_path(text, words):
    with pytest.raises(ValueError, match="^a path: ") as caught:
        path_as_given(text)
    assert words in str(caught.value)


def test_files_with_such_names_are_themselves(tmp_path):
    for name in ("$ABSENT", "$HOME", "blank ", "blank", "only"):
        (tmp_path / name).mkdir()
    (tmp_path / "https:").mkdir()
    (tmp_path / "https:" / "x").touch()
    for text in ("$ABSENT", "$ABSENT/new", "$HOME/new", "blank ", "https://x"):
        assert path_as_given(text) == text
    assert path_as_given("only ") == path_as_given(" only\n") == "only"


@given(st.text(st.characters(exclude_characters="~$\0", exclude_categories=["Cs"]), min_size=1))
def test_other_texts_are_their_paths_or_refused(text):
    try:
        path = path_as_given(text)
    except ValueError:
        assert not text.strip() or "://" in text
        return
    assert path == text or path == text.strip() or text.lower().startswith("file://")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_addresses_of_files_are_read_back(name):
    assert path_of_url("file:///" + urllib.parse.quote(name)) == "/" + name


@given(st.text(st.sampled_from("eEaon\u0301\u0308\u00e9\u00e4\u1e69.-/"), min_size=1, max_size=8))
def test_accents_in_either_form_are_other_spellings(text):
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    assert set(other_spellings(text)) == forms - {text}


def test_spellings_of_a_path_in_a_text_file():
    assert other_spellings("~/x") == ["/home/me/x"]
    assert other_spellings("$SCRATCH/x") == ["/scratch/x"]
    assert other_spellings("file:///x%C3%A9") == ["/x\u00e9"]
    assert other_spellings("$ABSENT/x") == other_spellings("images/a.png") == []

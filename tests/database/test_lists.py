"""Tests list files in CSAIL's format; lines `image label` are tested with the layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database.datasets import custom_dataset, find_samples, get_dataset
from database.errors import DatasetError
from database.lists import listed
from tests.database.dataset_files import touch

STEMS = ("ADE_val_00000002", "ADE_val_00000001")


def line(stem: str, folder: str = "ADEChallengeData2016", **changes) -> str:
    """Returns a line as in https://github.com/CSAILVision/semantic-segmentation-pytorch, data/validation.odgt."""
    values = {
        "dbInfo": {"frameID": -1, "vID": "ADE20k"},
        "width": 683,
        "fpath_img": f"{folder}/images/validation/{stem}.jpg",
        "ade_scene": "abbey",
        "height": 512,
        "dbName": "ADE20k",
        "fpath_segm": f"{folder}/annotations/validation/{stem}.png",
        **changes,
    }
    return json.dumps({name: value for name, value in values.items() if value is not ...}) + "\n"


@pytest.fixture
def data_dir(tmp_path) -> Path:
    """Creates ADEChallengeData2016 with two validation images and one that is in no list."""
    folder = tmp_path / "ADEChallengeData2016"
    for stem in (*STEMS, "ADE_val_00000003"):
        touch(folder, f"images/validation/{stem}.jpg", f"annotations/validation/{stem}.png")
    return folder


@pytest.mark.parametrize("folder", ["ADEChallengeData2016", "."])
@pytest.mark.parametrize("through", ["folder", "link"])
def test_lists_of_csail_begin_in_the_folder_or_in_its_parent(data_dir, tmp_path, folder, through):
    (tmp_path / "validation.odgt").write_text("".join(line(stem, folder) for stem in STEMS) + "\n")
    given = data_dir
    if through == "link":
        given = tmp_path / "elsewhere" / "ade"
        given.parent.mkdir()
        given.symlink_to(data_dir)
    dataset = get_dataset("ADE", list_paths={"train": None, "val": str(tmp_path / "validation.odgt"), "test": None})
    samples = find_samples(dataset, str(given), ["val"])
    assert [sample.name for sample in samples] == sorted(STEMS)
    for sample in samples:
        assert Path(sample.image).resolve() == data_dir / f"images/validation/{sample.name}.jpg"
        assert Path(sample.label or "").resolve() == data_dir / f"annotations/validation/{sample.name}.png"
        assert sample.label_map == get_dataset("ADE").label_map


def test_ade_without_a_list_for_the_split_is_found_by_its_folders(data_dir, tmp_path):
    (tmp_path / "training.odgt").write_text(line(STEMS[0]))
    dataset = get_dataset("ADE", list_paths={"train": str(tmp_path / "training.odgt"), "val": None, "test": None})
    assert [sample.name for sample in find_samples(dataset, str(data_dir), ["train"])] == [STEMS[0]]
    assert len(find_samples(dataset, str(data_dir), ["val"])) == 3


def test_ade_by_a_list_of_lines(data_dir, tmp_path):
    (tmp_path / "val.txt").write_text(f"images/validation/{STEMS[0]}.jpg annotations/validation/{STEMS[0]}.png\n")
    dataset = get_dataset("ADE", list_paths={"val": str(tmp_path / "val.txt")})
    assert [sample.name for sample in find_samples(dataset, str(data_dir), ["val"])] == [STEMS[0]]


def test_own_data_and_test_lists_without_labels(data_dir, tmp_path):
    (tmp_path / "train.ODGT").write_text(line(STEMS[0]))
    (tmp_path / "test.odgt").write_text(line(STEMS[0], fpath_segm=...) + line(STEMS[1]))
    lists = {f"{split}_list": str(tmp_path / name) for split, name in (("train", "train.ODGT"), ("test", "test.odgt"))}
    dataset = custom_dataset(3, **lists)
    assert [sample.name for sample in find_samples(dataset, str(data_dir), ["train"])] == [STEMS[0]]
    assert [(sample.name, sample.label is None) for sample in find_samples(dataset, str(data_dir), ["test"])] == [
        (STEMS[1], False), (STEMS[0], True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (line(STEMS[0]) + "{'fpath_img': 1}\n", "line 2: not JSON (Expecting property name enclosed in double quotes)"),
        (line(STEMS[0]) + "\n" + line(STEMS[1])[:-9], "line 3: not JSON (Unterminated string starting at), expected"),
        ("[" * 100_000, "line 1: not JSON (RecursionError), expected one object per line"),
        ('["a.jpg", "a.png"]', 'line 1: expected an object {"fpath_img": image, "fpath_segm": label}'),
        (line(STEMS[0], fpath_segm=...), "line 1: 'fpath_segm' is missing, expected the path of a file"),
        (line(STEMS[0], fpath_img=...), "line 1: 'fpath_img' is missing, expected the path of a file"),
        (line(STEMS[0], fpath_img=7), "line 1: 'fpath_img' is 7, expected the path of a file"),
        (line(STEMS[0], fpath_segm=""), "line 1: 'fpath_segm' is \"\", expected the path of a file"),
        (line(STEMS[0]) + line(STEMS[1]) + line(STEMS[0]), f"{STEMS[0]}.jpg is already listed in line 1"),
        (
            line(STEMS[0]) + line("absent"),
            "line 2: names ADEChallengeData2016/images/validation/absent.jpg, which is not a file in",
        ),
    ],
)
def test_faults_name_file_and_line(data_dir, tmp_path, lines, words):
    path = tmp_path / "validation.odgt"
    path.write_text(lines)
    with pytest.raises(DatasetError) as caught:
        listed(str(path), str(data_dir), "val")
    assert str(caught.value).startswith(f"{path}, line ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


PARTS = ("a.png", "b.png", " ", "\t", "\n", "\r", '"', "{", "}", "[", ":", ",", "fpath_img")
OBJECTS = st.dictionaries(
    st.sampled_from(["fpath_img", "fpath_segm", "width"]), st.one_of(st.text(), st.integers(), st.none())
)
TEXTS = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from(PARTS)).map(lambda parts: "".join(parts).encode()),
    OBJECTS.map(lambda values: json.dumps(values).encode()),
)


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.sampled_from(["list.txt", "list.odgt"]), st.sampled_from(["train", "test"]))
def test_any_text_is_a_list_or_an_error(tmp_path, content, name, split):
    for image in ("a.png", "b.png"):
        (tmp_path / image).touch()
    (tmp_path / name).write_bytes(content)
    entries, message = [], None
    try:
        entries = listed(str(tmp_path / name), str(tmp_path), split)
    except DatasetError as error:
        message = str(error)
    assert message is None or message.startswith(f"{tmp_path / name}, line ")
    for entry in entries:
        assert Path(entry.image).is_file()
        assert split == "test" if entry.label is None else Path(entry.label).is_file()


def test_other_datasets_have_no_lists():
    with pytest.raises(DatasetError, match="CamVid has fixed splits: list_paths"):
        get_dataset("CamVid", list_paths={"val": "val.odgt"})
    with pytest.raises(DatasetError, match="ADE has fixed splits: holdout"):
        get_dataset("ADE", holdout=0.2)

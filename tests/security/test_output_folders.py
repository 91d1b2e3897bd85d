"""What is written stays in its folder, whatever names, links, lists, indices and records say.

Archives are in `tests/tools/download/test_archives.py`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from database.datasets import custom_dataset, find_samples
from database.errors import DatasetError, ImageError, OutsideError, TFRecordError
from database.layouts import Sample
from database.lists import listed
from database.loading import load_sample
from database.tfrecord_index import TFRecordIndex
from database.tfrecord_samples import find_tfrecord_samples
from tests.database.tfrecord_files import LABEL_MAP, index_of, write_samples, write_values
from tests.tools.toy_runs import tiny_config, toy_record
from tools.check_dataset.__main__ import CheckConfig, examine, write_report
from tools.console import USER_FAULTS, run_script
from tools.errors import RecordError, ServerZipError
from tools.flags.predict import PredictConfig
from tools.flags.train import TrainConfig
from tools.make_tfrecord.__main__ import main as make_tfrecord
from tools.pages.page import missing_packages
from tools.prediction.files import PredictionWriter, results_folder
from tools.prediction.input_images import ResultNames, images_in
from tools.prediction.server_zip import check_for_server, write_server_zip
from tools.runs.folder import RunFolder, run_folder
from tools.runs.record import ModelRecord
from tools.runs.snapshots import check_resume_step
from tools.sbd import read_names

IDS = np.array([[0, 1, 10], [18, 0, 255]], np.uint8)
IMAGE = np.full((2, 3, 3), (10, 20, 31), np.uint8)
DATASET = dataclasses.replace(custom_dataset(20), label_map=LABEL_MAP)
PATHS = ["../x", "../../x", "/tmp/x", "a/../../../x", "a/b", "x\0"]
NAMES = ["-rf", "--out=x", "a b", "a\\b", "..\\..\\x", "a\nb", "..", ".", "~", "$(x)", "ß"]
TOO_LONG = "x" * 250


@pytest.fixture
def root(tmp_path) -> Path:
    """The folder meant for files; what is beside it is elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "target").write_text("untouched")
    return tmp_path / "root"


@pytest.fixture
def writer(root) -> PredictionWriter:
    return PredictionWriter(str(root), toy_record(tiny_config("toy", "log")), save_prediction=True, coloring=True)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def only_untouched(tmp_path: Path) -> bool:
    """Whether nothing was written beside the folder that files are meant for."""
    beside = [name for name in files_below(tmp_path) if not name.startswith("root/")]
    return beside == ["elsewhere/target"] and (tmp_path / "elsewhere" / "target").read_text() == "untouched"


@pytest.mark.parametrize("name", PATHS)
def test_predictions_under_a_path_are_refused(tmp_path, root, writer, name):
    with pytest.raises(OutsideError, match="is not a valid name for a file in this folder") as caught:
        writer.write(name, IMAGE, IDS)
    assert isinstance(caught.value, USER_FAULTS)
    assert "\n" not in str(caught.value)
    assert not root.exists()
    assert only_untouched(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_under_an_odd_name_stay(tmp_path, root, writer, name):
    writer.write(name, IMAGE, IDS)
    kinds = ("coloring", "overlay", "prediction")
    assert files_below(root) == [f"{kind}/{name}_{kind}.png" for kind in kinds]
    assert only_untouched(tmp_path)


def test_predictions_under_a_name_that_is_too_long_are_refused(tmp_path, root, writer):
    with pytest.raises(ImageError, match=r"image cannot be written \(File name too long\)$"):
        writer.write(TOO_LONG, IMAGE, IDS)
    assert files_below(root) == []
    assert only_untouched(tmp_path)


def test_a_planted_link_is_replaced_and_not_followed(tmp_path, root, writer):
    link = root / "prediction" / "street_prediction.png"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere" / "target")
    writer.write("street", IMAGE, IDS)
    assert not link.is_symlink()
    assert Image.open(link).size == (3, 2)
    assert only_untouched(tmp_path)


@pytest.mark.parametrize("kind", ["prediction", "coloring", "overlay"])
def test_a_planted_link_to_a_folder_is_refused(tmp_path, root, writer, kind):
    root.mkdir()
    (root / kind).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutsideError, match=f"{kind}: this is a link to '.*elsewhere'"):
        writer.write("street", IMAGE, IDS)
    assert (tmp_path / "elsewhere" / "target").read_text() == "untouched"
    assert os.listdir(tmp_path / "elsewhere") == ["target"]


def test_the_folder_of_results_may_be_a_link(tmp_path, writer, root):
    """It is the user who names it."""
    (tmp_path / "disk").mkdir()
    root.symlink_to(tmp_path / "disk")
    writer.write("street", IMAGE, IDS)
    assert len(files_below(tmp_path / "disk")) == 3


def test_samples_of_lists_have_names_and_no_paths(tmp_path, root):
    """Two images of one stem are told apart by their paths, whose separators are replaced."""
    root.mkdir()
    for image in (tmp_path / "x.png", root / "x.png"):
        Image.fromarray(IMAGE).save(image)
    Image.fromarray(IDS).save(root / "label.png")
    lines = [{"fpath_img": image, "fpath_segm": "label.png"} for image in ("../x.png", "x.png")]
    (root / "train.odgt").write_text("\n".join(map(json.dumps, lines)))
    dataset = custom_dataset(20, train_list=str(root / "train.odgt"))
    names = [sample.name for sample in find_samples(dataset, str(root), ["train"])]
    assert sorted(names) == ["..__x", "x"]


def test_names_in_a_list_that_are_none(root):
    root.mkdir()
    (root / "train.txt").write_text("../../x\n")
    with pytest.raises(DatasetError, match=r"found '../../x', expected names such as 2008_000008"):
        read_names(str(root / "train.txt"))
    (root / "train.odgt").write_text(json.dumps({"fpath_img": "x\0.png", "fpath_segm": "x.png"}))
    with pytest.raises(DatasetError, match="which is not a file"):
        listed(str(root / "train.odgt"), str(root), "train")


@pytest.mark.parametrize("path", ["../../x.png", "/etc/x.png", "a/./../x.png", "-x.png", "..png"])
def test_names_of_results_are_no_paths(path):
    assert "/" not in ResultNames().name(path)


def test_images_of_a_folder_under_odd_names(root, writer):
    root.mkdir()
    names = [name for name in NAMES if not name.startswith(".")]
    for name in names:
        (root / f"{name}.png").touch()
    assert sorted(name for name, _ in images_in(str(root))) == sorted(names)


@pytest.mark.parametrize("name", [*PATHS, "-x", "a\nb", "berlin_000000_000019\n", "../berlin_000000_000019"])
def test_names_that_the_zip_for_the_server_does_not_take(tmp_path, name):
    with pytest.raises(ServerZipError, match="the server expects names such as"):
        check_for_server("Cityscapes", [Sample(name, str(tmp_path / "x.png"), None, LABEL_MAP)])


def test_the_zip_holds_what_was_predicted_and_not_what_a_link_names(tmp_path, root, writer):
    link, name = root / "prediction" / "berlin_000000_000019_prediction.png", "berlin_000000_000019"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere" / "target")
    writer.write(name, IMAGE, IDS)
    (root / "server.zip").symlink_to(tmp_path / "elsewhere" / "target")
    path = write_server_zip(str(root), [Sample(name, "x.png", None, LABEL_MAP)])
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{name}_prediction.png"]
        assert b"untouched" not in archive.read(archive.namelist()[0])
    assert only_untouched(tmp_path)
    with pytest.raises(OutsideError):
        write_server_zip(str(root), [Sample("../../elsewhere/target", "x.png", None, LABEL_MAP)])


@pytest.mark.parametrize("split", ["../../x", "/tmp/x", "train/../x"])
def test_a_split_that_is_a_path_is_refused_before_anything_is_written(tmp_path, root, split, capsys):
    write_samples(root / "images" / "train", 1)
    flags = ["--database", "custom", "--data_dir", str(root), "--num_classes", "20", "--split", split]
    before = files_below(tmp_path)
    assert run_script(make_tfrecord, flags) == 2
    assert capsys.readouterr().err.startswith(f"error: custom has no split '{split}', only train")
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("split", ["../../x", "/tmp/x", "train/../x"])
def test_a_run_id_that_is_a_path_is_refused(root, split):
    config = TrainConfig(database="Toy", log_dir=str(root), batch_size=2, subsets_for_training=("train", split))
    with pytest.raises(OutsideError, match="is not a valid name for a file in this folder"):
        run_folder(config)
    run = run_folder(dataclasses.replace(config, subsets_for_training=("train",)))
    assert os.path.dirname(run.path) == str(root / "Toy")


@pytest.mark.parametrize("split", ["../elsewhere/x", "/tmp/x"])
def test_tfrecords_of_a_split_that_is_a_path_are_not_searched_for(root, split):
    root.mkdir()
    with pytest.raises(DatasetError, match="custom has no split"):
        find_tfrecord_samples(DATASET, str(root), [split])


def indexed(root: Path) -> tuple[Path, dict]:
    """An index of two shards with the values in it."""
    samples = write_samples(root / "images", 3)
    index_of([samples[:1], samples[1:]], root, root / "tfrecord").write(str(root / "tfrecord"))
    path = root / "tfrecord" / "train.index.json"
    return path, json.loads(path.read_text())


@pytest.mark.parametrize(
    "file",
    ["/etc/passwd", "../../elsewhere/target", "a/train-00000-of-00002.tfrecord", "", "train-00001-of-00002.tfrecord",
     "x\0", 3],
)  # fmt: skip
def test_an_index_that_names_a_file_elsewhere_is_refused(root, file):
    path, values = indexed(root)
    values["shards"][0]["file"] = file
    write_values(path, values)
    words = r"train.index.json: the index names .*, expected 'train-00000-of-00002.tfrecord': remove it and run"
    with pytest.raises(TFRecordError, match=words) as caught:
        TFRecordIndex.read(str(path.parent), "train")
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize(("position", "value"), [(5, -5), (5, 10**9), (6, -1), (6, 10**18)])
def test_an_index_that_names_other_bytes_is_refused(root, position, value):
    """Columns 5 and 6 are offset and length; the end of the last example must be the length of its file."""
    path, values = indexed(root)
    values["shards"][1]["samples"][0][position] = value
    write_values(path, values)
    with pytest.raises(TFRecordError, match="train.index.json: example [01] of train-00001-of-00002.tfrecord begins"):
        TFRecordIndex.read(str(path.parent), "train")


def test_paths_of_images_in_an_index_are_not_opened(tmp_path, root):
    """They name a sample in messages; its bytes come from the example."""
    path, values = indexed(root)
    expected = [
        load_sample(sample)
        for sample in TFRecordIndex.read(str(path.parent), "train").samples(str(path.parent), str(root))
    ]
    for shard in values["shards"]:
        for sample in shard["samples"]:
            sample[0], sample[1], sample[2] = "../../x", str(tmp_path / "elsewhere" / "target"), "/etc/passwd"
    write_values(path, values)
    samples = TFRecordIndex.read(str(path.parent), "train").samples(str(path.parent), str(root))
    for sample, (image, label) in zip(samples, expected, strict=True):
        found_image, found_label = load_sample(sample)
        np.testing.assert_array_equal(found_image, image)
        np.testing.assert_array_equal(found_label, label)


def test_the_record_of_a_checkpoint_names_no_folder(root):
    """Results go to a folder by the record's dataset, which is one that is known, or by the last part of a path."""
    record = toy_record(tiny_config("toy", "log"))
    record.write(str(root))
    path = root / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"database": "../../x"}))
    with pytest.raises(RecordError, match="'database' is \"../../x\", expected one of"):
        ModelRecord.read(str(root))
    own = dataclasses.replace(record, database="custom", flags={"data_dir": "../../../x/.."})
    folder = results_folder("./val_set", PredictConfig(), "log/run/snapshot/model.ckpt-1", own, "custom")
    assert os.path.normpath(folder).startswith("val_set/custom-")


@pytest.mark.parametrize("name", ["snapshot", "best"])
def test_a_run_whose_snapshots_are_linked_elsewhere_is_not_continued(tmp_path, root, name):
    folder = RunFolder(str(root))
    root.mkdir()
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutsideError, match=f"{name}: this is a link to '.*elsewhere'"):
        check_resume_step(folder, 1, 2)


def test_reports_have_names_of_their_own(tmp_path, root):
    """Names of images are drawn and listed; none becomes the name of a file."""
    [sample] = write_samples(tmp_path / "elsewhere", 1)
    target = root / "report.json"
    root.mkdir()
    target.symlink_to(tmp_path / "elsewhere" / "target")
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind / "train").mkdir(parents=True)
    for name in ("-rf", "a\nb", "..\\x"):
        for kind, source in (("images", sample.image), ("labels", sample.label)):
            os.link(str(source), tmp_path / "data" / kind / "train" / f"{name}.png")
    config = CheckConfig(database="custom", data_dir=str(tmp_path / "data"), num_classes=21, out=str(root))
    list(write_report(*examine(config), str(root)))
    page = [] if missing_packages() else ["report.html"]  # needs the extra report
    assert files_below(root) == [*page, "report.json", "report.md", "thumbnails.png"]
    assert not target.is_symlink()
    assert (tmp_path / "elsewhere" / "target").read_text() == "untouched"

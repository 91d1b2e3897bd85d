"""Flags of several hosts: addresses, where they are found, and the rank."""

from __future__ import annotations

import re

import pytest

from tests.tools.command_lines import parse, refusal
from tools.flags.definition import flag_properties
from tools.flags.hosts import TrainingHostFlags
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.flags.train import TrainConfig
from tools.runtime.hosts import Hosts

TWO = "--hosts host1:2222,host2:2222"


@pytest.mark.parametrize("config", [TrainConfig, PredictConfig])
def test_hosts_by_hand(config):
    parsed = parse(f"{TWO} --host_rank 1", config)
    assert (parsed.hosts, parsed.host_rank, parsed.host_timeout) == (("host1:2222", "host2:2222"), 1, 60.0)
    assert (parse("", config).hosts, parse("", config).host_rank) == (None, None)


@pytest.mark.parametrize(
    ("text", "source"), [("slurm", "slurm"), ("SLURM", "slurm"), ("tf_config", "tf_config"), ("TF-Config", "tf_config")]
)
def test_hosts_that_are_found(text, source):
    assert parse(f"--hosts {text}").hosts == source


@pytest.mark.parametrize("config", [TrainConfig, PredictConfig])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (TWO, "--hosts host1:2222,host2:2222 needs --host_rank, another one on each host: 0 on host1:2222, 1 on host2"),
        (f"{TWO} --host_rank 2", "--host_rank 2 is none of the 2 of --hosts host1:2222,host2:2222: give 0 to 1"),
        (f"{TWO} --host_rank -1", "--host_rank: -1 is below 0"),
        ("--hosts host1,host2:2222 --host_rank 0", "'host1' has no port: write host1:2222"),
        ("--hosts host1 host2", "slurm or tf_config, nor a list of addresses"),
        ("--hosts mpi", "'mpi' is not slurm or tf_config, nor a list of addresses: 'mpi' has no port"),
        ("--hosts a:1,a:1 --host_rank 0", "'a:1' is given 2 times"),
        ("--hosts a:1,b:1,c:1,d:1", "--hosts a:1,b:1,... needs --host_rank, .* 1 on b:1, up to 3"),
        ("--hosts , --host_rank 0", "there is no address"),
    ],
)
def test_hosts_that_are_refused(line, words, config):
    assert re.search(words, refusal(line, config))


@pytest.mark.parametrize("line", ["--sync_bn 0 --batch_size 2 --gpu_num 2", "--loss_type ce+0.5*lovasz"])
def test_what_needs_the_whole_batch_on_one_host(line):
    for hosts in (f"{TWO} --host_rank 0", "--hosts slurm"):
        message = refusal(f"{hosts} {line}", TrainConfig)
        assert line.split()[0] in message
        assert "--hosts" in message
    assert parse(line)


def test_hosts_in_a_file_of_flags(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("hosts: [host1:2222, host2:2222]\nhost_timeout: 30\n")
    parsed = parse(f"--config {path} --host_rank 1")
    assert (parsed.hosts, parsed.host_rank, parsed.host_timeout) == (("host1:2222", "host2:2222"), 1, 30.0)
    path.write_text("hosts: slurm\n")
    assert parse(f"--config {path}").hosts == "slurm"
    path.write_text("hosts: host1:2222,host2:2222\n")
    assert parse(f"--config {path} --host_rank 0").hosts == ("host1:2222", "host2:2222")


def test_a_rank_without_addresses_is_named_before_the_batch():
    assert "--host_rank 1 has no effect on one host: add --hosts" in refusal("--batch_size 1 --host_rank 1")


def test_a_batch_of_one_image_on_each_host():
    """It is of two images on two hosts; how many Slurm has is not known yet."""
    assert parse(f"{TWO} --host_rank 0 --batch_size 1").batch_size == 1
    assert "--batch_size 1 with --gpu_num 1" in refusal("--hosts host1:2222 --batch_size 1")
    config = parse("--hosts slurm --batch_size 1")
    assert config.on_hosts(Hosts(("host1:2222", "host2:2222"), 1)).total_batch_size == 2
    with pytest.raises(ValueError, match="--batch_size 1 with --gpu_num 1"):
        config.on_hosts(None)


def test_a_run_counts_the_towers_of_all_hosts():
    config = parse(f"{TWO} --host_rank 1 --batch_size 3 --gpu_num 4 --accumulate 2")
    assert (config.towers, config.total_batch_size, config.images_per_step) == (8, 24, 48)
    of_run = config.run_flags()
    assert of_run["gpu_num"] == 8
    assert all(of_run[name] == value for name, value in vars(TrainingHostFlags()).items())
    assert "is 2048 towers, more than 1024" in refusal(f"{TWO} --host_rank 0 --gpu_num 1024")


def test_hosts_are_no_part_of_what_a_run_is():
    """A run of 2 hosts is resumed on 1 or 4."""
    for name in vars(TrainingHostFlags()):
        assert flag_properties(TrainConfig, "identity")[name] is False
        assert flag_properties(TrainConfig, "resume")[name] == "free"


def test_single_images_are_segmented_on_one_host():
    assert "unrecognized arguments: --hosts" in refusal(TWO, InferenceConfig)

"""Hosts of a run: addresses, and where they are found: Slurm's variables, TF_CONFIG, or nowhere."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import HostsError, UserError
from tools.runtime.chosen_hosts import choose_hosts
from tools.runtime.hosts import MOST_HOSTS, Hosts, parse_addresses
from tools.runtime.slurm import expand_nodes, slurm_hosts
from tools.runtime.tf_config import tf_config_hosts


def test_hosts():
    hosts = Hosts(("host1:2222", "host2:2222"), 1)
    assert (hosts.count, hosts.is_chief, hosts.address) == (2, False, "host2:2222")
    assert Hosts(hosts.addresses, 0).is_chief
    assert hosts.named(0) == "host 0 (host1:2222)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        hosts.rank = 0


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("host1:2222,host2:2222", ("host1:2222", "host2:2222")),
        (" host1:2222 , host2:2222, ", ("host1:2222", "host2:2222")),
        ("127.0.0.1:1,127.0.0.1:65535", ("127.0.0.1:1", "127.0.0.1:65535")),
        ("[::1]:2222,[fd00:0::2]:02222", ("[::1]:2222", "[fd00::2]:2222")),
        ("pspnet-0.pspnet.default.svc.cluster.local.:22", ("pspnet-0.pspnet.default.svc.cluster.local.:22",)),
        ("GPU_Node:2222", ("gpu_node:2222",)),
    ],
)
def test_addresses(text, addresses):
    assert parse_addresses(text) == addresses
    assert parse_addresses(",".join(addresses)) == addresses


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host1,host2:2222", "'host1' has no port: write host1:2222"),
        ("127.0.0.1", "'127.0.0.1' has no port: write 127.0.0.1:2222"),
        ("[::1]", r"'\[::1\]' has no port: write \[::1\]:2222"),
        ("fe80::1", r"'fe80::1' is an IPv6 address without brackets and port: write \[fe80::1\]:2222"),
        ("::1:2222", r"IPv6 address without brackets and port"),
        ("a:b:1", "'a:b:1' is not host:port"),
        ("http://host1:2222", "'http://host1:2222' is not host:port"),
        ("host1:0", "'host1:0' has the port '0': expected 1 to 65535"),
        ("host1:65536", "the port '65536': expected 1 to 65535"),
        ("host1:http", "the port 'http': expected 1 to 65535"),
        ("host1:", "the port '': expected 1 to 65535"),
        ("host1:\u0663", "expected 1 to 65535"),
        (":2222", "':2222' has no name or address before its port"),
        ("host 1:2222", "'host 1:2222' has no name or address"),
        ("host1/x:2222", "'host1/x:2222' has no name or address"),
        ("[host1]:2222", r"'\[host1\]:2222' has no IPv6 address in its brackets"),
        ("host1]:2222", "has no IPv6 address in its brackets"),
        ("host1:2222,HOST1:02222", "'host1:2222' is given 2 times"),
        ("[::1]:1,[0:0::1]:1", r"'\[::1\]:1' is given 2 times"),
        (" , ", "there is no address"),
        (",".join(f"h{i}:1" for i in range(MOST_HOSTS + 1)), "1025 addresses, more than 1024"),
        ("x" * 5000, "has no port"),
    ],
)
def test_addresses_that_are_refused(text, words):
    with pytest.raises(HostsError, match=words) as caught:
        parse_addresses(text)
    assert isinstance(caught.value, UserError)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("count", "rank", "words"),
    [(2, 2, "rank 2 is none of 2 hosts: the ranks are 0 to 1"), (1, -1, "rank -1 is none of 1 hosts: .* is 0")],
)
def test_ranks_that_are_refused(count, rank, words):
    with pytest.raises(HostsError, match=words):
        Hosts(tuple(f"h{i}:1" for i in range(count)), rank)


@given(st.text(max_size=12))
def test_any_text_is_refused_or_read_the_same_again(text):
    try:
        addresses = parse_addresses(text)
    except HostsError:
        return
    assert parse_addresses(",".join(addresses)) == addresses


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("gpu1", ["gpu1"]),
        ("node[01-03,07],gpu1", ["node01", "node02", "node03", "node07", "gpu1"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("r[1-2]n[0,3]-ib", ["r1n0-ib", "r1n3-ib", "r2n0-ib", "r2n3-ib"]),
        ("a,b[1],c", ["a", "b1", "c"]),
    ],
)
def test_nodes_of_slurm(text, nodes):
    assert list(expand_nodes(text, "X")) == nodes


@pytest.mark.parametrize(
    "text",
    ["", "n[1-", "n1-3]", "n[]", "n[3-1]", "n[a-b]", "a,,b", "n[1,]", "n[[1]]", "n[1-2-3]", "]", "n[-1]", "n[\u0663]"],
)
def test_nodes_that_are_refused(text):
    with pytest.raises(HostsError, match=r"X is '.*': expected nodes as in node\[01-03,07\],gpu1"):
        expand_nodes(text, "X")


@pytest.mark.parametrize("text", ["n[0-999999999]", "n[0-9][0-9][0-9][0-9][0-9]", "n[1-1025]", "a,n[0-1023]"])
def test_too_many_nodes(text):
    with pytest.raises(HostsError, match="more than 1024 nodes"):
        expand_nodes(text, "X")


@given(st.text("ab1-[], 0", max_size=14))
def test_any_notation_of_nodes_is_read_or_refused(text):
    with contextlib.suppress(HostsError):
        assert all(node and not set(node) & set("[],") for node in expand_nodes(text, "X"))


def task_of_slurm(rank: int, node: int, local: int, **changes: str | None) -> dict[str, str]:
    """Variables of a task of `srun` on two nodes, with two tasks on the first and one on the second."""
    values = {
        "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_JOB_NODELIST": "node[01-03]",
        "SLURM_STEP_NODELIST": "node[01-02]", "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_NTASKS": "3", "SLURM_PROCID": f"{rank}", "SLURM_NODEID": f"{node}", "SLURM_LOCALID": f"{local}",
        **changes,
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


PLACES = [(0, 0, 0), (1, 0, 1), (2, 1, 0)]


@pytest.mark.parametrize("place", PLACES)
def test_tasks_of_slurm(place):
    """Several on a node have neighbouring ports."""
    hosts = slurm_hosts(task_of_slurm(*place))
    names, ports = zip(*(address.split(":") for address in hosts.addresses), strict=True)
    assert (names, hosts.rank) == (("node01", "node01", "node02"), place[0])
    first = int(ports[0])
    assert [int(port) for port in ports] == [first, first + 1, first]
    assert 12000 <= first < 32768 - 64


@pytest.mark.parametrize("place", PLACES)
def test_all_tasks_of_slurm_find_the_same(place):
    assert slurm_hosts(task_of_slurm(*place)).addresses == slurm_hosts(task_of_slurm(*PLACES[0])).addresses
    fewer = {"SLURM_STEP_TASKS_PER_NODE": None, "SLURM_STEP_NUM_TASKS": None, "SLURM_STEP_ID": None}
    assert slurm_hosts(task_of_slurm(*place, **fewer)) == slurm_hosts(task_of_slurm(*place))


def test_jobs_and_steps_of_slurm_have_different_ports():
    """Those whose numbers are near, so that two runs on one node do not meet."""
    ports = {
        slurm_hosts(task_of_slurm(*PLACES[0], SLURM_JOB_ID=f"{job}", SLURM_STEP_ID=f"{step}")).addresses[0]
        for job in range(4711, 4811)
        for step in range(2)
    }
    assert len(ports) == 200


def test_a_large_step_of_slurm():
    variables = {"SLURM_STEP_NODELIST": "n[001-512]", "SLURM_STEP_TASKS_PER_NODE": "2(x512)"}
    hosts = slurm_hosts(task_of_slurm(1023, 511, 1, SLURM_STEP_NUM_TASKS="1024", **variables))
    assert (hosts.count, hosts.address.split(":")[0]) == (1024, "n512")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"SLURM_STEP_NODELIST": None},
            "SLURM_STEP_NODELIST is not set although SLURM_JOB_.* srun python",
        ),
        (
            {"SLURM_STEP_NODELIST": None, "SLURM_JOB_NODELIST": None},
            "SLURM_STEP_NODELIST is not set: this process does not run under Slurm",
        ),
        ({"SLURM_STEP_NODELIST": "node[1-"}, r"SLURM_STEP_NODELIST is 'node\[1-': expected nodes"),
        ({"SLURM_PROCID": None}, "SLURM_PROCID is not set: expected a number"),
        ({"SLURM_PROCID": "x"}, "SLURM_PROCID is 'x': expected a whole number"),
        ({"SLURM_PROCID": "3"}, "SLURM_PROCID is 3 and SLURM_STEP_NUM_TASKS is 3: expected a number below it"),
        ({"SLURM_STEP_NUM_TASKS": "99999"}, "SLURM_STEP_NUM_TASKS is '99999': expected .* at most 1024"),
        ({"SLURM_STEP_NUM_TASKS": None, "SLURM_NTASKS": None}, "SLURM_NTASKS is not set"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2;1"}, "SLURM_STEP_TASKS_PER_NODE is '2;1': expected numbers of tasks as in"),
        ({"SLURM_STEP_TASKS_PER_NODE": "3"}, "SLURM_STEP_TASKS_PER_NODE is '3', of 1 nodes: expected 2 as in SLURM_ST"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, "'1.x2.', 2 tasks in all: expected 3 as in SLURM_STEP_NUM_TASKS"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x99999999)"}, "expected numbers of tasks"),
        ({"SLURM_NODEID": "1"}, "SLURM_NODEID is 1 with SLURM_PROCID 0: expected 0, .* --distribution=block"),
        ({"SLURM_LOCALID": "1"}, "SLURM_LOCALID is 1 with SLURM_PROCID 0: expected 0, .* --distribution=block"),
        ({"SLURM_JOB_ID": None}, "SLURM_JOB_ID is not set"),
        ({"SLURM_STEP_NODELIST": "node1,-"}, "'-:[0-9]*' has no name or address"),
    ],
)
def test_variables_of_slurm_that_are_refused(changes, words):
    with pytest.raises(HostsError, match=words) as caught:
        slurm_hosts(task_of_slurm(0, 0, 0, **changes))
    assert len(str(caught.value)) < 300


CLUSTER = {"worker": ["host1:2222", "host2:2222"]}


def tf_config(cluster: object, task: object) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


@pytest.mark.parametrize(
    ("cluster", "task", "hosts"),
    [
        (CLUSTER, {"type": "worker", "index": 1}, Hosts(("host1:2222", "host2:2222"), 1)),
        (CLUSTER, {"type": "worker", "index": "1"}, Hosts(("host1:2222", "host2:2222"), 1)),
        (CLUSTER | {"chief": ["host0:1"]}, {"type": "chief"}, Hosts(("host0:1", "host1:2222", "host2:2222"), 0)),
        (CLUSTER | {"chief": ["h:1"]}, {"type": "worker", "index": 1}, Hosts(("h:1", "host1:2222", "host2:2222"), 2)),
        ({"chief": ["h:1"]}, {"type": "chief", "index": 0}, Hosts(("h:1",), 0)),
        (
            CLUSTER | {"ps": [], "evaluator": {}, "chief": {}},
            {"type": "worker"},
            Hosts(("host1:2222", "host2:2222"), 0),
        ),
    ],
)
def test_hosts_of_tf_config(cluster, task, hosts):
    assert tf_config_hosts(tf_config(cluster, task)) == hosts


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "TF_CONFIG is not set: expected .*cluster"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG: .*not JSON"),
        ({"TF_CONFIG": "[1]"}, "TF_CONFIG: it has no 'cluster'"),
        ({"TF_CONFIG": "{}"}, "TF_CONFIG: it has no 'cluster'"),
        (tf_config(CLUSTER, None), "TF_CONFIG: it has no 'task'"),
        (tf_config(CLUSTER | {"ps": ["p:1"]}, {"type": "ps", "index": 0}), "the cluster has the job 'ps'"),
        (tf_config(CLUSTER, {"type": "evaluator", "index": 0}), "the type of the task is 'evaluator', and only chief"),
        (tf_config(CLUSTER, {"type": ["worker"]}), r"the type of the task is \['worker'\]"),
        (tf_config(CLUSTER | {"chief": ["a:1", "b:1"]}, {"type": "chief"}), "the cluster has 2 chiefs"),
        (tf_config(CLUSTER, {"type": "worker", "index": 2}), "the index of the task is 2, and the cluster has 2 of wo"),
        (tf_config(CLUSTER, {"type": "worker", "index": -1}), "the index of the task is -1"),
        (tf_config(CLUSTER, {"type": "worker", "index": True}), "the index of the task is True"),
        (tf_config(CLUSTER, {"type": "chief", "index": 0}), "the index of the task is 0, and the cluster has 0 of ch"),
        (tf_config({"worker": "host1:2222"}, {"type": "worker"}), "'worker' is 'host1:2222', not a list"),
        (tf_config({"worker": ["host1"]}, {"type": "worker"}), "TF_CONFIG: 'host1' has no port: write host1:2222"),
        (tf_config({"worker": ["x" * 9999]}, {"type": "worker"}), "has no port"),
        (tf_config({"worker": [["x"] * 9999]}, {"type": "worker"}), "not a list of addresses"),
    ],
)
def test_tf_configs_that_are_refused(variables, words):
    with pytest.raises(HostsError, match=words) as caught:
        tf_config_hosts(variables)
    assert len(str(caught.value)) < 400


def test_nothing_is_found_that_was_not_asked_for():
    """Whoever runs `srun python train.py` for one process on each of several nodes gets as many separate runs."""
    assert choose_hosts(None, None, {**task_of_slurm(0, 0, 0), **tf_config(CLUSTER, {"type": "worker"})}) is None


def test_chosen_hosts():
    by_hand = Hosts(("a:1", "b:1"), 1)
    assert choose_hosts(by_hand.addresses, 1, {}) == by_hand
    assert choose_hosts("tf_config", None, tf_config({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 1})) == (
        by_hand
    )
    assert choose_hosts("slurm", None, task_of_slurm(2, 1, 0)).rank == 2
    with pytest.raises(HostsError, match="^--hosts slurm: SLURM_STEP_NODELIST is not set"):
        choose_hosts("slurm", None, {})


def test_variables_of_the_process(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(CLUSTER, {"type": "worker", "index": 1})["TF_CONFIG"])
    assert choose_hosts("tf_config", None) == Hosts(("host1:2222", "host2:2222"), 1)


def test_one_host_is_a_run_of_one_process(caplog):
    one_task = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_STEP_NODELIST": "node01"}
    assert choose_hosts("slurm", None, task_of_slurm(0, 0, 0, **one_task)) is None
    assert choose_hosts(("a:1",), None, {}) is None
    assert re.search(r"--hosts slurm is one host, node01:\d+: nothing is distributed", caplog.messages[0])
    assert caplog.messages[1] == "--hosts a:1 is one host, a:1: nothing is distributed"

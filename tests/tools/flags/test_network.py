"""Tests that the help says of the network's flags what applies if they are not given."""

from __future__ import annotations

import dataclasses
import operator
import re
from typing import NamedTuple

import pytest

from database.datasets import get_dataset
from model.pspnet_mg import DECODERS
from tests.tools.command_lines import parse
from tools.flags.network import NetworkFlags
from tools.flags.train import TrainConfig
from tools.runs.record import ModelRecord

# The end of a text such as "as recorded beside --fine_tune_filename, otherwise 8, or 32 with --decoder upernet".
_DEFAULT = re.compile(
    r"(?:^|otherwise )(?P<plain>[\w.]+)(?:, or (?P<other>\w+) with (?P<flag>--\w+) (?P<values>\w+(?: or \w+)*))?$"
)


class Said(NamedTuple):
    """What the help says of a flag: its value with the other flags of a command line."""

    name: str
    command_line: str
    value: str


def said_of(name: str) -> list[Said]:
    found = _DEFAULT.search(TrainConfig.__dataclass_fields__[name].metadata["unset"])
    assert found, name
    plain, other, flag, values = found.group("plain", "other", "flag", "values")
    return [
        Said(name, "", plain),
        *(Said(name, f"{flag} {each}", other) for each in (values or "").split(" or ") if each),
    ]


def with_records() -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(NetworkFlags)
        if field.default is None and field.metadata.get("recorded")
    ]


def shown(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def test_flags_whose_default_is_recorded():
    assert set(with_records()) >= {"decoder", "output_stride", "stride_convention", "pool_padding", "resize_grid"}


@pytest.mark.parametrize("said", [said for name in with_records() for said in said_of(name)], ids=" ".join)
def test_default_of_a_flag_of_the_network(said):
    record = ModelRecord.of_run(parse(said.command_line, TrainConfig), get_dataset("Cityscapes"))
    recorded = TrainConfig.__dataclass_fields__[said.name].metadata["recorded"]
    assert shown(operator.attrgetter(recorded)(record)) == said.value


@pytest.mark.parametrize("name", ["output_stride", "upsample_logits"])
def test_default_of_each_decoder(name):
    """Decoders that the help does not name have the plain default."""
    [plain, *others] = said_of(name)
    attribute = {"output_stride": "output_stride", "upsample_logits": "upsamples_logits"}[name]
    by_decoder = {said.command_line.removeprefix("--decoder "): said.value for said in others}
    assert {key: shown(getattr(decoder, attribute)) for key, decoder in DECODERS.items()} == {
        key: by_decoder.get(key, plain.value) for key in DECODERS
    }

"""Command lines as a user types them."""

from __future__ import annotations

import pytest

from tools.errors import FlagError
from tools.flags.definition import flags_where
from tools.flags.parsing import Config, parse_flags
from tools.flags.train import TrainConfig


def parse(line: str, config: type[Config] = TrainConfig) -> Config:
    """The flags of a line without quotes."""
    return parse_flags(config, line.split(), "test")


def refusal(line: str, config: type = TrainConfig) -> str:
    """The one line that a command line is refused with."""
    with pytest.raises(FlagError) as caught:
        parse(line, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ignored_in_scoring() -> set[str]:
    """The flags that --eval_only 1 with --run_name and --val_list does not read."""
    return {*flags_where(TrainConfig, scoring="ignored"), *flags_where(TrainConfig, scoring="finds"), "train_list"}

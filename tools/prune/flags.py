"""Flags of pruning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tools.errors import FlagError
from tools.flags.checks import check_effects
from tools.flags.chosen_weights import log_dir_flag, use_ema_flag, weights_ckpt_flag
from tools.flags.definition import flag
from tools.flags.help import Program
from tools.flags.running import ScreenFlags
from tools.flags.values import comma_separated, file_path

# The names of `model.pruning.PRUNED_LAYERS`, whose import needs TensorFlow; a test compares them.
LAYERS = ("all", "inner")


@dataclass(frozen=True, kw_only=True)
class PruneConfig(ScreenFlags):
    """Flags of pruning."""

    weights_ckpt: str | None = weights_ckpt_flag()
    log_dir: str = log_dir_flag()
    use_ema: bool = use_ema_flag("prune")
    keep: float | None = flag(
        None,
        "share of the filters of each layer to keep; of a network that was pruned before, of its filters before that",
        float,
        group="network",
        metavar="FRACTION",
    )
    layers: str = flag(
        "all",
        "layers that lose filters; inner: not the first ones, nor those whose outputs are added to others, as at the "
        "end of residual units",
        group="network",
        choices=LAYERS,
    )
    skip_layers: tuple[str, ...] | None = flag(
        None,
        "scopes of layers that keep their filters, such as conv1,icnet",
        comma_separated,
        group="network",
        metavar="SCOPE,...",
        unset="none",
    )
    out: str | None = flag(
        None, "folder for the checkpoint and its config.json", file_path, group="output", metavar="FOLDER"
    )

    program: ClassVar[Program] = Program(
        "python -m tools.prune",
        "--keep FRACTION --out FOLDER [--weights_ckpt RUN]",
        ("--weights_ckpt log/Cityscapes/icnet --keep 0.75 --out pruned-0.75", "--keep 0.5 --layers inner --out pruned"),
    )

    def __post_init__(self) -> None:
        for name, expected in (("keep", "a share such as 0.5"), ("out", "a folder")):
            if getattr(self, name) is None:
                raise FlagError(f"--{name} is missing: give {expected}")
        if not 0 < float(self.keep or 0) < 1:
            raise FlagError(f"--keep {self.keep} is not between 0 and 1: 0.5 keeps half of the filters of each layer")
        check_effects(self)

"""Removes the filters with the smallest L1 norms from the network of a run, which another training then continues.

python -m tools.prune --weights_ckpt log/Cityscapes/icnet --keep 0.5 --out pruned
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import sys
from collections.abc import Sequence

from tools.console import import_tensorflow, run_script, set_quiet, set_up_logging
from tools.flags.parsing import parse_flags
from tools.flags.predict import PredictConfig
from tools.prune.flags import PruneConfig


def main(arguments: Sequence[str]) -> None:
    """Parses flags and prunes one network."""
    config = parse_flags(PruneConfig, arguments, "Remove filters of the network of a run.")
    set_quiet(config.quiet)
    import_tensorflow()
    from tools.prune.checkpoint import prune_checkpoint
    from tools.runs.chosen_checkpoint import choose_checkpoint, with_unremoved

    chosen = PredictConfig(weights_ckpt=config.weights_ckpt, log_dir=config.log_dir)
    with_unremoved(lambda: choose_checkpoint(chosen), lambda prefix: prune_checkpoint(prefix, config))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))

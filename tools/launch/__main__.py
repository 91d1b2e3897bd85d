"""Starts a script in several processes of this machine, which are the hosts of its run, and watches them.

python -m tools.launch --processes 2 -- train.py --database CamVid --batch_size 2
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import sys
from collections.abc import Sequence

from tools.console import run_script, set_quiet, set_up_logging
from tools.launch.command import parse_command_line
from tools.launch.launcher import Launcher


def main(arguments: Sequence[str]) -> None:
    """Parses the command line and runs the processes.

    Raises:
        SystemExit: with the exit code of the processes.
    """
    config, words = parse_command_line(arguments)
    set_quiet(config.quiet)
    sys.exit(Launcher(config, words).run())


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))

"""Writes a report on one or several training runs as one HTML page that needs no network.

python -m tools.report log/Toy/first --out report.html
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import dataclasses
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tools.console import print_text, run_script, set_up_logging
from tools.errors import FlagError
from tools.flags.checks import check_effects
from tools.flags.choices import DEVICE_HELP, DEVICES
from tools.flags.definition import Need, flag
from tools.flags.help import Program
from tools.flags.parsing import parse_flags
from tools.flags.values import file_path
from tools.pages.page import render, require_packages
from tools.report.contents import report_of
from tools.report.evaluations import evaluations
from tools.report.output import check_replaceable, default_path, identity_of, write_page
from tools.report.prediction_options import PredictionOptions
from tools.report.reported_run import read_reported_runs

logger = logging.getLogger(__name__)

_COMMAND = "python -m tools.report"
_MOST_IMAGES = 30
_LARGE = 15_000_000  # characters of a page


def _page_path(text: str) -> str:
    """Parses the path of a page."""
    path = file_path(text)
    if not path.lower().endswith((".html", ".htm")):
        raise ValueError("a file .html, as the report is a page")
    return path


_NEEDS_IMAGES = Need(lambda config: config.images > 0, "with --images 0, which predicts nothing: drop --images 0")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Flags of the report; the folders of the runs come before them."""

    images: int = flag(
        2,
        "number of best, median and worst validation images to show; 0: predict nothing, so that there are neither "
        "pictures nor a confusion matrix",
        group="data",
        minimum=0,
        maximum=_MOST_IMAGES,
    )
    data_dir: str | None = flag(
        None,
        "folder of the dataset, if it was moved",
        file_path,
        group="data",
        metavar="FOLDER",
        unset="the one that was trained on",
    )
    predictions_dir: str = flag(
        "./val_set",
        "folder of the results of predict.py: those that match are used, and new ones are written there",
        file_path,
        group="data",
        metavar="FOLDER",
    )
    device: str = flag("auto", DEVICE_HELP, group="precision", choices=DEVICES, needs=_NEEDS_IMAGES)
    out: str | None = flag(
        None, "file for the page", _page_path, group="output", metavar="FILE", unset="./reports/<database>/<run>.html"
    )

    program: ClassVar[Program] = Program(
        _COMMAND,
        "RUN [RUN ...] [--out FILE]",
        ("log/Toy/first", "log/Toy/first log/Toy/second --images 4 --out both.html"),
    )

    def __post_init__(self) -> None:
        check_effects(self)


def write_report(paths: Sequence[str], config: ReportConfig) -> str:
    """Writes the report on runs.

    Args:
        paths: of the folders of the runs.
        config: flags.

    Returns:
        The path of the page.

    Raises:
        FlagError: a path is no run's folder, or the file cannot be written or has something else.
        MissingPackageError: a package for pages is not installed.
    """
    require_packages(_COMMAND)
    runs = read_reported_runs(paths, config.predictions_dir)
    identity, out = identity_of(runs), config.out or default_path(runs)
    check_replaceable(out, identity)  # before the prediction, which takes time
    found = evaluations(runs, _options(config), config.images)
    runs = read_reported_runs(paths, config.predictions_dir, runs)  # with the scores of the predictions
    report = report_of(runs, found.runs, found.groups, found.notices)
    names = ", ".join(run.name for run in runs)
    context = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    del context["charts"], context["pictures"]
    page = render(
        "report.html",
        context,
        title=f"Training report: {names}",
        identity=identity,
        charts=report.charts,
        pictures=report.pictures,
    )
    check_replaceable(out, identity)
    write_page(out, page)
    for line in report.notices:
        logger.info("missing: %s", line)
    if len(page) > _LARGE:
        logger.warning("%s has %.0f MB: report on fewer runs, or lower --images", out, len(page) / 1e6)
    logger.info("%.1f MB; open it in a browser, or send it to somebody: it needs no other file", len(page) / 1e6)
    return out


def _options(config: ReportConfig) -> PredictionOptions | None:
    if not config.images:
        return None
    return PredictionOptions(config.predictions_dir, config.data_dir, config.device)


def _parse(arguments: Sequence[str]) -> tuple[list[str], ReportConfig]:
    """Returns the paths of the runs, which come first, and the flags.

    Raises:
        FlagError: there is no path, or a flag is wrong.
    """
    count = next((number for number, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    config = parse_flags(ReportConfig, arguments[count:], "Write a report on training runs as one HTML page.")
    if not count:
        raise FlagError(f"no run is given: give its folder, such as {_COMMAND} log/Toy/first (see --help)")
    return [file_path(path) for path in arguments[:count]], config


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, writes the report and prints its path."""
    print_text(write_report(*_parse(arguments)))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))

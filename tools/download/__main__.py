"""Downloads public weights and datasets and unpacks them where the scripts look for them.

python -m tools.download --list
python -m tools.download resnet_v1_50
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from tools.console import print_text, run_script, set_up_logging
from tools.download.archives import unpack
from tools.download.checksums import (
    checksum_path,
    difference_from_before,
    keep,
    sha256_of,
    warn_of_no_checksum,
)
from tools.download.fetch import difference, fetch
from tools.download.sources import LoginSource, Source, all_sources, find_source
from tools.errors import DownloadError, FlagError, ServerError
from tools.flags.parsing import OneLineParser
from tools.flags.values import file_path

logger = logging.getLogger(__name__)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(
        prog="python -m tools.download", description="Download public weights and datasets.", allow_abbrev=False
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="what to download, see --list")
    parser.add_argument("--out", type=file_path, help="folder for it (default: where the scripts look)")
    parser.add_argument("--list", action="store_true", help="list the available downloads")
    parser.add_argument("--keep_archive", action="store_true", help="keep the archive after unpacking")
    options = parser.parse_args(list(arguments))
    if (options.name is None) != options.list:
        raise FlagError("give either one name or --list, which shows the names")
    if options.list and (options.out is not None or options.keep_archive):
        raise FlagError("--list downloads nothing, so --out and --keep_archive have no effect: give a name")
    return options


def _size(source: Source) -> str:
    return "" if source.size is None else f"{source.size / 1e9:.1f} GB"


def listing() -> str:
    """Lists the available downloads, one per line."""
    rows = [
        (source.name, _size(source) if isinstance(source, Source) else "", source.place, source.about)
        for source in all_sources()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {size:>{widths[1]}}  {place:<{widths[2]}}  {about}" for name, size, place, about in rows
    )


def obtain(source: Source, out: str | None = None, *, keep_archive: bool = False) -> str:
    """Downloads, verifies and unpacks an archive; existing results are kept.

    The SHA-256 of the archive is logged, and kept beside the result for the next download of the same file.

    Args:
        source: what to download.
        out: folder for it, None for the folder where the scripts look.
        keep_archive: whether to keep an archive that was downloaded; an archive that existed before is always kept.

    Returns:
        The resulting folder or file.

    Raises:
        DownloadError: see `fetch`; or the archive differs from the published one, or from that of an earlier download.
        ArchiveError: see `unpack`.
    """
    place = source.place_in(out)
    if os.path.isfile(place) or (os.path.isdir(place) and os.listdir(place)):
        logger.info(
            "%s already exists and was kept: to replace it, remove it; or give another folder with --out", place
        )
        return place
    archive = os.path.join(os.path.dirname(os.path.abspath(place)), source.archive)
    was_there = os.path.exists(archive)
    if was_there:
        logger.info("%s already exists and is unpacked", archive)
    else:
        if source.note:
            logger.info("%s: %s", source.name, source.note)
        logger.info("%s, described at %s", source.url, source.page)
        _fetch(source, archive)
    sha256, kept = sha256_of(archive), checksum_path(source, place)
    warn_of_no_checksum(source)
    logger.info("%s: SHA-256 %s", archive, sha256)
    for found in (difference(archive, source.size, source.md5), difference_from_before(sha256, kept)):
        _reject_difference(source, archive, found, is_kept=was_there)
    unpack(archive, source.root, place)
    keep(source, archive, sha256, kept)
    if not (was_there or keep_archive):
        os.unlink(archive)
    return place


def _fetch(source: Source, archive: str) -> None:
    try:
        fetch(source.url, archive, source.size)
    except ServerError as error:
        scheme = source.url.partition(":")[0]
        raise ServerError(
            f"{error}; run the same command again later; set {scheme}_proxy if this network needs a proxy; or get "
            f"{source.archive} on another machine or from another source, see {source.page}, and put it at {archive}"
        ) from error
    except DownloadError as error:
        raise DownloadError(f"{error} (see {source.page})") from error


def _reject_difference(source: Source, archive: str, found: str | None, *, is_kept: bool) -> None:
    """Raises DownloadError if an archive differs from what is expected; deletes it if it was just downloaded."""
    if found is None:
        return
    if source.made_on_demand:
        logger.warning("%s: %s; the server packs it on request, so this may be harmless", archive, found)
        return
    if not is_kept:
        os.unlink(archive)
    raise DownloadError(f"{archive}: {found}: {'remove it' if is_kept else 'it was removed'}; download it again")


def main(arguments: Sequence[str]) -> None:
    """Downloads a source, prints the steps to obtain it, or lists all sources."""
    options = _parse(arguments)
    if options.list:
        print(listing())
        return
    source = find_source(options.name)
    if isinstance(source, LoginSource):
        if options.keep_archive:
            raise FlagError(f"--keep_archive has no effect on {source.name}, which needs a login: drop --keep_archive")
        print_text("\n".join([f"{source.name} is not public:", *source.steps_to(options.out)]))
        return
    print_text(obtain(source, options.out, keep_archive=options.keep_archive))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))

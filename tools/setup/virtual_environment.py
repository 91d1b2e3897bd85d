"""Creates a virtual environment with pip, even if Python has no ensurepip, as on Debian.

python -m tools.setup.virtual_environment .venv
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import html
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from collections.abc import Sequence
from importlib.util import find_spec

DEFAULT_INDEX = "https://pypi.org/simple"
PIP_CONFIGS = ("/etc/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")

# Links of the simple repository API, https://packaging.python.org/en/latest/specifications/simple-repository-api/.
_WHEEL_LINK = re.compile(r"""<a\b[^>]*?href=["']([^"']+)["'][^>]*>\s*pip-([0-9.]+)-py3-none-any\.whl\s*<""")


def make(folder: str) -> None:
    """Creates a virtual environment of the running Python, or completes an existing one.

    pip is installed by ensurepip, otherwise by an installed pip, otherwise from the package index.

    Raises:
        OSError: the folder cannot be written, or the package index cannot be read.
        configparser.Error: a configuration file of pip is malformed.
        subprocess.CalledProcessError: ensurepip or pip failed and has printed the reason.
    """
    has_ensurepip = find_spec("ensurepip") is not None
    venv.create(folder, with_pip=has_ensurepip, symlinks=True)
    python = os.path.join(folder, "bin", "python")
    if has_ensurepip:
        return
    if find_spec("pip") is not None:
        subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"], check=True)
        return
    with tempfile.TemporaryDirectory() as download_folder:
        wheel = download_pip(package_index(), download_folder)
        # A wheel is a zip file, which Python can run.
        subprocess.run([python, os.path.join(wheel, "pip"), "install", "--quiet", "--no-index", wheel], check=True)


def package_index() -> str:
    """Returns the package index that pip would use, from its environment variable or its configuration files."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([os.path.expanduser(path) for path in (*PIP_CONFIGS, os.environ.get("PIP_CONFIG_FILE", ""))])
    configured = config.get("global", "index-url", fallback=DEFAULT_INDEX)
    return os.environ.get("PIP_INDEX_URL", configured)


def download_pip(index: str, folder: str) -> str:
    """Downloads the newest released wheel of pip from a package index into a folder and returns its path.

    Raises:
        OSError: the index cannot be read, has no such wheel, or sends a file with another checksum.
    """
    page = f"{index.rstrip('/')}/pip/"
    with urllib.request.urlopen(page) as response:
        links = _WHEEL_LINK.findall(response.read().decode())
    if not links:
        raise OSError(f"{page}: found no wheel of pip")
    link, _ = max(links, key=lambda found: [int(number) for number in found[1].split(".")])
    url, checksum = urllib.parse.urldefrag(urllib.parse.urljoin(page, html.unescape(link)))
    with urllib.request.urlopen(url) as response:
        content = response.read()
    if checksum.startswith("sha256=") and checksum != f"sha256={hashlib.sha256(content).hexdigest()}":
        raise OSError(f"{url}: the checksum differs from that on {page}")
    path = os.path.join(folder, os.path.basename(urllib.parse.urlparse(url).path))
    with open(path, "xb") as file:  # new, so that no link is followed
        file.write(content)
    return path


def main(arguments: Sequence[str]) -> int:
    """Creates the virtual environment in the folder given as the only argument; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.setup.virtual_environment", description="Make a virtual environment that has pip."
    )
    parser.add_argument("folder", help="folder of the environment")
    folder = parser.parse_args(list(arguments)).folder
    try:
        make(folder)
    except (OSError, configparser.Error, subprocess.CalledProcessError) as error:
        version = ".".join(str(number) for number in sys.version_info[:2])
        reason = " ".join(str(error).split())
        line = f"error: {folder}: pip cannot be installed ({reason}): apt install python{version}-venv"
        printable = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
        print(printable, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Archives made of what is to be in them, honest or not."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping


def write_tar(path: str, files: Mapping[str, bytes], *more: tarfile.TarInfo) -> str:
    """Writes a tar archive, compressed by its suffix, with files and with members without content."""
    with tarfile.open(path, {"gz": "w:gz", "tgz": "w:gz"}.get(path.rpartition(".")[2], "w")) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info)
    return path


def tar_member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A member of a tar archive that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def write_zip(path: str, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> str:
    """Writes a zip archive with files and symbolic links."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
    return path

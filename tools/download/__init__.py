"""Public weights and datasets: fetched, compared with what is published, unpacked where the scripts look for them."""

from __future__ import annotations


class DownloadError(ValueError):
    """A file that cannot be fetched, or is another one than is published."""


class ArchiveError(ValueError):
    """An archive that is damaged, lacks what is wanted or would write where it must not."""

"""Writes segmentations into a folder, each under a name of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from tools.prediction.files import PredictionWriter, remove_unfinished_results
from tools.prediction.more_outputs import MoreOutputs
from tools.prediction.predictions import Wanted
from tools.prediction.provenance import Provenance
from tools.prediction.result_names import NAMES_FILE, ResultNames
from tools.prediction.segmentation import Segmentation
from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)


class SavedResults:
    """A folder of results of one model and one choice of settings.

    Use as a context manager, or call `finish` after the last image.
    """

    def __init__(
        self,
        folder: str,
        record: ModelRecord,
        provenance: Provenance,
        *,
        coloring: bool,
        more: MoreOutputs,
        images_in: str | None = None,
    ) -> None:
        """Removes what a killed process left in the folder; nothing is written yet.

        Args:
            folder: free, or with results of the same provenance.
            record: of the network.
            provenance: of the results.
            coloring: whether to write colours and overlays.
            more: what else to write.
            images_in: see `PredictionWriter`.
        """
        remove_unfinished_results(folder)
        self._names = ResultNames(os.path.join(folder, NAMES_FILE))
        self._more = more
        self._writer = PredictionWriter(
            folder,
            record,
            save_prediction=True,
            coloring=coloring,
            more=more,
            provenance=provenance,
            images_in=images_in,
        )

    def save(self, result: Segmentation, wanted_name: str | None = None) -> list[str]:
        """Writes the files of one image and returns their paths; see `PredictionWriter.write`.

        Args:
            result: of the image.
            wanted_name: name of the results, which may begin with names of subfolders and slashes; by default that of
                the image's file, or `image`.
        """
        if result.path is None:
            name = self._names.name_of(result.identity, wanted_name or "image")
        else:
            name = self._names.name(result.path, wanted_name)
        *subfolders, stem = name.split("/")
        prediction = result.prediction_for(self._more.wanted)
        paths = self._writer.write(stem, result.image, prediction, result.path, subfolders, lambda: result.georeference)
        self._names.keep(name)
        return paths

    def save_video(self, path: str, write: Callable[[str], None]) -> str:
        """Writes the overlay of a video and returns its path.

        Args:
            path: of the video.
            write: writes the overlay to a path.

        Raises:
            VideoError: overlays are not written, or `write` raises it.
        """
        if self._more.flags:
            logger.warning("%s: a video has an overlay only; no effect of %s", path, ", ".join(self._more.flags))
        name = self._names.name(path)
        target = self._writer.video_path(name)
        write(target)
        self._names.keep(name)
        return target

    @property
    def wanted(self) -> Wanted:
        """What a prediction has to have beside the labels."""
        return self._more.wanted

    def finish(self) -> None:
        """Writes the files of all images; see `PredictionWriter.finish`."""
        self._writer.finish()

    def __enter__(self) -> SavedResults:
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish()

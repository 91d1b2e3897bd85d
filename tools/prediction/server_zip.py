"""Packs predictions for the test server of Cityscapes.

The server finds the file of each image by its name, as `getPrediction` in evalPixelLevelSemanticLabeling.py of
cityscapesScripts does: `<city>_<sequence>_<frame>*.png`, labelIds in the size of the image.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence

from database.atomic import written_atomically
from database.images import image_size
from database.layouts import Sample
from database.regular_files import writable_file
from tools.errors import ServerZipError
from tools.prediction.files import picture_path

DATABASE = "Cityscapes"
FILE_NAME = "server.zip"
_NAME = re.compile(r"[a-z-]+_\d{6}_\d{6}")
_SIZE = (1024, 2048)


def check_for_server(database: str, samples: Sequence[Sample]) -> None:
    """Checks, before the prediction, that the server accepts results of the images.

    Args:
        database: of the results.
        samples: to predict.

    Raises:
        ServerZipError: the dataset is not Cityscapes, or an image has another kind of name or another size.
        ImageError: the header of an image cannot be read.
    """
    if database != DATABASE:
        raise ServerZipError(
            f"--server_zip 1 packs results for the server of {DATABASE}, and the results are of {database}: drop "
            "--server_zip"
        )
    for sample in samples:
        if not _NAME.fullmatch(sample.name):
            raise ServerZipError(
                f"{sample.image}: the server expects names such as berlin_000000_000019, and this name is "
                f"{sample.name}: rename the file, or drop --server_zip"
            )
        size = image_size(sample.image)
        if size != _SIZE:
            raise ServerZipError(
                f"{sample.image}: the server expects results of {_SIZE[0]}x{_SIZE[1]}, and this image is "
                f"{size[0]}x{size[1]} (height x width): give the original images, or drop --server_zip"
            )


def write_server_zip(folder: str, samples: Sequence[Sample]) -> str:
    """Packs the label ids of all samples, which must exist, into `server.zip` in a folder of results.

    Returns:
        The path of the zip file. It is complete or does not exist.

    Raises:
        ServerZipError: the file cannot be written, or a prediction cannot be read.
    """
    path = os.path.join(folder, FILE_NAME)
    try:
        # PNG files are compressed already.
        with (
            written_atomically(path) as partial_path,
            open(partial_path, "wb", opener=writable_file) as file,
            zipfile.ZipFile(file, "w") as archive,
        ):
            for sample in samples:
                picture = picture_path(folder, "prediction", sample.name)
                archive.write(picture, os.path.basename(picture))
    except OSError as error:
        raise ServerZipError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path

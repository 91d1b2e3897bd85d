"""Detects the kind of a file from its first bytes, and says how to use it where a checkpoint is expected."""

from __future__ import annotations

import codecs
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

from database.regular_files import regular_file

_HEAD = 4096
_FOOTER = 8
_SHOWN = 12
# At the end of each table of TensorFlow: a checkpoint before 0.12, or the `.index` of one.
_TABLE_FOOTER = bytes.fromhex("57fb808b247547db")

_CONVERT = "python -m tools.convert {path} --out converted, then give the folder converted"
_CONVERTED = f"turn it into a checkpoint with {_CONVERT}"
_OTHER_FRAMEWORK = (
    "no tool of this package reads it: load it in its own framework, and save the weights of a network that "
    "tools.convert supports as .npy or .pth"
)
# What to do about a damaged checkpoint.
WHERE_FROM = (
    "copy or download it again, or give a checkpoint written by train.py, python -m tools.convert or "
    "python -m tools.download"
)
_UNPACK = "unpack it, and give the folder or the checkpoint in it"
_DOWNLOAD = "download the file itself"


@dataclass(frozen=True)
class FileKind:
    """The kind of a file.

    Attributes:
        name: in words, with an article.
        advice: what to do with it where a checkpoint is expected; `{path}` is replaced by its path.
        reader: suffix of the files that tools.convert reads in the same way; None if it does not read this kind.
    """

    name: str
    advice: str
    reader: str | None = None

    def refusal(self, path: str, expected: str) -> str:
        """Returns one line: what the file is, what was expected, and what to do."""
        return f"{path}: this is {self.name}, expected {expected}: {self.advice.format(path=path)}"


PYTORCH = FileKind("a file of PyTorch or another pickle of Python", _CONVERTED, ".pth")
SAFETENSORS = FileKind("a .safetensors file", _CONVERTED, ".safetensors")
NPY = FileKind("a NumPy file", _CONVERTED, ".npy")
HDF5 = FileKind("an HDF5 file, as Keras writes (.h5)", _CONVERTED, ".h5")
CHECKPOINT = FileKind(
    "a TensorFlow checkpoint or its index", "give it to --weights_ckpt or --fine_tune_filename directly", ".index"
)
EMPTY = FileKind("an empty file", "download or copy it again")
_PICTURE = FileKind("a picture", "give the file of the weights")
_ARCHIVE = FileKind("an archive", _UNPACK)

# Pattern of the first bytes, and the kind; the first match counts.
_KINDS: tuple[tuple[bytes, FileKind], ...] = (
    (rb"\x89HDF\r\n\x1a\n", HDF5),
    (rb"\x93NUMPY", NPY),
    (rb"\x80[\x02-\x05]", PYTORCH),  # a pickle, as before PyTorch 1.6
    (rb".{5}\x00{3}\{\s*\"", SAFETENSORS),  # length of the header, header
    (rb"\([dl]p?\d|[\]}]q\x00|c[a-z_][\w.]*\n[a-z_]\w*\n(p\d|q\x00|\()", PYTORCH),  # protocol 0 or 1
    (rb"\x1f\x8b|BZh[1-9]|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|.{257}ustar"
     rb"|PK\x05\x06|\x04\x22\x4d\x18|\x1f\x9d", _ARCHIVE),
    (rb"GGUF|ggml|tjgg", FileKind("a file of llama.cpp (.gguf)", _OTHER_FRAMEWORK)),
    (rb"PAR1|ARROW1", FileKind("a table of data (Parquet, Arrow)", "give the file of the weights")),
    (rb"SQLite format 3", FileKind("a database of SQLite", "give the file of the weights")),
    (rb"\x7fELF|MZ\x90\x00|#!", FileKind("a program", "give the file of the weights")),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body|script|!--)", FileKind(
        "an HTML page, as servers send instead of a file that needs a login or was removed", _DOWNLOAD)),
    (rb"(\xef\xbb\xbf)?\s*<\?xml", FileKind("an XML page, as servers send with an error", _DOWNLOAD)),
    (rb"version https://git-lfs\.github\.com/spec/", FileKind(
        "a pointer of Git LFS to the file", "fetch the file with git lfs pull")),
    (rb"model_checkpoint_path:", FileKind(
        "the list that TensorFlow keeps of the checkpoints in a folder", "give the folder, or one of the checkpoints")),
    (rb"(\xef\xbb\xbf)?\s*[{[]\s*[\"\]}{[]", FileKind("a JSON file", "give the file of the weights")),
    (rb"\s*(name|layers?|input)\s*[:{]", FileKind("a description of a network as text (.prototxt)", _OTHER_FRAMEWORK)),
    (rb".{4}TFL3", FileKind("a TensorFlow Lite model (.tflite)", _OTHER_FRAMEWORK)),
    (rb"\x12\x01\x00\x00\x00\x00\x00\x00", FileKind("a file of MXNet (.params)", _OTHER_FRAMEWORK)),
    (rb"MATLAB 5\.0 MAT-file", FileKind("a MATLAB file (.mat)", _OTHER_FRAMEWORK)),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8|RIFF.{4}WEBP|II\*\x00|MM\x00\*|BM.{4}\x00{4}|P[1-6]\s", _PICTURE),
    (rb".{4}ftyp|RIFF.{4}AVI |\x1a\x45\xdf\xa3", FileKind("a video or a picture", "give the file of the weights")),
    (rb"%PDF-", FileKind("a PDF", "give the file of the weights")),
    # Protocol buffers: the number and type of the first fields.
    (rb"\x08\x01\x12", FileKind(
        "the graph of a SavedModel (saved_model.pb)", "give the checkpoint that it was exported from")),
    (rb"\x08[\x02-\x20][\x12\x1a\x3a\x42]", FileKind("an ONNX model (.onnx)", _OTHER_FRAMEWORK)),
    (rb"\x0a[\x80-\xff]{0,3}[\x00-\x7f]\x0a[\x01-\x7f][ -~]+\x12[\x01-\x40][a-z_]\w*", FileKind(
        "a graph of TensorFlow, such as a frozen one (.pb)", "give the checkpoint that it was made from")),
    (rb"\x0a[\x01-\x7f][ -~]+(\xa2\x06|[\x12\x1a\x22])", FileKind(
        "a model of Caffe (.caffemodel)", _OTHER_FRAMEWORK)),
)  # fmt: skip

# Pattern of the name of a file in a folder, and the kind of the folder.
_FOLDERS: tuple[tuple[str, FileKind], ...] = (
    (r"saved_model\.pb(txt)?", FileKind(
        "the folder of a SavedModel", "give the checkpoint that it was exported from")),
    (r".*\.pth(\.tar)?|.*\.pt|.*\.safetensors|pytorch_model.*\.bin", FileKind(
        "a folder of files of PyTorch", "give a file in it to python -m tools.convert")),
    (r".*\.(zip|tar|tgz|7z|rar|tar\.\w+)", FileKind("a folder of an archive that is not unpacked", _UNPACK)),
    (r"manifest\.ocdbt|_CHECKPOINT_METADATA", FileKind("a checkpoint of Orbax (JAX)", _OTHER_FRAMEWORK)),
)  # fmt: skip


def kind_of(path: str) -> FileKind | None:
    """Returns the kind of a file or a folder; None if it is unknown or cannot be read."""
    if os.path.isdir(path):
        return _kind_of_folder(path)
    try:
        with open(path, "rb", opener=regular_file) as file:
            head = file.read(_HEAD)
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _FOOTER))
            footer = file.read(_FOOTER)
    except OSError:
        return None
    if not size:
        return EMPTY
    if footer == _TABLE_FOOTER:
        return CHECKPOINT
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    matching = (kind for pattern, kind in _KINDS if re.match(pattern, head, re.DOTALL | re.IGNORECASE))
    return next(matching, None)


def unknown_kind(path: str) -> FileKind:
    """Describes a file that `kind_of` does not know, by its first bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb", opener=regular_file) as file:
        head = file.read(_HEAD)
    begins = f"(it begins with {shown_bytes(head[:_SHOWN])})"
    if _is_text(head):
        return FileKind(f"a text file {begins}", "give the file of the weights")
    return FileKind(f"a damaged or truncated file, or one of an unknown kind {begins}", WHERE_FROM)


def shown_bytes(content: bytes) -> str:
    """Formats bytes in quotes: printable ASCII unchanged, all others as `\\x` and two digits."""
    return "'" + "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in content) + "'"


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # the head may end within a character
    except UnicodeDecodeError:
        return False
    return bool(text) and all(character.isprintable() or character.isspace() for character in text)


def _kind_of_folder(path: str) -> FileKind | None:
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return None
    return next((kind for pattern, kind in _FOLDERS if any(re.fullmatch(pattern, name) for name in names)), None)


# Predicate on the names in an archive, and the kind of the archive.
_ZIPS: tuple[tuple[Callable[[str], bool], FileKind], ...] = (
    (lambda name: name.endswith("data.pkl"), PYTORCH),
    (lambda name: name == "model.weights.h5", FileKind("a model of Keras (.keras)", _OTHER_FRAMEWORK)),
    (lambda name: name.endswith(".npy"), FileKind("a NumPy archive (.npz)", _OTHER_FRAMEWORK)),
)


def _kind_of_zip(path: str) -> FileKind:
    """Returns the kind of a zip file by the names in it; a truncated one is an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return _ARCHIVE
    return next((kind for matches, kind in _ZIPS if any(map(matches, names))), _ARCHIVE)

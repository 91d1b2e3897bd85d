"""Errors in a user's data. Scripts print a DataError in one line; any other exception is a bug."""

from __future__ import annotations


def in_one_line(error: object) -> str:
    """Returns what an error says in one line; the name of its class if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class DataError(ValueError):
    """Base of this package's errors: a file or folder of the user cannot be used."""


class DatasetError(DataError):
    """A dataset is unknown, incomplete or not laid out as expected."""


class UnknownIdError(DatasetError):
    """A label file has an id that is neither a class nor ignored.

    Attributes:
      fault: what was found; the message goes on with advice for label files.
    """

    def __init__(self, fault: str, advice: str):
        super().__init__(fault + advice)
        self.fault = fault


class AbsentSplitError(DatasetError):
    """No file of a split exists.

    Attributes:
      advice: where the files are instead, or what to do; the end of the message, empty if nothing is known.
    """

    def __init__(self, message: str, advice: str = ""):
        super().__init__(message + advice)
        self.advice = advice


class ImageError(DataError):
    """An image or label file cannot be read, cannot be written, or is of an unsupported kind."""


class TooManyPixelsError(ImageError):
    """An image has more pixels than the limit."""


class PaletteError(DataError):
    """A palette file cannot be read or does not match the number of classes."""


class TFRecordError(DataError):
    """TFRecords are missing, damaged, of another version or made from different data."""


class OutsideError(DataError):
    """A name or a link leads out of the output folder."""


class TextFileError(DataError):
    """A file is not text in a supported encoding.

    Attributes:
      reason: the line, the byte and what was expected, without the path.
    """

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}, {reason}")
        self.reason = reason


class JsonError(DataError):
    """A text is not JSON, or has a key twice in one object.

    Attributes:
      reason: what is wrong.
      line: the line number, from 1; None if unknown.
    """

    def __init__(self, reason: str, line: int | None = None):
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason, self.line = reason, line

    def at(self, path: str) -> str:
        """Describes the error with its file and line."""
        return f"{path}: {self.reason}" if self.line is None else f"{path}, line {self.line}: {self.reason}"


class IdsNotFoundError(DataError):
    """The files of listed ids do not exist or are ambiguous.

    Attributes:
      index: position of the first such id in the list.
    """

    def __init__(self, message: str, index: int = 0):
        super().__init__(message)
        self.index = index

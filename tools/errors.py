"""Errors that a user can correct. Scripts print a UserError in one line; any other exception is a bug."""

from __future__ import annotations


class UserError(ValueError):
    """Base of this package's errors: a fault that the user can correct, described in one line."""


class FlagError(UserError):
    """A flag is unknown, malformed, without effect, or contradicts another."""


class DeviceError(UserError):
    """The machine does not have the requested devices."""


class HostsError(UserError):
    """The hosts of a run are not described, or differ, or one of them found an error."""


class TooFewHandlesError(UserError):
    """A process may open too few files."""


class OutOfMemoryError(UserError):
    """A device has too little memory for a computation."""


class OutputError(UserError):
    """A snapshot, a summary or another result cannot be written."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or of another network."""


class IndexTableError(CheckpointError):
    """The `.index` of a checkpoint is malformed."""


class RecordError(UserError):
    """The configuration beside a checkpoint cannot be read, or describes another network than the flags do."""


class RunLockError(UserError):
    """Another process trains in the run's folder, or may do so."""


class ClassWeightsError(UserError):
    """Class weights cannot be read, or do not match the classes."""


class PreflightError(UserError):
    """The labels cannot be trained on."""


class DivergedError(UserError):
    """A loss or a weight is NaN or infinite.

    Attributes:
        fault: which, in words; the message unless it is given.
        step: the step after which it was found, counted from 1; None before the first.
        saved_step: of the last snapshot that this process wrote; None before the first.
        stop_signal: name of a signal that asked for a stop in the same step; None without.
    """

    def __init__(
        self,
        message: str,
        fault: str | None = None,
        step: int | None = None,
        saved_step: int | None = None,
        stop_signal: str | None = None,
    ) -> None:
        """Stores the line for the user and the attributes."""
        super().__init__(message)
        self.fault = message if fault is None else fault
        self.step = step
        self.saved_step = saved_step
        self.stop_signal = stop_signal


class NotFiniteError(UserError):
    """A network computed values that are not finite."""


class ResultsFolderError(UserError):
    """A folder for results contains results of something else."""


class TablesError(UserError):
    """Class names do not match the scores, or a table cannot be written."""


class ScoringError(UserError):
    """Predictions that exist as files do not fit the images, or scores need files that do not fit."""


class ServerZipError(UserError):
    """A benchmark server would not accept the predictions, or their archive cannot be written."""


class WeightFileError(UserError):
    """A weight file is missing, cannot be read or contains no tensors."""


class PickleError(UserError):
    """A pickle is damaged or larger than the limits."""


class NpyDictionaryError(UserError):
    """A .npy file is not a dictionary of arrays that can be read without executing code."""


class ConfigTextError(UserError):
    """A configuration in a weight file cannot be read without running it."""


class ConversionError(UserError):
    """Weights do not match the network that they are given for, or that was detected."""


class PruneError(UserError):
    """A network cannot be pruned as requested."""


class DownloadError(UserError):
    """A file cannot be downloaded."""


class ServerError(DownloadError):
    """A server cannot be reached, or does not send the whole file."""


class ArchiveError(UserError):
    """A downloaded archive is damaged, or contains something other than expected."""


class AnnotationError(UserError):
    """Annotations are malformed, do not fit their images, or have no outlines."""


class UnknownExtraError(UserError):
    """pyproject.toml has no extra of this name."""


class AuditError(UserError):
    """The audit of locked versions failed."""


class MissingPackageError(UserError):
    """A package that is installed with an extra is missing."""


class ExportError(UserError):
    """A network cannot be written in a format, or what was written differs from the session."""


class ClosedModelError(UserError):
    """A model is used after it was closed."""


class VideoError(UserError):
    """A video cannot be read or written."""


class ProcessEndedError(UserError):
    """A process ended before it returned its result, usually because memory ran out."""

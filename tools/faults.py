"""The exceptions that stand for a user's fault: a script prints them in one line, everything else is a bug."""

from __future__ import annotations

from database.containment import OutsideError
from database.datasets import DatasetError
from database.images import ImageError
from database.layouts import AbsentSplitError
from database.palettes import PaletteError
from database.tfrecord import TFRecordError
from model.regularizers import MissingStartingPointError
from model.training_graph import BatchSizeError, LayerNameError
from tools.audit import AuditError
from tools.checkpoint import CheckpointError
from tools.class_weights import ClassWeightsError
from tools.cluster import DeviceError
from tools.download import ArchiveError, DownloadError
from tools.flags import FlagError
from tools.npy_dictionary import NpyDictionaryError
from tools.preflight import PreflightError
from tools.provenance import ResultsFolderError
from tools.record_rules import RecordError
from tools.rollback import DivergedError
from tools.run_lock import RunLockError
from tools.server_zip import ServerZipError
from tools.session_errors import OutOfMemoryError
from tools.sliding import NotFiniteError
from tools.tables import TablesError
from tools.training import OutputError
from tools.weight_conversion import ConversionError
from tools.weight_files import WeightFileError

USER_FAULTS: tuple[type[Exception], ...] = (
    AbsentSplitError,
    ArchiveError,
    AuditError,
    BatchSizeError,
    CheckpointError,
    ClassWeightsError,
    ConversionError,
    DatasetError,
    DeviceError,
    DivergedError,
    DownloadError,
    FlagError,
    ImageError,
    LayerNameError,
    MissingStartingPointError,
    NotFiniteError,
    NpyDictionaryError,
    OutOfMemoryError,
    OutputError,
    OutsideError,
    PaletteError,
    PreflightError,
    RecordError,
    ResultsFolderError,
    RunLockError,
    ServerZipError,
    TFRecordError,
    TablesError,
    WeightFileError,
)

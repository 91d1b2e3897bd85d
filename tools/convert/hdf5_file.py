"""Reads the tensors of HDF5 files as Keras writes them (.h5).

Only data sets of numbers are read. Attributes, which hold Keras's description of the network and its code, are not;
neither are links to other files. The package h5py comes with TensorFlow; only this module imports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from database.errors import in_one_line
from database.regular_files import regular_file
from tools.convert.inert_values import shown
from tools.errors import WeightFileError

# Keras nests a layer's tensors three to six levels deep.
_DEEPEST = 16
_MOST_DATASETS = 100_000
_NUMBERS = "fiub"
# Deflate, shuffle and the checksum are part of HDF5; any other filter is a program that HDF5 would load.
_FILTERS = (1, 2, 3)
# Of `network.save`, beside the state of the optimizer.
_WEIGHTS = "model_weights"
# A variable's suffix, as TensorFlow names the first output of its operation.
_SUFFIX = re.compile(r":0$")
_NUMBERED = re.compile(r"(.*/)?vars/\d+")


def read_hdf5(path: str, most_bytes: int) -> dict[str, np.ndarray]:
    """Reads all data sets of a file.

    Args:
        path: of the file.
        most_bytes: of all arrays.

    Returns:
        Arrays by layer and tensor, such as `conv1_conv/kernel`, or by their whole paths if those are not unique.

    Raises:
        WeightFileError: the file cannot be read, has links to other files, data sets that are not numbers, or more of
            them than `most_bytes`; or its tensors have no names.
    """
    import h5py

    try:
        with open(path, "rb", opener=regular_file) as raw, h5py.File(raw, "r") as file:
            root = file[_WEIGHTS] if file.get(_WEIGHTS, getlink=True) is not None else file
            datasets = dict(_Walk(path).datasets(root))
            total = sum(dataset.size * max(4, dataset.dtype.itemsize) for dataset in datasets.values())
            if total > most_bytes:
                raise WeightFileError(f"{path}: its tensors have {total} bytes, more than can be in a file of its size")
            _refuse_numbers_as_names(path, datasets)
            arrays = {name: np.asarray(dataset[()]) for name, dataset in datasets.items()}
    except WeightFileError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise WeightFileError(f"{path}: not an HDF5 file that can be read ({in_one_line(error)[:200]})") from error
    short = {name: "/".join(_SUFFIX.sub("", name).split("/")[-2:]) for name in arrays}
    return {short[name]: array for name, array in arrays.items()} if len(set(short.values())) == len(short) else arrays


class _Walk:
    """Finds the data sets below a group."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: set[Any] = set()

    def datasets(self, group: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
        """Yields path and data set; a group that is reached twice, once."""
        import h5py

        identity = h5py.h5o.get_info(group.id).addr
        if identity in self._seen:
            return
        self._seen.add(identity)
        for key in group:
            name = f"{prefix}{key}"
            if depth > _DEEPEST or len(self._seen) > _MOST_DATASETS:
                raise WeightFileError(f"{self._path}: '{shown(name)}' is nested too deeply, expected layers of Keras")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise self._unusual(name, "a link to another place")
            member = group[key]
            if isinstance(member, h5py.Group):
                yield from self.datasets(member, f"{name}/", depth + 1)
            else:
                self._check(name, member)
                yield name, member

    def _check(self, name: str, dataset: Any) -> None:
        import h5py

        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in _NUMBERS or dataset.shape is None:
            raise self._unusual(name, "not numbers")
        if dataset.external or dataset.is_virtual:
            raise self._unusual(name, "stored in another file")
        plan = dataset.id.get_create_plist()
        if any(plan.get_filter(index)[0] not in _FILTERS for index in range(plan.get_nfilters())):
            raise self._unusual(name, "compressed by a program outside of HDF5")

    def _unusual(self, name: str, found: str) -> WeightFileError:
        return WeightFileError(f"{self._path}: '{shown(name)}' is {found}, expected the tensors of a network")


def _refuse_numbers_as_names(path: str, names: Any) -> None:
    numbered = next(filter(_NUMBERED.fullmatch, names), None)
    if numbered is not None:
        raise WeightFileError(
            f"{path}: '{shown(numbered)}' shows a file of Keras 3's save_weights, whose tensors have numbers in "
            "place of names: load it in Keras and write it with network.save('network.h5')"
        )

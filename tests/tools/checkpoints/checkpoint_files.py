"""Checkpoints on the disk, damage to them, and graphs to compare them with."""

from __future__ import annotations

import os
import shutil

import numpy as np
import tensorflow.compat.v1 as tf

VALUES = {
    "resnet_v1_50/a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "resnet_v1_50/b": np.ones(4, np.float32),
}


def copy_as(prefix, target, age):
    """Copies a checkpoint; `age` in seconds before now."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(prefix + suffix, target + suffix)
        time = os.path.getmtime(prefix + suffix) - age
        os.utime(target + suffix, (time, time))
    return target


def graph_with(shapes):
    """Zero variables of the given names and shapes in the default graph."""
    return [
        tf.get_variable(name, shape, initializer=tf.zeros_initializer(), use_resource=True)
        for name, shape in shapes.items()
    ]


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def flip_a_byte(path):
    with open(path, "r+b") as file:
        file.seek(5)
        byte = file.read(1)[0]
        file.seek(5)
        file.write(bytes([byte ^ 0xFF]))

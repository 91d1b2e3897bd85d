"""Writes converted weights as a checkpoint with its record."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from database.atomic import text_written_atomically
from database.datasets import Dataset, custom_dataset, get_dataset
from model import pspnet_mg
from tools.convert.conversion import Conversion, Source, convert, refuse_unknown
from tools.errors import ConversionError
from tools.flags.sizes import Size
from tools.runs.checkpoint_folder import CHECKPOINT_NAME, name_in_use, save_values
from tools.runs.record import BackboneRecord, ModelRecord
from tools.runtime.session_errors import reason

REPORT_NAME = "conversion.txt"

# Datasets that are assumed from the number of classes.
_KNOWN_BY_CLASSES = ("Cityscapes", "ADE", "SBD", "CamVid")


def dataset_of(source: Source, database: str | None) -> Dataset:
    """Determines the dataset of a PSPNet's classes.

    Args:
        source: with heads.
        database: name of a dataset; None for the known one with this number of classes, or own data if there is none.

    Raises:
        ConversionError: the dataset has another number of classes.
    """
    num_classes = source.architecture.num_classes
    if database == "custom":
        return custom_dataset(num_classes)
    if database is None:
        datasets = map(get_dataset, _KNOWN_BY_CLASSES)
        return next((known for known in datasets if known.num_classes == num_classes), custom_dataset(num_classes))
    dataset = get_dataset(database)
    if dataset.num_classes != num_classes:
        raise ConversionError(
            f"--database {database} has {dataset.num_classes} classes, but the weights have {num_classes}: give the "
            "dataset that they were trained on, or custom"
        )
    return dataset


def model_record(source: Source, dataset: Dataset, test_image_size: Size | None = None) -> ModelRecord:
    """Creates the record of a PSPNet that another project trained.

    Args:
        source: with heads.
        dataset: see `dataset_of`.
        test_image_size: of windows; None for the project's crop size.
    """
    weight_map = source.weight_map
    window = weight_map.window.get(dataset.name, weight_map.window["other"])
    return ModelRecord(
        architecture=source.architecture,
        database=dataset.name,
        class_names=dataset.class_names,
        palette=dataset.palette,
        image_mean=weight_map.image_mean or dataset.image_mean,
        label_map=dataset.label_map,
        color_switch=weight_map.feeds_bgr,
        test_image_size=test_image_size or window,
        flags={"num_classes": dataset.num_classes} if dataset.name == "custom" else {},
    )


def backbone_record(source: Source) -> BackboneRecord:
    """Creates the record of a ResNet that another project trained."""
    return BackboneRecord.of_architecture(
        source.architecture,
        image_mean=source.weight_map.image_mean,
        color_switch=source.weight_map.feeds_bgr,
        checkpoint=CHECKPOINT_NAME,
    )


def write_converted(
    source: Source, record: ModelRecord | BackboneRecord, folder: str, origin: Sequence[str] = ()
) -> Conversion:
    """Converts the weights, and writes a checkpoint, a record and a report on every tensor.

    Args:
        source: see `conversion.examine`.
        record: of the network, see `model_record` and `backbone_record`.
        folder: for the files; created if it does not exist.
        origin: where the weights are from, the first lines of the report.

    Raises:
        ConversionError: see `conversion.convert` and `refuse_unknown`; or the folder already contains a checkpoint or
            a record, or cannot be written to.
    """
    _refuse_folder_in_use(folder)
    with tf.Graph().as_default():
        variables = _build(source)
        conversion = convert(source, {variable.op.name: variable.shape.as_list() for variable in variables})
        refuse_unknown(conversion, source)
        try:
            os.makedirs(folder, exist_ok=True)
            save_values(variables, conversion.values, folder)
            record.write(folder)
            _write_report(conversion, os.path.join(folder, REPORT_NAME), origin)
        except (OSError, tf.errors.OpError) as error:
            raise ConversionError(
                f"{folder}: the checkpoint cannot be written ({reason(error)}): change --out"
            ) from error
    return conversion


def _refuse_folder_in_use(folder: str) -> None:
    name = name_in_use(folder)
    if name is not None:
        raise ConversionError(f"{folder} already contains {name}: give another folder with --out")


def _build(source: Source) -> list[tf.Variable]:
    """Builds the network in the default graph and returns its variables, without the heads if the weights have none."""
    images = [tf.placeholder(tf.float32, [None, None, None, 3])]
    pspnet_mg.pspnet(images, source.architecture, is_training=False, has_auxiliary=source.has_auxiliary)
    network = source.architecture.network
    is_new = pspnet_mg.in_scopes(network, pspnet_mg.new_layer_scopes(network))
    return [variable for variable in tf.global_variables() if source.has_heads or not is_new(variable.op.name)]


def _write_report(conversion: Conversion, path: str, origin: Sequence[str]) -> None:
    used = [f"{variable} <- {name}" for variable, name in conversion.used.items()]
    constants = conversion.constants.items()
    used += [f"{variable} = {value:g}: the project has no normalization here" for variable, value in constants]
    left = [f"{name}: {why}" for name, why in conversion.left.items()]
    with text_written_atomically(path) as file:
        file.writelines(f"{line}\n" for line in ("from", *origin, "", "used", *used, "", "left", *left))

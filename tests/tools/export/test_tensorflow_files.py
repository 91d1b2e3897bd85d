"""Frozen graphs and SavedModels, as TensorFlow 1 and 2 load them."""

from __future__ import annotations

import json

import pytest
import tensorflow
import tensorflow.compat.v1 as tf

from tests.tools.export.exported import agreement_of, noise
from tools.export import tensorflow_files


@pytest.mark.parametrize(("engine", "write"), [
    ("frozen", tensorflow_files.write_frozen), ("savedmodel", tensorflow_files.write_saved_model),
])  # fmt: skip
def test_what_is_written_predicts_as_the_session(engine, write, network, predictor, tmp_path, stack):
    path = str(tmp_path / "written")
    write(network, path)
    agreement = agreement_of(path, engine, predictor, stack)
    assert agreement.largest_difference < 2e-6
    assert agreement.equal_labels > 0.999


def test_saved_model_of_tensorflow_1_and_of_serving(network, tmp_path):
    path = str(tmp_path / "saved_model")
    tensorflow_files.write_saved_model(network, path)
    images = noise(2, 17, 23)
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.load(session, ["serve"], path)
        signature = loaded.signature_def["serving_default"]
        assert signature.method_name == "tensorflow/serving/predict"
        assert signature.inputs["image"].dtype == tf.uint8.as_datatype_enum
        assert [axis.size for axis in signature.inputs["image"].tensor_shape.dim] == [-1, -1, -1, 3]
        names = {key: info.name for key, info in signature.outputs.items()}
        found = session.run(names, {signature.inputs["image"].name: images})
        text = session.run(loaded.signature_def["metadata"].outputs["metadata"].name)
    assert found.keys() == {"labels", "probabilities"}
    assert found["labels"].shape == (2, 17, 23)
    in_file = json.loads((tmp_path / "saved_model" / "assets.extra" / "labels.json").read_text())
    assert json.loads(text) == in_file == network.metadata


def test_saved_model_of_tensorflow_2(network, tmp_path):
    tensorflow_files.write_saved_model(network, str(tmp_path / "saved_model"))
    model = tensorflow.saved_model.load(str(tmp_path / "saved_model"))
    outputs = model.signatures["serving_default"](image=tensorflow.constant(noise(1, 9, 10)))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "labels": (1, 9, 10), "probabilities": (1, 9, 10, 3),
    }  # fmt: skip
    text = model.signatures["metadata"]()["metadata"].numpy()
    assert json.loads(text)["class_names"] == network.metadata["class_names"]


def test_frozen_graph_has_its_metadata(network, tmp_path):
    tensorflow_files.write_frozen(network, str(tmp_path / "model.pb"))
    graph_def = tf.GraphDef.FromString((tmp_path / "model.pb").read_bytes())
    with tf.Graph().as_default(), tf.Session() as session:
        [text] = session.run(tf.import_graph_def(graph_def, return_elements=["metadata:0"]))
    assert json.loads(text) == network.metadata


def test_a_saved_model_that_cannot_be_written(network, tmp_path, monkeypatch):
    def save(builder):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model.Builder, "save", save)
    with pytest.raises(OSError, match="No space left on device"):
        tensorflow_files.write_saved_model(network, str(tmp_path / "saved_model"))


def test_a_file_is_not_written_over_another(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(FileExistsError):
        tensorflow_files.write_file(str(tmp_path / "file"), b"after")
    assert (tmp_path / "file").read_bytes() == b"before"

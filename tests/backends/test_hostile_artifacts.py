"""Artifacts that somebody else forged, with digests that fit: a backend runs no code and reads no other file."""

import os
import pickle

import numpy as np
import pytest
import torch
from archives import Marks
from torch import nn
from witness import nothing_done

from sparsebench.backends import build_backend
from sparsebench.backends.in_torch import read, written
from sparsebench.errors import ModelError, QuantizationError
from sparsebench.runner.stages.inputs import read_example

INPUTS = (torch.zeros(2, 4),)


def restored(backend, folder, **contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = {path.name: path for path in folder.iterdir()}
    with nothing_done(folder):
        return build_backend(backend).restore(nn.Identity(), "fp32", INPUTS, files)


def onnx_of(*nodes, weight=None):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    weight = weight or onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    nodes = nodes or [onnx.helper.make_node("Add", ["x", "w"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], [weight])
    versions = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("evil", 1)]
    return onnx.helper.make_model(graph, opset_imports=versions, ir_version=9).SerializeToString()


def test_an_onnx_artifact_as_it_should_be_is_run(tmp_path):
    network = restored("onnxruntime", tmp_path, **{"model.onnx": onnx_of()})
    assert network(*INPUTS).tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("location", ["secret", "../secret", "/etc/passwd"])
def test_an_onnx_artifact_with_weights_in_another_file_is_refused(tmp_path, location):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "secret").write_bytes(bytes(16))
    weight = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    with pytest.raises(QuantizationError) as caught:
        restored("onnxruntime", tmp_path, **{"model.onnx": onnx_of(weight=weight)})
    assert str(caught.value) == (
        f"The artifact model.onnx has weights in another file, {location!r}, which is not read. Compress the network "
        "again."
    )


def test_an_onnx_artifact_with_an_operator_of_another_library_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("System", ["x"], ["y"], domain="evil")
    with pytest.raises(QuantizationError, match=r"The artifact model\.onnx calls 'evil::System', which is none of"):
        restored("onnxruntime", tmp_path, **{"model.onnx": onnx_of(node)})


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A graph of OpenVINO and its weights, as text and bytes."""
    openvino = pytest.importorskip("openvino")
    path = tmp_path_factory.mktemp("graph") / "net.xml"
    x = openvino.opset13.parameter([-1, 4], np.float32, name="x")
    y = openvino.opset13.add(x, openvino.opset13.constant(np.arange(4, dtype=np.float32)))
    openvino.save_model(openvino.Model([y], [x]), path, compress_to_fp16=False)
    return path.read_text(), path.with_suffix(".bin").read_bytes()


def openvino_restored(folder, xml, weights):
    pytest.importorskip("nncf")
    return restored("openvino", folder, **{"model.xml": xml.encode(), "model.bin": weights})


def test_of_an_openvino_artifact_the_graph_is_run_and_its_settings_are_left_out(tmp_path, graph):
    xml, weights = graph
    evil = f"<rt_info><runtime_options><CACHE_DIR value='{tmp_path / 'evil'}'/></runtime_options></rt_info></net>"
    network = openvino_restored(tmp_path, xml.replace("</net>", evil), weights)
    assert network(*INPUTS).tolist() == [[0, 1, 2, 3]] * 2
    assert b"CACHE_DIR" not in network.xml
    assert not (tmp_path / "evil").exists()


def test_an_openvino_artifact_with_operations_of_an_extension_is_refused(tmp_path, graph):
    xml, weights = graph
    evil = xml.replace('type="Add" version="opset1"', 'type="Touch" version="extension"')
    with pytest.raises(QuantizationError, match=r"The artifact model\.xml has the operation 'Touch' of 'extension'"):
        openvino_restored(tmp_path, evil, weights)


def test_pickled_artifacts_are_refused_and_not_unpickled(tmp_path):
    mark = tmp_path / "ran"
    evil = written({"x": Marks(mark)})
    (tmp_path / "calibration.pt").write_bytes(evil)
    with pytest.raises(ModelError, match=r"The artifact calibration\.pt cannot be read \(UnpicklingError\): it is dam"):
        read({"calibration.pt": tmp_path / "calibration.pt"}, "calibration.pt")
    for content in (evil, pickle.dumps(Marks(mark)), b"", os.urandom(64)):
        with pytest.raises(ModelError, match=r"The artifact example\.pt cannot be read"):
            read_example(content)
    assert not mark.exists()

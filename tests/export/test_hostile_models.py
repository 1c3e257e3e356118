"""ONNX and OpenVINO files that somebody else wrote: other operators and files are refused, and nothing is read."""

import random
import shutil

import numpy as np
import pytest
from archives import refusal

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.inputs import Input
from sparsebench.export.files.reading import content_beside
from sparsebench.export.files.timed import load_file, open_files

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")
helper, TensorProto = onnx.helper, onnx.TensorProto


def model_of(*nodes, weight=None, functions=(), domains=("",)):
    """A model of some nodes from x to y, with a weight w of four numbers."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    weight = weight or onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    graph = helper.make_graph(nodes or [helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    versions = [helper.make_opsetid(domain, 18 if domain == "" else 1) for domain in domains]
    return helper.make_model(graph, opset_imports=versions, functions=functions, ir_version=9)


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return folder / "net.onnx"


def outside(location, offset="0", length="16"):
    """A weight that lies in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weight.external_data.add(key=key, value=value)
    return weight


def write(path, model):
    path.write_bytes(model.SerializeToString())
    return path


def check_that_it_adds(path):
    files = open_files([path, path], batch=2)
    (feed,) = files[0].feeds
    (output,) = load_file(str(path), files[0].feeds, 1)()
    np.testing.assert_array_equal(output, feed.values() + np.arange(4, dtype=np.float32))


def test_a_model_as_it_should_be_is_run(path):
    write(path, model_of())
    check_that_it_adds(path)


def test_a_model_with_functions_of_its_own_is_run(path):
    body = [helper.make_node("Add", ["a", "b"], ["c"])]
    function = helper.make_function("mine", "plus", ["a", "b"], ["c"], body, [helper.make_opsetid("", 18)])
    write(
        path,
        model_of(
            helper.make_node("plus", ["x", "w"], ["y"], domain="mine"), functions=[function], domains=("", "mine")
        ),
    )
    check_that_it_adds(path)


@pytest.mark.parametrize(
    ("kind", "domain", "name"),
    [
        ("System", "evil", "evil::System"),
        ("Relu", "evil", "evil::Relu"),
        ("NoSuchOperator", "", "NoSuchOperator"),
        ("PythonOp", "com.microsoft", "com.microsoft::PythonOp"),
        ("EPContext", "com.microsoft", "com.microsoft::EPContext"),
        ("Relu", "ai.onnx.training", "ai.onnx.training::Relu"),
        ("Relu", "AI.ONNX", "AI.ONNX::Relu"),
    ],
)
def test_an_operator_of_another_library_is_refused(path, kind, domain, name):
    write(path, model_of(helper.make_node(kind, ["x"], ["y"], domain=domain), domains=("", domain or "ai.onnx.ml")))
    assert refusal(path) == (
        f"calls {name!r}, which is none of the operators of ONNX and of ONNX Runtime that only compute; it is not run. "
        "Export a network of PyTorch's own layers."
    )


def test_an_operator_within_a_branch_or_a_function_is_refused_as_well(path):
    y = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("System", ["x"], ["z"], domain="evil")], "b", [], [y])
    write(path, model_of(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)))
    assert refusal(path).startswith("calls 'evil::System'")
    body = [helper.make_node("System", ["a"], ["c"], domain="evil")]
    function = helper.make_function("mine", "f", ["a"], ["c"], body, [helper.make_opsetid("evil", 1)])
    write(
        path, model_of(helper.make_node("f", ["x"], ["y"], domain="mine"), functions=[function], domains=("", "mine"))
    )
    assert refusal(path).startswith("calls 'evil::System'")


def test_weights_in_a_file_beside_it_are_taken_in(path):
    write(path, model_of(weight=outside("net.onnx.data", "4")))
    path.with_name("net.onnx.data").write_bytes(bytes(4) + np.arange(4, dtype=np.float32).tobytes())
    check_that_it_adds(path)


@pytest.mark.parametrize(
    ("location", "offset", "length", "text"),
    [
        (
            "/etc/passwd",
            "0",
            "16",
            "its weights are said to be in '/etc/passwd'; only a file in the same folder is read.",
        ),
        ("../secret", "0", "16", "its weights are said to be in '../secret'; only a file in the same folder is read."),
        ("..", "0", "16", "its weights are said to be in '..'; only a file in the same folder is read."),
        ("a/../../secret", "0", "16", "only a file in the same folder is read."),
        ("..\\secret", "0", "16", "only a file in the same folder is read."),
        ("", "0", "16", "its weights are said to be in ''; only a file in the same folder is read."),
        ("gone", "0", "16", "its weights gone are not beside it; copy both files."),
        (".", "0", "16", "only a file in the same folder is read."),
        ("data", "8", "16", "says that 'w' lies at 8 of 'data' with 16 bytes, and the file has 16. Export it again."),
        ("data", "-8", "16", "says that 'w' lies at -8 of 'data' with 16 bytes"),
        ("data", "0", "9" * 5000, "says that 'w' lies at 0 of 'data' with 99999999999999999999 bytes"),
        ("data", "0", "8", "says that 'w' has 16 bytes, and there are 8."),
    ],
)
def test_weights_in_other_files_are_refused(path, tmp_path, location, offset, length, text):
    (tmp_path / "secret").write_bytes(bytes(16))
    path.with_name("data").write_bytes(bytes(16))
    write(path, model_of(weight=outside(location, offset, length)))
    assert text in refusal(path)


def test_weights_behind_a_link_to_another_folder_are_refused(path, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    path.with_name("data").symlink_to(tmp_path / "secret")
    write(path, model_of(weight=outside("data")))
    assert (
        refusal(path) == "its weights data are a link to another folder, which is not followed; copy the file itself."
    )
    path.with_name("data").unlink()
    path.with_name("own").write_bytes(bytes(16))
    path.with_name("data").symlink_to("own")
    assert content_beside(path, "data") == bytes(16)


def test_a_link_that_a_person_names_is_followed(path, tmp_path):
    write(path, model_of())
    (tmp_path / "link.onnx").symlink_to(path)
    check_that_it_adds(tmp_path / "link.onnx")


@pytest.mark.parametrize("content", [b"", b"\x00", b"no model", b"\x08\x07" * 40, bytes(range(256))])
def test_what_is_no_model_is_refused(path, content):
    path.write_bytes(content)
    assert "is no ONNX file" in refusal(path)


def test_changed_bytes_of_a_model_are_refused_by_a_sentence_or_run_nothing_else(path):
    content = model_of().SerializeToString()
    texts = []
    for seed in range(100):
        dice = random.Random(seed)
        made = bytearray(content)
        for _ in range(dice.choice([1, 2, 8])):
            made[dice.randrange(len(made))] = dice.randrange(256)
        path.write_bytes(made)
        try:
            open_files([path, path])
        except SparsebenchError as error:
            texts.append(str(error))
    assert texts


# -- OpenVINO ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A graph from x to x + w, and its weights, as two files."""
    folder = tmp_path_factory.mktemp("graph")
    operators = openvino.opset13
    x = operators.parameter([-1, 4], np.float32, name="x")
    x.output(0).get_tensor().set_names({"x", "input"})
    y = operators.add(x, operators.constant(np.arange(4, dtype=np.float32)))
    openvino.save_model(openvino.Model([y], [x]), folder / "net.xml", compress_to_fp16=False)
    return folder / "net.xml"


@pytest.fixture
def xml(graph, tmp_path):
    folder = tmp_path / "ir"
    shutil.copytree(graph.parent, folder)
    return folder / "net.xml"


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_graph_as_it_should_be_is_run(xml):
    (file, _) = open_files([xml, xml], batch=2)
    (feed,) = file.feeds
    (output,) = load_file(str(xml), file.feeds, 1)().values()
    np.testing.assert_array_equal(output, feed.values() + np.arange(4, dtype=np.float32))
    assert (feed.dtype, feed.shape) == ("float32", (2, 4))
    assert feed.name in {"x", "input"}


def test_operations_of_extensions_are_refused(xml):
    change(xml, 'type="Add" version="opset1"', 'type="Touch" version="extension"')
    assert refusal(xml) == (
        "has the operation 'Touch' of 'extension', which is none of OpenVINO's own sets; extensions are not run. "
        "Export a network of PyTorch's own layers."
    )


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            'type="Add" version="opset1"',
            'type="Add" version="opset1;/tmp/x.so"',
            "which is none of OpenVINO's own sets",
        ),
        ('type="Add" version="opset1"', 'type="../Add" version="opset1"', "has the operation '../Add' of 'opset1'"),
        ('size="16"', 'size="9999"', "and they have 16. Export it again."),
        ('offset="0"', 'offset="-1"', "lies at '-1' of its weights"),
        ('offset="0"', 'offset="' + "9" * 5000 + '"', "and they have 16."),
        ("<layers>", "<!DOCTYPE net [<!ENTITY a 'aa'>]><layers>", "declares entities or a type of its own"),
        ("<net", "<other", "is no graph of OpenVINO"),
        ('element_type="f32"', 'element_type="string"', "it takes string, which NumPy cannot make"),
    ],
)
def test_a_graph_that_is_more_than_one_is_refused(xml, old, new, text):
    change(xml, old, new)
    assert text in refusal(xml)


def test_entities_that_grow_are_refused_before_they_do(xml):
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    xml.write_text(f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a0 "a">{levels}]><net>&a11;</net>')
    assert refusal(xml).startswith("declares entities or a type of its own")
    xml.write_bytes(xml.read_text().encode("utf-16"))
    assert refusal(xml).startswith("is no graph of OpenVINO")


def test_elements_that_lie_3000_deep_are_refused(xml):
    change(
        xml,
        "<layers>",
        "<layers><layer type='If' version='opset8'><body>" * 1000 + "</body></layer></layers>" * 1000 + "<layers>",
    )
    assert refusal(xml) == "has elements more than 64 deep in each other; export it again."


def test_weights_of_a_graph_behind_a_link_to_another_folder_are_refused(xml, tmp_path):
    weights = xml.with_suffix(".bin")
    shutil.move(weights, tmp_path / "elsewhere.bin")
    weights.symlink_to(tmp_path / "elsewhere.bin")
    assert (
        refusal(xml) == "its weights net.bin are a link to another folder, which is not followed; copy the file itself."
    )


def test_what_wrote_a_graph_and_how_is_left_out(xml):
    from sparsebench.export.files.openvino import _rewritten, read_inputs

    change(xml, "</net>", "<rt_info><runtime_options><CACHE_DIR value='/tmp/evil'/></runtime_options></rt_info></net>")
    net, _ = _rewritten(xml)
    assert [part.tag for part in net] == ["layers", "edges"]
    assert read_inputs(xml)[0] == Input(read_inputs(xml)[0].name, "float32", (None, 4))

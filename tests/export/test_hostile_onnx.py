"""ONNX files that somebody else wrote: other operators are refused, and no file is read that lies elsewhere."""

import random

import numpy as np
import pytest
from archives import refusal

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.reading import content_beside
from sparsebench.export.files.timed import load_file, open_files

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
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
        ("Relu", "ai.onnx.contrib", "ai.onnx.contrib::Relu"),
        ("Relu", "com.microsoft.nchwc", "com.microsoft.nchwc::Relu"),
        ("Gelu", "com.microsoft ", "com.microsoft ::Gelu"),
        ("EPContext", "com.microsoft.experimental", "com.microsoft.experimental::EPContext"),
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


def test_weights_in_other_files_are_found_wherever_in_a_model_they_are_named(path):
    """In a node of a branch of a function, and among the values of a sparse tensor."""
    far = outside("../secret")
    y = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Constant", [], ["z"], value=far)], "b", [], [y])
    body = [helper.make_node("If", ["a"], ["c"], then_branch=branch, else_branch=branch)]
    function = helper.make_function("mine", "f", ["a"], ["c"], body, [helper.make_opsetid("", 18)])
    call = helper.make_node("f", ["x"], ["y"], domain="mine")
    sparse = model_of()
    sparse.graph.sparse_initializer.append(onnx.SparseTensorProto(values=far, dims=[9]))
    for model in (model_of(call, functions=[function], domains=("", "mine")), sparse):
        write(path, model)
        assert refusal(path).startswith("its weights are said to be in '../secret'; only a file in the same folder")


def test_a_function_that_calls_itself_is_refused(path):
    body = [helper.make_node("f", ["a"], ["c"], domain="mine")]
    function = helper.make_function("mine", "f", ["a"], ["c"], body, [helper.make_opsetid("mine", 1)])
    call = helper.make_node("f", ["x"], ["y"], domain="mine")
    write(path, model_of(call, functions=[function], domains=("", "mine")))
    feeds = open_files([path, path], batch=2)[0].feeds
    with pytest.raises(SparsebenchError, match=r"net\.onnx: InvalidGraph: "):
        load_file(str(path), feeds, 1)


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

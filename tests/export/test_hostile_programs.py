"""Programs of .pt2 files that somebody else wrote: what would do more than compute is refused, and nothing happens."""

import io
import json
import zipfile

import pytest
import torch
from archives import (
    MODEL,
    editing,
    graph_of,
    node_of,
    refusal,
    replacing,
    tampered,
)

from sparsebench.export.files import operators
from sparsebench.export.files.pt2 import rewrite

RELU = "torch.ops.aten.relu.default"


def from_file(file, shared=True):
    """Return an edit that has a program open a file and write zeros to it."""

    def edit(model):
        node = node_of(model, RELU)
        node["target"] = "torch.ops.aten.from_file.default"
        node["inputs"] = [
            {"name": "filename", "arg": {"as_string": str(file)}, "kind": 1},
            {"name": "shared", "arg": {"as_bool": shared}, "kind": 1},
            {"name": "size", "arg": {"as_int": 6}, "kind": 1},
        ]

    return edit


def test_a_program_that_writes_to_a_file_is_refused_and_the_file_is_as_it_was(good, path, tmp_path):
    victim = tmp_path / "precious.txt"
    victim.write_text("precious")
    tampered(good, path, editing(from_file(victim)))
    assert refusal(path) == (
        "calls 'torch.ops.aten.from_file.default', which is none of the operators that only compute; it is not run. "
        "Export a network of PyTorch's own layers."
    )
    assert victim.read_text() == "precious"
    # What it is refused for is real: torch itself makes the file longer, to have room for the numbers asked for.
    program = torch.export.load(path)
    with pytest.raises(RuntimeError):
        program.module(check_guards=False)(torch.randn(2, 4))
    assert victim.stat().st_size == 24


def renamed(node):
    node["name"] = "a = open('ran', 'w')\n    b"


def keyworded(model):
    call = model["graph_module"]["module_call_graph"][0]["signature"]
    call["forward_arg_names"] = ["input=open('ran', 'w')"]


def enum_in_tree(model):
    call = model["graph_module"]["module_call_graph"][0]["signature"]
    evil = json.dumps([{"__enum__": True, "fqn": "antigravity:Fly", "name": "x"}])
    leaf = {"type": None, "context": None, "children_spec": []}
    call["out_spec"] = json.dumps([1, {"type": "builtins.dict", "context": evil, "children_spec": [leaf]}])


def kind_in_tree(model):
    call = model["graph_module"]["module_call_graph"][0]["signature"]
    call["out_spec"] = json.dumps([1, {"type": "collections.deque", "context": "1", "children_spec": []}])


def keywords_in_tree(model):
    call = model["graph_module"]["module_call_graph"][0]["signature"]
    call["in_spec"] = call["in_spec"].replace(
        '"builtins.dict", "context": "[]", "children_spec": []',
        '"builtins.dict", "context": "[\\"a=open(1)\\"]", "children_spec": '
        '[{"type": null, "context": null, "children_spec": []}]',
    )


def operator_argument(model):
    node_of(model, RELU)["inputs"][0]["arg"] = {"as_operator": "torch.ops.aten.from_file.default"}


def custom_object(model):
    graph_of(model)["custom_obj_values"] = {"x": {"name": "x", "class_fqn": "__torch__.torch.classes.x"}}


def inner_graph(model):
    inner = json.loads(json.dumps(graph_of(model)))
    node_of({"graph_module": {"graph": inner}}, RELU)["target"] = "torch.ops.aten.from_file.default"
    node = node_of(model, RELU)
    node["target"] = "torch.ops.higher_order.cond"
    node["inputs"].append({"name": "", "arg": {"as_graph": {"name": "g", "graph": inner}}, "kind": 1})


def nested(model):
    graph = graph_of(model)
    for _ in range(20):
        node = {
            "target": "torch.ops.higher_order.cond",
            "inputs": [{"name": "", "arg": {"as_graph": {"name": "g", "graph": graph}}, "kind": 1}],
            "outputs": [],
            "metadata": {},
        }
        graph = {**graph_of(model), "nodes": [node]}
    model["graph_module"]["graph"] = graph


def other_device(model):
    next(iter(graph_of(model)["tensor_values"].values()))["device"]["type"] = "cuda"


def large_power(model):
    node = node_of(model, RELU)
    node["target"] = "_operator.pow"
    node["inputs"] = [{"name": "", "arg": {"as_int": 10**18}, "kind": 1}] * 2


def text_argument(model):
    node_of(model, RELU)["inputs"].append({"name": "x", "arg": {"as_string": "/etc/passwd"}, "kind": 1})


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda model: renamed(node_of(model, RELU)), "stands where a name of letters, digits and '_' is expected"),
        (keyworded, "stands where a name of letters, digits and '_' is expected"),
        (keywords_in_tree, "stands where a name of letters, digits and '_' is expected"),
        (enum_in_tree, "stands where a plain key is expected"),
        (kind_in_tree, "its inputs or outputs are of the kind 'collections.deque'"),
        (operator_argument, "it holds a value of the kind 'as_operator', which plain networks have not"),
        (custom_object, "it holds objects of classes of their own"),
        (inner_graph, "calls 'torch.ops.aten.from_file.default'"),
        (nested, "its graphs lie more than 16 deep in each other"),
        (other_device, "'cuda' stands where the device 'cpu' is expected"),
        (large_power, "it raises numbers to a power that is not known to be at most 8"),
        (text_argument, "'/etc/passwd' stands where a word such as 'linear' is expected"),
        (lambda model: model.pop("graph_module"), "parts of it are missing"),
        (lambda model: node_of(model, RELU).pop("inputs"), "it has a call without a target, inputs or outputs"),
        (lambda model: model["range_constraints"].update(u99999999={}), "stands where a symbol such as 's0'"),
    ],
)
def test_a_program_that_is_more_than_one_is_refused(good, path, edit, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tampered(good, path, editing(edit))
    assert text in refusal(path)
    assert not (tmp_path / "ran").exists()


def test_a_custom_operator_is_refused_although_its_library_is_there(good, path, tmp_path):
    with torch.library._scoped_library("evilops", "DEF") as library:
        library.define("touch(Tensor x) -> Tensor")
        library.impl("touch", lambda x: [(tmp_path / "ran").touch(), x][1], "CompositeExplicitAutograd")
        tampered(good, path, replacing(MODEL, RELU.encode(), b"torch.ops.evilops.touch.default"))
        assert "calls 'torch.ops.evilops.touch.default', which is none of the operators" in refusal(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "target",
    [
        *(
            "torch.os.system",
            "torch.ops.load_library",
            "torch.hub.load",
            "_operator.attrgetter",
            "_operator.methodcaller",
        ),
        *("torch.ops.aten.__class__.default", "torch.ops.aten.relu.default.__call__", "math.factorial", "os.system"),
        *("torch.ops.aten.add.out", "torch.ops.aten.set_.source_Tensor", "torch.ops.aten._print.default"),
        *("torch.ops.aten.resize_.default", "torch.ops.higher_order.call_torchbind", "torch.ops.prims.empty.default"),
        *("torch.ops.higher_order.while_loop", "torch.ops.profiler._record_function_enter_new.default", "#ns:op"),
        *(
            "torch.ops.aten.save.default",
            "torch.ops.aten.relu.default\n",
            "torch.serialization.load",
            "_operator.lshift",
        ),
        *(
            "torch.ops.torchvision.nms.default",
            "torch.ops.torchvision.deform_conv2d.default",
            "torch.ops.prim.device.default",
        ),
        *(
            "torch.ops.image.decode_image.default",
            "torch.ops.image.read_file.default",
            "torch.ops.image.write_file.default",
        ),
        *("torch.ops.aten._reshape_alias.default", "torch.ops.aten.set_data.default", "torch.ops.aten.view.dtype_out"),
        *("torch.ops.higher_order.auto_functionalized", "torch.ops.higher_order.triton_kernel_wrapper_mutation"),
        *("torch.ops.mkldnn._linear_pointwise.default", "torch.ops.rngprims.philox_rand.default"),
        *("torch.ops.aten.relu.default;import os", "torch\uff0eops.aten.relu.default", " torch.ops.aten.relu.default"),
        *("torch.ops.inductor._reinterpret_tensor.default", "torch.ops._c10d_functional.all_reduce.default", ""),
    ],
)
def test_no_other_call_is_let_through(target):
    assert operators.namespace_of(target) is None


def test_every_operator_on_the_list_is_there_or_was_and_takes_no_text_that_could_be_a_path():
    unknown, written = [], []
    for name in operators.ALLOWED["aten"]:
        packet = getattr(torch.ops.aten, name, None)
        if packet is None:
            unknown.append(name)
            continue
        for overload in packet.overloads():
            schema = getattr(packet, overload)._schema
            for argument in schema.arguments:
                assert str(argument.type) != "str" or argument.name not in {"filename", "path", "file", "name"}
            # What is given as out, by its name only, is the program's own.
            writes = any(a.alias_info and a.alias_info.is_write and not a.kwarg_only for a in schema.arguments)
            if writes and not name.endswith("_") and operators.namespace_of(f"torch.ops.aten.{name}.{overload}"):
                written.append(f"{name}.{overload}")
    assert len(unknown) < 20, unknown
    # Running statistics of batch normalisation, and lists that are sorted, are the program's own.
    assert {one.partition(".")[0] for one in written} <= {
        *("_native_batch_norm_legit", "batch_norm", "instance_norm", "native_batch_norm", "rrelu", "sort", "squeeze"),
    }, written


def test_guards_and_traces_of_a_file_are_left_out(good, path, tmp_path):
    def edit(model):
        model["guards_code"] = [f"open({str(tmp_path / 'ran')!r}, 'w')"]
        node_of(model, RELU)["metadata"]["stack_trace"] = "x\n    open('ran', 'w')"
        model["graph_module"]["metadata"]["custom"] = "{}"

    tampered(good, path, editing(edit))
    with zipfile.ZipFile(io.BytesIO(rewrite(path.read_bytes())[0])) as archive:
        written = archive.read(f"archive/{MODEL}").decode()
    assert "open(" not in written
    assert json.loads(written)["guards_code"] == []

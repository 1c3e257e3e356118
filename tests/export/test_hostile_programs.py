"""A .pt2 that somebody else wrote: what would run code or touch files is refused by a sentence, and nothing happens."""

import io
import json
import os
import random
import struct
import sys
import zipfile

import pytest
import torch
from archives import (
    EXAMPLES,
    MODEL,
    WEIGHTS,
    Marks,
    editing,
    graph_of,
    node_of,
    refusal,
    replacing,
    tampered,
    unchanged,
)
from torch import nn
from torch.export import Dim

from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.export.files import operators, sizes
from sparsebench.export.files.pt2 import read_inputs, rewrite
from sparsebench.export.files.timed import open_files

TIMES = int(os.environ.get("SPARSEBENCH_FUZZ", "1"))

RELU = "torch.ops.aten.relu.default"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A program with an open first size."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    program = torch.export.export(network, (torch.randn(2, 4),), dynamic_shapes=({0: Dim("batch", min=1)},))
    path = tmp_path_factory.mktemp("good") / "good.pt2"
    torch.export.save(program, path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pt2"


# -- the three that ran ------------------------------------------------------------------------------------------------


def test_example_inputs_under_a_name_of_other_case_are_refused_and_never_unpickled(good, path, tmp_path):
    mark, evil = tmp_path / "ran", io.BytesIO()
    torch.save(Marks(mark), evil)
    change = lambda name, content: None if name == EXAMPLES else content  # noqa: E731
    tampered(good, path, change, [("good/data/Sample_Inputs/MODEL.pt", evil.getvalue())])
    assert refusal(path) == (
        "is no archive as torch.export.save writes it: it holds 'data/Sample_Inputs/MODEL.pt', a name that is not "
        "written there. Export the network again."
    )
    assert not mark.exists()


def test_example_inputs_are_not_read_at_all(good, path, tmp_path):
    mark, evil = tmp_path / "ran", io.BytesIO()
    torch.save(Marks(mark), evil)
    tampered(good, path, lambda name, content: evil.getvalue() if name == EXAMPLES else content)
    (one,) = read_inputs(path)
    assert one.shape == (None, 4)
    with zipfile.ZipFile(io.BytesIO(rewrite(path.read_bytes())[0])) as archive:
        assert archive.read(f"archive/{EXAMPLES}") == b""
    assert not mark.exists()
    # What it is left out for is real: torch itself runs it.
    with pytest.raises(Exception, match=r".*"):
        torch.export.load(path).module()(1)
    assert mark.exists()


@pytest.mark.parametrize("order", ["ours first", "ours last"])
def test_an_archive_with_two_directories_is_refused(good, path, tmp_path, order):
    mark, evil = tmp_path / "ran", io.BytesIO()
    torch.save(Marks(mark), evil)
    other = tampered(
        good, tmp_path / "other.pt2", lambda name, content: evil.getvalue() if name == EXAMPLES else content
    )
    ours = good.read_bytes()
    path.write_bytes(ours + other if order == "ours first" else other + ours)
    assert "bytes that belong to no entry, or to two" in refusal(path)
    assert not mark.exists()


def test_a_comment_after_the_directory_is_refused_be_it_another_archive_or_not(good, path):
    content = good.read_bytes()
    for comment, text in ((content, "bytes that belong to no entry, or to two"), (b"hello", "something follows")):
        path.write_bytes(content[:-2] + struct.pack("<H", len(comment)) + comment)
        assert text in refusal(path)


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


# -- other names and other archives -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("good/data/aotinductor/model/net.so", "holds compiled code, which is not run"),
        ("good/data/weights/model.pt", "has pickled weights, as torch wrote them before 2.8"),
        ("good/data/constants/custom_obj_0", "holds 'custom_obj_0' as a pickle, and reading it could run any code"),
        ("good/data/constants/opaque_obj_0", "holds 'opaque_obj_0' as a pickle"),
        ("serialized_state_dict.pt", "its entries lie in 2 folders, where one is allowed"),
        ("other/models/model.json", "its entries lie in 2 folders, where one is allowed"),
        ("good/models/other.json", "it holds 'models/other.json', a name that is not written there"),
        ("good/Models/model.json", "it holds 'Models/model.json', a name that is not written there"),
        ("good/models\\model.json", "a name that is not written there"),
        ("good/data/weights/../weights/weight_0", "a name that is not written there"),
        ("good/data/weights/weight_\u0660", "a name that is not written there"),
        ("good/models/model.json", "it holds one name twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_more_in_it_is_refused(good, path, name, text):
    tampered(good, path, unchanged, [(name, "{}")])
    assert text in refusal(path)


def test_an_entry_under_another_name_than_its_directory_says_is_refused(good, path):
    content = good.read_bytes()
    assert content.count(b"good/models/model.json") == 2
    path.write_bytes(content.replace(b"good/models/model.json", b"good/models/mOdel.json", 1))
    assert "has another name than the directory says" in refusal(path)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(good, path):
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) if name != f"good/{EXAMPLES}" else bytes(10**7))
    assert path.stat().st_size < 10**5
    assert "is compressed, which none of its entries is" in refusal(path)


def test_bytes_between_entries_are_refused(good, path):
    content = good.read_bytes()
    directory = content.rindex(b"PK\x05\x06")
    start = struct.unpack("<L", content[directory + 16 : directory + 20])[0]
    longer = content[:start] + bytes(7) + content[start:directory]
    end = bytearray(content[directory:])
    end[16:20] = struct.pack("<L", start + 7)
    path.write_bytes(longer + end)
    assert "there are 7 bytes" in refusal(path)


# -- other programs ---------------------------------------------------------------------------------------------------


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


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [
        "__import__('os').system('touch ran')",
        "Symbol('s0').__class__",
        "Symbol('s0', positive=True, integer=open('ran', 'w'))",
        "Symbol('s0; x')",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "exec('1')",
        "Add('a b', 1)",
        "sympify('1')",
        "Integer(10)**10**9",
        "Pow(Integer(9), Pow(Integer(9), Integer(8)))",
        "Pow(Pow(Integer(9), Integer(8)), Integer(8))",
        "Pow(Integer(2), Integer(9999))",
        "Integer(" + "9" * 5000 + ")",
        "Integer(" + "9" * 40 + ")",
        "Add(" * 100 + "1" + ")" * 100,
        "-" * 3000 + "1",
        "LShift(1, 62)",
        "factorial(Integer(99999))",
        "f'{1}'",
        "s0 if s0 else s1",
        "Symbol('s0' * 9)",
        "*s0",
        "",
        None,
        7,
    ],
)
def test_a_size_that_is_more_than_arithmetic_is_refused(size, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SparsebenchError, match="has a size that is no arithmetic of at most 4,000 letters and 40 levels"
    ):
        sizes.rewritten(size)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "size",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(16), Symbol('s28', positive=True, integer=True), Symbol('s98', positive=True, integer=True))",
        "Min(Integer(16), Mul(Integer(16), Symbol('s28', positive=True, integer=True)))",
        "FloorDiv(Add(Symbol('s0', integer=True), Integer(-1)), Integer(2))",
        "Pow(Symbol('s0', integer=True), Integer(2))",
        "StrictLessThan(Symbol('u0', integer=True), Integer(20))",
        "ToFloat(Symbol('u0', integer=True))",
        "((s0 * 2) + 1)",
        "Rational(1, 2)",
    ],
)
def test_a_size_as_torch_writes_it_means_the_same(size):
    assert sizes.rewritten(size) == size
    assert sizes.rewritten(sizes.rewritten(size)) == size


def test_a_size_in_a_file_is_refused_with_its_name(good, path):
    tampered(good, path, replacing(MODEL, b"Symbol('", b"__import__('"))
    assert refusal(path).startswith(
        'has a size that is no arithmetic of at most 4,000 letters and 40 levels: "__import__'
    )


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


# -- weights ----------------------------------------------------------------------------------------------------------


def larger(config):
    config["config"]["0.weight"]["tensor_meta"]["sizes"][0]["as_int"] = 10**12


def shifted(config):
    config["config"]["0.weight"]["tensor_meta"]["storage_offset"]["as_int"] = 9


def backwards(config):
    config["config"]["0.weight"]["tensor_meta"]["strides"][0]["as_int"] = -1


def elsewhere(config):
    config["config"]["0.weight"]["path_name"] = "../../../etc/passwd"


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (larger, "the tensor '0.weight' is not in it as its table says"),
        (shifted, "the tensor '0.weight' is not in it as its table says"),
        (backwards, "the tensor '0.weight' is not in it as its table says"),
        (elsewhere, "'../../../etc/passwd' stands where the name of an entry is expected"),
        (lambda config: config["config"]["0.weight"].update(use_pickle=True), "holds '0.weight' as a pickle"),
        (lambda config: config["config"]["0.weight"].update(path_name="opaque_obj_0"), "holds '0.weight' as a pickle"),
        (lambda config: config["config"].update({"__class__": config["config"]["0.weight"]}), "a path of names"),
        (lambda config: config["config"]["0.weight"].pop("tensor_meta"), "is no archive of torch.export (KeyError"),
    ],
)
def test_weights_that_are_not_where_their_table_says_are_refused(good, path, edit, text):
    tampered(good, path, editing(edit, WEIGHTS))
    assert text in refusal(path)


# -- sizes of everything ----------------------------------------------------------------------------------------------


def test_text_that_lies_3000_deep_is_refused(good, path):
    tampered(good, path, lambda name, content: b"[" * 3000 + b"]" * 3000 if name == MODEL else content)
    assert "its parts lie more than" in refusal(path)


def test_a_number_of_5000_digits_is_refused(good, path):
    tampered(good, path, lambda name, content: b'{"x": ' + b"9" * 5000 + b"}" if name == MODEL else content)
    assert "is no archive of torch.export (ValueError" in refusal(path)


def test_a_file_larger_than_the_memory_can_hold_is_refused_with_the_limit(good, monkeypatch):
    monkeypatch.setattr("sparsebench.export.files.reading.memory_given", lambda: 4096.0)
    told = refusal(good)
    assert "good.pt2 is" in told
    assert "at most 1.02e-06 GB, a quarter of the memory, can be read on this machine" in told


def test_a_graph_of_more_text_than_any_network_has_is_refused_with_the_limit(good, monkeypatch):
    monkeypatch.setattr("sparsebench.export.files.reading._MOST_TEXT", 10)
    assert refusal(good) == "describes its graph in 0 MB of text; at most 0 MB are read."


def test_inputs_larger_than_the_memory_can_hold_are_refused_with_the_limit(good):
    with pytest.raises(
        ProblemsError, match=r"input 'input' of the shape 2000000000,4 takes 32 GB; all inputs together"
    ):
        open_files([good, good], batch=2 * 10**9)


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes with names")
def test_a_pipe_is_no_file(path):
    os.mkfifo(path)
    assert "there is no such file" in refusal(path)


def said_of(content):
    """The sentence with which a changed archive is refused, if it is; what is not has no other operators."""
    try:
        _, namespaces = rewrite(content)
    except SparsebenchError as error:
        return [str(error)]
    assert namespaces == {"aten"}
    return []


def test_changed_bytes_are_refused_by_a_sentence_or_mean_no_other_operators(good, path):
    content = good.read_bytes()
    said = []
    for seed in range(150 * TIMES):
        dice = random.Random(seed)
        made = bytearray(content)
        for _ in range(dice.choice([1, 2, 8])):
            made[dice.randrange(len(made))] = dice.randrange(256)
        said += said_of(bytes(made))
    assert said
    assert all(text[0].islower() for text in said)


def leaves(value, where=()):
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*where, key))
    else:
        yield where


STRANGE = [
    None,
    True,
    -1,
    2**70,
    10**400,
    1.5,
    "",
    "x y",
    "__class__",
    "torch.os.system",
    [],
    {},
    [[]],
    {"as_int": "x"},
]


def test_changed_values_are_refused_by_a_sentence_or_mean_no_other_operators(good, path):
    with zipfile.ZipFile(good) as archive:
        model = archive.read(f"good/{MODEL}").decode()
    places = list(leaves(json.loads(model)))
    said = []
    for seed in range(150 * TIMES):
        dice = random.Random(seed)
        made = json.loads(model)
        *parents, last = dice.choice(places)
        target = made
        for key in parents:
            target = target[key]
        target[last] = dice.choice(STRANGE)
        changed = json.dumps(made).encode()
        content = tampered(good, path, lambda name, old: changed if name == MODEL else old)  # noqa: B023 - called at once
        said += said_of(content)
    assert said
    assert all(text[0].islower() for text in said)


# -- what is made anew computes the same ------------------------------------------------------------------------------


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.places, self.lstm, self.head = nn.Embedding(9, 4), nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, words):
        return self.head(self.lstm(self.places(words))[0][:, -1])


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.arange(3.0))

    def forward(self, first, others):
        with torch.no_grad():
            doubled = first * 2
        count = first.shape[0]
        return {"sum": doubled + others["k"][0] + self.shift, "rest": (first.mean() / count, torch.ones(count))}


class Branches(nn.Module):
    def forward(self, values):
        return torch.cond(values.sum() > 0, lambda v: v + 1, lambda v: v - 1, (values,))


NETWORKS = {
    "convolutions": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        (torch.randn(2, 3, 8, 8),),
    ),
    "sequences": (Sequences(), (torch.ones(2, 5, dtype=torch.long),)),
    "attention": (nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), (torch.randn(2, 3, 8),)),
    "nested": (Nested(), (torch.randn(2, 3), {"k": [torch.randn(2, 3)]})),
    "branches": (Branches(), (torch.randn(2, 3),)),
}


def int8_network():
    """A network in int8 by PT2E, which calls operators that a library registers, and its inputs."""
    pytest.importorskip("torchao")
    from sparsebench.backends.inductor import quantization

    inputs = (torch.randn(2, 1, 8, 8),)
    prepared = quantization.prepare(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).eval(), inputs)
    prepared(*inputs)
    return quantization.convert(prepared)[0], inputs


@pytest.mark.parametrize("name", [*NETWORKS, "int8"])
def test_what_is_written_anew_computes_the_same_bits(name):
    network, inputs = NETWORKS[name] if name in NETWORKS else int8_network()
    flat = torch.utils._pytree.tree_map(lambda _: {0: Dim("batch", min=1)}, inputs)
    program = torch.export.export(
        network if name == "int8" else network.eval(), inputs, dynamic_shapes=flat if name != "branches" else None
    )
    saved = io.BytesIO()
    torch.export.save(program, saved)
    written, _ = rewrite(saved.getvalue())
    again = torch.export.load(io.BytesIO(written))
    expected, found = program.module()(*inputs), again.module(check_guards=False)(*inputs)
    before, after = (torch.utils._pytree.tree_flatten(one) for one in (expected, found))
    assert before[1] == after[1]
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))

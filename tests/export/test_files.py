"""Exported networks: what may be read, what they are fed, and how they are compared."""

import json
import re
from pathlib import Path

import pytest
import torch
from sweeps import sparsebench
from torch import nn
from torch.export import Dim
from typer.testing import CliRunner

from sparsebench.cli.app import app
from sparsebench.errors import ProblemsError
from sparsebench.export.files.asked import parse_shapes, parse_verdicts
from sparsebench.export.files.inputs import Feed, Input, feeds_for
from sparsebench.export.files.timed import (
    Exported,
    differing_feeds,
    judge,
    load_file,
    open_files,
    unique_names,
)
from sparsebench.statistics.verdicts import Validity, Verdict


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """The same network as fixed.pt2, open.pt2 and, where the runtimes are there, open.onnx and open.xml."""
    root = tmp_path_factory.mktemp("exported")
    example = (torch.randn(2, 3, 8, 8),)
    torch.export.save(torch.export.export(network, example), root / "fixed.pt2")
    program = torch.export.export(network, example, dynamic_shapes=({0: Dim("batch", min=1, max=64)},))
    torch.export.save(program, root / "open.pt2")
    return root


@pytest.fixture(scope="module")
def onnx(network, folder):
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module)
    path = folder / "open.onnx"
    shapes = ({0: Dim("batch", min=1, max=64)},)
    torch.onnx.export(network, (torch.randn(2, 3, 8, 8),), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    return path


@pytest.fixture(scope="module")
def xml(onnx):
    openvino = pytest.importorskip("openvino")
    path = onnx.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)
    return path


def fed(path, **settings):
    (file, _) = open_files([path, path], **settings)
    return file


def check_that_it_computes_what_the_network_does(path, network):
    file = fed(path, batch=3)
    (feed,) = file.feeds
    assert feed.shape == (3, 3, 8, 8)
    output = load_file(str(path), file.feeds, 1)()
    output = (
        output
        if isinstance(output, torch.Tensor)
        else next(iter(output.values() if hasattr(output, "values") else output))
    )
    with torch.inference_mode():
        expected = network(torch.from_numpy(feed.values()))
    torch.testing.assert_close(torch.as_tensor(output), expected, rtol=1e-2, atol=1e-2)


def test_a_program_of_torch_export_computes_what_its_network_does(folder, network):
    check_that_it_computes_what_the_network_does(folder / "open.pt2", network)


def test_an_onnx_file_computes_what_its_network_does(onnx, network):
    check_that_it_computes_what_the_network_does(onnx, network)


def test_an_openvino_file_computes_what_its_network_does(xml, network):
    check_that_it_computes_what_the_network_does(xml, network)


def test_sizes_that_a_file_fixes_need_not_be_said(folder):
    assert fed(folder / "fixed.pt2").feeds == (Feed("input", "float32", (2, 3, 8, 8)),)


def test_every_problem_of_every_file_is_told_at_once(folder, tmp_path):
    (tmp_path / "net.pt").write_bytes(b"")
    (tmp_path / "weights.safetensors").write_bytes(b"")
    (tmp_path / "alone.xml").write_text("<net/>")
    (tmp_path / "text.pt2").write_text("no archive")
    paths = [*(tmp_path / name for name in ("net.pt", "weights.safetensors", "net.foo", "gone.onnx", "text.pt2"))]
    with pytest.raises(ProblemsError) as caught:
        open_files([*paths, folder / "fixed.pt2"], batch=4)
    assert [problem.partition(": ")[2] for problem in caught.value.problems] == [
        "this is a pickle, and reading it could run any code. Export the network: "
        "torch.export.save(torch.export.export(net.eval(), (example,)), 'net.pt2').",
        "this holds weights only. Export the network: "
        "torch.export.save(torch.export.export(net.eval(), (example,)), 'net.pt2').",
        "the format .foo is not known; give .pt2, .onnx, .xml, .tflite.",
        "there is no such file.",
        "is no archive of torch.export (BadZipFile: File is not a zip file); write it with torch.export.save.",
        "input 'input' has the shape 2,3,8,8, so that a batch of 4 cannot be run; leave --batch away, or export the "
        "network with an open first size.",
    ]


def test_one_file_alone_is_nothing_to_compare(folder):
    with pytest.raises(ProblemsError, match="There is nothing to compare; give two files or more"):
        open_files([folder / "fixed.pt2"])


def test_openvino_weights_that_were_left_behind_are_asked_for(tmp_path):
    pytest.importorskip("openvino")
    (tmp_path / "alone.xml").write_text("<net/>")
    with pytest.raises(ProblemsError, match=r"its weights alone.bin are not beside it; copy both files"):
        open_files([tmp_path / "alone.xml"] * 2)


@pytest.mark.parametrize(
    ("suffix", "name"), [(".onnx", "onnxruntime"), (".xml", "openvino"), (".tflite", "ai-edge-litert")]
)
def test_a_runtime_that_is_missing_is_named_with_how_to_install_it(suffix, name, tmp_path, monkeypatch):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"")
    monkeypatch.setattr("sparsebench.export.files.timed.find_spec", lambda _: None)
    with pytest.raises(ProblemsError, match=f"is not installed; pip install {name}."):
        open_files([path, path])


# -- what is fed ------------------------------------------------------------------------------------------------------

OPEN = Input("x", "float32", (None, 3, None, None))


def test_open_sizes_are_asked_for_and_taken_from_the_shape_given():
    _, (problem,) = feeds_for([OPEN], 1, [])
    assert problem == "input 'x' has the shape ?,3,?,?; say all of it with --input-shape, e.g. 1,3,224,224."
    assert feeds_for([OPEN], None, [(2, 3, 4, 4)]) == ((Feed("x", "float32", (2, 3, 4, 4)),), [])


@pytest.mark.parametrize(
    ("batch", "shape", "problem"),
    [
        (None, (1, 4, 4, 4), "input 'x' has the shape ?,3,?,?, which --input-shape 1,4,4,4 does not fit."),
        (None, (1, 3, 4), "input 'x' has the shape ?,3,?,?, which --input-shape 1,3,4 does not fit."),
        (2, (1, 3, 4, 4), "input 'x' has the shape 1,3,4,4, so that a batch of 2 cannot be run; leave --batch away,"),
    ],
)
def test_a_shape_that_does_not_fit_is_told(batch, shape, problem):
    _, (found,) = feeds_for([OPEN], batch, [shape])
    assert found.startswith(problem)


def test_more_shapes_than_inputs_are_too_many():
    _, problems = feeds_for([Input("x", "float32", (1,))], None, [(1,), (2,)])
    assert problems == ["has 1 inputs, but 2 shapes were given."]


def test_feeds_of_one_shape_are_the_same_and_whole_numbers_are_places_in_a_table():
    tokens = Feed("x", "int64", (50, 7)).values()
    assert (tokens.dtype, set(tokens.ravel().tolist())) == ("int64", {0, 1})
    assert Feed("x", "bool", (50,)).values().dtype == bool
    assert Feed("x", "bfloat16", (2,)).values().dtype == "float32"
    assert (Feed("a", "float32", (9,)).values() == Feed("b", "float32", (9,)).values()).all()


def test_files_that_do_different_work_are_told():
    small, large = (
        Exported(name, Path(name), (Feed("x", "float32", (1, size)),)) for name, size in (("a", 1), ("b", 2))
    )
    assert differing_feeds([small, small]) is None
    assert differing_feeds([small, large]).endswith("a takes 1×1; b takes 1×2.")


def test_names_are_file_names_with_folders_where_they_must_be():
    paths = [Path("a/x.pt2"), Path("b/x.pt2"), Path("b/y.pt2"), Path("b/y.pt2")]
    assert list(unique_names(paths)) == ["a/x.pt2", "b/x.pt2", "b/y.pt2", "b/y.pt2 (again)"]


# -- verdicts and the command -----------------------------------------------------------------------------------------


class Judged(dict):
    baseline = "a"

    def __init__(self, state, **verdicts):
        self.validity = Validity(state)
        super().__init__(a=Named("a", "BASELINE"), **{name: Named(name, verdict) for name, verdict in verdicts.items()})


class Named:
    def __init__(self, name, verdict):
        self.name, self.verdict = name, Verdict(verdict)


@pytest.mark.parametrize(
    ("comparison", "wanted", "judgement", "why"),
    [
        (Judged("VALID", b="SLOWER"), (), "as asked", ""),
        (Judged("VALID", b="INCONCLUSIVE"), (), "as asked", ""),
        (Judged("INVALID", b="FASTER"), (), "open", "the session is INVALID; none of its verdicts can be trusted."),
        (
            Judged("INVALID", b="FASTER"),
            ("FASTER",),
            "open",
            "the session is INVALID; none of its verdicts can be trusted.",
        ),
        (Judged("VALID", b="FASTER", c="EQUIVALENT"), ("FASTER", "EQUIVALENT"), "as asked", ""),
        (Judged("NOISY", b="FASTER", c="FASTER"), ("FASTER",), "as asked", ""),
        (
            Judged("NOISY", b="TOO FEW ROUNDS"),
            ("FASTER",),
            "open",
            "asked for was FASTER, but b is TOO FEW ROUNDS; raise --seconds-cap.",
        ),
        (
            Judged("VALID", b="INCONCLUSIVE", c="SLOWER"),
            ("FASTER", "EQUIVALENT"),
            "otherwise",
            "asked for was FASTER or EQUIVALENT, but c is SLOWER.",
        ),
        (
            Judged("VALID", b="INCONCLUSIVE", c="FASTER"),
            ("FASTER",),
            "open",
            "asked for was FASTER, but b is INCONCLUSIVE; raise --seconds-cap.",
        ),
    ],
)
def test_a_verdict_that_was_asked_for_decides(comparison, wanted, judgement, why):
    assert judge(comparison, wanted) == (judgement, why)


def test_verdicts_and_shapes_are_read_from_the_command_line():
    assert parse_verdicts(None) == ()
    assert parse_verdicts("faster, EQUIVALENT") == ("FASTER", "EQUIVALENT")
    assert parse_shapes(["1,3,8,8", "2x5"]) == [(1, 3, 8, 8), (2, 5)]
    with pytest.raises(ProblemsError, match="--fail-unless QUICK: name one or more of FASTER, EQUIVALENT, SLOWER"):
        parse_verdicts("QUICK")
    with pytest.raises(ProblemsError, match="--input-shape 1,a: write sizes of at least 1 with commas"):
        parse_shapes(["1,a"])
    with pytest.raises(ProblemsError, match="at most 2147483647 each"):
        parse_shapes([f"1,{'9' * 5000}"])


def test_the_command_refuses_what_it_cannot_compare(folder):
    result = CliRunner().invoke(app, ["time", str(folder / "fixed.pt2"), "gone.pt2"])
    assert isinstance(result.exception, ProblemsError)
    done = CliRunner().invoke(app, ["time", str(folder / "fixed.pt2"), str(folder / "open.pt2"), "--baseline", "x.pt2"])
    assert str(done.exception) == "--baseline 'x.pt2' is none of the files; it must be one of fixed.pt2, open.pt2."


def test_the_command_compares_files_of_every_runtime(folder, onnx, xml):
    done = sparsebench(
        *("time", folder / "open.pt2", onnx, xml, "--baseline", "open.onnx", "--batch=2", "--json"),
        *("--seconds-cap=1", "--fail-unless=FASTER", "--cache=cold"),
        cwd=folder,
    )
    # A gate on so short a session may fall either way; which way is for the machine.
    assert done.returncode in {0, 1, 4}, done.stderr
    lines = done.stderr.splitlines()
    assert "sparsebench: timing 3 files, 1 s at most …" in lines
    told = re.compile(
        r"sparsebench: These 3 files take at least \d+ s to time; --seconds-cap 1 is too short for that, and they take"
    )
    assert len([line for line in lines if told.match(line)]) == 1
    result = json.loads(done.stdout)
    assert [variant["name"] for variant in result["variants"]] == ["open.onnx", "open.pt2", "open.xml"]
    assert result["variants"][0]["verdict"] == "BASELINE"
    for variant in result["variants"]:
        assert variant["latency_ms"] > 0
        assert variant["low"] <= variant["speedup"] <= variant["high"]
        assert variant["speedup"] == pytest.approx(result["variants"][0]["latency_ms"] / variant["latency_ms"])
        assert list(variant["inputs"].values()) == [[2, 3, 8, 8]]
        if variant["verdict"] != "BASELINE":
            assert len(variant["by_process"]) == result["processes"] >= 6
            assert (variant["p_value"] < 0.045) is (variant["verdict"] in {"FASTER", "SLOWER"})
    assert (result["state"], result["cache"]) in {(state, "cold") for state in ("VALID", "NOISY", "INVALID")}
    assert result["resolution"] > 0.01
    names = [f"open.onnx{copy}" for copy in ("", " (copy 2)", " (copy 3)", " (copy 4)")]
    assert [control["name"] for control in result["controls"]] == names
    assert result["rounds"] == len(result["orders"]) >= 12
    assert {one["process"] for one in result["orders"]} == set(range(result["processes"]))
    assert all(sorted(one["order"]) == sorted([*names, "open.pt2", "open.xml"]) for one in result["orders"])
    assert result["environment"]["versions"]["torch"]

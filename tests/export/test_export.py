"""Export: the file computes what was measured, in a process that knows nothing of sparsebench, or it is not kept."""

import io
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from archives import Marks
from handmade import Bench
from safetensors.torch import load_file, save
from small_nets import packed
from sweeps import TIMED, sparsebench, tiny

from sparsebench import load_run, run_sweep
from sparsebench.backends import probe
from sparsebench.errors import SparsebenchError
from sparsebench.export import export, export_trial, verify
from sparsebench.export.formats import find_trial
from sparsebench.export.model_card import model_card
from sparsebench.export.verify import Verification
from sparsebench.points.exportable import FORMATS, export_words, refusal
from sparsebench.runner.stages import Workbench
from sparsebench.store.directory import Store
from sparsebench.store.scales import ACCURACY
from sparsebench.store.written import digest_of

EQUAL = Verification(
    samples=360,
    bit_equal=True,
    agreement=1.0,
    max_abs_difference=0.0,
    max_abs_output=9.0,
    value=0.75,
    recorded=0.75,
    scale=ACCURACY,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    run_sweep(tiny(*TIMED), runs_dir=runs)
    return runs / "tiny"


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    trial = next(t for t in load_run(run).trials if (t.trial.threshold, t.trial.scheme) == (0.8, "fp32"))
    # The very command that reports, the terminal and picks advise, as it is pasted.
    done = sparsebench(*shlex.split(export_words((str(run),), trial, "net"))[1:], cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def snippet(card):
    return re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]


def test_an_exported_file_is_verified_against_the_record_over_the_whole_test_set(exported):
    said, folder = exported
    assert re.search(r"verified on 360 test samples, .*top-1 (\S+) % \(recorded \1 %\)", said)
    assert sorted(path.name for path in folder.iterdir()) == ["net.md", "net.pt2"]


def test_the_code_of_the_card_runs_the_file_without_sparsebench(exported):
    folder = exported[1]
    code = snippet((folder / "net.md").read_text())
    watch = "\nimport sys\nassert 'sparsebench' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code + watch], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "(1, 10)"), done.stderr


def test_the_card_says_what_the_network_is_and_how_it_was_made_and_verified(exported):
    card = (exported[1] / "net.md").read_text()
    for expected in (
        "# small_cnn, magnitude 0.8, fp32",
        "small_cnn(width=8)",
        "magnitude, threshold 0.8: weights set to zero",
        "1,077 train, 360 validation, 360 test",
        "float32, shape (batch, 1, 8, 8)",
        f"torch {torch.__version__.partition('+')[0]}",
        "which is the recorded one",
        "nothing was chosen by it",
    ):
        assert expected in card


def test_an_exported_file_takes_any_batch_size(exported):
    network = torch.export.load(exported[1] / "net.pt2").module()
    inputs = torch.rand(7, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(network(inputs)[:1], network(inputs[:1]), atol=1e-5)


def test_a_file_that_computes_something_else_is_refused_and_not_kept(run, tmp_path, monkeypatch):
    def spoiled(net, example):
        with torch.no_grad():
            next(net.parameters()).mul_(1.5)
        return export._pt2(net, example)

    monkeypatch.setitem(export._WRITERS, "pt2", spoiled)
    with pytest.raises(
        SparsebenchError, match=r"not what was measured: its outputs differ by up to .* Nothing was kept"
    ):
        export_trial(run, "0.8 fp32", "pt2", tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_load_in_a_fresh_process_is_refused_and_not_kept(run, tmp_path, monkeypatch):
    monkeypatch.setitem(export._WRITERS, "pt2", lambda net, example: {".pt2": b"no program"})
    with pytest.raises(SparsebenchError, match="does not run in a fresh process: "):
        export_trial(run, "0.8 fp32", "pt2", tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_weights_of_fp32_are_those_that_were_measured_and_the_code_of_the_card_loads_them(run, tmp_path):
    done = sparsebench("export", run, "0.8 fp32", "--to", "safetensors", "-o", "net.safetensors", cwd=tmp_path)
    assert "verified on 360 test samples, same bits" in done.stdout, done.stderr
    weights = load_file(tmp_path / "net.safetensors")
    pruned = [weights[name] for name in ("features.0.weight", "features.4.weight", "features.8.weight")]
    count = sum(weight.numel() for weight in pruned)
    assert sum(int((weight == 0).sum()) for weight in pruned) == round(0.8 * count)
    card = (tmp_path / "net.md").read_text()
    assert "The file was reloaded into a freshly built network" in card
    said = subprocess.run([sys.executable, "-c", snippet(card)], cwd=tmp_path, capture_output=True, text=True)
    assert (said.returncode, said.stdout.strip()) == (0, "(1, 10)"), said.stderr


def test_a_sweep_begins_with_exported_weights(run, tmp_path):
    done = export_trial(run, "dense fp32", "safetensors", tmp_path / "dense.safetensors")
    other = run_sweep(
        tiny("thresholds=0", "schemes=fp32", f"model.weights={done.path}", "train.dense_control=as_trained"),
        runs_dir=tmp_path,
    )
    (trial,) = other.trials
    assert trial.trained.epochs == 0
    assert trial.evaluated.top1 == done.verification.recorded


def test_weights_that_compute_something_else_are_refused_and_not_kept(run, tmp_path, monkeypatch):
    def spoiled(self, record):
        network = self.trained(record)
        with torch.no_grad():
            next(network.parameters()).mul_(1.5)
        return save(dict(network.state_dict()))

    monkeypatch.setattr(Workbench, "weights_of", spoiled)
    with pytest.raises(SparsebenchError, match=r"should have the same bits, and differ by up to .* Nothing was kept"):
        export_trial(run, "0.8 fp32", "safetensors", tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_files_that_somebody_added_to_a_trial_are_not_exported_nor_opened(run, tmp_path):
    """Its digests agree; whoever deploys what is exported would load it."""
    root, mark = shutil.copytree(run, tmp_path / "forged"), tmp_path / "ran"
    store = Store(root)
    trial = next(t for t in load_run(root).trials if (t.trial.threshold, t.trial.scheme) == (0.8, "fp32"))
    evil = io.BytesIO()
    torch.save(Marks(mark), evil)
    added = {}
    for name in ("net.pt2", "net.onnx", "net.xml"):
        added[name] = store.save_artifact(
            "compress", trial.compress.key, name, lambda path: path.write_bytes(evil.getvalue())
        )
    forged = replace(trial.compress, artifacts=added)
    scores = (replace(one, built_on=digest_of(forged)) for one in (trial.validate, trial.evaluate))
    for record in (forged, *scores):
        store.write(record)
    found = find_trial(load_run(root).trials, "0.8 fp32")
    made = export.content(Workbench(store, "cpu"), found, FORMATS["pt2"])
    assert found.compress.artifacts.keys() == added.keys()
    assert made.files[".pt2"] != evil.getvalue()
    assert torch.export.load(io.BytesIO(made.files[".pt2"])).module()(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert not mark.exists()


def test_weights_of_int8_and_of_networks_with_channels_removed_are_refused(run, tmp_path):
    with pytest.raises(
        SparsebenchError, match=r"no longer the small_cnn that was trained.*those of fp32 can"
    ) as caught:
        export_trial(run, "0.8 static", "safetensors", tmp_path / "net.safetensors")
    assert "magnitude 0.8 · fp32" in str(caught.value)
    run_sweep(tiny("pruners=structured", "thresholds=0.5", "schemes=fp32"), runs_dir=tmp_path)
    with pytest.raises(
        SparsebenchError, match=r"fewer channels than a fresh small_cnn.*as \.pt2 it keeps its structure\.$"
    ):
        export_trial(tmp_path / "tiny", "structured", "safetensors", tmp_path / "net.safetensors")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A run on other backends and in other schemes than int8 of eager."""
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torchao")
    runs = tmp_path_factory.mktemp("runs")
    backends = "backends=openvino,onnxruntime,eager,inductor"
    run_sweep(tiny("schemes=static,bf16", "thresholds=0.8", backends), runs_dir=runs)
    return runs / "tiny"


@pytest.mark.parametrize(
    ("to", "backend", "files"),
    [("openvino", "openvino", ["net.xml", "net.bin", "net.md"]), ("onnx", "onnxruntime", ["net.onnx", "net.md"])],
)
def test_a_file_of_the_runtime_that_was_measured_gives_the_same_bits(elsewhere, tmp_path, to, backend, files):
    done = export_trial(elsewhere, f"static {backend}", to, tmp_path / files[0])
    assert done.verification.bit_equal
    assert done.verification.value == done.verification.recorded
    assert [path.name for path in done.files] == files
    code = snippet((tmp_path / "net.md").read_text())
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (said.returncode, said.stdout.strip()) == (0, "(1, 10)"), said.stderr


@pytest.mark.slow
def test_int8_of_inductor_leaves_torch_as_the_graph_that_was_compiled(elsewhere, tmp_path):
    done = export_trial(elsewhere, "static inductor", "pt2", tmp_path / "net.pt2")
    assert done.verification.agreement >= 0.99
    card = (tmp_path / "net.md").read_text()
    assert "needs to run  | torch, torchao" in card
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", snippet(card)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (said.returncode, said.stdout.strip()) == (0, "(1, 10)"), said.stderr


def test_half_precision_of_eager_leaves_torch_as_it_ran(elsewhere, tmp_path):
    done = export_trial(elsewhere, "bf16 eager", "pt2", tmp_path / "net.pt2")
    assert done.verification.agreement == 1.0


@pytest.mark.parametrize(
    ("to", "runtime", "file"), [("openvino", "openvino", "a.xml"), ("onnx", "onnxruntime", "a.onnx")]
)
def test_a_float_network_goes_to_a_runtime_that_the_sweep_did_not_use(run, tmp_path, to, runtime, file):
    pytest.importorskip(runtime)
    done = export_trial(run, "0.8 fp32", to, tmp_path / file)
    assert done.verification.relative < 1e-5
    assert done.verification.value == done.verification.recorded


@pytest.mark.parametrize(
    ("change", "exact", "problem"),
    [
        ({}, True, None),
        ({"bit_equal": False, "max_abs_difference": 1e-4}, True, "should have the same bits"),
        ({"bit_equal": False, "max_abs_difference": 1e-4}, False, None),
        ({"bit_equal": False, "max_abs_difference": 0.1}, False, "its outputs differ by up to 0.1, of 9 at most"),
        ({"bit_equal": False, "max_abs_difference": float("nan")}, False, "its outputs differ by up to nan"),
        ({"agreement": 0.9}, False, "puts 10.00 % of the test samples into other classes"),
        ({"value": 0.74}, False, "its accuracy is 74.00 %, and 75.00 % was recorded"),
        ({"agreement": 1 - 1 / 2000, "value": 0.75 + 1 / 2000}, False, None),
    ],
)
def test_outputs_classes_and_accuracy_must_be_those_of_the_trial(change, exact, problem):
    found = verify._problem(replace(EQUAL, **change), "fp32", exact)
    assert found is None if problem is None else problem in found


# -- what cannot be exported ------------------------------------------------------------------------------------------


def test_int8_of_torch_ao_cannot_leave_torch_and_the_error_says_what_can(run, tmp_path):
    with pytest.raises(SparsebenchError) as caught:
        export_trial(run, "0.8 static", "onnx", tmp_path / "net.onnx")
    text = str(caught.value)
    assert "A static int8 network of eager cannot become .onnx: its layers are torch.ao's" in text
    first, second = re.findall(r"\n  [0-9a-f]{12} \((.*)\)", text)
    assert "magnitude 0.8 · fp32" in first  # the same network comes first
    assert "dense · fp32" in second


@pytest.mark.parametrize(
    ("scheme", "backend", "to"),
    [
        ("fp32", "eager", "onnx"),
        ("fp32", "openvino", "pt2"),
        ("static", "onnxruntime", "onnx"),
        ("static", "openvino(preset=mixed)", "openvino"),
        ("static", "inductor", "pt2"),
        ("bf16", "eager", "pt2"),
    ],
)
def test_fp32_goes_everywhere_and_other_schemes_where_their_runtime_is(scheme, backend, to):
    found = Bench().build().trials[0]
    trial = replace(found, trial=replace(found.trial, scheme=scheme, backend=backend))
    assert refusal(trial, FORMATS[to]) is None


@pytest.mark.parametrize(
    ("scheme", "backend", "to"),
    [("static", "onnxruntime", "openvino"), ("bf16", "eager", "onnx"), ("bf16", "openvino", "pt2")],
)
def test_other_ways_are_refused(scheme, backend, to):
    found = Bench().build().trials[0]
    trial = replace(found, trial=replace(found.trial, scheme=scheme, backend=backend))
    assert "lives in that runtime alone" in refusal(trial, FORMATS[to])


def test_a_network_that_is_fed_packed_sequences_is_refused(run, tmp_path, monkeypatch):
    from sparsebench.runner.stages import Workbench

    monkeypatch.setattr(Workbench, "_example", lambda self, key: packed())
    with pytest.raises(SparsebenchError, match="is fed a PackedSequence, not a tensor"):
        export_trial(run, "0.8 fp32", "pt2", tmp_path / "net.pt2")


@pytest.mark.parametrize(
    ("to", "name", "text"),
    [
        ("onxx", "net.onnx", "format 'onxx' is not known. Did you mean 'onnx'?"),
        ("pt2", "net.pth", "wrong ending for pt2; it must be .pt2: -o "),
        ("pt2", "missing/net.pt2", "There is no folder "),
        ("pt2", "taken.pt2", "taken.md already there; choose another path with -o, or replace with --force."),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_any_work(run, tmp_path, to, name, text):
    (tmp_path / "taken.md").touch()
    with pytest.raises(SparsebenchError, match=re.escape(text)):
        export_trial(run, "0.8 fp32", to, tmp_path / name)


def test_without_the_runtime_the_error_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "find_spec", lambda name: None)
    with pytest.raises(SparsebenchError, match=r"pip install 'sparsebench\[openvino\]'"):
        export_trial(run, "0.8 fp32", "openvino", tmp_path / "net.xml")


# -- which trial ------------------------------------------------------------------------------------------------------


def trials():
    """Return trials with keys as they really are."""
    found = Bench(thresholds=(0.0, 0.5), seeds=(0, 1), schemes=("fp32", "static"), backends=("eager", "openvino"))
    return [
        replace(t, trial=replace(t.trial, evaluate=f"{number:02x}{'ab' * 31}", compress=f"f{number:x}{'cd' * 31}"))
        for number, t in enumerate(found.build().trials)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "05abab",
        "f5cdcdcd",
        "static eager seed 1 dense",
        "small_cnn · digits · dense · static · eager · seed 1",
        "eager, post, 0, seed=1, 2000 batches",
    ],
)
def test_a_trial_is_found_by_a_key_or_by_parts_of_its_label(text):
    t = find_trial(trials(), text).trial
    assert (t.threshold, t.scheme, t.backend, t.seed) == (0.0, "static", "eager", 1)


def test_options_of_components_are_part_of_their_names():
    found = replace(trials()[0], trial=replace(trials()[0].trial, pruner="n_m(m=4, n=1)", threshold=0.75))
    assert find_trial([*trials(), found], "n_m(m=4, n=1) 0.75") is found


def test_an_ambiguous_name_lists_the_candidates():
    with pytest.raises(SparsebenchError) as caught:
        find_trial(trials(), "static openvino 0.5")
    text = str(caught.value)
    assert "'static openvino 0.5' names 2 trials. Name more of its parts, or give a key. Candidates:\n" in text
    assert text.count("static · openvino · seed") == 2


def test_an_ambiguous_key_asks_for_more_digits():
    same = [replace(t, trial=replace(t.trial, evaluate="abcd" * 16)) for t in trials()]
    with pytest.raises(SparsebenchError, match=r"names 16 trials\. Give more digits of the key"):
        find_trial(same, "abcd")


@pytest.mark.parametrize("text", ["resnet18", "ffff", "", "0.7 static eager"])
def test_an_unknown_name_lists_what_there_is(text):
    with pytest.raises(
        SparsebenchError, match=r"(?s)No trial of this run is called .*Candidates:\n.* and 6 more"
    ) as caught:
        find_trial(trials(), text)
    assert str(caught.value).count("small_cnn · digits · ") == 10


# -- the card ---------------------------------------------------------------------------------------------------------


def test_names_from_users_cannot_break_the_card():
    run = Bench(pairs=(("evil|model`<b>", "data](http://x)"),), thresholds=(0.0, 0.8), seeds=(0,)).build()
    trial = next(t for t in run.trials if (t.trial.threshold, t.trial.scheme) == (0.8, "static"))
    card = model_card(
        run, trial, FORMATS["pt2"], "a`b'c.pt2", torch.zeros(2, 1, 8, 8), {}, EQUAL, run.record.environment
    )
    assert "evil|model" not in card
    assert "](http" not in card
    assert "<b>" not in card
    assert "a`b" not in card.partition("\n## How to run it")[0]
    compile(snippet(card), "card", "exec")


def test_the_card_gives_drop_size_int8_and_latency_of_a_quantized_network():
    run = Bench(thresholds=(0.0, 0.8), seeds=(0,)).build()
    trial = next(t for t in run.trials if (t.trial.threshold, t.trial.scheme) == (0.8, "static"))
    found = replace(EQUAL, bit_equal=False, max_abs_difference=0.01, agreement=0.9975, value=0.7525)
    card = model_card(run, trial, FORMATS["onnx"], "n.onnx", torch.zeros(2, 1, 8, 8), {}, found, run.record.environment)
    flat = re.sub(" +", " ", card)
    assert re.search(r"\| drop \| \d\.\d\d pp \[.*\], paired \|", flat)
    assert "| quantization | static, calibrated on 15 training batches |" in flat
    assert "88.1 % of weights, 99.5 % of multiply-accumulates" in flat
    assert "0.800 ms, 2.500× [2.488, 2.513] dense · fp32 · eager (FASTER), 95th percentile 1.00 ms, on Example" in flat
    assert "Outputs differ by up to 0.01, where the largest output is 9" in flat
    assert "99.75 % of the samples got the same class. The accuracy is 75.25 %, against 75.00 % recorded." in flat

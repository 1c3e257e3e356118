"""The pytest plugin: what a user's own suite gets from it."""

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from handmade import stage_record
from patience import LONG
from plans import FACTS
from plugin import PLUGIN
from sweeps import TIMED, stage_files, tiny

from sparsebench import load_config, load_run, run_sweep
from sparsebench.runner.planner import make_plan
from sparsebench.runner.trial_suite import _Announcer
from sparsebench.store.records import Failure, flat_row
from sparsebench.store.results import EpochRecord
from sparsebench.store.run_directory import Store
from sparsebench.store.written import stage_key

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent

LATENCY = """
def test_latency(benchmark, compressed_network):
    benchmark(compressed_network)
"""

OWN_NETWORK = """
from torch import nn

def build(num_classes, input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
"""

OWN_CONFIG = (
    'name = "own"\nseeds = [0]\nschemes = ["fp32"]\n[model]\nname = "own_network:build"\n'
    "[train]\nepochs = 1\n[measure]\nbatch_sizes = []\n"
)

QUICK = ("--benchmark-max-time=0.01", "--benchmark-min-rounds=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four trials: dense and 80 % pruned, fp32 and static."""
    runs = tmp_path_factory.mktemp("runs")
    run_sweep(tiny("train.epochs=1", *TIMED), runs_dir=runs)
    return runs / "tiny"


@pytest.fixture
def suite(pytester):
    """Run pytest with the plugin on what ``pytester`` holds."""

    # Asking the processor what it is takes a second, several times a session.
    pytester.syspathinsert()
    pytester.mkpydir("quick_benchmarks").joinpath("machine.py").write_text(
        "def pytest_benchmark_generate_machine_info():\n    return {}\n"
    )

    def run(*arguments):
        return pytester.runpytest_inprocess(*PLUGIN, *QUICK, "-p", "quick_benchmarks.machine", *map(str, arguments))

    return run


def test_an_installed_package_has_the_plugin_as_its_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"sparsebench": "sparsebench.pytest_plugin"}


def test_every_trial_of_a_run_is_benchmarked_with_its_facts_beside_it(pytester, finished):
    pytester.makepyfile(LATENCY)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *PLUGIN,
            *QUICK,
            "--sparsebench-run",
            finished,
            "--benchmark-json",
            "out.json",
        ],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    content = json.loads((pytester.path / "out.json").read_text())
    rows = {row["key"]: row for row in map(flat_row, load_run(finished).trials)}
    assert {benchmark["extra_info"]["key"] for benchmark in content["benchmarks"]} == set(rows)
    for benchmark in content["benchmarks"]:
        info = benchmark["extra_info"]
        row = rows[info["key"]]
        assert (info["accuracy"], info["sparsity"], info["size_bytes"]) == (
            row["top1"],
            row["sparsity"],
            row["file_bytes"],
        )
        assert (info["batch_size"], info["threads"], info["device"]) == (1, 1, "cpu")
        assert benchmark["group"] == "eager · small_cnn · digits · batch 1 · threads 1"
        assert benchmark["params"]["_sparsebench_trial"] in benchmark["name"]
    machine = content["machine_info"]["sparsebench"]
    assert machine["memory_bytes"] > 0
    assert machine["versions"]["torch"]
    assert "commit" not in machine


def test_a_test_has_all_it_needs_of_a_network(pytester, suite, finished):
    pytester.makepyfile(
        """
        import torch

        def test_network(compressed_network):
            assert not compressed_network.network.training
            (inputs,) = compressed_network.inputs
            assert inputs.shape == (3, 1, 8, 8)
            assert torch.get_num_threads() == 2
            output = compressed_network()
            assert output.shape == (3, 10)
            assert torch.equal(output, compressed_network.network(*compressed_network.inputs))
            assert not output.requires_grad
            assert compressed_network.accuracy == compressed_network.record.evaluated.top1
            assert abs(compressed_network.sparsity - compressed_network.trial.threshold) < 1e-3
            assert compressed_network.size == compressed_network.record.compressed.size.file_bytes
            assert len(compressed_network.key) == 64

        def test_run(sparsebench_run):
            assert sparsebench_run.record.name == "tiny"
        """
    )
    result = suite("--sparsebench-run", finished, "--sparsebench-batch=3", "--sparsebench-threads=2")
    result.assert_outcomes(passed=5)


def test_options_choose_trials_of_a_run(pytester, suite, finished):
    pytester.makepyfile(LATENCY)
    chosen = ("--prune-thresholds", "0,0.8", "--quant-schemes", "post", "--backends=eager")
    result = suite("-v", "--sparsebench-run", finished, *chosen)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_latency[[]magnitude-0.8-static-eager[]]*PASSED*"])


def test_options_that_choose_nothing_of_a_run_say_what_it_has(pytester, suite, finished):
    pytester.makepyfile(LATENCY)
    result = suite("--sparsebench-run", finished, "--prune-thresholds=0.7")
    assert result.ret != 0
    result.stdout.fnmatch_lines(
        [
            "*has no trial with thresholds=[[]0.7[]]. It has threshold 0.0, 0.8; scheme fp32, static; backend eager; "
            "seed 0."
        ]
    )


def test_failed_and_unfinished_trials_and_those_not_offered_are_skipped_with_their_reasons(
    pytester, suite, finished, tmp_path
):
    root = tmp_path / "broken"
    shutil.copytree(finished, root)
    store, run = Store(root), load_run(root)
    failed, not_offered, pending, fine = run.trials
    failure = Failure(error="ValueError", message="no such kernel", traceback="")
    store.write(replace(failed.compress, status="failed", result=None, failure=failure))
    (store.directory("evaluate", pending.trial.evaluate) / "result.json").unlink()
    store.write(replace(fine.measure[0], status="failed", result=None, failure=failure))
    refused = replace(not_offered.trial, not_offered="eager does not offer it.", compress=None, evaluate=None)
    trials = (failed.trial, refused, pending.trial, fine.trial)
    store.write_run(replace(run.record, trials=trials))
    pytester.makepyfile(LATENCY)
    result = suite("-rs", "--sparsebench-run", root)
    # A network whose timing failed is there all the same.
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED*compress failed (attempt 1): ValueError: no such kernel",
            "SKIPPED*Not offered: eager does not offer it.",
            "SKIPPED*This trial is not finished; start the run again to resume it.",
        ]
    )


def test_a_run_that_is_not_there_is_an_error_with_its_sentence(pytester, suite):
    pytester.makepyfile(LATENCY)
    result = suite("--sparsebench-run", "nowhere")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*sparsebench: nowhere holds no run: there is no run.json*"])
    assert "Traceback" not in result.stdout.str()


def own_suite(pytester):
    pytester.makepyfile(LATENCY, own_network=OWN_NETWORK)
    (pytester.path / "own.toml").write_text(OWN_CONFIG)


def test_a_sweep_is_run_for_a_network_of_ones_own_and_the_next_session_finds_it_done(pytester, suite):
    own_suite(pytester)
    pytester.makeconftest("def pytest_sparsebench_config(config):\n    return 'own.toml'")
    result = suite("--prune-thresholds=0,0.5", "--quant-schemes=fp32,static")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*sparsebench: running 1[0-9] of 1[0-9] stages in *own"])
    files = stage_files(pytester.path / ".pytest_cache" / "d" / "sparsebench" / "own")
    assert len(files) >= 10
    again = suite("--prune-thresholds=0.5", "--quant-schemes=static")
    again.assert_outcomes(passed=1)
    assert stage_files(pytester.path / ".pytest_cache" / "d" / "sparsebench" / "own") == files
    assert "sparsebench: running" not in again.stdout.str()


def test_the_sweep_can_be_named_in_the_ini_file_and_its_faults_are_told(pytester, suite):
    own_suite(pytester)
    pytester.makeini("[pytest]\nsparsebench_config = own.toml")
    result = suite("--collect-only", "-q")
    result.stdout.fnmatch_lines(["*test_latency[[]dense-fp32-eager[]]"])
    wrong = suite("--quant-schemes=statc")
    assert wrong.ret != 0
    wrong.stdout.fnmatch_lines(["*--set schemes=statc: schemes = 'statc'*Did you mean 'static'*"])


def test_options_alone_sweep_the_default_network_with_one_seed(pytester, suite):
    pytester.makepyfile(LATENCY)
    result = suite("--collect-only", "-q", "--prune-thresholds=0,0.9", "--quant-schemes=fp32,static")
    result.stdout.fnmatch_lines(["*[[]magnitude-0.9-static-eager[]]*", "4 tests collected*"])


def test_without_a_sweep_the_test_is_skipped_and_says_how_to_name_one(pytester, suite):
    pytester.makepyfile(LATENCY)
    result = suite("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*compressed_network has no sweep to go over: give --sparsebench-run RUN*"])


def test_saved_benchmarks_are_compared_and_a_regression_fails(pytester, suite, finished):
    pytester.makepyfile(LATENCY)
    chosen = ("--sparsebench-run", finished, "--prune-thresholds=0", "--quant-schemes=fp32")
    assert suite(*chosen, "--benchmark-autosave").ret == 0
    (saved,) = (pytester.path / ".benchmarks").rglob("*.json")
    compared = suite(*chosen, "--benchmark-compare", "--benchmark-compare-fail=median:1000000%")
    assert compared.ret == 0
    assert "machine_info is different" not in compared.stdout.str() + compared.stderr.str()
    content = json.loads(saved.read_text())
    content["benchmarks"][0]["stats"]["median"] = 1e-12
    saved.write_text(json.dumps(content))
    failed = suite(*chosen, "--benchmark-compare", "--benchmark-compare-fail=median:1000000%")
    assert failed.ret != 0
    assert "Performance has regressed" in failed.stdout.str() + failed.stderr.str()


def test_benchmarks_can_be_grouped_by_threshold_and_scheme(pytester, suite, finished):
    pytester.makepyfile(LATENCY)
    grouped = suite("--sparsebench-run", finished, "--benchmark-group-by=param:threshold,param:scheme")
    grouped.assert_outcomes(passed=4)
    grouped.stdout.fnmatch_lines(["*benchmark 'threshold=0.8 scheme=static': 1 tests*"])


def test_seeds_can_be_chosen_and_tests_are_called_as_in_the_whole_sweep(pytester, suite, finished):
    pytester.makepyfile(LATENCY)
    (pytester.path / "own.toml").write_text(OWN_CONFIG.replace("seeds = [0]", "seeds = [0, 3]"))
    pytester.makepyfile(own_network=OWN_NETWORK)
    result = suite("--collect-only", "-q", "--sparsebench-config=own.toml", "--sparsebench-seeds=3")
    names = [line for line in result.outlines if "::" in line]
    assert names
    assert all(name.endswith("-fp32-eager-seed3]") for name in names)
    nothing = suite("--sparsebench-run", finished, "--sparsebench-seeds=1,2")
    nothing.stdout.fnmatch_lines(["*has no trial with seeds=[[]1,2[]]. It has *; seed 0."])


def test_a_long_sweep_is_told_of_now_and_then(tmp_path):
    now, told = [0.0], []
    announcer = _Announcer(tmp_path, told.append, lambda: now[0])
    config = load_config(None, ["seeds=0", "thresholds=0,0.5", "schemes=fp32", "measure.batch_sizes=32"])
    stages = make_plan(config, FACTS).stages
    announcer.planned(make_plan(config, FACTS), dict.fromkeys((stage.key for stage in stages), "pending"))
    train, timed = stages[0], [stage for stage in stages if stage.kind == "measure"]
    announcer.started(train)
    now[0] = 11.0
    announcer.started(train)
    announcer.epoch(train, EpochRecord(epoch=2, train_loss=1, val_loss=1, val_accuracy=None, threshold=None), 12)
    announcer.together(timed)
    for stage in stages:
        announcer.finished(stage, stage_record(stage="evaluate", status="done"))
    assert [line.strip() for line in told] == [
        f"sparsebench: running {len(stages)} of {len(stages)} stages in {tmp_path}",
        f"sparsebench: 0 of {len(stages)} stages done, training small_cnn · digits · dense, from scratch · seed 0",
        f"sparsebench: timing {len(timed)} networks together at batch 32, about 45 s",
        f"sparsebench: all {len(stages)} stages have ended",
    ]


def test_a_group_chosen_by_the_test_stays(pytester, suite, finished):
    pytester.makepyfile(f"import pytest\n@pytest.mark.benchmark(group='mine'){LATENCY}")
    assert suite("--sparsebench-run", finished, "--quant-schemes=fp32", "--benchmark-json=out.json").ret == 0
    content = json.loads((pytester.path / "out.json").read_text())
    assert {benchmark["group"] for benchmark in content["benchmarks"]} == {"mine"}


def test_on_a_gpu_the_timer_waits_for_it_and_other_choices_of_the_test_stay(pytester, suite, finished):
    pytester.makepyfile(f"import pytest\n@pytest.mark.benchmark(max_time=0.5){LATENCY}")
    pytester.makeconftest(
        """
        def pytest_collection_finish(session):
            for item in session.items:
                print("marker", item.get_closest_marker("benchmark").kwargs)
        """
    )
    result = suite("-rs", "-s", "--sparsebench-run", finished, "--quant-schemes=static", "--sparsebench-device=cuda:0")
    result.stdout.fnmatch_lines(["marker {'timer': <function cuda_timer at *>, 'max_time': 0.5}"])
    # Without a GPU there is none; with one, int8 kernels of torch.ao do not run there.
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*cuda:0*"])


@pytest.mark.gpu
def test_a_network_is_benchmarked_on_a_gpu(pytester, suite, finished):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    pytester.makepyfile(LATENCY)
    result = suite(
        *("--sparsebench-run", finished, "--quant-schemes=fp32", "--sparsebench-device=cuda:0"),
        "--benchmark-json=o.json",
    )
    result.assert_outcomes(passed=2)
    content = json.loads((pytester.path / "o.json").read_text())
    assert {benchmark["options"]["timer"] for benchmark in content["benchmarks"]} == {"cuda_timer"}
    assert {benchmark["extra_info"]["device"] for benchmark in content["benchmarks"]} == {"cuda:0"}


def test_networks_can_be_tested_without_pytest_benchmark(pytester, finished):
    pytester.makepyfile("def test_accuracy(compressed_network):\n    assert compressed_network.accuracy > 0")
    result = pytester.runpytest_inprocess(*PLUGIN, "-p", "no:benchmark", "--sparsebench-run", str(finished))
    result.assert_outcomes(passed=4)


def test_a_suite_that_does_not_use_the_plugin_imports_nothing_for_it(pytester):
    pytester.makepyfile("def test_nothing():\n    pass")
    pytester.makeconftest(
        "import sys\n\ndef pytest_unconfigure(config):\n    print('LOADED', *[name for name in sys.modules"
        " if name.partition('.')[0] in ('torch', 'pydantic', 'numpy') or name.startswith('sparsebench.')])"
    )
    result = pytester.runpytest_subprocess(*PLUGIN, "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["LOADED sparsebench.lazy sparsebench.pytest_plugin"])


def test_the_help_has_a_group_of_its_own_and_wrong_values_are_explained(pytester, suite):
    result = suite("--help")
    result.stdout.fnmatch_lines(
        ["pruned and quantized networks (sparsebench):", "*--sparsebench-run*", "*--prune-thresholds*"]
    )
    for option, text in (
        ("--prune-thresholds=a", "*'a' is no list of numbers such as 0,0.5,0.9*"),
        ("--prune-thresholds=1", "*a threshold is a fraction from 0 up to, not including, 1*"),
        ("--sparsebench-seeds=a", "*'a' is no list of whole numbers such as 0,1,2*"),
        ("--quant-schemes=,", "*name at least one value, several with commas*"),
        ("--sparsebench-batch=0", "*'0' is no whole number of at least 1*"),
        ("--sparsebench-device=tpu", "*'tpu' is no device; write cpu, cuda or cuda:0*"),
    ):
        wrong = suite(option)
        assert wrong.ret == pytest.ExitCode.USAGE_ERROR
        wrong.stderr.fnmatch_lines([text])


def test_code_that_the_records_of_a_run_name_is_run_only_where_it_is_trusted(pytester, suite, finished, tmp_path):
    root = Path(shutil.copytree(finished, tmp_path / "foreign"))
    store, run = Store(root), load_run(root)
    old = next(trial for trial in run.trials if trial.trial.scheme == "fp32")
    # Forged as somebody would who knows how: the keys are those of the settings.
    model = {**old.train.settings["model"], "name": "forged:network"}
    made, parent = {}, old.train.parent
    for kind in ("train", "compress", "evaluate"):
        record = getattr(old, kind)
        settings = {**record.settings, "model": model} if kind == "train" else record.settings
        made[kind] = stage_key(kind, settings, parent)
        shutil.copytree(store.directory(kind, record.key), store.directory(kind, made[kind]))
        store.write(replace(record, settings=settings, parent=parent, key=made[kind]))
        parent = made[kind] if kind != "evaluate" else parent
    trial = replace(old.trial, model="forged:network", measure=(), **made)
    store.write_run(replace(run.record, trials=(trial,)))
    pytester.makepyfile(LATENCY)
    result = suite("--sparsebench-run", root)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*model 'forged:network'*give --sparsebench-trust.*"])
    result = suite("--sparsebench-run", root, "--sparsebench-trust")
    result.stdout.fnmatch_lines(["*Cannot import module 'forged'*"])

"""Faults, done for real: processes are killed, records damaged, trainers misbehave."""

import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import forked
import pytest
from quick import quick
from sweeps import TESTS, TIMED, environment, rows, sparsebench, tiny, tiny_arguments

from reports import page
from sparsebench import load_run, run_sweep
from sparsebench.errors import ConfigError

FRAGILE = ("train.trainer=fragile:Fragile",)

# Dies right before the rename that commits a result, after all of it was written under its temporary name.
DIE_WHILE_COMMITTING = """
import os, signal, sys
count, replace = 0, os.replace
def dying(source, target):
    global count
    if str(target).endswith("result.json"):
        count += 1
        if count == {nth}:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = dying
from sparsebench.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = sparsebench("run", *tiny_arguments(*FRAGILE), "--no-report", cwd=folder)
    assert done.returncode == 0, done.stderr
    return rows(load_run(folder / "runs/tiny"))


def finish(folder, *overrides):
    done = sparsebench("run", *tiny_arguments(*overrides), "--no-report", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not [path for path in folder.rglob(".*") if path.is_file() and path.suffix == ".part"]
    return rows(load_run(folder / "runs/tiny"))


@pytest.mark.parametrize("moment", ["training", "calibration"])
def test_a_run_killed_in_the_middle_of_a_stage_is_finished_with_the_same_records(tmp_path, undisturbed, moment):
    env = {"DIE_AT": moment, "DIED": str(tmp_path / "died")}
    killed = sparsebench("run", *tiny_arguments(*FRAGILE), "--no-report", cwd=tmp_path, env=env)
    assert killed.returncode == -signal.SIGKILL
    assert finish(tmp_path, *FRAGILE) == undisturbed


@pytest.mark.parametrize("nth", [1, 4])
def test_a_run_killed_while_a_result_is_written_is_finished_with_the_same_records(tmp_path, undisturbed, nth):
    script = DIE_WHILE_COMMITTING.format(nth=nth)
    arguments = ["-c", script, "run", *tiny_arguments(*FRAGILE), "--no-report"]
    killed = forked.run(arguments, tmp_path, environment())
    assert killed.returncode == -signal.SIGKILL
    committed = list(tmp_path.glob("runs/tiny/*/*/result.json"))
    assert len(committed) == nth - 1
    assert finish(tmp_path, *FRAGILE) == undisturbed


def test_a_run_killed_while_a_session_is_recorded_times_the_rest_in_another(tmp_path):
    # Three networks are trained, four compressed and evaluated twice; the second of four latencies is being written.
    arguments = [
        "-c",
        DIE_WHILE_COMMITTING.format(nth=3 + 4 + 2 * 4 + 2),
        "run",
        *tiny_arguments(*TIMED),
        "--no-report",
    ]
    killed = forked.run(arguments, tmp_path, environment())
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("runs/tiny/measure/*/result.json"))) == 1
    finish(tmp_path, *TIMED)
    run = load_run(tmp_path / "runs/tiny")
    assert {trial.status for trial in run.trials} == {"done"}
    assert len({trial.measured[0].session.id for trial in run.trials}) == 2


TRAINERS = """
from sparsebench import Trainer

class ReturnsNone(Trainer):
    def train(self, net, parameters, name, epochs, reload, old_net):
        super().train(net, parameters, name, epochs, reload, old_net)

class BareFloat(Trainer):
    def evaluate(self, net, quant_mode):
        return super().evaluate(net, quant_mode)[0]

class Raises(Trainer):
    def train(self, net, parameters, name, epochs, reload, old_net):
        raise RuntimeError("the disk of my data is gone")

class FailsWhenSparse(Trainer):
    def train(self, net, parameters, name, epochs, reload, old_net):
        if self.pruning:
            raise RuntimeError("cannot prune today")
        return super().train(net, parameters, name, epochs, reload, old_net)

class WrongSignature(Trainer):
    def evaluate(self, network, quant_mode):
        return super().evaluate(network, quant_mode)

class NotCalibrating(Trainer):
    def evaluate(self, net, quant_mode):
        return (0.5, net) if quant_mode else super().evaluate(net, quant_mode)
"""


@pytest.fixture
def bad_trainers(tmp_path, monkeypatch):
    (tmp_path / "bad_trainers.py").write_text(TRAINERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad_trainers", raising=False)
    return tmp_path


def failure(run, trial=-1):
    return run.trials[trial].failed_stage.failure


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        ("ReturnsNone", "train returned None; return the trained network."),
        ("BareFloat", "return (accuracy, network)."),
        ("Raises", "the disk of my data is gone"),
    ],
)
def test_a_trainer_that_misbehaves_is_a_failed_trial_with_its_reason(bad_trainers, trainer, sentence):
    config = tiny(f"train.trainer=bad_trainers:{trainer}", "train.epochs=1")
    with pytest.raises(ConfigError, match=re.escape(sentence)):  # One batch shows it before any work.
        run_sweep(config, runs_dir="runs")
    run = run_sweep(config, runs_dir="runs", check=False)
    assert {trial.status for trial in run.trials} == {"failed"}
    assert sentence in failure(run).message


def test_a_trainer_that_does_not_calibrate_is_told_so(bad_trainers):
    run = run_sweep(tiny("train.trainer=bad_trainers:NotCalibrating", "train.epochs=1"), runs_dir="runs")
    assert "ran no batch through net" in failure(run).message
    assert run.trials[0].status == "done", "fp32 needs no calibration"


def test_a_trainer_of_the_wrong_signature_is_refused_before_any_work(bad_trainers):
    with pytest.raises(ConfigError, match="rename 'network'"):
        run_sweep(tiny("train.trainer=bad_trainers:WrongSignature"), runs_dir="runs")
    assert not list(bad_trainers.glob("runs/tiny/*/*"))


def test_a_failed_stage_stops_only_what_builds_on_it_and_is_tried_again_when_asked(bad_trainers, monkeypatch):
    config = tiny("train.trainer=bad_trainers:FailsWhenSparse", "train.epochs=1", "schemes=fp32")
    run = run_sweep(config, runs_dir="runs")
    assert [trial.status for trial in run.trials] == ["done", "failed"]

    again = run_sweep(config, runs_dir="runs")
    assert again.trials[1].failed_stage.attempt == 1, "not tried again unless asked"

    import bad_trainers as module

    monkeypatch.delattr(module.FailsWhenSparse, "train")
    mended = run_sweep(config, runs_dir="runs", retry_failed=True)
    assert [trial.status for trial in mended.trials] == ["done", "done"]
    assert mended.trials[1].train.attempt == 2


def test_some_failed_trials_are_exit_code_3_and_the_report_lists_them(bad_trainers):
    arguments = tiny_arguments("train.trainer=bad_trainers:FailsWhenSparse", "train.epochs=1", "schemes=fp32")
    done = sparsebench("run", *arguments, cwd=bad_trainers)
    assert done.returncode == 3
    assert "1 trial failed: train failed (attempt 1): " in done.stderr
    again = done.stderr.splitlines()[-1].partition("Fix the cause, then: ")[2]
    assert again.startswith("sparsebench run --set name=tiny")
    assert again.endswith("--retry-failed")
    assert "cannot prune today" in page(bad_trainers / "reports/tiny/README.md", "trials")


LEAKING = """
import os
from pathlib import Path
from sparsebench import Trainer

class LeaksWhenSparse(Trainer):
    def training_step(self, *arguments, **keywords):
        if self.pruning and not Path("mended").exists():
            Path("leaking").write_text(str(os.getpid()))
            self.kept = getattr(self, "kept", [])
            self.kept.append(bytearray(os.urandom(1 << 20) * 16))
        return super().training_step(*arguments, **keywords)
"""


def resident_bytes(process):
    fields = Path(f"/proc/{process}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def kill_what_leaks(folder, most, done):
    """Do what a system does that runs out of memory: end the process that takes too much of it."""
    while not done.wait(0.02):
        with suppress(OSError, ValueError, IndexError):
            process = int((folder / "leaking").read_text())
            if resident_bytes(process) > most:
                os.kill(process, signal.SIGKILL)
                (folder / "leaking").unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="memory of another process is read from /proc")
def test_a_trainer_that_leaks_until_it_is_killed_is_a_failed_trial_and_the_rest_goes_on(tmp_path, monkeypatch):
    (tmp_path / "leaking_trainer.py").write_text(LEAKING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(TESTS))
    config = quick(
        "train.trainer=leaking_trainer:LeaksWhenSparse", "train.epochs=40", "schemes=fp32", "run.stage_seconds=100"
    )
    done = Event()
    killer = Thread(target=kill_what_leaks, args=(tmp_path, 1_200_000_000, done))
    killer.start()
    try:
        run = run_sweep(config, runs_dir="runs")
    finally:
        done.set()
        killer.join()
    assert [trial.status for trial in run.trials] == ["done", "failed"]
    assert failure(run).error == "WorkerError"
    assert "died while it ran this stage" in failure(run).message
    assert "The system may have run out of memory: run fewer jobs at once." in failure(run).message
    Path("mended").touch()
    mended = run_sweep(config, runs_dir="runs", retry_failed=True)
    assert [trial.status for trial in mended.trials] == ["done", "done"]

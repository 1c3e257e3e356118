"""Executors: several jobs bring forth what one does; workers that die, hang or talk; a run that is told to end."""

import contextlib
import gc
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections import Counter

import forked
import pytest
from plans import SETUP, todo
from sweeps import TIMED, Recorder, environment, rows, sparsebench, tiny, tiny_arguments

from sparsebench import run_sweep
from sparsebench.errors import SparsebenchError, StoreError
from sparsebench.processes import pipe, start
from sparsebench.runner import executors
from sparsebench.runner.executors import build_executor
from sparsebench.runner.executors.local import InProcess, Pool

ONE_THREAD = "run.threads=1"
"""Sums are added up in another order by another number of threads."""

TRAINERS = """
import os, signal, time
from pathlib import Path
from sparsebench import Trainer

class Talks(Trainer):
    def train(self, *arguments, **keywords):
        print("printed by the trainer")
        os.write(1, b"written by a library\\n")
        return super().train(*arguments, **keywords)

class Obstructs(Trainer):
    def train(self, *arguments, **keywords):
        (Path(self.models_path) / "network.safetensors" / "in the way").mkdir(parents=True)
        return super().train(*arguments, **keywords)

class Falters(Trainer):
    def train(self, net, parameters, *arguments, **keywords):
        threshold = parameters["prune_threshold"]
        if threshold and not Path("mended").exists():
            if threshold < 0.85:
                print("about to go")
                os.kill(os.getpid(), signal.SIGKILL)
            Path(f"{os.getpid()}.pid").touch()
            time.sleep(600)
        return super().train(net, parameters, *arguments, **keywords)
"""

FALTERS = ("train.trainer=odd_trainers:Falters", "schemes=fp32", "train.epochs=1", ONE_THREAD)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "odd_trainers.py").write_text(TRAINERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Overlap(Recorder):
    """Knows what ran at the same time."""

    def __init__(self):
        super().__init__()
        self.running, self.most, self.beside_timing, self.lines = {}, 0, set(), []

    def started(self, stage):
        super().started(stage)
        self.running[stage.key] = stage.kind
        self.most = max(self.most, len(self.running))
        if "measure" in self.running.values():
            self.beside_timing |= set(self.running.values()) - {"measure"}

    def finished(self, stage, record):
        del self.running[stage.key]

    def said(self, line):
        self.lines.append(line)


# -- several jobs -----------------------------------------------------------


@pytest.fixture(scope="module")
def two_jobs(tmp_path_factory):
    watcher = Overlap()
    overrides = ("schemes=fp32,both", "seeds=0,1", ONE_THREAD)
    runs = tmp_path_factory.mktemp("two")
    run = run_sweep(tiny(*overrides, *TIMED), runs_dir=runs, jobs=2, watcher=watcher)
    one = run_sweep(tiny(*overrides), runs_dir=tmp_path_factory.mktemp("one"))
    return run, one, watcher


def test_two_jobs_bring_forth_the_records_of_one(two_jobs):
    run, one, _ = two_jobs
    assert {trial.status for trial in run.trials} == {"done"}
    latencies = {"batch_size", "threads", "cache", "latency_baseline"}
    assert [{key: value for key, value in row.items() if key not in latencies} for row in rows(run)] == [
        {key: value for key, value in row.items() if key not in latencies} for row in rows(one)
    ]


def test_every_record_says_how_many_threads_its_stage_had(two_jobs):
    for run in two_jobs[:2]:
        assert {record.environment.threads for trial in run.trials for record in trial.stages} == {1}


def test_stages_run_at_the_same_time_but_nothing_runs_beside_timing(two_jobs):
    run, _, watcher = two_jobs
    assert watcher.most >= 2
    assert Counter(watcher.ran)["measure"] == 4
    assert watcher.beside_timing == set()
    assert all(trial.measured for trial in run.trials if trial.trial.seed == 0)


def test_the_epochs_of_every_training_are_told(two_jobs):
    watcher = two_jobs[2]
    assert Counter(watcher.epochs) == {(1, 2): 6, (2, 2): 6}


# -- workers that die or hang -----------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run directory in which the dense network is done: what follows is about the other."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "odd_trainers.py").write_text(TRAINERS)
    with contextlib.chdir(folder):
        run_sweep(tiny(*FALTERS, "thresholds=0"), runs_dir="runs")
    return folder


@pytest.fixture
def half_done(folder, trained):
    shutil.copytree(trained / "runs", folder / "runs")
    return folder


def mend(folder, *overrides):
    (folder / "mended").touch()
    return run_sweep(tiny(*FALTERS, *overrides), runs_dir="runs", retry_failed=True)


def test_a_stage_at_which_a_worker_dies_has_failed_and_may_be_tried_again(half_done):
    watcher = Overlap()
    run = run_sweep(tiny(*FALTERS, "run.stage_seconds=300"), runs_dir="runs", watcher=watcher)
    assert [trial.status for trial in run.trials] == ["done", "failed"]
    died = run.trials[1].failed_stage
    assert died.failure.error == "WorkerError"
    assert died.failure.message == (
        "The worker process died while it ran this stage (signal 9, SIGKILL). The system may have run out of memory: "
        "run fewer jobs at once. To try again, run with --retry-failed."
    )
    assert died.failure.traceback == "The last lines that it wrote:\nabout to go"
    assert died.environment.threads == 1
    assert "about to go" in watcher.lines

    mended = mend(half_done)
    assert [trial.status for trial in mended.trials] == ["done", "done"]
    assert [trial.train.attempt for trial in mended.trials] == [1, 2]


def test_a_stage_that_hangs_is_ended_at_its_limit_which_can_be_raised(half_done):
    run = run_sweep(tiny(*FALTERS, "thresholds=0,0.9", "run.stage_seconds=3"), runs_dir="runs")
    assert [trial.status for trial in run.trials] == ["done", "failed"]
    hung = run.trials[1].failed_stage
    assert hung.failure.message == (
        "It ran for longer than 3 s and was ended: run.stage_seconds allows 3 s a stage. Where it needs longer, raise "
        "that with --set run.stage_seconds=SECONDS, and run again with --retry-failed."
    )
    assert hung.seconds >= 3
    # Without a limit, it runs in this process; a limit is no part of a key.
    assert [trial.status for trial in mend(half_done, "thresholds=0,0.9").trials] == ["done", "done"]


def test_workers_that_cannot_start_end_the_run_with_a_sentence(tmp_path):
    pool = Pool(1, 1)
    setup = SETUP.__class__(**{**vars(SETUP), "folder": tmp_path / "not there"})
    pool.open(setup, 1, lambda task: True)
    pool.submit(todo(0))
    try:
        with pytest.raises(SparsebenchError, match=r"die before they begin with anything \(exit code 1\)"):
            pool.wait(lambda event: None)
    finally:
        pool.close()


def test_a_run_whose_records_cannot_be_written_ends_with_the_reason(folder):
    config = tiny("train.trainer=odd_trainers:Obstructs", "run.stage_seconds=300")
    with pytest.raises(StoreError, match=r"Cannot write .*runs/tiny/train/.* start again, and the run continues\."):
        run_sweep(config, runs_dir="runs")


# -- output and signals -----------------------------------------------------------


@pytest.mark.parametrize("own", [(), ("run.stage_seconds=300",)], ids=["in the process itself", "in a worker"])
def test_what_trainers_write_to_stdout_is_not_among_the_results(folder, own):
    overrides = ("train.trainer=odd_trainers:Talks", "thresholds=0", "schemes=fp32", "train.epochs=1")
    done = sparsebench("run", *tiny_arguments(*overrides, *own), "--no-report", cwd=folder)
    assert done.returncode == 0, done.stderr
    first, _, *rest = done.stdout.splitlines()
    assert first == "1 of 1 trials done in runs/tiny."
    assert " ".join(rest).startswith("No answer  Only the dense fp32 network has finished. No latency was measured.")
    # Of one batch before any work, of training, and of the test set.
    assert done.stderr.count("printed by the trainer") == 3
    assert done.stderr.count("written by a library\n") == 3


def alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_until(condition, seconds=200.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert condition()


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize(
    ("number", "how", "workers", "code", "word"),
    [
        (signal.SIGINT, ("--jobs", "2", "--set", "seeds=0,1"), 2, 130, "interrupted"),
        (signal.SIGINT, (), 0, 130, "interrupted"),
        (signal.SIGTERM, ("--set", "run.stage_seconds=600"), 1, 143, "terminated"),
        (signal.SIGKILL, ("--set", "run.stage_seconds=600"), 1, -9, None),
    ],
)
def test_a_run_that_is_told_to_end_does_so_within_seconds_with_all_its_workers(
    folder, number, how, workers, code, word
):
    command = ["run", *tiny_arguments(*FALTERS, "thresholds=0.9"), *how, "--no-report"]
    process = forked.Process(["-m", "sparsebench", *command], folder, environment())
    # Dense networks are trained, then the trainer hangs.
    wait_until(lambda: len(list(folder.glob("*.pid"))) == (workers or 1))
    pids = [int(path.stem) for path in folder.glob("*.pid")]
    assert (process.pid in pids) == (not workers)
    # As a terminal does at Ctrl-C: the signal is sent to the whole group. Others are meant for one process.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == code, stderr
    wait_until(lambda: not any(map(alive, pids)), seconds=60)
    assert stdout == ""
    assert "Traceback" not in stderr
    if word:
        told = re.search(rf"^sparsebench: {word}\. (.*) To resume: (.*)$", stderr, re.MULTILINE)
        networks = max(1, workers)
        assert told[1] == f"{networks} of {5 * networks} stages are done and kept in runs/tiny."
        assert told[2] == shlex.join(["sparsebench", *command])
    if workers == 2:
        (folder / "mended").touch()
        undisturbed = tiny(*FALTERS, "thresholds=0.9", "seeds=0,1")
        assert rows(run_sweep(undisturbed, runs_dir="runs")) == rows(run_sweep(undisturbed, runs_dir="others"))


# -- which executor -----------------------------------------------------------


def test_one_job_runs_in_the_process_itself_unless_stages_have_a_limit():
    assert isinstance(build_executor("local", tiny()), InProcess)
    assert isinstance(build_executor("local", tiny("run.stage_seconds=9"), jobs=1), Pool)
    assert isinstance(build_executor("local", tiny(), jobs=2), Pool)


def test_jobs_share_the_cores_of_the_machine(monkeypatch):
    monkeypatch.setattr("sparsebench.runner.executors.local.available_cores", lambda: 8)
    assert [build_executor("local", tiny(), jobs=jobs).threads for jobs in (1, 3, 16)] == [None, 2, 1]


def tell_of_garbage(channel):
    channel.send((gc.get_freeze_count(), sum(module.partition(".")[0] == "torch" for module in sys.modules)))


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_what_workers_are_forked_with_is_not_searched_for_garbage():
    ours, theirs = pipe()
    process = start(tell_of_garbage, theirs, name="tells of garbage")
    theirs.close()
    frozen, modules = ours.recv()
    process.join()
    assert modules > 100
    assert frozen > 100 * modules


def test_an_executor_that_is_not_there_is_named_with_what_to_do(monkeypatch):
    with pytest.raises(SparsebenchError, match=r"Executor 'slurm' is not known\. Allowed: local, ray\."):
        build_executor("slurm", tiny())
    with pytest.raises(SparsebenchError, match=r"jobs = 0 is not allowed; at least one task must be able to run\."):
        build_executor("local", tiny(), jobs=0)
    monkeypatch.setattr(executors, "EXECUTORS", {"far": "not_there_at_all.far:build"})
    with pytest.raises(SparsebenchError, match=r"\(not_there_at_all\): pip install 'sparsebench\[far\]'"):
        build_executor("far", tiny())


def test_a_task_that_may_not_begin_yet_lets_others_pass_and_is_asked_for_again(monkeypatch):
    monkeypatch.setattr("sparsebench.runner.executors.local.carry_out", lambda task, tell: [])
    monkeypatch.setattr("sparsebench.runner.executors.local.SECONDS_UNTIL_ASKED_AGAIN", 0.0)
    asked = Counter()

    def may_start(one):
        asked[one.priority] += 1
        return one.priority == 2 or asked[one.priority] > 2

    executor = InProcess()
    executor.open(SETUP, 2, may_start)
    executor.submit(todo(2))
    executor.submit(todo(1))
    order = [executor.wait(lambda event: None)[0].task.priority for _ in range(2)]
    assert order == [2, 1]
    assert asked == {1: 3, 2: 1}

"""Several drivers of one sweep in one directory, each a process: they share the work and spoil nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import forked
import pytest
from patience import LONG
from sweeps import ROOT, TIMED, environment, rows, sparsebench

from sparsebench import load_config, load_run, run_sweep
from sparsebench.runner.sharing.shards import Shard, what_is_left

EXAMPLES = ROOT / "examples"

SWEEP = """
name = "tiny"
seeds = 0
thresholds = [0, 0.5, 0.8]
schemes = ["fp32", "static"]
model = { name = "counting:network" }
train = { trainer = "counting:Counting", epochs = 1 }
measure = { batch_sizes = [] }
"""
RUN = ("sweep.toml", "--set", "run.threads=1", "--no-report")
TRAININGS, TRIALS = 4, 6  # a dense network to start from, its control and two sparse ones; each in two schemes


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one driver that nobody disturbs finds."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "sweep.toml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COUNTED", raising=False)
        return rows(run_sweep(load_config(folder / "sweep.toml", ["run.threads=1"]), runs_dir=folder))


class Folder:
    """A working directory in which drivers are started and what they do is counted."""

    def __init__(self, path):
        self.path, self.counted, self.started = path, path / "counted", []
        (path / "sweep.toml").write_text(SWEEP)
        self.environment = environment(COUNTED=str(self.counted))

    def start(self, *arguments, **more):
        process = forked.Process(["-m", "sparsebench", "run", *arguments], self.path, self.environment | more)
        self.started.append(process)
        return process

    def counts(self, what):
        lines = self.counted.read_text().splitlines() if self.counted.exists() else []
        return Counter(line.split()[0] for line in lines)[what]

    def wait_for(self, what, count):
        deadline = time.monotonic() + 120
        while self.counts(what) < count:
            assert time.monotonic() < deadline, f"{what} was not done {count} times"
            time.sleep(0.05)

    def run(self):
        return load_run(self.path / "runs/tiny")

    def claims(self):
        return [path for path in (self.path / "runs").rglob("*") if "claim" in path.name]


@pytest.fixture
def folder(tmp_path):
    found = Folder(tmp_path)
    yield found
    for process in found.started:
        process.kill()
        process.communicate()


def ends_well(process):
    stdout, stderr = process.communicate(timeout=LONG)
    assert process.returncode == 0, stderr
    return stdout


def untimed(rows):
    return [
        {key: row[key] for key in row.keys() - {"batch_size", "threads", "cache", "latency_baseline"}} for row in rows
    ]


def test_two_drivers_at_once_both_finish_and_do_nothing_twice(folder, alone):
    timed = [argument for override in TIMED for argument in ("--set", override)]
    for process in [folder.start(*RUN, *timed), folder.start(*RUN, *timed)]:
        assert f"{TRIALS} of {TRIALS} trials done" in ends_well(process)
    run = folder.run()
    assert untimed(rows(run)) == untimed(alone)
    assert (folder.counts("train"), folder.counts("evaluation")) == (TRAININGS, 2 * TRIALS)
    records = [record for trial in run.trials for record in (*trial.ancestors, *trial.stages)]
    assert {record.attempt for record in records} == {1}
    assert len({record.result.session.id for trial in run.trials for record in trial.measure}) == 1
    assert not folder.claims()


def test_a_driver_waits_for_another_and_takes_over_what_it_was_at_when_it_is_killed(folder, alone):
    first = folder.start(*RUN, SECONDS_MORE="600")
    folder.wait_for("train", 1)
    other = folder.start(*RUN)
    said = other.said("waiting")
    assert f"waiting for process {first.pid} on " in said
    assert "works in the same run directory" in said
    first.send_signal(signal.SIGKILL)
    ends_well(other)
    assert rows(folder.run()) == alone
    assert folder.counts("train") == TRAININGS + 1, "but for what was in flight, nothing was done twice"
    assert not folder.claims()


@pytest.fixture
def submitted(folder):
    """Start the scripts of the examples as Slurm would."""
    (folder.path / "bin").mkdir()
    command = folder.path / "bin/sparsebench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sparsebench "$@"\n')
    command.chmod(0o755)

    def start(script, **environment):
        process = subprocess.Popen(
            [shutil.which("bash"), str(shutil.copy(EXAMPLES / script, folder.path))],
            cwd=folder.path,
            env=folder.environment | {"PATH": f"{command.parent}:{os.environ['PATH']}"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        folder.started.append(process)
        return process

    return start


@pytest.mark.skipif(os.name != "posix", reason="Slurm's scripts are for bash")
def test_an_array_of_shards_does_the_sweep_and_a_last_job_reports_it(folder, submitted, alone):
    array = [
        submitted("slurm_array.sh", SHARDS="2", SLURM_ARRAY_TASK_ID=number, SLURM_CPUS_PER_TASK="1")
        for number in ("1", "2")
    ]
    outputs = sorted(map(ends_well, array))
    assert "4 of 4 trials of shard 1/2 done in runs/tiny." in outputs[1]
    assert "2 of 2 trials of shard 2/2 done in runs/tiny." in outputs[0]
    left = "sparsebench run sweep.toml --runs-dir runs --set run.threads=1"
    assert any(f"No trial of any shard is left to be done. What remains is the report: {left}" in o for o in outputs)
    assert (folder.counts("train"), folder.counts("evaluation")) == (TRAININGS, 2 * TRIALS), (
        "the dense network was trained once"
    )
    assert not (folder.path / "reports").exists()

    assert f"{TRIALS} of {TRIALS} trials done" in ends_well(submitted("slurm_timing.sh", CPUS="1"))
    assert rows(folder.run()) == alone
    assert folder.counts("train") == TRAININGS
    assert (folder.path / "reports/tiny/README.md").exists()


def test_a_shard_trains_what_it_needs_of_one_that_never_came(folder, monkeypatch):
    monkeypatch.setenv("COUNTED", str(folder.counted))
    config = load_config(folder.path / "sweep.toml", ["run.threads=1"])
    run = run_sweep(config, runs_dir=folder.path / "runs", shard=Shard(2, 2))
    assert [trial.status for trial in run.trials] == ["done"] * 2
    assert (folder.counts("train"), folder.counts("evaluation")) == (2, 2 * 2)
    assert what_is_left(folder.run()) == (
        "4 trials of other shards are still to be done. Once all shards have ended, the report is left to"
    )


def test_a_shard_that_is_none_is_refused(folder):
    done = sparsebench("run", *RUN, "--shard", "0/4", cwd=folder.path)
    assert done.returncode == 2
    assert "--shard 0/4: write NUMBER/COUNT, with a number from 1 to the count" in done.stderr


def test_the_plan_of_a_shard_can_be_looked_at(folder):
    done = sparsebench("run", *RUN, "--shard", "2/2", "--dry-run", cwd=folder.path)
    assert done.returncode == 0, done.stderr
    assert "2 trials in runs/tiny" in done.stdout
    assert not (folder.path / "runs").exists()

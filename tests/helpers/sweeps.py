"""Tiny sweeps for tests: real training on digits, seconds."""

import os
from pathlib import Path

import forked
from patience import LONG

from sparsebench import load_config
from sparsebench.runner.watcher import Watcher
from sparsebench.store.latencies import latency_columns
from sparsebench.store.records import flat_row

TINY = (
    "name=tiny",
    "seeds=0",
    "thresholds=0,0.8",
    "schemes=fp32,static",
    "model.options={width=8}",
    "train.epochs=2",
    "measure.batch_sizes=[]",  # nothing is timed
)

TIMED = ("measure.batch_sizes=1", "measure.workers=false", "measure.seconds_cap=0.01", "measure.block_ms=1")
"""To be added to ``TINY``: all networks are timed together, in this process, as briefly as can be."""

TESTS = Path(__file__).parent
"""Where modules lie that processes of their own import."""

ROOT = TESTS.parents[1]


def tiny(*overrides):
    return load_config(None, [*TINY, *overrides])


def tiny_arguments(*overrides):
    return [argument for override in (*TINY, *overrides) for argument in ("--set", override)]


def environment(**more):
    """What commands of these tests run in: the tests' own modules are importable."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **more}


def sparsebench(*arguments, cwd, env=None, timeout=LONG):
    """Run the command line in a process of its own, as a user would, with the tests' own modules importable."""
    return forked.run(["-m", "sparsebench", *arguments], cwd, environment(**(env or {})), timeout)


TIMING = {
    *latency_columns(None, None, None),
    "training_seconds",
    "compress_seconds",
    "calibration_seconds",
    "evaluation_seconds",
} - {"batch_size", "threads", "cache", "latency_baseline"}


def rows(run):
    """What two runs of one config must share: everything but what a clock measured."""
    return [{key: value for key, value in flat_row(trial).items() if key not in TIMING} for trial in run.trials]


def stage_files(root):
    """The committed records of a run directory with the time at which each was written."""
    return {path: path.stat().st_mtime_ns for path in Path(root).glob("*/*/result.json")}


class Recorder(Watcher):
    def __init__(self):
        self.ran = []
        self.epochs = []

    def started(self, stage):
        self.ran.append(stage.kind)

    def epoch(self, stage, epoch, epochs):
        self.epochs.append((epoch.epoch, epochs))

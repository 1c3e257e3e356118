"""More threads than cores are said once, with the setting to change; threads that fit are not worth a word."""

import pytest
from sweeps import tiny

from sparsebench import run_sweep
from sparsebench.runner import crowding as module
from sparsebench.runner.crowding import crowding
from sparsebench.runner.watcher import Watcher


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(module, "cores_given", lambda: 4.0)
    monkeypatch.setattr(module, "available_cores", lambda: 4)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(("jobs", "threads"), [(1, None), (1, 4), (2, 2), (4, 1)])
def test_threads_that_fit_are_not_mentioned(jobs, threads):
    assert crowding(tiny(), jobs, threads) == ()


@pytest.mark.parametrize(
    ("jobs", "threads", "sentence"),
    [
        (2, 4, "2 jobs of 4 threads, and the machine gives it 4 cores: pass --set run.threads=2, or --jobs 1."),
        (1, 16, "This run has 16 threads, and the machine gives it 4 cores: pass --set run.threads=4."),
        (8, 1, "8 jobs of 1 thread, and the machine gives it 4 cores: pass --jobs 4 --set run.threads=1."),
    ],
)
def test_too_many_are_told_with_what_to_set(jobs, threads, sentence):
    (text,) = crowding(tiny(), jobs, threads)
    assert sentence in text


def test_what_comes_from_a_setting_or_the_environment_is_named(monkeypatch):
    assert "16 threads (run.threads)" in crowding(tiny("run.threads=16"), 1, 16)[0]
    monkeypatch.setenv("OMP_NUM_THREADS", "32")
    assert "32 threads (OMP_NUM_THREADS)" in crowding(tiny(), 1, None)[0]


def test_a_quota_below_the_cores_that_one_sees_is_named(monkeypatch):
    monkeypatch.setattr(module, "cores_given", lambda: 1.5)
    assert "4 threads, and the machine gives it 1 core by its quota" in crowding(tiny(), 1, None)[0]


def test_latencies_of_more_threads_than_cores_are_told():
    config = tiny("measure.threads=1,8", "measure.batch_sizes=1")
    assert "asked for with 8 threads, and the machine gives 4 cores" in crowding(config, 1, 1)[0]
    assert crowding(tiny("measure.threads=8", "measure.batch_sizes=[]"), 1, 1) == ()


def test_a_run_says_it_once_and_a_finished_one_not_at_all(tmp_path):
    class Notes(Watcher):
        def __init__(self):
            self.texts = []

        def noted(self, text):
            self.texts.append(text)

    config = tiny("run.threads=9", "schemes=fp32", "thresholds=0", "train.epochs=1")
    for count in (1, 0):
        notes = Notes()
        run_sweep(config, runs_dir=tmp_path, watcher=notes)
        assert sum("9 threads" in text for text in notes.texts) == count

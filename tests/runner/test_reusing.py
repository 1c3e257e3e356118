"""What another run has done is taken over where it is the very same, and told of where it could be."""

import shutil

import pytest
from sweeps import Recorder, rows, sparsebench, tiny, tiny_arguments

from sparsebench import load_run
from sparsebench.errors import StoreError
from sparsebench.runner.sequencer import run_sweep
from sparsebench.store.directory import RESULT


class Told(Recorder):
    def __init__(self):
        super().__init__()
        self.notes = []

    def noted(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    run_sweep(tiny("name=first", "thresholds=0"), runs_dir=tmp_path_factory.mktemp("runs", numbered=False))
    return tmp_path_factory.getbasetemp() / "runs/first"


@pytest.fixture
def runs(first, tmp_path):
    return shutil.copytree(first, tmp_path / "runs/first").parent


def swept(runs, name, **more):
    told = Told()
    return run_sweep(tiny(f"name={name}"), runs_dir=runs, watcher=told, **more), told


def test_what_another_run_has_done_is_taken_over_and_only_the_rest_is_done(runs):
    run, told = swept(runs, "second", reuse=[runs / "first"])
    assert told.ran.count("train") == 1, "the dense network was there, and the sparse one was not"
    dense = [trial for trial in run.trials if not trial.trial.threshold]
    theirs = load_run(runs / "first").trials
    assert [trial.train.started_at for trial in dense] == [trial.train.started_at for trial in theirs]
    (note,) = (text for text in told.notes if "Taken over" in text)
    assert note == f"Taken over from {runs / 'first'}: 2 trainings, 2 conversions and 4 evaluations."


def test_a_run_beside_it_that_has_trained_the_same_network_is_told_of_and_nothing_is_taken_unasked(runs):
    alone, told = swept(runs, "alone")
    assert told.ran.count("train") == 3
    run, _ = swept(runs, "second", reuse=[runs / "first"])
    assert rows(run) == rows(alone), "what was taken over is what would have been made"
    assert any(f"{runs / 'first'} has done 2 trainings of this sweep. --reuse" in text for text in told.notes)


def test_what_was_damaged_or_changed_there_is_made_here(runs):
    networks = [file for file in (runs / "first/train").glob("*/*") if file.name != RESULT]
    networks[0].write_bytes(networks[0].read_bytes()[:-1])
    (record,) = {*(runs / "first/train").glob(f"*/{RESULT}")} - {networks[0].parent / RESULT}
    record.write_bytes(record.read_bytes().replace(b'"epochs"', b'"epochz"', 1))
    run, told = swept(runs, "after", reuse=[runs / "first"])
    assert told.ran.count("train") == 3
    assert f"Taken over from {runs / 'first'}: nothing, for it has done no stage that is left to do." in told.notes
    assert {trial.status for trial in run.trials} == {"done"}


def test_a_folder_that_is_no_run_is_refused_before_any_work(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(StoreError, match="photos holds no run"):
        swept(tmp_path, "after", reuse=[tmp_path / "photos"])
    assert not (tmp_path / "after").exists()


def test_the_command_takes_the_name_of_a_run(runs, tmp_path):
    done = sparsebench(
        *("run", *tiny_arguments("name=by-name", "thresholds=0")),
        *("--reuse", "first", "--runs-dir", str(runs), "--no-report"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Taken over from" in done.stderr + done.stdout
    assert "] train " not in done.stderr + done.stdout

"""What is damaged in a run directory is found, made again, and nothing is left that was built on something else."""

from collections import Counter

import pytest
from quick import QUICK_TIMED, Drifting, quick
from sweeps import Recorder, rows, stage_files

from reports import everything
from sparsebench import load_run, run_sweep, write_report
from sparsebench.errors import LostError, UnreadableRecordError
from sparsebench.runner import repair
from sparsebench.store.run_directory import Store

NETWORK = "network.safetensors"
DIFFERS = "is not what was recorded: its SHA-256 differs"


class Told(Recorder):
    def __init__(self):
        super().__init__()
        self.notes, self.failed = [], []

    def noted(self, text):
        self.notes.append(text)

    def finished(self, stage, record):
        if record.status == "failed":
            self.failed.append(record.failure.error)


@pytest.fixture
def finished(tmp_path):
    return tmp_path, run_sweep(quick(), runs_dir=tmp_path)


def again(folder, *overrides, **keywords):
    told = Told()
    return run_sweep(quick(*overrides), runs_dir=folder, watcher=told, **keywords), told


def file_of(folder, record, name=NETWORK):
    return folder / "quick" / record.stage / record.key / name


def damage(folder, record, name=NETWORK):
    path = file_of(folder, record, name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def set_aside(folder):
    return list((folder / "quick/aside").glob("*"))


def test_one_flipped_bit_in_a_network_is_found_and_the_network_is_trained_again_to_the_same(finished):
    folder, run = finished
    trained = run.trials[-1].train
    before = file_of(folder, trained).read_bytes()
    damage(folder, trained)
    more, told = again(folder, "schemes=fp32,static,dynamic")
    assert {trial.status for trial in more.trials} == {"done"}
    assert Counter(told.ran) == {"train": 1, "compress": 2, "evaluate": 2 * 2}, "what else is there is not made again"
    assert file_of(folder, trained).read_bytes() == before
    (note,) = told.notes
    assert note.startswith("train quick:network · quick:load · magnitude 0.8 · seed 0 is made again: ")
    assert note.endswith(f"{NETWORK} {DIFFERS}.")
    record = next(trial.train for trial in more.trials if trial.trial.train == trained.key)
    assert record.attempt == 2
    assert record.warnings[-1] == f"Made again, because {NETWORK} {DIFFERS}. It came out the same."
    assert not set_aside(folder)


def test_what_was_made_again_stands_among_the_warnings_of_the_report(finished, tmp_path):
    folder, run = finished
    file_of(folder, run.trials[-1].train).unlink()
    more, _ = again(folder, "schemes=fp32,static,dynamic")
    text = everything(write_report(more, tmp_path / "report"))
    assert "Made again, because network.safetensors is missing. It came out the same." in text


def test_a_finished_run_does_nothing_about_artifacts_that_nobody_needs(finished):
    folder, run = finished
    damage(folder, run.trials[-1].train)
    before = stage_files(folder / "quick")
    _, told = again(folder)
    assert told.ran == told.notes == []
    assert stage_files(folder / "quick") == before


def test_calibration_that_was_lost_is_repeated_to_time_the_network_and_so_is_what_it_was_made_from(finished):
    folder, run = finished
    static = next(trial for trial in run.trials if trial.trial.scheme == "static" and trial.trial.threshold)
    (name,) = static.compress.artifacts
    damage(folder, static.compress, name)
    file_of(folder, static.train).unlink()
    more, told = again(folder, *QUICK_TIMED)
    assert {trial.status for trial in more.trials} == {"done"}
    assert Counter(told.ran) == {"train": 1, "compress": 1, "measure": 4}
    assert [trial.compress.artifacts for trial in more.trials] == [trial.compress.artifacts for trial in run.trials]
    assert [trial.evaluate for trial in more.trials] == [trial.evaluate for trial in run.trials]


def test_the_dense_network_from_which_others_start_is_found_damaged_before_they_are_trained(finished):
    folder, run = finished
    dense = run.trials[-1].ancestors[0]
    damage(folder, dense)
    more, told = again(folder, "thresholds=0,0.8,0.9", "schemes=fp32")
    assert Counter(told.ran) == {"train": 2, "compress": 1, "evaluate": 2}
    assert {trial.status for trial in more.trials} == {"done"}


@pytest.mark.slow
def test_where_it_comes_out_different_all_that_was_built_on_it_is_made_again_and_nothing_else(tmp_path, monkeypatch):
    trainer = "train.trainer=quick:Drifting"
    run, _ = again(tmp_path, trainer, *QUICK_TIMED)
    sparse = run.trials[-1]
    damage(tmp_path, sparse.train)
    monkeypatch.setattr(Drifting, "drift", 3.0)
    more, told = again(tmp_path, trainer, *QUICK_TIMED, "schemes=fp32,static,dynamic")
    assert {trial.status for trial in more.trials} == {"done"}
    # Beside the two trials that are new: one network, and what was made of it in two schemes.
    assert Counter(told.ran) == {"train": 1, "compress": 2 + 2, "evaluate": 2 * (2 + 2), "measure": 2 + 2}
    for trial in more.trials:
        sparse_one, new = trial.trial.threshold > 0, trial.trial.scheme == "dynamic"
        assert trial.train.attempt == (2 if sparse_one else 1)
        assert {trial.compress.attempt, trial.evaluate.attempt} == {2 if sparse_one and not new else 1}
    remade = next(trial for trial in more.trials if trial.trial.evaluate == sparse.trial.evaluate)
    assert remade.train.warnings[-1].endswith(f"{DIFFERS}. It came out different.")
    assert remade.evaluate.warnings[-1].startswith(f"Made again, because {repair.ANOTHER}.")
    assert remade.compress.built_on == repair.digest_of(remade.train)
    assert remade.evaluated.correct != sparse.evaluated.correct
    assert not set_aside(tmp_path)


class KilledError(Exception):
    pass


def test_a_run_that_is_killed_while_it_follows_up_a_difference_goes_on_with_that(tmp_path, monkeypatch):
    trainer = "train.trainer=quick:Drifting"
    run, _ = again(tmp_path, trainer)
    damage(tmp_path, run.trials[-1].train)
    monkeypatch.setattr(Drifting, "drift", 3.0)
    real, calls = repair.set_aside, []

    def dying(store, kind, key, record, why):
        calls.append(kind)
        if len(calls) == 3:  # the damaged network, one evaluation that was built on it, and then:
            raise KilledError
        real(store, kind, key, record, why)

    with monkeypatch.context() as patched:
        patched.setattr(repair, "set_aside", dying)
        with pytest.raises(KilledError):
            again(tmp_path, trainer, "schemes=fp32,static,dynamic")
    more, told = again(tmp_path, trainer, "schemes=fp32,static,dynamic")
    assert {trial.status for trial in more.trials} == {"done"}
    assert "train" not in told.ran
    for trial in more.trials:
        assert trial.compress.built_on == repair.digest_of(trial.train)
        assert trial.evaluate.built_on == repair.digest_of(trial.compress)
    fresh, _ = again(tmp_path / "fresh", trainer, "schemes=fp32,static,dynamic", "thresholds=0,0.8")
    assert len(fresh.trials) == len(more.trials)
    assert not set_aside(tmp_path)


def test_what_is_damaged_while_a_run_goes_on_is_mended_in_the_same_run(tmp_path):
    class Vandal(Told):
        def finished(self, stage, record):
            super().finished(stage, record)
            if record.stage == "train" and record.status == "done" and record.attempt == 1:
                damage(tmp_path, record)

    vandal = Vandal()
    run = run_sweep(quick("thresholds=0.8", "schemes=fp32"), runs_dir=tmp_path, watcher=vandal)
    assert "LostError" in vandal.failed
    assert [trial.status for trial in run.trials] == ["done"]
    assert run.trials[0].train.attempt == 2
    assert rows(run) == rows(run_sweep(quick("thresholds=0.8", "schemes=fp32"), runs_dir=tmp_path / "fresh"))
    assert not set_aside(tmp_path)


@pytest.mark.parametrize("cut", [0, 100, -20])
def test_a_record_that_was_cut_off_is_made_again(finished, cut):
    folder, run = finished
    record = run.trials[-1].evaluate
    path = file_of(folder, record, "result.json")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        UnreadableRecordError, match=r"is not believed: .*Start the run again: it makes what is damaged anew"
    ):
        Store(folder / "quick").read("evaluate", record.key)
    more, told = again(folder)
    assert told.ran == ["evaluate"]
    assert told.notes[0].endswith("is made again: its record is not believed.")
    assert rows(more) == rows(run)
    assert not set_aside(folder)


def test_what_a_run_was_asked_for_is_written_again_where_it_cannot_be_read(finished):
    folder, run = finished
    path = folder / "quick/run.json"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UnreadableRecordError, match=r"run\.json is not believed: it is no record"):
        load_run(folder / "quick")
    more, told = again(folder)
    assert told.ran == []
    assert rows(more) == rows(run)


def test_a_failed_stage_that_builds_on_a_damaged_network_is_mended_when_it_is_tried_again(finished, monkeypatch):
    folder, run = finished
    from sparsebench.runner import stages

    def refuse(stage, bench):
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setitem(stages.RUN, "compress", refuse)
        again(folder, "schemes=fp32,static,dynamic")
    damage(folder, run.trials[-1].train)
    more, told = again(folder, "schemes=fp32,static,dynamic", retry_failed=True)
    assert {trial.status for trial in more.trials} == {"done"}
    assert told.ran.count("train") == 1


def test_who_only_reads_a_run_is_told_that_the_run_mends_it(finished):
    folder, run = finished
    record = run.trials[-1].train
    damage(folder, record)
    with pytest.raises(LostError, match=rf"{DIFFERS}\. Start the run again: it makes what is damaged anew\."):
        Store(folder / "quick", writable=False).artifact(record, NETWORK)
    assert load_run(folder / "quick").trials[-1].status == "done"

"""Records that are not believed are made again by a run, and nothing is recorded that could not be read back."""

import json
from dataclasses import replace

import pytest
from keyed import without_digests
from sweeps import rows
from test_repair import again, file_of, set_aside

from sparsebench import Trainer, load_run
from sparsebench.errors import LeftOutWarning, SparsebenchError
from sparsebench.store.sealing import sealed


@pytest.fixture
def finished(tmp_path):
    return tmp_path, again(tmp_path)[0]


def forge(path, **changes):
    """Change what a record says was found, and give it the digest that it then has."""
    content = json.loads(path.read_text())
    content.pop("digest")
    content["result"].update(changes)
    path.write_bytes(sealed(json.dumps(content, indent=1).encode()))


@pytest.mark.parametrize(
    "changes", [{"top1": 2.5}, {"samples": -5}, {"samples": 1}, {"top1_low": 1.0, "top1": 0.0}], ids=str
)
def test_a_record_that_cannot_be_right_is_made_again_though_its_digest_is_its_own(finished, changes):
    folder, run = finished
    forge(file_of(folder, run.trials[-1].evaluate, "result.json"), **changes)
    with pytest.warns(LeftOutWarning, match="1 record is not believed"):
        assert load_run(folder / "quick").trials[-1].status == "pending"
    more, told = again(folder)
    assert told.ran == ["evaluate"]
    assert rows(more) == rows(run)
    assert not more.left_out
    assert more.trials[-1].evaluate.warnings[-1].startswith("Made again, because its record is not believed: ")
    assert not set_aside(folder)


def test_records_that_were_swapped_are_made_again(finished):
    folder, run = finished
    first, second = (file_of(folder, trial.evaluate, "result.json") for trial in run.trials[-2:])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    more, told = again(folder)
    assert told.ran == ["evaluate", "evaluate"]
    assert rows(more) == rows(run)


def test_a_run_of_an_earlier_version_goes_on_and_its_records_get_their_digests(finished):
    folder, run = finished
    without_digests(folder / "quick")
    more, told = again(folder)
    assert told.ran == []
    assert rows(more) == rows(run)
    for path in (folder / "quick/run.json", *(folder / "quick").glob("*/*/result.json")):
        assert "digest" in json.loads(path.read_text())


def test_a_run_that_was_never_started_leaves_no_folder(tmp_path):
    with pytest.raises(SparsebenchError):
        again(tmp_path / "runs", "model.name=quick:nothing")
    assert not (tmp_path / "runs").exists()


class Odd(Trainer):
    """Tells of its training and of its accuracy what is no number."""

    told = float("nan")
    top = None

    def train(self, *arguments, **keywords):
        trained = super().train(*arguments, **keywords)
        self.history = [replace(epoch, val_loss=self.told, val_accuracy=self.told) for epoch in self.history]
        return trained

    def evaluate(self, net, quant_mode):
        found = super().evaluate(net, quant_mode)
        self.top5 = self.top
        return found


@pytest.mark.parametrize("told", [float("nan"), float("inf"), 2.5, None])
def test_a_history_that_is_no_number_makes_no_record_that_cannot_be_read(tmp_path, monkeypatch, told):
    monkeypatch.setattr(Odd, "told", told)
    odd = ("train.trainer=test_made_again:Odd", "schemes=fp32", "thresholds=0")
    run, _ = again(tmp_path, *odd)
    assert [trial.status for trial in run.trials] == ["done"]
    (epoch,) = run.trials[0].trained.history
    assert (epoch.val_loss, epoch.val_accuracy) == ((2.5, None) if told == 2.5 else (None, None))
    _, more = again(tmp_path, *odd)
    assert more.ran == []


def test_what_a_stage_brought_forth_and_cannot_be_recorded_is_its_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(Odd, "top", 2.5)
    run, _ = again(tmp_path, "train.trainer=test_made_again:Odd", "schemes=fp32", "thresholds=0")
    failure = run.trials[0].failed_stage.failure
    assert failure.message.startswith(
        "The result of this stage cannot be recorded: result.evaluate.top5 is 2.5: it should be less than"
    )
    assert load_run(tmp_path / "quick").trials[0].status == "failed"

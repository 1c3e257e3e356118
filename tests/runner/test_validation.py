"""Two evaluations of each network, one a split: what is chosen by is read from the validation split."""

import shutil
from dataclasses import replace

import pytest
import quick
import torch
from sweeps import Recorder

from sparsebench import Trainer, load_run, run_sweep
from sparsebench.points.points import sections
from sparsebench.runner.stages import Workbench
from sparsebench.store.run_directory import Store, read_run

CONFIG = quick.quick("thresholds=0")


class OwnTestSet(Trainer):
    """Evaluates on the data that it was built with, whatever stands in its loaders."""

    def evaluate(self, net, quant_mode):
        if quant_mode:
            return super().evaluate(net, quant_mode)
        lent = self.dataloader
        self.dataloader = {**lent, "test": torch.utils.data.DataLoader(self.datasets[2], batch_size=64)}
        try:
            return super().evaluate(net, quant_mode)
        finally:
            self.dataloader = lent


class CountsItsTestSet(Trainer):
    """Insists on a test set of the length that it knows."""

    def evaluate(self, net, quant_mode):
        if not quant_mode and len(self.dataloader["test"].dataset) != len(self.datasets[2]):
            raise ValueError("the test set has another length")
        return super().evaluate(net, quant_mode)


class ValidatesOnTest(Trainer):
    """Has no validation set, and takes the test set for one."""

    def load_dataloaders(self, batch_size, collate_fn=None):
        super().load_dataloaders(batch_size, collate_fn)
        self.dataloader["val"] = self.dataloader["test"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    runs, recorder = tmp_path_factory.mktemp("runs"), Recorder()
    return runs, run_sweep(CONFIG, runs_dir=runs, watcher=recorder), recorder


def test_a_trial_has_what_its_network_does_on_the_validation_split(finished):
    runs, run, _ = finished
    bench = Workbench(Store(runs / "quick"), "cpu")
    pictures, labels = quick.load()[0][1].tensors
    for trial in run.trials:
        found = trial.validated
        assert found.samples == trial.trained.val_samples == 33
        with torch.inference_mode():
            right = bench.restored(trial.trial.compress)(pictures).argmax(1) == labels
        assert found.top1 == pytest.approx(right.float().mean().item())
        assert list(found.correct) == right.tolist()


def test_the_test_set_is_read_as_ever(finished):
    for trial in finished[1].trials:
        assert trial.evaluated.split == "test"
        assert trial.evaluated.samples == trial.trained.test_samples == 48


def test_both_evaluations_of_a_network_are_one_task_and_two_records(finished):
    runs, run, recorder = finished
    assert recorder.ran.count("evaluate") == 4
    keys = [(trial.trial.validate, trial.trial.evaluate) for trial in run.trials]
    assert len({key for both in keys for key in both}) == 4
    assert all((runs / "quick" / "evaluate" / key / "result.json").exists() for both in keys for key in both)


def test_networks_are_chosen_by_it(finished):
    (section,) = sections(finished[1])
    assert section.chosen_on == "val"


@pytest.mark.parametrize(
    ("trainer", "split", "said"),
    [
        (OwnTestSet, "other", "evaluate(net, False) read other samples than those of dataloader['test'], where"),
        (CountsItsTestSet, "test", "evaluate(net, False) failed on the validation split, lent as dataloader['test']: "),
        (ValidatesOnTest, "test", "dataloader['val'] reads the test set itself."),
    ],
)
def test_without_validation_results_a_trial_is_done_all_the_same_and_says_so(tmp_path, trainer, split, said):
    run = run_sweep(quick.quick("thresholds=0", f"train.trainer=test_validation:{trainer.__name__}"), runs_dir=tmp_path)
    for trial in run.trials:
        assert trial.status == "done"
        assert trial.validate.result.split == split
        assert trial.validated is None
        (warning,) = trial.validate.warnings
        assert warning.startswith(said)
        assert warning.endswith("Networks of this run are chosen by their test accuracy instead.")
    (section,) = sections(run)
    assert section.chosen_on == "test"


def test_a_record_of_another_split_is_not_believed(finished, tmp_path):
    root = shutil.copytree(finished[0] / "quick", tmp_path / "quick")
    record = read_run(root)
    first, *others = record.trials
    swapped = replace(first, validate=first.evaluate, evaluate=first.validate)
    Store(root).write_run(replace(record, trials=(swapped, *others)))
    found = load_run(root)
    assert (found.trials[0].validate, found.trials[0].evaluate) == (None, None)
    assert {left.why for left in found.left_out} == {"run.json says another split of it"}

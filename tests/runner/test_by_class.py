"""What evaluations tell of classes: recorded, shown and warned of; a network of one class is never picked."""

import numpy as np
import pytest
import quick
import torch
from sklearn.metrics import balanced_accuracy_score, recall_score
from torch import nn
from torch.utils.data import TensorDataset

from sparsebench import load_config, run_sweep, write_report
from sparsebench.decide.question import ask
from sparsebench.points.points import sections
from sparsebench.runner.stages.by_class import Predictions

FAULTS = 0.04


def rare():
    """Faults are rare, and hard to see."""
    generator = torch.Generator().manual_seed(3)

    def split(samples):
        labels = (torch.arange(samples) % round(1 / FAULTS) == 0).long()
        return TensorDataset(
            torch.randn(samples, 1, 4, 4, generator=generator) + 0.1 * labels[:, None, None, None], labels
        )

    return [split(200), split(50), split(100)], 2


class NeverFaulty(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.last = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.last(x.flatten(1)).mul(1e-3) + torch.tensor([1.0, 0.0])


def predictions(scores, labels, batches=3):
    found = Predictions()
    for some, right in zip(torch.tensor_split(scores, batches), torch.tensor_split(labels, batches), strict=True):
        found.outputs(some)
        found.labels(right)
    return found


def test_shares_of_classes_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    labels = torch.from_numpy(random.choice(4, 200, p=[0.6, 0.3, 0.06, 0.04]))
    scores = torch.from_numpy(random.normal(size=(200, 5))) + 2 * nn.functional.one_hot(labels, 5)
    guessed = scores.argmax(1)
    found = predictions(scores, labels).by_class(float((guessed == labels).float().mean()))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, guessed))
    recalls = recall_score(labels, guessed, average=None, labels=np.unique(labels))
    assert found.worst_recall == pytest.approx(min(recalls))
    assert found.largest_share == pytest.approx(max(np.bincount(guessed)) / 200)


def test_one_logit_says_one_of_two_classes():
    found = predictions(torch.tensor([[-1.0], [2.0], [3.0], [-4.0]]), torch.tensor([0, 1, 0, 0])).by_class(0.75)
    assert found == pytest.approx((0.5, (2 / 3 + 1) / 2, 2 / 3))


@pytest.mark.parametrize(
    ("scores", "labels", "accuracy"),
    [
        (torch.eye(3), torch.arange(3), 0.5),  # another rule than the largest score
        (torch.eye(3).bool(), torch.arange(3), 1.0),
        (torch.zeros(3, 2, 4), torch.arange(3), 1.0),
        (torch.eye(3), torch.eye(3), 1.0),
        (torch.eye(3), torch.arange(3) / 2, 1.0),
    ],
)
def test_of_other_outputs_labels_and_rules_nothing_is_said(scores, labels, accuracy):
    assert predictions(scores, labels).by_class(accuracy) is None


def test_a_network_of_one_class_is_told_and_never_picked(tmp_path):
    overrides = ("model.name=test_by_class:NeverFaulty", "data.name=test_by_class:rare", "schemes=fp32")
    run = run_sweep(load_config(None, [*quick.QUICK, *overrides]), runs_dir=tmp_path)
    for trial in run.trials:
        assert trial.evaluated.top1 == 1 - FAULTS
        assert trial.evaluated.largest_class_share == 1
        assert trial.evaluated.balanced_accuracy == 0.5
        assert trial.evaluated.worst_class_recall == 0
    (section,) = sections(run)
    _, question = ask([section])
    assert not any(map(question.eligible, section.shown))
    readme = write_report(run, tmp_path / "report")
    assert "predict one class only, for at least one seed" in readme.read_text()
    assert "Smallest:** magnitude" not in readme.read_text()
    assert "worst class %" in readme.with_name("accuracy.md").read_text()
    assert ",0.5,0.0,1.0," in readme.with_name("data.csv").read_text()


def test_a_network_that_knows_all_classes_is_told_so(tmp_path):
    run = run_sweep(quick.quick("train.epochs=12", "schemes=fp32", "thresholds=0"), runs_dir=tmp_path)
    found = run.trials[0].evaluated
    assert found.balanced_accuracy == pytest.approx(found.top1, abs=0.1)
    assert 1 / 3 <= found.largest_class_share < 0.6
    assert 0.4 < found.worst_class_recall <= found.balanced_accuracy

"""Sweeps with another metric than accuracy: what is trained, recorded and checked, and what keeps as it was."""

import pytest
import torch
from sweeps import tiny
from torch import nn
from torch.utils.data import TensorDataset

from sparsebench import Trainer, load_config, run_sweep
from sparsebench.errors import ConfigError, ContractError
from sparsebench.metrics import build_metric
from sparsebench.runner.facts import Facts
from sparsebench.runner.planner import make_plan
from sparsebench.training.contract import check_evaluated


def numbers():
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(300, 4, generator=rng)
    targets = inputs @ torch.tensor([1.0, -2.0, 0.5, 3.0]) + 0.3 * torch.randn(300, generator=rng)
    parts = TensorDataset(inputs, targets)
    return [torch.utils.data.Subset(parts, range(*ends)) for ends in ((0, 160), (160, 220), (220, 300))], 1


def squared(outputs, targets):
    return (outputs.flatten() - targets).square().mean()


def off_by(outputs, targets):
    return (outputs.flatten() - targets.flatten()).abs()


class Leaves(Trainer):
    """Computes its metric itself, and leaves what it is of each sample."""

    leaves = True

    def evaluate(self, net, quant_mode):
        if quant_mode:
            return super().evaluate(net, quant_mode)
        self.measured, self.values = None, None
        with torch.no_grad():
            found = torch.cat([off_by(net(inputs), targets) for inputs, targets in self.dataloader["test"]])
        self.values = found if self.leaves else None
        return float(found.mean()), net


class LeavesNothing(Leaves):
    leaves = False


def sweep(tmp_path, name, *overrides):
    config = load_config(
        {
            "name": name,
            "thresholds": [0, 0.5],
            "schemes": ["fp32", "static"],
            "seeds": [0],
            "model": "mlp",
            "data": "test_metrics_in_runs:numbers",
            "train": {"epochs": 8, "batch_size": 32, "learning_rate": 0.01},
            "measure": {"batch_sizes": []},
        },
        overrides,
    )
    run = run_sweep(config, runs_dir=tmp_path)
    assert [trial.status for trial in run.trials] == ["done"] * 4
    return run


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_a_regression_is_swept_by_its_error(tmp_path):
    run = sweep(tmp_path, "mae", "metric.name=mae", "metric.unit=mm")
    dense = run.trials[0]
    scored, trained = dense.evaluated, dense.trained
    assert (scored.scale.metric, scored.scale.unit, scored.scale.higher_is_better) == (
        "mean_absolute_error",
        "mm",
        False,
    )
    assert len(scored.values) == scored.samples == 80
    assert scored.values.mean() == pytest.approx(scored.value, rel=1e-5)
    assert scored.low < scored.value < scored.high
    assert scored.top1 is None
    assert any("so the loss is mse" in text for text in dense.train.warnings)
    by_epoch = [epoch.val_metric for epoch in trained.history]
    assert trained.val_metric == min(by_epoch) < 0.7 * by_epoch[0]
    assert {epoch.val_accuracy for epoch in trained.history} == {None}


def test_a_function_and_a_trainer_of_ones_own_leave_what_intervals_need(tmp_path):
    own = ("metric.name=test_metrics_in_runs:off_by", "metric.higher_is_better=false", "train.criterion=l1")
    first = sweep(tmp_path, "own", *own)
    second = sweep(tmp_path, "leaves", *own, "train.trainer=test_metrics_in_runs:Leaves")
    for one, other in zip(first.trials, second.trials, strict=True):
        assert one.evaluated.values is not None
        assert other.evaluated.value == pytest.approx(one.evaluated.value, rel=1e-4)
        assert other.evaluated.values == pytest.approx(one.evaluated.values, rel=1e-4)
    assert not any("so the loss is" in text for text in first.trials[0].train.warnings)
    own = (*own[:2], "train.criterion=test_metrics_in_runs:squared")
    third = sweep(tmp_path, "nothing", *own, "train.trainer=test_metrics_in_runs:LeavesNothing")
    record = third.trials[0].evaluate
    assert (record.result.low, record.result.values) == (None, None)
    assert "left no values of its samples, so that the off by has no interval" in record.warnings[0]


def test_a_metric_without_a_direction_stops_the_run_with_what_to_add(tmp_path):
    with pytest.raises(ConfigError) as raised:
        sweep(tmp_path, "none", "metric.name=test_metrics_in_runs:off_by")
    assert "Add higher_is_better = true or false to [metric]" in str(raised.value)


def test_data_of_numbers_are_refused_where_the_metric_is_of_classes(tmp_path):
    with pytest.raises(ConfigError) as raised:
        sweep(tmp_path, "classes", "metric.name=f1")
    assert "at least 2 are needed" in str(raised.value)


FACTS = Facts()


def keys(*overrides):
    return [stage.key for stage in make_plan(tiny(*overrides), FACTS).stages]


def test_the_keys_of_a_run_by_accuracy_are_what_they_were_before_there_were_other_metrics():
    stages = make_plan(tiny(), FACTS).stages
    assert [(stage.kind, stage.key[:16]) for stage in stages[:4]] == [
        ("train", "22c636627c6ba93d"),
        ("train", "ccc34232d4bcd47f"),
        ("compress", "9b9325a8c00046f1"),
        ("evaluate", "47fa209be49ddcba"),
    ]


def test_accuracy_by_name_is_no_part_of_any_key_or_record_of_a_run():
    assert keys() == keys("metric.name=accuracy") == keys("metric=top1")
    assert "metric" not in tiny("metric=accuracy").model_dump(mode="json")
    assert "criterion" not in tiny().model_dump(mode="json")["train"]


def test_another_metric_makes_other_networks_and_its_unit_other_evaluations():
    first, second = keys("metric=r2"), keys("metric.name=r2", "metric.unit=m")
    assert not set(keys()) & set(first)
    same = [one == other for one, other in zip(first, second, strict=True)]
    kinds = [stage.kind for stage in make_plan(tiny("metric=r2"), FACTS).stages]
    assert {kind for kind, alike in zip(kinds, same, strict=True) if not alike} == {"evaluate"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("metric.name=aurok", "Did you mean 'auroc'?"),
        ("metric.higher_is_better=true", "accuracy takes no higher_is_better"),
        ("train.criterion=mze", "Did you mean 'mse'?"),
        ("metric.colour=red", "is no key of [metric]"),
    ],
)
def test_mistakes_in_the_config_are_named(override, said):
    with pytest.raises(ConfigError) as raised:
        tiny(override)
    assert said in str(raised.value)


def test_the_contract_takes_any_finite_number_of_another_metric_and_only_shares_of_accuracy():
    net, metric = nn.Identity(), build_metric("mae")
    assert check_evaluated((43.2, net), metric) == (43.2, net)
    assert check_evaluated((float("nan"), net), metric, calibrating=True)[1] is net
    for returned, said in (
        ((float("inf"), net), "returned the mean absolute error inf; return a finite number"),
        (("x", net), "as the mean absolute error; return a number"),
        ((net, 0.5), "return (mean absolute error, network)"),
    ):
        with pytest.raises(ContractError) as raised:
            check_evaluated(returned, metric)
        assert said in str(raised.value)
    with pytest.raises(ContractError) as raised:
        check_evaluated((43.2, net))
    assert "return a fraction from 0 to 1" in str(raised.value)

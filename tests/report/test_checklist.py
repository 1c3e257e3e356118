"""The checklist of reporting practice: each point is kept for a reason, and what is missing is named."""

from dataclasses import replace

import pytest
from handmade import Bench

from sparsebench.points.points import sections
from sparsebench.report.checklist import checklist

FULL = Bench(
    pairs=(("resnet20", "cifar10"), ("resnet20", "svhn"), ("mobilenet_v1_025", "cifar10")),
    pruners=("magnitude", "layer_magnitude", "random"),
    thresholds=(0.0, 0.5, 0.8, 0.9, 0.95, 0.98),
    layers=(("conv1", "Conv2d", 144), ("conv2", "Conv2d", 46_080), ("fc", "Linear", 640)),
)

# Blalock et al. 2020, as the paper asks for it, and where each of its points stands in the list.
POINTS = {
    "architectures, data sets and metrics named": "architectures, data sets and metrics are named",
    "at least three pairs": "at least 3 (data set, architecture) pairs",
    "not toys only": "not on toy data sets alone",
    "compression ratio and theoretical speedup": "compression ratio and theoretical speedup",
    "top-1 and top-5": "top-1 and top-5",
    "unpruned control by the same code": "dense control made by the same code",
    "trade-off curves": "trade-off curves",
    "five operating points": "at least 5 operating points on each trade-off curve",
    "extreme ones included": "compression ratios span 2× to 32× or more",
    "mean and sample standard deviation": "mean and sample standard deviation",
    "random baseline": "random pruning as a baseline",
    "magnitude baselines, global and layer-wise": "magnitude baselines, global and layer-wise",
    "raw accuracies": "raw accuracies, not only differences",
    "hyperparameters": "hyperparameters",
    "versions and hardware": "hardware and library versions",
}


def checks(run):
    return {check.practice: check for check in checklist(run, sections(run))}


def many_samples(run):
    trials = tuple(
        replace(t, train=replace(t.train, result=replace(t.train.result, train_samples=45_000))) for t in run.trials
    )
    return replace(run, trials=trials)


@pytest.fixture(scope="module")
def full():
    return checks(many_samples(FULL.build()))


@pytest.mark.parametrize("point", POINTS)
def test_every_point_of_the_paper_has_its_place(full, point):
    assert POINTS[point] in full


def test_a_run_that_does_it_all_keeps_all(full):
    assert {practice: check.evidence for practice, check in full.items() if not check.kept} == {}


@pytest.mark.parametrize(
    ("bench", "practice", "evidence"),
    [
        (
            Bench(),
            "at least 3 (data set, architecture) pairs",
            "1 of 3 in this run; reports of other runs may supply the others",
        ),
        (Bench(), "not on toy data sets alone", "digits alone in this run"),
        (Bench(), "random pruning as a baseline", 'missing; add "random" to pruners'),
        (Bench(), "magnitude baselines, global and layer-wise", 'layer-wise missing; add "layer_magnitude" to pruners'),
        (
            Bench(thresholds=(0.0, 0.5)),
            "at least 5 operating points on each trade-off curve",
            "2 of 5; add thresholds",
        ),
        (Bench(seeds=(0, 1)), "at least 3 seeds for every point", "2 of 3 at the point with fewest; add seeds"),
        (
            Bench(settings=()),
            "speedups from paired timing, with controls",
            "no latency was measured; set measure.batch_sizes",
        ),
        (
            Bench(thresholds=(0.5,), seeds=(0,)),
            "dense control made by the same code",
            "missing at 4 points; add threshold 0 and scheme fp32",
        ),
    ],
)
def test_what_is_missing_is_named_with_what_to_add(bench, practice, evidence):
    check = checks(bench.build())[practice]
    assert (check.kept, check.evidence) == (False, evidence)


def test_code_with_changes_that_are_in_no_commit_has_no_commit():
    run = Bench(seeds=(0,)).build()
    dirty = replace(run.record, environment=replace(run.record.environment, commit="0123abcd-dirty"))
    check = checks(replace(run, record=dirty))["commit of the code"]
    assert (check.kept, check.evidence) == (False, "the code had changes that are in no commit")
    assert checks(run)["commit of the code"].kept


def test_a_pruner_that_was_only_planned_is_no_baseline():
    pending = {(t, s, c, "eager") for t in (0.5, 0.9) for s in (0, 1, 2) for c in ("fp32",)}
    run = Bench(pruners=("magnitude", "random"), thresholds=(0.0, 0.5, 0.9), schemes=("fp32",), pending=pending).build()
    assert not checks(run)["random pruning as a baseline"].kept


def test_a_trainer_that_prunes_in_its_own_way_is_not_taken_for_the_pruner_it_was_asked_for():
    run = Bench(pruners=("random",), thresholds=(0.0, 0.5), seeds=(0,)).build()
    own = tuple(
        replace(t, train=replace(t.train, result=replace(t.train.result, pruned_by="the trainer's own way")))
        for t in run.trials
    )
    assert checks(run)["random pruning as a baseline"].kept
    assert not checks(replace(run, trials=own))["random pruning as a baseline"].kept


def test_a_large_data_set_counts_whatever_toys_stand_beside_it():
    run = many_samples(Bench(pairs=(("lenet", "mnist"), ("resnet20", "photos")), seeds=(0,)).build())
    check = checks(run)["not on toy data sets alone"]
    assert (check.kept, check.evidence) == (True, "photos")

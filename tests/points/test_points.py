"""Trials against their baselines, operating points over seeds, and the picks among them."""

from dataclasses import replace

import pytest
from handmade import SAMPLES, Bench, lost_by_pruning, with_faults

from sparsebench.points.baselines import Comparer
from sparsebench.points.drops import Correctness
from sparsebench.points.points import Point, Section, sections
from sparsebench.points.rows import point_row
from sparsebench.report.figures.fronts import Spot, front
from sparsebench.statistics.spread import Spread, geometric_mean
from sparsebench.store.records import Run
from sparsebench.store.results import EvaluateResult, TrainResult, pack_bits


def only_section(run: Run) -> Section:
    (section,) = sections(run)
    return section


def point(section: Section, threshold: float, scheme: str, backend: str = "eager") -> Point:
    return next(p for p in section.points if (p.threshold, p.scheme, p.backend) == (threshold, scheme, backend))


def test_points_join_the_seeds_of_one_setting_and_the_baseline_stands_first():
    section = only_section(Bench(schemes=("dynamic", "fp32")).build())
    assert [(p.threshold, p.scheme) for p in section.points[:3]] == [(0.0, "fp32"), (0.0, "dynamic"), (0.5, "fp32")]
    assert section.points[0].is_baseline
    assert section.points[0].value == Spread(3, pytest.approx(381 / SAMPLES), pytest.approx(1 / SAMPLES))


def test_one_seed_has_no_deviation():
    section = only_section(Bench(seeds=(7,)).build())
    assert section.points[0].value == Spread(1, 387 / SAMPLES, None)


def test_a_drop_is_positive_where_accuracy_is_lost():
    section = only_section(Bench().build())
    drop = point(section, 0.9, "fp32").drop
    assert drop is not None
    assert drop.loss == pytest.approx(100 * lost_by_pruning(0.9) / SAMPLES)
    assert drop.low < drop.loss < drop.high
    assert drop.paired


def test_seeds_that_lose_as_many_samples_are_sure_of_another_training_and_those_that_differ_are_not():
    run = Bench().build()
    alike = point(only_section(run), 0.9, "static").drop
    assert alike is not None
    assert alike.another_training is not None
    assert alike.another_training.low == pytest.approx(alike.low)
    worse = {1: 12, 2: 30}
    after = replace(run, trials=tuple(losing(t, worse.get(t.trial.seed, 0)) for t in run.trials))
    drop = point(only_section(after), 0.9, "static").drop
    assert drop is not None
    assert drop.another_training is not None
    assert drop.another_training.low < 0 < drop.low
    assert drop.another_training.p_value > 0.05 > drop.these_networks.p_value
    assert drop.judged is drop.another_training


def losing(trial, count):
    """A static trial at 0.9 that is wrong at ``count`` samples more."""
    if (trial.trial.threshold, trial.trial.scheme) != (0.9, "static"):
        return trial
    right = sum(trial.evaluated.correct) - count
    correct = pack_bits(index < right for index in range(SAMPLES))
    result = replace(trial.evaluate.result, top1=right / SAMPLES, correct_bits=correct)
    return replace(trial, evaluate=replace(trial.evaluate, result=result))


def test_one_seed_has_no_interval_over_another_training():
    drop = point(only_section(Bench(seeds=(1,)).build()), 0.9, "static").drop
    assert drop is not None
    assert drop.another_training is None
    assert drop.judged is drop.these_networks
    assert point_row(point(only_section(Bench(seeds=(1,)).build()), 0.9, "static"))["drop"]["another_training"] is None


def test_each_interval_has_its_p_value_as_a_plain_value_too():
    row = point_row(point(only_section(Bench().build()), 0.95, "static"))
    for found in (row["drop"], row["drop_vs_eager"], row["interaction_pp"]):
        assert set(found["these_networks"]) == set(found["another_training"]) == {"low_pp", "high_pp", "p_value"}


def test_the_interval_of_an_interaction_counts_samples_that_both_together_lose():
    section = only_section(Bench().build())
    found = point(section, 0.95, "static").interaction_drop
    assert found is not None
    assert (found.loss, found.paired) == (pytest.approx(100 * 2 / SAMPLES), True)
    assert found.low < found.loss < found.high
    assert point(section, 0.95, "fp32").interaction_drop is None


def test_without_per_sample_correctness_the_interval_is_unpaired_and_wider():
    paired, unpaired = (point(only_section(Bench(paired=pairs).build()), 0.9, "static").drop for pairs in (True, False))
    assert paired is not None
    assert unpaired is not None
    assert not unpaired.paired
    assert unpaired.high - unpaired.low > paired.high - paired.low


def test_correctness_that_contradicts_the_accuracy_is_not_paired():
    run = Bench(seeds=(0,), thresholds=(0.0, 0.5), schemes=("fp32",)).build()
    last = run.trials[-1]
    assert isinstance(last.evaluate.result, EvaluateResult)
    stale = replace(last.evaluate.result, correct_bits=pack_bits([True] * 10 + [False] * (SAMPLES - 10)))
    trial = replace(last, evaluate=replace(last.evaluate, result=stale))
    drop = Comparer([run.trials[0], trial]).compare(trial).drop
    assert drop is not None
    assert not drop.paired


def test_the_fast_reading_of_correctness_agrees_with_the_record():
    scored = Bench().build().trials[17].evaluated
    assert Correctness().bits(scored).right == Correctness().bits(scored).bits.bit_count() == sum(scored.correct)


def test_interaction_is_the_joint_drop_beyond_the_sum_of_both():
    section = only_section(Bench().build())
    # In these records static costs two samples more at 0.95 than pruning and quantization cost apart.
    assert point(section, 0.95, "static").interaction.mean == pytest.approx(100 * 2 / SAMPLES)
    assert point(section, 0.9, "static").interaction.mean == pytest.approx(0.0)
    assert point(section, 0.95, "fp32").interaction is None
    assert point(section, 0.0, "static").interaction is None


def test_speedup_compares_with_the_same_backend_and_with_eager():
    section = only_section(Bench(backends=("eager", "onnxruntime"), seeds=(0,)).build())
    (timing,) = point(section, 0.5, "static", "onnxruntime").timings
    assert (timing.own.speedup, timing.eager.speedup) == (pytest.approx(2.5), pytest.approx(5.0))


def test_compression_ratio_is_dense_payload_over_what_is_left():
    section = only_section(Bench().build())
    dense, packed = point(section, 0.0, "fp32"), point(section, 0.9, "both")
    assert packed.compression_ratio == pytest.approx(dense.payload_bytes / packed.flash_bytes)
    assert packed.file_ratio == pytest.approx(dense.file_bytes / packed.file_bytes)


def test_theoretical_speedup_is_dense_macs_over_macs_with_a_weight_that_is_not_zero():
    section = only_section(Bench(backends=("eager", "onnxruntime")).build())
    for scheme, backend in [("fp32", "eager"), ("static", "onnxruntime")]:
        assert point(section, 0.5, scheme, backend).theoretical_speedup == pytest.approx(305_768 / 153_704)
        assert point(section, 0.0, scheme, backend).theoretical_speedup == 1.0


def test_theoretical_speedup_of_removed_channels_is_against_the_dense_network():
    run = Bench(seeds=(0,), thresholds=(0.0, 0.5), schemes=("fp32",)).build()
    dense, pruned = run.trials
    assert isinstance(pruned.train.result, TrainResult)
    smaller = replace(pruned.train.result, macs=100_000, effective_macs=100_000)
    trial = replace(pruned, train=replace(pruned.train, result=smaller))
    compare = Comparer([dense, trial]).compare
    assert compare(trial).theoretical_speedup == pytest.approx(3.05768)
    assert Comparer([trial]).compare(trial).theoretical_speedup is None


def test_a_failed_seed_leaves_the_point_with_the_others():
    failed = point(only_section(with_faults()), 0.9, "static")
    assert (failed.planned, failed.value.n) == (3, 2)


def test_ratios_are_averaged_geometrically():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([None, float("nan")]) is None


def test_the_front_keeps_what_nothing_beats_in_both():
    spots = [Spot(x, y, y, y, None) for x, y in [(1, 5), (2, 4), (2, 7), (3, 7), (4, 9), (4, 8)]]
    assert [(spot.x, spot.y) for spot in front(spots)] == [(1, 5), (2, 7), (4, 9)]

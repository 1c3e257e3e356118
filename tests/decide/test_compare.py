"""``sparsebench compare``: what is matched, what is paired, what is significant, and which gates fail."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from handmade import ENVIRONMENT, INVALID, NOISY, OUT_OF_MEMORY, SAMPLES, SPREAD, Bench, session, stored
from scipy.stats import norm, t, ttest_ind
from typer.testing import CliRunner

from sparsebench.cli.app import app
from sparsebench.decide.changes_text import json_text, markdown_text, table_text
from sparsebench.decide.compare import compare_runs
from sparsebench.decide.gates import judge, parse_gates
from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.store.results import pack_bits

BENCH = Bench(thresholds=(0.0, 0.9), schemes=("fp32", "static"))
RUN = BENCH.build()


def each(run, change, where=lambda trial: True):
    """The run with the trials ``where`` replaced by what ``change`` makes of them."""
    return replace(run, trials=tuple(change(t) if where(t.trial) else t for t in run.trials))


def with_correct(*correct):
    """A trial that classifies rightly what is said."""

    def change(trial):
        values = {"top1": sum(correct) / len(correct), "samples": len(correct), "correct_bits": pack_bits(correct)}
        result = replace(trial.evaluate.result, **values)
        return replace(trial, evaluate=replace(trial.evaluate, result=result))

    return change


def losing(count):
    """A trial that is wrong at ``count`` samples more, the last of those that it classified rightly."""

    def change(trial):
        right = sum(trial.evaluated.correct) - count
        return with_correct(*(index < right for index in range(SAMPLES)))(trial)

    return change


WIDE = (0.7, 0.85, 1.0, 1.0, 1.15, 1.3)
"""Processes that differ by much."""


def slower(by, processes=SPREAD, **changes):
    """A trial that takes so many times as long, and differs so from process to process."""

    def change(trial):
        def of(result):
            def speedup(one):
                s = one.speedup / by
                spread = tuple(s * factor for factor in processes)
                return replace(one, speedup=s, low=s / 1.005, high=s * 1.005, by_process=spread)

            both = {"against": speedup(result.against), "against_eager": speedup(result.against_eager)}
            return replace(result, **both, **changes)

        return replace(trial, measure=tuple(replace(r, result=of(r.result)) for r in trial.measure))

    return change


def is_static(threshold):
    return lambda trial: (trial.threshold, trial.scheme) == (threshold, "static")


def row(comparison, threshold, scheme, backend="eager"):
    return next(
        r
        for r in comparison.rows
        if (r.group.spot[3], r.group.spot[4], r.group.spot[5]) == (threshold, scheme, backend)
    )


def gate(text, before, after, each_trial=False, **how):
    (one,) = parse_gates([text], **how)
    return judge(one, compare_runs(before, after), each_trial=each_trial)


# -- matching ----------------------------------------------------------------------------------------------------------


def test_a_run_compared_with_itself_has_not_changed():
    found = compare_runs(RUN, RUN)
    assert len(found.rows) == 4
    assert len(found.trials) == 12
    assert (found.only_before, found.only_after, found.lost, found.notes) == ((), (), (), ())
    for one in found.rows:
        accuracy = one.first("accuracy_drop")
        assert (accuracy.change, accuracy.p_adjusted, accuracy.paired, accuracy.pairs) == (0.0, 1.0, True, 3)
        assert one.first("size").change == 0.0
        assert all(change.change == pytest.approx(0) for change in one.changes["latency_p50"])
    assert found.unchanged


def test_a_run_compared_with_itself_says_so_in_one_line():
    found = compare_runs(RUN, RUN)
    assert table_text(found, [], each_trial=False) == "handmade → handmade: nothing changed in 4 points (12 trials)."
    assert markdown_text(found, [], each_trial=False).endswith("\n\nNothing changed in 4 points (12 trials).")
    gates = [judge(g, found) for g in parse_gates(["accuracy_drop>0.5pp"])]
    assert table_text(found, gates, each_trial=False).endswith("ok   accuracy_drop>0.5pp: kept; 4 rows judged" + OVER)


OVER = " by the interval over another training"


@pytest.mark.parametrize(
    "change",
    [
        lambda t: losing(1)(t),
        lambda t: slower(1.0001)(t),
        lambda t: replace(t, compress=replace(t.compress, result=replace(t.compress.result, live_activation_bytes=1))),
    ],
    ids=["accuracy", "latency", "memory"],
)
def test_whatever_differs_is_no_unchanged_run(change):
    assert not compare_runs(RUN, each(RUN, change, is_static(0.9))).unchanged


def test_trials_of_only_one_run_are_listed_and_compared_with_nothing():
    more = replace(BENCH, thresholds=(0.0, 0.5, 0.9), seeds=(0, 1)).build()
    found = compare_runs(RUN, more)
    assert {(t.trial.threshold, t.trial.seed) for t in found.only_before} == {(0.0, 2), (0.9, 2)}
    assert {t.trial.threshold for t in found.only_after} == {0.5}
    assert all(r.group.seeds == (0, 1) for r in found.rows)
    text = table_text(found, [], each_trial=False)
    assert "- Only in handmade: 4 trials: small_cnn · digits · dense · fp32 · eager · seed 2; " in text


def test_seeds_calibrations_and_backends_tell_trials_apart():
    run = replace(BENCH, calibrations=(10, 2000), backends=("eager", "onnxruntime")).build()
    labels = [r.label for r in compare_runs(run, run).rows]
    assert "magnitude 0.9 · static · onnxruntime · 10 calibration batches" in labels
    assert len(labels) == len(set(labels)) == 2 * 2 * (1 + 2)


def test_runs_without_a_common_trial_are_an_error_that_says_by_what_they_are_matched():
    with pytest.raises(SparsebenchError, match=r"have no trial in common\. Trials are matched by model, data, pruner"):
        compare_runs(RUN, replace(BENCH, pairs=(("other", "data"),)).build())


def test_settings_and_versions_that_differ_are_named():
    environment = replace(ENVIRONMENT, versions={"torch": "2.16.0", "numpy": "2.4.6"})
    moved = each(RUN, lambda t: replace(t, train=replace(t.train, environment=environment)))
    moved = each(moved, lambda t: replace(t, **{s: replace(getattr(t, s), environment=environment) for s in STAGES}))
    config = {"name": "other", "train": {"epochs": 5}}
    after = replace(moved, record=replace(RUN.record, config=config))
    notes = compare_runs(RUN, after).notes
    assert notes[0] == "Settings differ: train.epochs 10 → 5."
    assert notes[1] == "What the runs were made with differs: torch 2.15.0 → 2.16.0."


STAGES = ("compress", "evaluate")


# -- accuracy ----------------------------------------------------------------------------------------------------------


def test_accuracy_is_compared_sample_by_sample():
    first = [True] * 300 + [False] * 100
    second = [True] * 280 + [False] * 20 + [True] * 5 + [False] * 95
    one = Bench(thresholds=(0.0,), schemes=("fp32",), seeds=(0,)).build()
    found = compare_runs(each(one, with_correct(*first)), each(one, with_correct(*second)))
    (change,) = found.rows[0].changes["accuracy_drop"]
    # Bonett and Price 2012: one sample is added to each of the two cells that differ.
    centre = 15 / 402
    deviation = ((27 / 402 - centre**2) / 402) ** 0.5
    reach = 1.959964 * deviation
    assert (change.change, change.low, change.high) == pytest.approx(
        (3.75, 100 * (centre - reach), 100 * (centre + reach))
    )
    assert change.p_value == pytest.approx(2 * norm.sf(centre / deviation))
    assert change.paired
    assert (change.over, change.another_training) == ("these networks", None)


def test_runs_that_were_trained_apart_are_two_samples_of_trainings():
    losses = {0: 0, 1: 12, 2: 24}
    after = each(RUN, lambda trial: losing(losses[trial.trial.seed])(trial), is_static(0.9))
    change = row(compare_runs(RUN, after), 0.9, "static").first("accuracy_drop")
    right = [[sum(t.evaluated.correct) / SAMPLES for t in r.trials if is_static(0.9)(t.trial)] for r in (RUN, after)]
    spread = sum(np.var(side, ddof=1) for side in right) / 3
    assert change.over == "another training"
    # The spread over seeds with four degrees of freedom, and besides it what all trainings share.
    assert change.high - change.low > 2 * 100 * t.ppf(0.975, 4) * spread**0.5
    assert change.low < 0 < change.these_networks.low
    assert change.p_value > 0.05 > change.these_networks.p_value


def test_seeds_are_paired_where_both_runs_hold_the_same_trained_networks():
    def trained(trial):
        artifacts = {"network.safetensors": f"{trial.trial.threshold}-{trial.trial.seed}"}
        return replace(trial, train=replace(trial.train, artifacts=artifacts))

    losses = {0: 3, 1: 4, 2: 5}
    before, again = each(RUN, trained), each(RUN, lambda t: losing(2 * losses[t.trial.seed])(t), is_static(0.9))
    own, other = (row(compare_runs(b, a), 0.9, "static") for b, a in ((before, each(again, trained)), (RUN, again)))
    differences = [0.02 * loss / 4 for loss in losses.values()]
    reach = t.ppf(0.975, 2) * np.std(differences, ddof=1) / 3**0.5
    assert own.first("accuracy_drop").high - own.first("accuracy_drop").low >= 2 * 100 * reach
    assert own.group.pairs[0].same_training
    assert not other.group.pairs[0].same_training


@pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_p_and_interval_never_contradict(paired, seeds):
    run = replace(BENCH, seeds=seeds, paired=paired).build()
    for lost in range(0, 30, 2):
        found = compare_runs(run, each(run, fewer(lost), is_static(0.9)))
        change = row(found, 0.9, "static").first("accuracy_drop")
        assert (change.p_value <= 0.05) == (change.low > 0 or change.high < 0)


def fewer(count):
    """A trial that loses so many samples more, whether it tells which or not."""

    def change(trial):
        if trial.evaluated.correct is not None:
            return losing(count)(trial)
        result = replace(trial.evaluated, top1=trial.evaluated.top1 - count / SAMPLES)
        return replace(trial, evaluate=replace(trial.evaluate, result=result))

    return change


def test_seeds_that_lose_the_same_samples_prove_no_more_than_one():
    alike = compare_runs(RUN, each(RUN, losing(8), is_static(0.9)))
    one = compare_runs(
        *(
            replace(r, trials=tuple(t for t in r.trials if t.trial.seed == 0))
            for r in (RUN, each(RUN, losing(8), is_static(0.9)))
        )
    )
    three, single = (row(c, 0.9, "static").first("accuracy_drop") for c in (alike, one))
    assert three.change == pytest.approx(2.0)
    # Hand-made networks of different seeds classify almost the same samples rightly.
    assert three.p_value > single.p_value / 20


def test_p_values_are_adjusted_over_all_rows_in_which_anything_differs():
    found = compare_runs(RUN, each(RUN, losing(6), lambda trial: trial.scheme == "static"))
    changes = [r.first("accuracy_drop") for r in found.rows]
    assert [c.same for c in changes] == [True, False, True, False]
    least = min(c.p_value for c in changes)
    assert min(c.p_adjusted for c in changes) == pytest.approx(2 * least)
    alone = row(compare_runs(RUN, each(RUN, losing(6), is_static(0.9))), 0.9, "static").first("accuracy_drop")
    assert alone.p_adjusted == alone.p_value


def test_without_per_sample_correctness_it_is_unpaired_wider_and_said_so():
    unpaired = compare_runs(RUN, replace(BENCH, paired=False).build())
    change, paired = (row(c, 0.9, "static").first("accuracy_drop") for c in (unpaired, compare_runs(RUN, RUN)))
    assert not change.paired
    assert change.high - change.low > paired.high - paired.low
    assert "Accuracy is compared unpaired" in unpaired.notes[0]
    assert "per-sample correctness is missing" in unpaired.notes[0]
    assert "†" in table_text(unpaired, [], each_trial=False)


def test_data_that_is_not_known_to_be_the_same_is_compared_unpaired():
    def other_data(trial):
        settings = {"data": {"name": "digits", "fingerprint": "new"}}
        return replace(trial, train=replace(trial.train, settings=settings))

    found = compare_runs(RUN, each(RUN, other_data))
    assert not found.rows[0].first("accuracy_drop").paired
    assert "the data, or the file that loads it, are not known to be the same" in found.notes[0]


# -- latency -----------------------------------------------------------------------------------------------------------


def test_latency_is_compared_by_speedups_over_the_baseline_and_not_by_medians():
    # In the second session everything took ten times as long.
    after = each(RUN, lambda t: replace(t, measure=tuple(_times_ten(r) for r in t.measure)))
    found = row(compare_runs(RUN, after), 0.9, "static").first("latency_p50")
    assert found.change == pytest.approx(0.0)
    assert found.said == "EQUIVALENT"


def _times_ten(record):
    longer = {name: 10 * getattr(record.result, name) for name in ("latency_ms", "median_ms")}
    return replace(record, result=replace(record.result, **longer))


def test_a_slower_network_is_found_slower_and_its_baseline_says_nothing():
    found = compare_runs(RUN, each(RUN, slower(1.1), is_static(0.9)))
    change = row(found, 0.9, "static").first("latency_p50")
    assert (change.before, change.after) == pytest.approx((2.5, 2.5 / 1.1), rel=0.01)
    assert change.change == pytest.approx(1 / 1.1 - 1)
    assert change.low < change.change < change.high < -0.01
    assert change.said == "SLOWER"
    assert row(found, 0.0, "fp32").changes["latency_p50"] == ()
    assert row(found, 0.0, "static").first("latency_p50").said == "EQUIVALENT"


def test_a_faster_network_is_found_faster_and_its_speedup_rises():
    change = row(compare_runs(RUN, each(RUN, slower(0.8), is_static(0.9))), 0.9, "static").first("latency_p50")
    assert (change.change, change.said) == (pytest.approx(0.25), "FASTER")


def test_intervals_of_changes_hold_for_all_that_are_judged_together():
    bench = replace(BENCH, seeds=(0,))
    run = bench.build()
    after = each(run, slower(1.02, (0.98, 0.99, 1.0, 1.0, 1.01, 1.02)), is_static(0.9))
    change = row(compare_runs(run, after), 0.9, "static").first("latency_p50")
    before, later = ([*t.measured[0].against.by_process] for r in (run, after) for t in r.trials[-1:])
    # Three networks are judged: the baseline is not.
    test = ttest_ind(np.log(later), np.log(before), equal_var=False)
    low, high = test.confidence_interval(1 - 0.05 / 3)
    assert (change.low, change.high) == pytest.approx((np.expm1(low), np.expm1(high)))
    assert change.p_adjusted == pytest.approx(min(1, 3 * test.pvalue))
    assert change.said == "INCONCLUSIVE"


def test_noisy_sessions_are_compared_and_it_is_said():
    found = compare_runs(RUN, each(RUN, slower(1.1, session=session("s", **NOISY)), is_static(0.9)))
    change = row(found, 0.9, "static").first("latency_p50")
    assert (change.said, change.noisy) == ("SLOWER", True)
    assert found.notes == (
        "The timing of magnitude 0.9 · static · eager at batch 1, 1 thread is NOISY in one run at least: its intervals "
        "contain the noise and are wider.",
    )


def test_too_few_processes_leave_a_change_open_and_say_so():
    few = session("s", processes=3, enough=False)
    noisy = slower(1.0, (0.9, 1.0, 1.1), session=few)
    found = compare_runs(RUN, each(RUN, noisy, is_static(0.9)))
    assert row(found, 0.9, "static").first("latency_p50").said == "TOO FEW ROUNDS"


def test_processes_that_differ_more_than_the_sessions_leave_it_open():
    noisy = slower(1.05, WIDE)
    found = compare_runs(RUN, each(RUN, noisy, lambda t: t.scheme == "static"))
    change = row(found, 0.9, "static").first("latency_p50")
    assert change.after == pytest.approx(change.before / 1.05, rel=0.01)
    assert change.low < 0 < change.high
    assert change.said == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda r: replace(r, environment=replace(ENVIRONMENT, cpu="Another CPU")),
            "it was timed on Example CPU 9000 / 2 cores / Linux 6.1 and on Another CPU / 2 cores / Linux 6.1",
        ),
        (
            lambda r: replace(r, result=replace(r.result, protocol="loop")),
            "it was timed by the protocols processes and loop",
        ),
        (
            lambda r: replace(r, result=replace(r.result, cache="cold")),
            "it was timed with caches hot and cold",
        ),
        (
            lambda r: replace(r, result=replace(r.result, session=session("s", in_process_because="asked for"))),
            "only one of the two was timed in worker processes",
        ),
        (
            lambda r: replace(r, result=replace(r.result, session=session("s", **INVALID))),
            "INVALID timing: copies of the baseline were found different from one another",
        ),
        (
            lambda r: replace(
                r, result=replace(r.result, against_eager=replace(r.result.against_eager, by_process=(2.5,)))
            ),
            "it was timed in fewer than two worker processes",
        ),
        (
            lambda r: replace(
                r, result=replace(r.result, against_eager=replace(r.result.against_eager, baseline="another"))
            ),
            "it was timed beside dense · fp32 · eager and beside another",
        ),
    ],
    ids=["machine", "protocol", "cache", "in process", "invalid", "processes", "baseline"],
)
def test_latencies_that_cannot_be_compared_say_why(change, why):
    after = each(RUN, lambda t: replace(t, measure=tuple(map(change, t.measure))))
    found = compare_runs(RUN, after)
    one = row(found, 0.9, "static").first("latency_p50")
    assert (one.change, one.open) == (None, why)
    assert any(f": {why}." in note for note in found.notes)


def test_every_batch_size_is_compared():
    run = replace(BENCH, settings=((1, 1), (8, 2))).build()
    found = row(compare_runs(run, run), 0.9, "static").changes["latency_p50"]
    assert [change.setting for change in found] == [(1, 1), (8, 2)]


# -- gates -------------------------------------------------------------------------------------------------------------


def test_gates_are_names_signs_and_quantities():
    gates = parse_gates(["accuracy_drop>0.5pp", " latency_p50 > 5% ", "size>10kB", "deflated_size>2%"])
    assert [(g.metric.name, g.limit) for g in gates] == [
        ("accuracy_drop", 0.5),
        ("latency_p50", 0.05),
        ("size", 10_000.0),
        ("deflated_size", 0.02),
    ]


def test_all_that_is_wrong_with_gates_is_said_at_once_and_nothing_is_evaluated():
    with pytest.raises(ProblemsError) as error:
        parse_gates(
            [
                "acuracy_drop>1pp",
                "accuracy_drop<1pp",
                "accuracy_drop>1%",
                "latency_p50>2ms",
                "__import__('os')",
                "size>",
            ]
        )
    assert error.value.problems == (
        "--fail-on 'acuracy_drop>1pp': metric 'acuracy_drop' is not known. Did you mean 'accuracy_drop'? Allowed: "
        "accuracy_drop, deflated_size, latency_p50, latency_p95, macs, memory, peak_memory, size, sparsity_drop.",
        "--fail-on 'accuracy_drop<1pp': a gate fails beyond its limit; write accuracy_drop>1pp.",
        "--fail-on 'accuracy_drop>1%': '%' is no unit of a difference of fractions. Allowed: pp, as in 0.5pp. pp are "
        "percentage points: 0.5pp is the step from 95.0 % to 94.5 %.",
        "--fail-on 'latency_p50>2ms': 'ms' is no unit of a relative change. Allowed: %, as in 5%.",
        "--fail-on \"__import__('os')\": write a metric, > and a limit, such as accuracy_drop>0.5pp.",
        "--fail-on 'size>': a number and a unit are expected, such as 5% or 100kB.",
    )


def test_a_gate_is_broken_where_the_loss_is_beyond_it_and_significant():
    found = gate("accuracy_drop>0.5pp", RUN, each(RUN, losing(20), is_static(0.9)))
    assert found.state == "broken"
    assert [one.where for one in found.rows if one.state == "broken"] == ["magnitude 0.9 · static · eager"]


def test_a_loss_beyond_the_limit_that_may_be_chance_breaks_an_estimates_gate_alone():
    after = each(RUN, losing(4), is_static(0.9))
    found = {
        how: gate("accuracy_drop>0.5pp", RUN, after, evidence=how) for how in ("significant", "estimate", "certain")
    }
    assert {how: verdicts.state for how, verdicts in found.items()} == {
        "significant": "kept",
        "estimate": "broken",
        "certain": "kept",
    }
    assert [one.excess for one in found["significant"].rows].count(True) == 1


def test_certainty_needs_the_whole_interval_beyond_the_limit():
    after = each(RUN, losing(20), is_static(0.9))
    assert gate("accuracy_drop>4.5pp", RUN, after).state == "broken"
    assert gate("accuracy_drop>4.5pp", RUN, after, evidence="certain").state == "kept"
    assert gate("accuracy_drop>1pp", RUN, after, evidence="certain").state == "broken"


def test_a_gate_tells_by_which_interval_it_judged_and_what_it_could_have_found():
    after = each(RUN, losing(4), is_static(0.9))
    found = gate("accuracy_drop>0.5pp", RUN, after)
    assert found.over == ("another training",)
    change = row(compare_runs(RUN, after), 0.9, "static").first("accuracy_drop")
    # One row changed, so that its interval need not hold together with others.
    assert found.finds == pytest.approx(((change.high - change.low) / 2,) * 2)
    text = table_text(compare_runs(RUN, after), [found], each_trial=False)
    assert f"kept; 4 rows judged{OVER}; at these seeds and samples it finds drops above {found.finds[0]:.1f} pp" in text
    assert gate("accuracy_drop>3pp", RUN, after).finds == (3.0, 3.0)
    assert gate("accuracy_drop>3pp", RUN, after, evidence="certain").finds > (3.0, 3.0)
    assert gate("accuracy_drop>3pp", RUN, after, evidence="estimate").finds is None


def test_a_loss_that_a_gate_says_it_finds_breaks_it():
    for lost in range(2, 16):
        found = gate("accuracy_drop>0.5pp", RUN, each(RUN, losing(lost), is_static(0.9)))
        (change,) = (one.change for one in found.rows if not one.change.same)
        middle = (change.low + change.high) / 2
        assert (found.state == "broken") == (middle > found.finds[0])


def test_with_one_seed_a_gate_judges_these_networks_and_says_so():
    run = replace(BENCH, seeds=(0,)).build()
    after = each(run, losing(20), is_static(0.9))
    found = gate("accuracy_drop>0.5pp", run, after)
    assert (found.state, found.over) == ("broken", ("these networks",))
    text = table_text(compare_runs(run, after), [found], each_trial=False)
    assert "judged for these networks only, since one seed says nothing about another training" in text
    assert "One seed says nothing about another training: for that, run both with two seeds or more." in " ".join(
        text.split()
    )


def test_a_gain_breaks_no_gate():
    assert gate("accuracy_drop>0.5pp", each(RUN, losing(20), is_static(0.9)), RUN).state == "kept"


def test_one_seed_breaks_a_gate_of_trials_that_the_mean_over_seeds_keeps():
    after = each(RUN, losing(12), lambda t: is_static(0.9)(t) and t.seed == 1)
    assert gate("accuracy_drop>1.5pp", RUN, after).state == "kept"
    assert gate("accuracy_drop>1.5pp", RUN, after, each_trial=True).state == "broken"


def test_sizes_are_exact_in_percent_and_in_bytes():
    def larger(trial):
        packed = trial.compress.result
        size = replace(packed.size, file_bytes=packed.size.file_bytes + 1000)
        return replace(trial, compress=replace(trial.compress, result=replace(packed, size=size)))

    after = each(RUN, larger, is_static(0.9))
    assert gate("size>999B", RUN, after).state == "broken"
    assert gate("size>1kB", RUN, after).state == "kept"
    assert gate("size>2%", RUN, after, evidence="certain").state == "broken"
    assert gate("deflated_size>0%", RUN, after).state == "kept"


def test_lost_sparsity_breaks_its_gate():
    after = replace(BENCH, reached={0.9: 0.85}).build()
    assert gate("sparsity_drop>4pp", RUN, after).state == "broken"
    assert gate("sparsity_drop>6pp", RUN, after).state == "kept"
    assert gate("macs>10%", RUN, after).state == "broken"


def test_latency_beyond_its_limit_is_broken_where_proven_and_open_where_not():
    proven = each(RUN, slower(1.2), is_static(0.9))
    doubtful = each(RUN, slower(1.1, WIDE), is_static(0.9))
    assert gate("latency_p50>5%", RUN, proven).state == "broken"
    assert gate("latency_p50>5%", RUN, doubtful).state == "open"
    assert gate("latency_p50>5%", RUN, doubtful, evidence="estimate").state == "broken"
    assert gate("latency_p50>25%", RUN, proven).state == "kept"


def test_a_gate_on_latency_limits_by_how_much_latency_rises():
    # A speedup that falls by a sixth is a latency that rises by a fifth.
    after = each(RUN, slower(1.2), is_static(0.9))
    assert gate("latency_p50>19%", RUN, after, evidence="certain").state == "broken"
    assert gate("latency_p50>20.1%", RUN, after, evidence="estimate").state == "kept"
    assert gate("latency_p50>1%", after, RUN, evidence="estimate").state == "kept"


def test_latency_that_could_not_be_compared_leaves_its_gate_open():
    after = each(RUN, slower(1.0, session=session("s", **INVALID)), is_static(0.9))
    assert gate("latency_p50>5%", RUN, after).state == "open"
    untimed = replace(BENCH, settings=()).build()
    assert gate("latency_p50>5%", untimed, untimed).state == "open"
    assert gate("latency_p50>5%", RUN, untimed).state == "open"


def test_a_longer_tail_breaks_the_gate_of_the_95th_percentile():
    def tail(trial):
        return replace(
            trial,
            measure=tuple(replace(r, result=replace(r.result, p95_ms=r.result.p95_ms * 1.5)) for r in trial.measure),
        )

    after = each(RUN, tail, is_static(0.9))
    assert gate("latency_p95>20%", RUN, after).state == "broken"
    assert gate("latency_p50>20%", RUN, after).state == "kept"
    with pytest.raises(SparsebenchError, match="latency_p95 has no interval, so nothing is certain"):
        gate("latency_p95>20%", RUN, after, evidence="certain")


def test_a_gate_that_nothing_can_be_judged_by_is_an_error():
    uncounted = replace(BENCH, counted=False).build()
    with pytest.raises(SparsebenchError, match="no trial has memory in both runs"):
        gate("memory>1%", uncounted, uncounted)


# -- what is printed ---------------------------------------------------------------------------------------------------

WORSE = each(each(RUN, losing(20), is_static(0.9)), slower(1.2), is_static(0.9))


def test_the_table_says_what_changed_and_by_what_it_was_tested():
    verdicts = [judge(g, compare_runs(RUN, WORSE)) for g in parse_gates(["accuracy_drop>0.5pp", "size>1%"])]
    text = table_text(compare_runs(RUN, WORSE), verdicts, each_trial=False)
    assert "All rows: eager, 3 seeds." in text
    accuracy, latency = (line for line in text.splitlines() if line.startswith("magnitude 0.9  static"))
    intervals = r"5\.00 +\[2\.\d\d, 7\.\d\d\] +\[2\.\d\d, 7\.\d\d\] +< 0\.001"
    assert re.search(rf"92\.25 +87\.25 +{intervals}$", accuracy)
    assert re.search(r" 2\.4\d× +2\.0\d× +−16\.67 \[−16\.\d\d, −16\.\d\d\] +SLOWER$", latency)
    assert "Sizes of files: no change." in text
    assert "the runs were not timed together" in " ".join(text.split())
    assert "Gates use p adjusted over all rows that changed (Holm)" in " ".join(text.split())
    assert f"FAIL accuracy_drop>0.5pp: broken; 4 rows judged{OVER}; at these seeds" in text
    assert "\n     magnitude 0.9 · static · eager: +5.00 pp [" in text
    assert "ok   size>1%: kept; 4 rows judged" in text


@pytest.mark.parametrize("each_trial", [False, True], ids=["points", "trials"])
@pytest.mark.parametrize("name", ["magnitude", "a_pruner_of_ones_own_with_a_very_long_name"])
def test_a_table_fits_a_hundred_columns(name, each_trial):
    schemes, backends = ("fp32", "weight_only", "static"), ("eager", "onnxruntime")
    bench = replace(BENCH, schemes=schemes, backends=backends, pruners=(name,), calibrations=(10, 2000))
    run = replace(bench, pairs=(("small_cnn", "digits"), ("lstm_classifier", "digits_rows"))).build()
    text = table_text(compare_runs(run, each(run, lambda t: slower(1.2)(losing(20)(t)))), [], each_trial)
    assert max(map(len, text.splitlines())) <= 100
    assert "\nlstm_classifier on digits_rows\n" in text


def test_a_broken_gate_on_latency_says_how_much_it_rose_and_both_speedups():
    verdicts = [judge(g, compare_runs(RUN, WORSE)) for g in parse_gates(["latency_p50>5%"])]
    text = table_text(compare_runs(RUN, WORSE), verdicts, each_trial=False)
    assert re.search(
        r"latency \+20\.00 % \[19\.\d\d, 20\.\d\d\], speedup 2\.48× → 2\.07×, p < 0\.001 over all rows", text
    )


def test_markdown_puts_gates_first_and_folds_the_trials():
    verdicts = [judge(g, compare_runs(RUN, WORSE)) for g in parse_gates(["accuracy_drop>0.5pp"])]
    text = markdown_text(compare_runs(RUN, WORSE), verdicts, each_trial=False)
    assert text.split("\n\n")[1].startswith("- ✗ accuracy_drop&#62;0.5pp: broken; 4 rows judged by")
    assert "<summary>Every trial (12 trials)</summary>" in text
    assert len([line for line in text.splitlines() if re.match(r"\| (dense|magnitude)", line)]) == 4 + 12


def test_names_cannot_break_a_table_or_begin_html():
    nasty = "<b>|`x`\n[y](z)\x1b[31m"
    run = Bench(pairs=((nasty, nasty), ("b", "b")), schemes=("fp32", nasty), seeds=(0,), name=nasty).build()
    found = compare_runs(run, each(run, losing(4)))
    text = markdown_text(found, [], each_trial=False)
    assert "<b>" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert "\x1b" not in table_text(found, [], each_trial=True)


def test_json_has_rows_trials_gates_and_no_nan():
    found = compare_runs(RUN, WORSE)
    verdicts = [judge(g, found) for g in parse_gates(["accuracy_drop>0.5pp"])]
    content = json.loads(json_text(found, verdicts), parse_constant=lambda name: pytest.fail(name))
    assert (len(content["points"]), len(content["trials"])) == (4, 12)
    assert content["gates"][0]["state"] == "broken"
    assert content["gates"][0]["judged_over"] == ["another training"]
    (change,) = content["points"][3]["accuracy_drop"]
    assert change["paired"] is True
    assert (change["low"], change["high"]) == (
        change["another_training"]["low_pp"],
        change["another_training"]["high_pp"],
    )
    assert set(change["these_networks"]) == {"low_pp", "high_pp", "p_value"}
    assert content["unchanged"] is False


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    stored(RUN, root / "before")
    stored(WORSE, root / "worse")
    stored(replace(BENCH, failed={(0.9, 1, "static", "eager"): OUT_OF_MEMORY}).build(), root / "failing")
    stored(each(RUN, slower(1.1, WIDE), is_static(0.9)), root / "noisy")
    return root


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("after", "arguments", "code"),
    [
        ("before", ("--fail-on", "accuracy_drop>0.5pp", "--fail-on", "latency_p50>5%"), 0),
        ("worse", (), 0),
        ("worse", ("--fail-on", "accuracy_drop>0.5pp"), 1),
        ("worse", ("--fail-on", "size>1%"), 0),
        ("worse", ("--fail-on", "accuracy>1pp"), 2),
        ("worse", ("--evidence", "certian"), 2),
        ("failing", (), 0),
        ("failing", ("--fail-on", "accuracy_drop>0.5pp"), 3),
        ("noisy", ("--fail-on", "latency_p50>5%"), 4),
    ],
)
def test_exit_codes_tell_scripts_what_happened(runs, after, arguments, code):
    done = invoke("compare", "before", after, "--runs-dir", runs, *arguments)
    assert (2 if isinstance(done.exception, SparsebenchError) else done.exit_code) == code


def test_a_trial_that_fails_now_is_named_with_its_reason(runs):
    text = invoke("compare", runs / "before", runs / "failing").output
    assert (
        "Done in handmade and failed in handmade: small_cnn · digits · magnitude 0.9 · static · eager · seed 1: "
        "compress failed (attempt 1): RuntimeError: out of | memory"
    ) in text


def test_the_help_lists_the_metrics_and_the_exit_codes():
    text = " ".join(invoke("compare", "--help").output.split())
    for metric in (
        "accuracy_drop",
        "latency_p50",
        "latency_p95",
        "deflated_size",
        "peak_memory",
        "sparsity_drop",
        "macs",
    ):
        assert metric in text
    assert "Exit codes: 0, all gates are kept; 1, one is broken" in text

"""What a report says of latencies: verdicts over whole families, INVALID first, and never two machines in one."""

import re
from dataclasses import replace

import pytest
from handmade import ENVIRONMENT, Bench, session

from sparsebench.decide.choosing import pick
from sparsebench.points.latency import Judge
from sparsebench.points.points import sections
from sparsebench.report import write_report
from sparsebench.report.answer import answer
from sparsebench.report.caveats import findings
from sparsebench.statistics.verdicts import Verdict


def changed(run, change, where=lambda trial: True):
    """The run with every timed result of the trials ``where`` replaced by what ``change`` makes of it."""
    trials = tuple(
        replace(trial, measure=tuple(replace(record, result=change(record.result)) for record in trial.measure))
        if where(trial.trial)
        else trial
        for trial in run.trials
    )
    return replace(run, trials=trials)


def with_ratio(**values):
    def change(measured):
        against = replace(measured.against, **values)
        return replace(measured, against=against, against_eager=replace(measured.against_eager, **values))

    return change


def invalid(measured):
    bad = session("s", valid=False, control_ratio=1.05, control_low=1.02, control_high=1.08)
    return replace(measured, session=bad)


def timing(run, threshold, scheme):
    (section,) = sections(run)
    point = next(p for p in section.points if (p.threshold, p.scheme) == (threshold, scheme))
    return point.timing(section.setting)


ONE_SEED = Bench(seeds=(0,), thresholds=(0.0, 0.5, 0.8, 0.9, 0.95)).build()


def test_a_speedup_is_the_inverse_of_the_recorded_ratio_with_its_limits():
    found = timing(ONE_SEED, 0.5, "static")
    assert (found.own.speedup, found.own.low, found.own.high) == pytest.approx((2.5, 2.5 / 1.005, 2.5 / 0.995))
    assert found.own.verdict is Verdict.FASTER
    assert timing(ONE_SEED, 0.0, "fp32").own.verdict is Verdict.BASELINE
    assert timing(ONE_SEED, 0.5, "fp32").own.verdict is Verdict.EQUIVALENT


def test_a_p_value_that_is_small_for_one_is_not_small_among_twenty():
    narrow = with_ratio(ratio=0.97, low=0.96, high=0.98, p_value=0.003)
    same = with_ratio(ratio=1.03, low=0.98, high=1.08, p_value=0.5)

    def others(t):
        return (t.threshold, t.scheme) not in {(0.0, "fp32"), (0.5, "static")}

    alone = changed(Bench(seeds=(0,), thresholds=(0.0, 0.5), schemes=("fp32", "static")).build(), narrow, others)
    alone = changed(changed(alone, same, others), narrow, lambda t: (t.threshold, t.scheme) == (0.5, "static"))
    among = changed(changed(ONE_SEED, same, others), narrow, lambda t: (t.threshold, t.scheme) == (0.5, "static"))
    assert timing(alone, 0.5, "static").own.verdict is Verdict.FASTER
    assert timing(among, 0.5, "static").own.verdict is Verdict.INCONCLUSIVE


def test_families_are_those_of_one_backend_and_one_setting():
    run = Bench(seeds=(0,), backends=("eager", "onnxruntime"), settings=((1, 1), (8, 1))).build()
    trials = [t for t in run.trials if t.trial.backend == "onnxruntime"]
    alone, together = Judge(trials), Judge(run.trials)
    assert alone.timings(trials[-1]) == together.timings(trials[-1])


def test_seeds_must_agree_on_a_verdict():
    run = Bench(seeds=(0, 1), thresholds=(0.0, 0.9)).build()
    wide = with_ratio(ratio=0.99, low=0.9, high=1.1, p_value=0.9)
    other = changed(run, wide, lambda t: t.seed == 1 and (t.threshold, t.scheme) == (0.9, "static"))
    assert timing(run, 0.9, "static").own.verdict is Verdict.FASTER
    assert timing(other, 0.9, "static").own.verdict is Verdict.INCONCLUSIVE


def test_an_invalid_session_is_the_first_thing_that_is_said_and_nothing_of_it_is_fastest(tmp_path):
    run = changed(ONE_SEED, invalid)
    text = write_report(run, tmp_path).read_text()
    first = text.split("\n\n")[1]
    assert first.startswith(
        "**Timing is INVALID (eager, batch 1, 1 thread): a second copy of the baseline took 1.050 [1.020, 1.080] of "
        "its time, though it is the same. Trust no speedup there; time again on a quieter machine.** Within 1 pp"
    )
    assert "latency: none can be called the lowest, for the timing is INVALID" in first
    (section,) = sections(run)
    assert pick(section).fastest is None
    row = next(re.sub(" +", " ", line) for line in text.splitlines() if "0.9499 | static" in line)
    assert "| INVALID |" in row
    assert "FASTER" not in row
    assert findings(run, (section,))[-1].startswith("Timing of eager, batch 1, 1 thread is INVALID: a second copy")


def test_one_invalid_session_of_two_leaves_the_verdicts_of_the_other(tmp_path):
    run = Bench(seeds=(0,), settings=((1, 1), (32, 1))).build()
    run = changed(run, lambda m: invalid(m) if m.batch_size == 32 else m)
    first = write_report(run, tmp_path).read_text().split("\n\n")[1]
    assert first.startswith("**Timing is INVALID (1 of 2 sessions: eager, batch 32, 1 thread): a second copy")
    assert "lowest latency: **dense · static · eager**" in first
    assert first.endswith("Verdicts are given for the other sessions.")


def test_the_fastest_is_found_by_pairs_with_eager_and_not_by_medians():
    run = Bench(seeds=(0,), backends=("eager", "onnxruntime")).build()
    # In a minute in which everything was slow, its median was the higher one; its ratio to eager is the lower.
    slow = changed(run, lambda m: replace(m, median_ms=m.median_ms * 10), lambda t: t.backend == "onnxruntime")
    (section,) = sections(slow)
    assert pick(section).fastest.label == "dense · static · onnxruntime"
    assert "5.000× [4.975, 5.025] against dense fp32 on eager" in answer(section)
    fastest = pick(section).fastest
    assert section.latency_ms(fastest) == pytest.approx(2.0 / 5)


def test_what_was_timed_on_another_machine_is_left_out():
    run = Bench(seeds=(0,), thresholds=(0.0, 0.9), schemes=("fp32", "static")).build()
    other = replace(ENVIRONMENT, cpu="Another CPU")
    last = run.trials[-1]
    moved = replace(last, measure=tuple(replace(record, environment=other) for record in last.measure))
    assert timing(replace(run, trials=(*run.trials[:-1], moved)), 0.9, "static") is None


def test_another_baseline_than_dense_fp32_and_an_uneasy_machine_are_warned_of():
    run = changed(ONE_SEED, with_ratio(baseline="magnitude 0.5 · fp32 · eager"))
    uneasy = session(
        "s",
        conditions={"steal_share": 0.2, "foreign_cores": 1.25, "throttle_events": 12.0},
        in_process_because="asked for by workers=False",
    )
    run = changed(run, lambda m: replace(m, session=uneasy))
    assert findings(run, sections(run)) == [
        "Timing of eager, batch 1, 1 thread is compared with magnitude 0.5 · fp32 · eager, not with dense fp32.",
        "eager, batch 1, 1 thread was timed in the process of the sweep (asked for by workers=False): what depends on "
        "how a process lays out its memory is not averaged out.",
        "Timing of eager, batch 1, 1 thread: a hypervisor took up to 20 % of the cores' time in a round.",
        "Timing of eager, batch 1, 1 thread: other processes kept 1.2 cores busy in the mean.",
        "Timing of eager, batch 1, 1 thread: cores were slowed down for heat up to 12 times in a round.",
    ]


def test_a_session_with_few_rounds_for_its_networks_is_warned_of_with_what_to_set():
    def timed(rounds):
        short = session("s", networks=42, rounds=rounds, seconds=50.0)
        run = changed(ONE_SEED, lambda m: replace(m, session=short))
        return findings(run, sections(run))

    assert timed(18) == []
    assert timed(9) == [
        "Timing of eager, batch 1, 1 thread: 9 rounds are few for 42 networks. Where a single round speaks against "
        "it, none of them can be called FASTER or SLOWER; 18 rounds allow for one. Set measure.seconds_cap to 100."
    ]


def test_sessions_are_listed_with_their_rounds_control_and_conditions(tmp_path):
    text = re.sub(" +", " ", write_report(ONE_SEED, tmp_path).read_text())
    table = text[text.index("<summary>Timing sessions</summary>") :].splitlines()
    assert table[4] == (
        "| small_cnn-digits-eager-0-1-1 | small_cnn on digits | eager | 1 | 1 | dense · fp32 · eager | 20 | 24 | 3 "
        "| 40 | precise | 1.001 [0.997, 1.004] | VALID | 1.2 | 1.0 | 7 |"
    )


def test_percentiles_of_several_calls_at_once_are_marked(tmp_path):
    run = changed(ONE_SEED, lambda m: replace(m, calls_together=4), lambda t: t.scheme == "static")
    text = re.sub(" +", " ", write_report(run, tmp_path).read_text())
    assert "| dense | 0.0000 | static | eager | 0.800 | 1.00‡ | 1.20‡ | 1,250 |" in text
    assert "| dense | 0.0000 | fp32 | eager | 2.00 | 2.50 | 3.00 | 500 | 1 | baseline | 3.00 |" in text

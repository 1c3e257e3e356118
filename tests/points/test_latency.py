"""What a report says of latencies: one for each network, verdicts off intervals, and their state before all else."""

import json
import sys
from dataclasses import replace

import pytest
from handmade import ENVIRONMENT, INVALID, NOISY, Bench, session

from reports import everything, page
from sparsebench.errors import SparsebenchError
from sparsebench.points.latency import PeakMemory
from sparsebench.points.points import sections
from sparsebench.report import write_report
from sparsebench.report.answer import named
from sparsebench.report.caveats import findings
from sparsebench.report.figures import bars, fronts
from sparsebench.statistics.verdicts import Verdict
from sparsebench.store.records import flat_row, latency_rows


def changed(run, change, where=lambda trial: True):
    """The run with every timed result of the trials ``where`` replaced by what ``change`` makes of it."""
    trials = tuple(
        replace(trial, measure=tuple(replace(record, result=change(record.result)) for record in trial.measure))
        if where(trial.trial)
        else trial
        for trial in run.trials
    )
    return replace(run, trials=trials)


def with_speedup(**values):
    def change(measured):
        against = replace(measured.against, **values)
        return replace(measured, against=against, against_eager=replace(measured.against_eager, **values))

    return change


def in_session(**changes):
    """Put a latency into a session that differs so from a good one."""
    return lambda measured: replace(measured, session=session(f"s-{measured.batch_size}", **changes))


invalid, noisy = in_session(**INVALID), in_session(**NOISY)


def timing(run, threshold, scheme):
    (section,) = sections(run)
    point = next(p for p in section.points if (p.threshold, p.scheme) == (threshold, scheme))
    return point.timing(section.setting)


ONE_SEED = Bench(seeds=(0,), thresholds=(0.0, 0.5, 0.8, 0.9, 0.95)).build()


def test_a_speedup_is_the_recorded_one_with_its_limits():
    found = timing(ONE_SEED, 0.5, "static")
    assert (found.own.speedup, found.own.low, found.own.high) == pytest.approx((2.5, 2.5 / 1.005, 2.5 / 0.995))
    assert found.own.verdict is Verdict.FASTER
    assert timing(ONE_SEED, 0.0, "fp32").own.verdict is Verdict.BASELINE
    assert timing(ONE_SEED, 0.5, "fp32").own.verdict is Verdict.EQUIVALENT


@pytest.mark.parametrize(
    ("low", "high", "enough", "expected"),
    [
        (1.011, 1.03, True, Verdict.FASTER),
        (1.009, 1.03, True, Verdict.INCONCLUSIVE),
        (1.009, 1.03, False, Verdict.TOO_FEW_ROUNDS),
        (1.011, 1.03, False, Verdict.FASTER),
        (0.95, 0.989, True, Verdict.SLOWER),
        (0.995, 1.005, True, Verdict.EQUIVALENT),
    ],
)
def test_a_verdict_is_what_one_reads_off_the_interval(low, high, enough, expected):
    run = changed(ONE_SEED, with_speedup(speedup=(low * high) ** 0.5, low=low, high=high))
    run = changed(run, in_session(enough=enough))
    assert timing(run, 0.5, "static").own.verdict is expected


def test_seeds_must_agree_on_a_verdict():
    run = Bench(seeds=(0, 1), thresholds=(0.0, 0.9)).build()
    wide = with_speedup(speedup=1.01, low=0.9, high=1.1)
    other = changed(run, wide, lambda t: t.seed == 1 and (t.threshold, t.scheme) == (0.9, "static"))
    assert timing(run, 0.9, "static").own.verdict is Verdict.FASTER
    assert timing(other, 0.9, "static").own.verdict is Verdict.INCONCLUSIVE


def test_the_fastest_is_found_by_pairs_with_eager_and_not_by_medians():
    run = Bench(seeds=(0,), backends=("eager", "onnxruntime"), samples=2000).build()
    # In a minute in which everything was slow its medians were the higher ones; its speedup over eager is the higher.
    slow = changed(run, ten_times_slower, lambda t: t.backend == "onnxruntime")
    (section,) = sections(slow)
    (one,) = named(section).fastest
    assert one.point.label == "dense · static · onnxruntime"
    assert section.latency_ms(one.point) == pytest.approx(2.0 / 5)


def ten_times_slower(measured):
    return replace(measured, **{name: 10 * getattr(measured, name) for name in ("latency_ms", "median_ms")})


def test_headline_table_figures_and_data_give_one_latency_for_one_network(tmp_path):
    run = Bench(seeds=(0,), backends=("eager", "onnxruntime"), thresholds=(0.0, 0.5), samples=2000).build()
    # Its session was slow, and its own medians are off from what its rounds found in pairs.
    run = changed(run, ten_times_slower, lambda t: t.backend == "onnxruntime")
    run = changed(run, lambda m: replace(m, median_ms=m.median_ms * 1.07), lambda t: t.scheme != "fp32")
    (section,) = sections(run)
    text = everything(write_report(run, tmp_path))
    assert "**dense · static · onnxruntime**, 0.400 ms (5.00×" in text
    (row,) = [
        line for line in text.splitlines() if line.startswith("| **dense · static · onnxruntime** (fastest, PICKED)")
    ]
    assert "| **0.400 (5.00×)** | .onnx |" in row
    rows = [line for line in text.splitlines() if line.startswith("| dense ")]
    # In the table of speeds, and in that of seeds.
    assert sum("static | onnxruntime |" in row and "| 0.400 |" in row for row in rows) == 2
    assert sum("static | eager |" in row and "| 0.800 |" in row for row in rows) == 2
    for point in section.shown:
        measured = point.seeds[0].trial.measured[0]
        expected = 2.0 / measured.against_eager.speedup
        shown = point.timing(section.setting).latency_ms.mean
        assert shown == pytest.approx(expected)
        assert fronts.latency_interval(section, point)[0] == shown
        if point.backend == "eager":
            assert shown == measured.shown_ms
    drawn = {(bar.dense.scheme, bar.dense.backend): bar.value for bar in bars.latency(section).bars}
    listed = {(row["threshold"], row["scheme"], row["backend"]): row["latency_ms"] for row in latency_rows(run)}
    trials = json.loads((tmp_path / "data.json").read_text())["trials"]
    found = {(t["threshold"], t["scheme"], t["backend"]): t["latency_ms"] for t in trials}
    assert found == listed
    assert drawn == {place[1:]: ms for place, ms in found.items() if place[0] == 0.0}


def test_a_latency_without_its_run_is_that_of_its_own_session():
    run = Bench(seeds=(0,), backends=("eager", "onnxruntime"), thresholds=(0.0,)).build()
    run = changed(run, ten_times_slower, lambda t: t.backend == "onnxruntime")
    trial = next(t for t in run.trials if (t.trial.scheme, t.trial.backend) == ("static", "onnxruntime"))
    assert flat_row(trial)["latency_ms"] == pytest.approx(4.0)
    assert [row["latency_ms"] for row in latency_rows(run) if row["key"] == trial.trial.evaluate] == [
        pytest.approx(0.4)
    ]


def test_data_frames_have_the_rows_of_the_files():
    pytest.importorskip("pandas", reason="the extra pandas is not installed")
    run = Bench(seeds=(0,), settings=((1, 1), (8, 2)), thresholds=(0.0, 0.5)).build()
    frame, latencies = run.frame(), run.latencies()
    assert (len(frame), len(latencies)) == (8, 16)
    assert list(frame["latency_ms"]) == list(latencies["latency_ms"][::2])
    assert set(latencies["batch_size"]) == {1, 8}


@pytest.mark.parametrize("asked", ["frame", "latencies"])
def test_without_pandas_a_data_frame_names_the_extra_and_the_files_that_have_the_same(asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    run = Bench(seeds=(0,), thresholds=(0.0,), schemes=("fp32",)).build()
    with pytest.raises(SparsebenchError, match=r"pip install 'sparsebench\[pandas\]'.* data\.csv and latency\.csv"):
        getattr(run, asked)()


def test_peak_memory_is_of_two_processes_at_least():
    assert PeakMemory.of([(3, 1, 2), (6,)]) == (2, 1, 3)
    assert PeakMemory.of([(3,), (6,)]) is None
    assert PeakMemory.of([]) is None


def test_what_was_timed_on_another_machine_is_left_out():
    run = Bench(seeds=(0,), thresholds=(0.0, 0.9), schemes=("fp32", "static")).build()
    other = replace(ENVIRONMENT, cpu="Another CPU")
    last = run.trials[-1]
    moved = replace(last, measure=tuple(replace(record, environment=other) for record in last.measure))
    assert timing(replace(run, trials=(*run.trials[:-1], moved)), 0.9, "static") is None


def test_another_baseline_than_dense_fp32_and_an_uneasy_machine_are_warned_of():
    run = changed(ONE_SEED, with_speedup(baseline="magnitude 0.5 · fp32 · eager"))
    uneasy = session(
        "s",
        conditions={"steal_share": 0.2, "foreign_cores": 1.25, "throttle_events": 12.0},
        in_process_because="asked for by workers=False",
    )
    run = changed(run, lambda m: replace(m, session=uneasy))
    assert findings(run, sections(run)) == [
        "Timing of eager, batch 1, 1 thread is compared with magnitude 0.5 · fp32 · eager, not with dense fp32.",
        "eager, batch 1, 1 thread was timed in the process of the sweep (asked for by workers=False), so its memory "
        "layout is not averaged out.",
        "Timing of eager, batch 1, 1 thread: a hypervisor took up to 20 % of the cores' time in a round.",
        "Timing of eager, batch 1, 1 thread: other processes kept 1.2 cores busy on average.",
        "Timing of eager, batch 1, 1 thread: heat slowed the cores down up to 12 times in a round.",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        (
            {"processes": 3, "enough": False, "seconds": 40.0},
            ["(only 3 processes timed). Set measure.seconds_cap = 100."],
        ),
        (
            {"seconds_needed": 130.0},
            ["(it needs at least 130 s). Set measure.seconds_cap = 160."],
        ),
        (
            {"processes": 1, "enough": False, "seconds_needed": 130.0},
            ["(only 1 process timed and it needs at least 130 s). Set measure.seconds_cap = 160."],
        ),
    ],
)
def test_a_session_that_had_too_little_time_is_warned_of_with_what_to_set(changes, said):
    run = changed(ONE_SEED, in_session(**changes))
    head = "Timing of eager, batch 1, 1 thread had too little time "
    assert findings(run, sections(run)) == [head + text for text in said]


def test_operators_that_eager_falls_back_to_are_named_where_it_is_the_baseline():
    slow = {"fallback_kernels": ("convolution without oneDNN (aten::_slow_conv2d_forward)",)}
    run = Bench(seeds=(0, 1), backends=("eager", "onnxruntime"), settings=((1, 1), (8, 2))).build()

    def falls_back(measured):
        return replace(measured, **slow) if measured.batch_size == 1 else measured

    pruned = changed(run, falls_back, lambda t: t.threshold > 0)
    assert findings(pruned, sections(pruned)) == []
    dense = changed(run, falls_back, lambda t: (t.threshold, t.scheme, t.backend) == (0.0, "fp32", "eager"))
    assert findings(dense, sections(dense)) == [
        "small_cnn on digits: eager ran a slow convolution without oneDNN (aten::&#95;slow_conv2d_forward) at batch 1, "
        "1 thread, so speedups over eager flatter other backends."
    ]


def test_sessions_are_listed_with_their_rounds_controls_and_conditions(tmp_path):
    text = page(write_report(ONE_SEED, tmp_path), "latency")
    table = text[text.index("## Sessions") :].splitlines()
    assert table[4] == (
        "| small_cnn-digits-eager-0-1-1 | small_cnn on digits | eager | 1 | 1 | dense · fp32 · eager | 20 | 24 | 6 "
        "| 40 | precise | −0.3 to +0.4 % | VALID | 1.5 | 1.2 | 1.0 | 7 |"
    )


def test_percentiles_of_several_calls_at_once_are_marked(tmp_path):
    run = changed(ONE_SEED, lambda m: replace(m, calls_together=4), lambda t: t.scheme == "static")
    text = page(write_report(run, tmp_path), "latency")
    assert "| dense | static | 1.00‡ | 1.20‡ | 1,250 |" in text
    assert "| dense | fp32 | 2.50 | 3.00 | 500 | 3.0 (2.9–3.1) |" in text


def test_peak_memory_of_a_single_process_is_not_shown(tmp_path):
    run = changed(ONE_SEED, lambda m: replace(m, peak_memory_by_process=(3_000_000,)))
    assert "| dense | fp32 | 2.50 | 3.00 | 500 | – |" in page(write_report(run, tmp_path), "latency")


def test_a_page_says_what_verdicts_and_states_mean_and_which_networks_are_controls(tmp_path):
    text = page(write_report(ONE_SEED, tmp_path), "terms")
    for word in ("FASTER, SLOWER", "EQUIVALENT", "INCONCLUSIVE", "TOO FEW ROUNDS", "NOISY", "INVALID", "(±1.0 %)"):
        assert word in text, word
    assert "holds for all networks of a session together" in text

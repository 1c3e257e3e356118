"""Whole sessions on machines with a clock of their own: what is timed, when it ends, and what is said of it."""

import gc
import math

import numpy as np
import pytest
from timing_machines import Machine, compared

from sparsebench.timing import Step, Validity, Verdict, compare, protocol
from sparsebench.timing.protocol import compare_variants
from sparsebench.timing.schedule import Settings
from sparsebench.timing.variants import Variant


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    # Each takes a tenth of a second in a process with torch; where the clock is the test's own they change nothing.
    monkeypatch.setattr(gc, "collect", lambda: 0)


def restless(seed, **more):
    """A machine that is never quiet."""
    return Machine(seed, **{"noise": 0.02, "drift": 0.2, "bursts": 0.05, "places": 0.003} | more)


def test_a_quiet_machine_gives_exact_speedups_after_six_processes():
    result = compared(Machine(0), {"fp32": 6, "int8": 3, "slow": 9, "same": 6})
    assert list(result) == ["fp32", "int8", "slow", "same"]
    assert [one.speedup for one in result.values()] == pytest.approx([1, 2, 2 / 3, 1])
    assert [one.verdict for one in result.values()] == ["BASELINE", "FASTER", "SLOWER", "EQUIVALENT"]
    assert (result.validity, result.stopped, result.processes) == ("VALID", "precise", 6)
    slow = result["slow"]
    assert (slow.latency_ms, slow.median_ms, slow.p95_ms, slow.p99_ms) == pytest.approx((9,) * 4)
    assert result["int8"].paired.by_process == pytest.approx((2,) * 6)
    assert result.resolution_of() == pytest.approx(0.01)


def test_drift_bursts_places_and_slow_first_calls_do_not_mislead():
    machine = restless(2)
    variants = {"fp32": machine.call(6, first=100), "int8": machine.call(3, first=500), "same": machine.call(6)}
    result = compare(variants, baseline="fp32", clock=machine.clock)
    assert result["int8"].low <= 2 <= result["int8"].high
    assert result["int8"].verdict is Verdict.FASTER
    assert result["same"].low <= 1 <= result["same"].high


def test_latency_and_speedup_agree_where_medians_need_not():
    result = compared(restless(3), {"fp32": 6, "int8": 3})
    assert result["fp32"].latency_ms / result["int8"].latency_ms == pytest.approx(result["int8"].speedup)
    assert result["int8"].latency_ms == pytest.approx(result["int8"].median_ms, rel=0.02)


def test_a_session_that_is_not_precise_after_six_processes_takes_as_many_more_as_there_is_time_for():
    steps = []
    result = compared(restless(2, places=0.02), {"fp32": 6, "same": 6}, load_ms=200, watch=steps.append)
    assert (result.stopped, result.validity) == ("cap", Validity.NOISY)
    assert 6 < result.processes < 18
    # Another process would not have fitted, by what the first one took.
    assert 60 - 2 * result.seconds / result.processes < result.seconds <= 60
    planned = {one.processes for one in steps if one.process > 6}
    assert planned == {max(one.process for one in steps)}
    text = str(result)
    assert "Stopped (cap): time or processes ran out before every interval reached less than 0.6 %" in text
    assert text.startswith("NOISY: copies of the baseline differ by −")
    assert "A quieter machine or more time detects smaller ones." in text


def test_a_session_ends_after_eighteen_processes_however_much_time_is_left():
    result = compared(Machine(2, places=0.02), {"fp32": 6, "same": 6}, seconds_cap=600)
    assert result.processes == 18
    assert result.stopped == "cap"


@pytest.mark.parametrize("seconds_cap", [5, 12, 60])
@pytest.mark.parametrize("load_ms", [0, 20])
def test_the_cap_is_kept(seconds_cap, load_ms):
    result = compared(restless(4, drift=0.0), {"fp32": 6, "same": 6}, load_ms=load_ms, seconds_cap=seconds_cap)
    a_round = result.seconds / len(result.rounds)
    assert result.seconds_needed is None
    assert result.seconds <= seconds_cap + a_round


def test_where_the_least_does_not_fit_it_is_said_before_the_first_round_and_kept():
    steps = []
    result = compared(Machine(4, places=0.01), {"fp32": 50, "int8": 25}, load_ms=50, seconds_cap=1, watch=steps.append)
    told = [one for one in steps if one.seconds is not None]
    assert [one.seconds for one in told] == [result.seconds_needed]
    assert [steps.index(told[0]), steps[0]] == [1, Step(0, 6)]
    assert str(steps[2]) == "process 1 of 6, round 1 of 2"
    assert (result.processes, len(result.rounds)) == (6, 12)
    assert 1 < result.seconds_needed < result.seconds < 1.1 * result.seconds_needed


def test_a_machine_that_gets_slow_leaves_too_few_rounds_for_a_verdict():
    machine = Machine(4, noise=0.01)
    calls = []

    def slower():
        calls.append(None)
        machine.spend(50 if len(calls) < 30 else 5000)

    result = compare({"fp32": slower, "same": slower}, baseline="fp32", clock=machine.clock, seconds_cap=2)
    assert 2 <= result.processes < 6
    assert result["same"].verdict is Verdict.TOO_FEW_ROUNDS
    assert not result["same"].verdict.decided


def test_the_table_says_first_whether_it_is_valid_and_aligns_its_columns():
    result = compared(Machine(7), {"fp32": 6, "int8 static": 3, "pruned": 7.5}, seed=3)
    lines = str(result).splitlines()
    assert lines[0] == (
        "VALID: copies of the baseline differ by +0.0 to +0.0 %, less than 1 %. "
        "This session detects differences above 1.0 %."
    )
    assert lines[1] == (
        "Stopped (precise): every interval reaches less than 0.6 % to either side. "
        f"{len(result.rounds)} rounds in 6 processes, {result.seconds:.0f} s, threads 1, seed 3."
    )
    assert lines[2].startswith("Timed in the calling process, without fresh ones: a clock was given")
    assert lines[4:8] == [
        "variant      latency ms  p95 ms  speedup   95 % interval  verdict",
        "fp32                  6       6        1                  baseline",
        "int8 static           3       3   2.000×  2.000 to 2.000  FASTER",
        "pruned              7.5     7.5   0.800×  0.800 to 0.800  SLOWER",
    ]
    assert lines[-1] == "All 2 intervals hold together, and verdicts are read off them."


def test_a_copy_that_is_slower_in_every_process_makes_the_session_invalid(monkeypatch):
    def badly_placed(name, variant):
        return Variant(name, machine.network(name, 6.3 if name == "fp32 (copy 3)" else variant.target.milliseconds), ())

    machine = Machine(6)
    monkeypatch.setattr(protocol, "_placed_anew", badly_placed)
    result = compared(machine, {"fp32": 6, "int8": 3})
    assert result.validity is Validity.INVALID
    assert str(result).startswith(
        "INVALID: copies of the baseline differ by −4.8 to +1.6 %, though they are the same network. "
        "Ignore the verdicts of this session. Time again on a quieter machine"
    )


def test_the_copies_of_the_baseline_are_objects_of_their_own():
    machine = Machine(8)
    result = compared(machine, {"fp32": 6, "int8": 3})
    assert list(machine.ran.values()).count("fp32") == 4 * result.processes
    assert list(machine.ran.values()).count("int8") == result.processes


def variants_of(machine, milliseconds):
    return [Variant(name, machine.network(name, value), ()) for name, value in milliseconds.items()]


def test_networks_that_run_the_kernels_of_the_baseline_are_controls_and_keep_their_verdict():
    machine = Machine(9)
    settings = Settings(clock=machine.clock)
    variants = variants_of(machine, {"fp32": 6, "masked": 5.5, "int8": 3})
    plain = compare_variants(variants, "fp32", None, settings)
    strict = compare_variants(variants, "fp32", None, settings, alike=["masked"])
    assert (plain.validity, strict.validity) == (Validity.VALID, Validity.INVALID)
    assert strict["masked"].verdict is Verdict.FASTER
    assert strict["masked"].paired == plain["masked"].paired
    assert strict.controls_limits.high == pytest.approx(6 / 5.5)
    assert str(strict).startswith("INVALID: copies of the baseline differ by +0.0 to +9.1 %, though")


def test_raw_samples_orders_and_conditions_are_kept():
    first, again, other = (
        compared(Machine(8), {"fp32": 6, "a": 3, "b": 1}, seed=seed, block_ms=10) for seed in (1, 1, 2)
    )
    assert [one.order for one in first.rounds] == [one.order for one in again.rounds]
    assert [one.order for one in first.rounds] != [one.order for one in other.rounds]
    one = first.rounds[0]
    assert sorted(one.order) == ["a", "b", "fp32", "fp32 (copy 2)", "fp32 (copy 3)", "fp32 (copy 4)"]
    assert len(one.latencies_ms) == len(one.calls_ms) == 6
    assert {one.generation for one in first.rounds} == set(range(6))
    assert dict(zip(one.order, one.calls_ms, strict=True))["b"].tolist() == pytest.approx([1.0] * 10)  # make 10 ms
    assert set(first.conditions) <= set(vars(one.conditions))


def test_the_speedup_of_each_process_is_the_mean_over_copies_of_medians_over_its_rounds():
    result = compared(restless(10), {"fp32": 6, "a": 3})
    process = [dict(zip(one.order, one.latencies_ms, strict=True)) for one in result.rounds if one.generation == 2]
    copies = [name for name in process[0] if name != "a"]
    logs = [np.median([math.log(one[copy] / one["a"]) for one in process]) for copy in copies]
    assert result["a"].paired.by_process[2] == pytest.approx(math.exp(np.mean(logs)))


def test_groups_have_copies_of_the_baseline_of_their_own():
    result = compared(Machine(9), {"fp32": 6, "a": 3, "b": 9, "c": 12}, group_size=2)
    assert [result[name].speedup for name in "abc"] == pytest.approx([2, 2 / 3, 0.5])
    assert len(result.controls) == 2 * 4
    own = {(one.group, frozenset(name for name in one.order if not name.startswith("fp32"))) for one in result.rounds}
    assert own == {(0, frozenset("ab")), (1, frozenset("c"))}
    assert {result.validity_of(group) for group in (0, 1)} == {Validity.VALID}


def test_a_second_baseline_is_compared_with_round_by_round():
    result = compared(Machine(11), {"fp32": 6, "eager": 12, "int8": 3, "same": 6}, second="eager")
    assert [one.second.speedup for one in result.values()] == pytest.approx([2, 1, 4, 2])
    assert [one.speedup for one in result.values()] == pytest.approx([1, 0.5, 2, 1])
    assert result["int8"].second.low == pytest.approx(4) == result["int8"].second.high
    assert result["int8"].second.p_value < 1e-6
    assert result["eager"].second.p_value == 1


def test_the_second_baseline_may_be_the_first():
    result = compared(Machine(12), {"fp32": 6, "int8": 3}, second="fp32")
    assert result["int8"].second == result["int8"].paired
    assert result["fp32"].second.speedup == 1


def test_what_a_restless_machine_does_leaves_the_speedup_beside_the_second_baseline_alone():
    result = compared(restless(13), {"fp32": 6, "eager": 12, "int8": 3}, second="eager")
    assert result["int8"].second.low <= 4 <= result["int8"].second.high
    assert result["int8"].second.high / result["int8"].second.low < 1.05


def test_a_restless_second_baseline_does_not_blur_what_the_others_tell():
    machine = Machine(18)
    restless_call = lambda: machine.spend(12 * math.exp(0.3 * machine.random.standard_normal()))  # noqa: E731
    variants = {"fp32": machine.call(6), "eager": restless_call, "int8": machine.call(3)}
    result = compare(variants, baseline="fp32", second="eager", clock=machine.clock)
    assert result["eager"].high / result["eager"].low > 1.02
    assert result.resolution_of() == pytest.approx(0.01)


def test_each_group_has_the_second_baseline():
    result = compared(Machine(14), {"fp32": 6, "eager": 12, "a": 3, "b": 9}, second="eager", group_size=1)
    assert [one.group for one in result.values()] == [0, 0, 0, 1]
    assert [result[name].second.speedup for name in "ab"] == pytest.approx([4, 4 / 3])
    assert all("eager" in one.order for one in result.rounds)


def test_percentiles_are_those_of_single_calls_unless_they_are_too_short():
    result = compared(Machine(15), {"long": 5, "short": 0.05}, block_ms=10)
    assert (result["long"].calls_together, result["short"].calls_together) == (1, 2)
    assert result["long"].calls == len(result.rounds) * 4 * 2
    assert result["long"].p95_ms == result["long"].p99_ms == pytest.approx(5)


def test_short_calls_settle_before_they_are_timed_and_long_ones_are_long_enough():
    machine = Machine(16)
    calls = {"short": 0, "long": 0}

    def counting(name, milliseconds):
        def run():
            calls[name] += 1
            machine.spend(milliseconds)

        return run

    variants = {"long": counting("long", 20), "short": counting("short", 1)}
    result = compare(variants, baseline="long", clock=machine.clock, block_ms=10)
    loads, rounds = result.processes, len(result.rounds)
    first_is_short = sum(one.order[0] == "short" for one in result.rounds)
    # A first call and a block warm up. Two calls come before each block of ten; before the first block of a round
    # comes an untimed one, unless one call fills it.
    assert calls["short"] == loads * (1 + 10) + (rounds + first_is_short) * (2 + 10)
    assert calls["long"] == 4 * (loads * (1 + 3) + rounds)


@pytest.mark.parametrize(("cache", "latency_ms"), [("hot", 2.0), ("cold", 6.0)])
def test_a_cold_cache_makes_calls_slow_that_would_have_found_their_weights_in_it(monkeypatch, cache, latency_ms):
    machine, state = Machine(17), {"warm": False, "touched": 0}

    def call():
        machine.spend(2 if state["warm"] else 6)
        state["warm"] = True

    def touch():
        machine.spend(1)
        state.update(warm=False, touched=state["touched"] + 1)

    monkeypatch.setattr("sparsebench.timing.blocks._touch", touch)
    result = compare({"fp32": call, "again": call}, baseline="fp32", clock=machine.clock, cache=cache)
    assert result["again"].median_ms == pytest.approx(latency_ms)
    calls = sum(len(taken) for one in result.rounds for taken in one.calls_ms)
    assert (state["touched"] >= calls) is (cache == "cold")
    assert (state["touched"] > 0) is (cache == "cold")

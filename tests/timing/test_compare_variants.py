"""Comparisons from end to end: on machines with a clock of their own, and small ones on the real machine."""

import gc
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from timing_callables import (
    DiesOnLoading,
    FailsOnLoading,
    Scaled,
    allocates,
    bound_network,
    dies,
    hangs,
    multiply,
    network,
    once,
    raises,
    twice,
)
from timing_machines import Machine
from torch import nn

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.timing import Built, Verdict, compare
from sparsebench.timing.variants import Variant, grouped


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    # Each takes a tenth of a second in a process with torch; where the clock is the test's own they change nothing.
    monkeypatch.setattr(gc, "collect", lambda: 0)


def compared(machine, milliseconds, **settings):
    variants = {name: machine.call(value) for name, value in milliseconds.items()}
    return compare(variants, baseline=next(iter(milliseconds)), clock=machine.clock, **settings)


def test_a_quiet_machine_gives_exact_ratios_at_the_first_look():
    result = compared(Machine(0), {"fp32": 60, "int8": 30, "slow": 90, "same": 60})
    assert list(result) == ["fp32", "int8", "slow", "same"]
    assert [result[name].ratio for name in result] == pytest.approx([1, 0.5, 1.5, 1])
    assert result["int8"].speedup == pytest.approx(2)
    assert [result[name].verdict for name in result] == ["BASELINE", "FASTER", "SLOWER", "EQUIVALENT"]
    assert (result.valid, result.stopped, result["int8"].n_rounds) == (True, "precise", 24)
    assert result["slow"].median_ms == result["slow"].p95_ms == pytest.approx(90)
    assert len(result["int8"].generation_ratios) == 3


def test_drift_bursts_and_slow_first_calls_do_not_mislead():
    machine = Machine(2, noise=0.011, drift=0.2, bursts=0.05)
    variants = {"fp32": machine.call(60, first=100), "int8": machine.call(30, first=500), "same": machine.call(60)}
    result = compare(variants, baseline="fp32", clock=machine.clock, seconds_cap=120)
    assert result["int8"].low <= 0.5 <= result["int8"].high
    assert result["int8"].verdict is Verdict.FASTER
    assert result["same"].verdict in {Verdict.EQUIVALENT, Verdict.INCONCLUSIVE}
    assert result.valid


def test_whole_sessions_cover_the_truth_as_their_statistics_promise():
    covered = []
    for seed in range(150):
        machine = Machine(seed, noise=0.015, drift=0.2, bursts=0.05, session_s=20)
        variants = {"fp32": machine.call(60, first=50), "int8": machine.call(57, first=200)}
        result = compare(variants, baseline="fp32", clock=machine.clock, seed=seed)
        covered.append(result["int8"].low <= 0.95 <= result["int8"].high)
    assert np.mean(covered) >= 0.91  # 95 %, less two standard errors of 150 sessions


def test_a_noisy_session_ends_at_the_cap():
    result = compared(Machine(2, noise=0.08), {"fp32": 60, "same": 60})
    assert result.stopped == "cap"
    assert result["same"].n_rounds == 3 * 8 + 3 * 48
    assert "Stopped (cap): time or rounds ran out before every interval reached less than 1 %" in str(result)


def test_a_session_that_is_not_precise_at_the_first_look_takes_the_time_it_was_given():
    result = compared(Machine(2, noise=0.2), {"fp32": 120, "same": 120})
    assert result.stopped == "cap"
    assert 50 < result.seconds <= 60
    assert result["same"].n_rounds > 48


def test_the_time_cap_is_kept_between_the_looks():
    result = compared(Machine(3, noise=0.2), {"fp32": 60, "same": 60}, seconds_cap=12)
    assert result.stopped == "cap"
    assert 24 <= result["same"].n_rounds < 48
    assert result.seconds <= 12


def test_slow_calls_get_three_generations_of_three_rounds_even_beyond_the_cap():
    result = compared(Machine(4), {"fp32": 5000, "int8": 2500}, seconds_cap=10)
    assert result["int8"].n_rounds == 9
    assert result["int8"].ratio == pytest.approx(0.5)
    assert result.seconds > 10


def test_twenty_variants_have_verdicts_within_a_minute_of_blocks():
    machine = Machine(5, noise=0.011, drift=0.2, bursts=0.05)
    result = compared(machine, {"fp32": 5.0} | {f"variant {number}": 4.9 for number in range(20)})
    assert result.seconds <= 60
    assert sum(result[name].verdict is Verdict.FASTER for name in result) >= 18


def test_of_many_variants_a_session_lasts_beyond_its_cap_until_it_can_say_anything_of_them():
    variants = {"fp32": 5.0} | {f"variant {number}": 4.0 for number in range(80)}
    result = compared(Machine(5, noise=0.011), variants, seconds_cap=60)
    assert result["variant 1"].n_rounds == 18
    assert 60 < result.seconds <= 120
    assert {result[name].verdict for name in variants if name != "fp32"} == {Verdict.FASTER}
    hurried = compared(Machine(5, noise=0.011), variants, seconds_cap=40)
    assert hurried["variant 1"].n_rounds < 18
    assert hurried.seconds <= 80
    assert {hurried[name].verdict for name in variants if name != "fp32"} == {Verdict.INCONCLUSIVE}


def test_a_control_that_differs_makes_the_session_invalid():
    machine = Machine(6)
    calls = []

    class Unequal(nn.Module):
        """Its copy is slower, as where two networks lie badly in memory."""

        def __deepcopy__(self, memo):
            other = Unequal()
            other.milliseconds = 63
            return other

        milliseconds = 60

        def forward(self):
            calls.append(torch.is_inference_mode_enabled())
            machine.now += round(self.milliseconds * 1e6)

    result = compare({"fp32": Unequal(), "f": machine.call(50)}, baseline="fp32", inputs=(), clock=machine.clock)
    assert not result.valid
    text = str(result)
    assert text.startswith("INVALID: a second copy of 'fp32' took 1.0500 (1.0500 to 1.0500) of its time, though it is")
    assert "Trust none of the verdicts of this session; repeat it with less other work" in text
    assert all(calls)


def test_the_table_says_first_whether_it_is_valid_and_aligns_its_columns():
    text = str(compared(Machine(7), {"fp32": 60, "int8 static": 30, "pruned": 66}, seed=3))
    lines = text.splitlines()
    assert lines[0] == "VALID: a second copy of 'fp32' took 1.0000 (1.0000 to 1.0000) of its time."
    assert lines[1].startswith("Stopped (precise): every interval reaches less than 1 % to either side. 24 rounds in 3")
    assert lines[1].endswith("threads 1, seed 3.")
    assert lines[2].startswith("Timed in the calling process, where generations are restarts of the loop: a clock was")
    assert lines[4:8] == [
        "variant      median ms  p95 ms   ratio     95 % interval  speedup  verdict",
        "fp32                60      60       1                          1  baseline",
        "int8 static         30      30  0.5000  0.5000 to 0.5000    2.00×  FASTER",
        "pruned              66      66  1.1000  1.1000 to 1.1000    0.91×  SLOWER",
    ]
    assert lines[-1].endswith("FASTER and SLOWER hold for all 2 together (Holm).")


def test_raw_samples_orders_and_conditions_are_kept():
    first, again, other = (compared(Machine(8), {"fp32": 60, "a": 30, "b": 10}, seed=seed) for seed in (1, 1, 2))
    assert [one.order for one in first.rounds] == [one.order for one in again.rounds]
    assert [one.order for one in first.rounds] != [one.order for one in other.rounds]
    one = first.rounds[0]
    assert len(one.order) == len(one.latencies_ms) == len(one.calls_ms) == 3 + 3
    assert {first.rounds[0].generation, first.rounds[-1].generation} == {0, 2}
    by_name = dict(zip(one.order, one.calls_ms, strict=True))
    assert by_name["b"].tolist() == pytest.approx([10.0] * 5)  # five calls make 50 ms
    assert set(first.conditions) <= set(vars(one.conditions))


def test_groups_have_a_baseline_and_a_control_of_their_own():
    result = compared(Machine(9), {"fp32": 60, "a": 30, "b": 90, "c": 120}, group_size=2)
    assert [result[name].ratio for name in "abc"] == pytest.approx([0.5, 1.5, 2])
    assert len(result.controls) == 2
    assert {(one.group, frozenset(one.order) - {"fp32"}) for one in result.rounds} == {
        (0, frozenset({"fp32 (second copy)", "a", "b"})),
        (1, frozenset({"fp32 (second copy)", "c"})),
    }


def test_networks_that_do_not_fit_together_are_grouped_by_their_weights():
    kilobyte = [Variant(name, nn.Linear(256, 1, bias=False)) for name in "abcde"]
    base, others = kilobyte[0], kilobyte[1:]
    names = [[variant.name for variant in group] for group in grouped(others, [base], None, 4 * 1024)]
    assert names == [["b", "c"], ["d", "e"]]
    assert len(grouped(others, [base], None, None)) == 1
    assert len(grouped(others, [base], None, 1)) == 4


def test_workers_find_that_twice_the_work_takes_about_twice_as_long():
    result = compare({"once": once, "twice": partial(multiply, 2)}, baseline="once", seconds_cap=1, precision=0.5)
    assert result.in_process_because is None
    assert 1.3 < result["twice"].ratio < 3
    assert len({one.generation for one in result.rounds}) == 3
    assert result.rounds[0].conditions.load_1min is not None
    assert "calling process" not in str(result)


def test_the_calling_process_times_what_cannot_be_pickled_and_says_so():
    matrix = torch.ones(64, 64)
    threads = torch.get_num_threads()
    variants = {"once": lambda: matrix @ matrix, "twice": lambda: (matrix @ matrix, matrix @ matrix)}
    result = compare(variants, baseline="once", threads=threads + 1, seconds_cap=1, precision=0.5)
    assert 1.3 < result["twice"].ratio < 3
    assert "'once' cannot be pickled" in result.in_process_because
    assert torch.get_num_threads() == threads
    assert gc.isenabled()


def test_networks_and_recipes_are_timed_with_their_inputs():
    variants = {"net": network(), "built": Built(network), "bound": Built(bound_network)}
    result = compare(
        variants, baseline="net", inputs=(torch.ones(1, 64),), batch=4, workers=False, seconds_cap=1, precision=0.5
    )
    assert all(timing.median_ms > 0 for timing in result.values())
    assert result.in_process_because == "asked for by workers=False"


def test_a_second_baseline_is_compared_with_round_by_round():
    result = compared(Machine(11), {"fp32": 60, "eager": 120, "int8": 30, "same": 60}, second="eager")
    assert result.second == "eager"
    assert [result[name].second.ratio for name in result] == pytest.approx([0.5, 1, 0.25, 0.5])
    assert [result[name].ratio for name in result] == pytest.approx([1, 2, 0.5, 1])
    assert result["int8"].second.low == pytest.approx(0.25) == result["int8"].second.high
    assert result["int8"].second.p_value < 1e-6
    assert result["eager"].second.p_value == 1


def test_the_second_baseline_may_be_the_first():
    result = compared(Machine(12), {"fp32": 60, "int8": 30}, second="fp32")
    assert result["int8"].second == result["int8"].paired
    assert result["fp32"].second.ratio == 1


def test_drift_leaves_the_ratio_to_the_second_baseline_alone():
    machine = Machine(13, noise=0.011, drift=0.2, bursts=0.05)
    result = compared(machine, {"fp32": 60, "eager": 120, "int8": 30}, second="eager", seconds_cap=120)
    assert result["int8"].second.low <= 0.25 <= result["int8"].second.high
    assert result["int8"].second.high / result["int8"].second.low < 1.05


def test_each_group_has_the_second_baseline():
    result = compared(Machine(14), {"fp32": 60, "eager": 120, "a": 30, "b": 90}, second="eager", group_size=1)
    assert [result[name].group for name in result] == [0, 0, 0, 1]
    assert [result[name].second.ratio for name in "ab"] == pytest.approx([0.25, 0.75])
    assert all("eager" in one.order for one in result.rounds)


def test_percentiles_are_those_of_single_calls_unless_they_are_too_short():
    machine = Machine(15)
    short, long = machine.call(0.05), machine.call(5)
    result = compare({"long": long, "short": short}, baseline="long", clock=machine.clock, seconds_cap=20)
    assert (result["long"].calls_together, result["short"].calls_together) == (1, 2)
    assert result["long"].calls == sum(one.order.count("long") for one in result.rounds) * 10
    assert result["long"].p95_ms == result["long"].p99_ms == pytest.approx(5)


def test_short_calls_settle_before_they_are_timed_and_long_ones_are_long_enough():
    machine = Machine(16)
    calls = {"short": 0, "long": 0}

    def counting(name, milliseconds):
        call = machine.call(milliseconds)

        def run():
            calls[name] += 1
            call()

        return run

    result = compare(
        {"short": counting("short", 1), "long": counting("long", 20)},
        baseline="short",
        clock=machine.clock,
        seconds_cap=20,
    )
    # Four blocks of the baseline and its second copy a round, and one untimed before them; two calls before each of 50,
    # and none before three.
    loads, blocks = 3, len(result.rounds)
    warm_up = loads * (1 + 50)
    assert calls["short"] == 2 * warm_up + blocks * (4 + 1) * (50 + 2)
    assert calls["long"] == loads * (1 + 3) + blocks * 3


def test_a_worker_that_hangs_is_ended_and_the_variant_named():
    text = r"worker hung at variant 'bad': no block of it ended within 2 s, and it was ended"
    with pytest.raises(VariantError, match=text) as caught:
        compare({"good": once, "bad": hangs}, baseline="good", workers=True, hang_seconds=2)
    assert caught.value.variant == "bad"


def test_networks_are_specialised_where_they_are_timed_and_their_memory_is_measured():
    variants = {
        "net": Built(network),
        "made": Built(network, specialise=Scaled),
        "large": Built(allocates),
    }
    result = compare(
        variants,
        baseline="net",
        inputs=(torch.ones(1, 64),),
        batch=4,
        workers=True,
        seconds_cap=1,
        block_ms=2,
        footprint=True,
    )
    if sys.platform == "linux":
        assert 38e6 < result["large"].peak_bytes < 60e6
        assert result["net"].peak_bytes < 10e6
        assert result["made"].peak_bytes is not None


def test_an_error_of_a_variant_says_which_it_was():
    with pytest.raises(VariantError) as caught:
        compare({"good": once, "bad": raises}, baseline="good", workers=False)
    assert caught.value.variant == "bad"


def test_recipes_that_say_how_large_they_are_are_grouped_by_it():
    variants = [Variant(name, Built(network, weight_bytes=1000)) for name in "abcde"]
    assert [len(group) for group in grouped(variants[1:], variants[:1], None, 4000)] == [2, 2]


def test_workers_that_were_asked_for_must_be_possible():
    with pytest.raises(SparsebenchError, match=r"Workers were asked for, but 'a' cannot be pickled.*Built\(factory\)"):
        compare({"a": lambda: None, "b": once}, baseline="a", workers=True)
    with pytest.raises(SparsebenchError, match="a clock was given, which a worker would not see"):
        compare({"a": once, "b": twice}, baseline="a", workers=True, clock=Machine(0).clock)


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        (dies, r"The timing worker died at variant 'bad' \(signal 9, SIGKILL\)\. Call that variant once by itself"),
        (DiesOnLoading(), r"The timing worker died at variant 'bad' \(exit code 3\)"),
        (FailsOnLoading(), r"Variant 'bad' failed while being loaded by a worker: RuntimeError: no such file"),
        (raises, r"Variant 'bad' failed while being warmed up: ValueError: broken inside"),
    ],
)
def test_a_worker_that_fails_or_dies_names_the_variant(variant, text):
    with pytest.raises(SparsebenchError, match=text):
        compare({"good": once, "bad": variant}, baseline="good", workers=True)


def test_the_trace_of_a_worker_goes_with_its_error():
    with pytest.raises(SparsebenchError) as caught:
        compare({"good": once, "bad": raises}, baseline="good")
    assert "timing_callables.py" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("variants", "text"),
    [
        ({"a": once, "b": network()}, r"Variant 'b' is a network and there is nothing to feed it; give inputs="),
        ({"a": once, "b": 3}, r"Variant 'b' is a int, which cannot be called; give a function"),
        ({"a": once, "b": raises}, r"Variant 'b' failed while being warmed up: ValueError: broken inside"),
        ({"a": once, "b": Built(raises)}, r"Variant 'b' failed while being built: ValueError: broken inside"),
    ],
)
def test_variants_that_cannot_be_called_are_named(variants, text):
    with pytest.raises(SparsebenchError, match=text):
        compare(variants, baseline="a", workers=False)


def test_networks_in_training_mode_and_off_the_cpu_are_refused():
    training = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    with pytest.raises(SparsebenchError, match=r"Variant 'net' is in training mode.*call its eval\(\) first"):
        compare({"a": once, "net": training}, baseline="a", inputs=(torch.ones(1, 3),), workers=False)


def test_all_impossible_arguments_are_reported_at_once():
    more = {"band": 1.5, "second": "y", "hang_seconds": 0, "block_ms": float("inf")}
    with pytest.raises(SparsebenchError) as caught:
        compare({"a": once}, baseline="x", threads=0, precision=0, seconds_cap=-1, batch=0, group_size=0, **more)
    text = str(caught.value)
    for part in (
        "baseline='x' is none of the variants; it must be one of 'a'.",
        "second='y' is none of the variants; it must be one of 'a'.",
        "hang_seconds=0 is not possible; it must be a number of seconds above 0.",
        "block_ms=inf is not possible; it must be a number of milliseconds above 0.",
        "There is nothing to compare; give the baseline and at least one other variant.",
        "threads=0 is not possible; it must be at least 1.",
        "batch=0 is not possible",
        "group_size=0 is not possible",
        "precision=0 is not possible; it is a fraction between 0 and 1",
        "band=1.5 is not possible",
        "seconds_cap=-1 is not possible",
    ):
        assert part in text


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from sparsebench.timing import compare\n"
        "def one(): pass\n"
        "compare({'a': one, 'b': one}, baseline='a', seconds_cap=1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert 'call compare under `if __name__ == "__main__":`, or pass workers=False.' in done.stderr


def test_importing_the_package_of_timing_does_not_import_torch():
    script = "import sys, sparsebench.timing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""Small comparisons on the real machine, in workers and in the calling process, and what is refused."""

import gc
import subprocess
import sys
from functools import partial
from pathlib import Path

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
    network,
    noted,
    once,
    raises,
    twice,
)
from timing_machines import Machine
from torch import nn

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.timing import Built, compare, protocol
from sparsebench.timing.kernels import FALLBACKS, depends_on_values, fallback_kernels, operators
from sparsebench.timing.schedule import Step
from sparsebench.timing.variants import Variant, grouped


@pytest.fixture
def one_at_a_time(monkeypatch):
    """Workers are not started ahead, as where memory is short: of those that fail, the first is enough."""
    monkeypatch.setattr(protocol, "fits", lambda *arguments: False)


def test_networks_that_do_not_fit_together_are_grouped_by_their_weights():
    kilobyte = [Variant(name, nn.Linear(256, 1, bias=False)) for name in "abcde"]
    base, others = kilobyte[0], kilobyte[1:]
    names = [[variant.name for variant in group] for group in grouped(others, [base] * 4, None, 6 * 1024)]
    assert names == [["b", "c"], ["d", "e"]]
    assert len(grouped(others, [base], None, None)) == 1
    assert len(grouped(others, [base], None, 1)) == 4


def test_recipes_that_say_how_large_they_are_are_grouped_by_it():
    variants = [Variant(name, Built(network, weight_bytes=1000)) for name in "abcde"]
    assert [len(group) for group in grouped(variants[1:], variants[:1], None, 3000)] == [2, 2]


def test_six_workers_find_that_twice_the_work_takes_about_twice_as_long(tmp_path):
    steps = []
    variants = {
        "once": Built(partial(noted, tmp_path, "once", 1)),
        "twice": Built(partial(noted, tmp_path, "twice", 2)),
    }
    result = compare(
        variants, baseline="once", seconds_cap=1, precision=0.5, workers=True, watch=steps.append, hang_seconds=120
    )
    assert result.in_process_because is None
    assert 1.3 < 1 / result["twice"].speedup < 3
    assert {one.generation for one in result.rounds} == set(range(6))
    assert result.rounds[0].conditions.load_1min is not None
    assert "calling process" not in str(result)
    assert steps[0] == Step(0, 6)
    assert {one.process for one in steps} == set(range(7))
    orders = [path.read_text().split() for path in Path(tmp_path).iterdir()]
    assert {tuple(sorted(order)) for order in orders} == {("once", "once", "once", "once", "twice")}
    assert len({order.index("twice") for order in orders}) > 1, "each process loads in an order of its own"


def test_the_calling_process_times_what_cannot_be_pickled_and_says_so():
    matrix = torch.ones(64, 64)
    threads = torch.get_num_threads()
    variants = {"once": lambda: matrix @ matrix, "twice": lambda: (matrix @ matrix, matrix @ matrix)}
    result = compare(variants, baseline="once", threads=threads + 1, seconds_cap=1, precision=0.5)
    assert 1.3 < 1 / result["twice"].speedup < 3
    assert "'once' cannot be pickled" in result.in_process_because
    assert torch.get_num_threads() == threads
    assert gc.isenabled()


@pytest.mark.parametrize("cache", ["hot", "cold"])
def test_networks_and_recipes_are_timed_with_their_inputs(cache):
    variants = {"net": network(), "built": Built(network), "bound": Built(bound_network)}
    settings = {"workers": False, "seconds_cap": 1, "precision": 0.5, "block_ms": 1, "cache": cache}
    result = compare(variants, baseline="net", inputs=(torch.ones(1, 64),), batch=4, **settings)
    assert all(timing.median_ms > 0 for timing in result.values())
    assert result.in_process_because == "asked for by workers=False"


@pytest.mark.usefixtures("one_at_a_time")
def test_a_worker_that_hangs_is_ended_and_the_variant_named():
    text = r"worker hung at variant 'bad': no block of it ended within 2 s, and it was ended"
    with pytest.raises(VariantError, match=text) as caught:
        compare({"good": once, "bad": hangs}, baseline="good", workers=True, hang_seconds=2)
    assert caught.value.variant == "bad"


@pytest.mark.slow
def test_networks_are_specialised_where_they_are_timed_and_their_memory_is_measured_in_each_process():
    variants = {"net": Built(network), "made": Built(network, specialise=Scaled), "large": Built(allocates)}
    settings = {"workers": True, "seconds_cap": 1, "block_ms": 2, "footprint": True}
    result = compare(variants, baseline="net", inputs=(torch.ones(1, 64),), batch=4, **settings)
    if sys.platform == "linux":
        assert len(result["large"].peak_bytes) >= result.processes
        assert all(38e6 < peak < 60e6 for peak in result["large"].peak_bytes)
        assert max(result["net"].peak_bytes) < 10e6
        assert len(result["made"].peak_bytes) == len(result["large"].peak_bytes)


def test_an_error_of_a_variant_says_which_it_was():
    with pytest.raises(VariantError) as caught:
        compare({"good": once, "bad": raises}, baseline="good", workers=False)
    assert caught.value.variant == "bad"


def test_workers_that_were_asked_for_must_be_possible():
    with pytest.raises(SparsebenchError, match=r"Workers were asked for, but 'a' cannot be pickled.*Built\(factory\)"):
        compare({"a": lambda: None, "b": once}, baseline="a", workers=True)
    with pytest.raises(SparsebenchError, match="a clock was given, which a worker would not see"):
        compare({"a": once, "b": twice}, baseline="a", workers=True, clock=Machine(0).clock)


@pytest.mark.usefixtures("one_at_a_time")
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


@pytest.mark.usefixtures("one_at_a_time")
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
    more = {"band": 1.5, "second": "y", "hang_seconds": 0, "block_ms": float("inf"), "cache": "tepid"}
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
        "cache='tepid' is not possible; it must be one of hot, cold.",
    ):
        assert part in text


def test_a_name_that_a_copy_of_the_baseline_has_is_refused():
    with pytest.raises(SparsebenchError, match=r"The name 'a \(copy 3\)' is taken by a copy of the baseline; rename"):
        compare({"a": once, "a (copy 3)": twice}, baseline="a")


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from sparsebench.timing import compare\n"
        "def one(): pass\n"
        "compare({'a': one, 'b': one}, baseline='a', seconds_cap=1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert 'call compare under `if __name__ == "__main__":`, or pass workers=False.' in done.stderr


def test_locks_that_a_worker_makes_end_with_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from multiprocessing import RLock\n"
        "from sparsebench.timing import compare\n"
        "locks = []\n"
        "def one(): locks or locks.append(RLock())\n"
        "def two(): one()\n"
        "if __name__ == '__main__':\n"
        "    compare({'a': one, 'b': two}, baseline='a', seconds_cap=1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert "leaked" not in done.stderr, "the system keeps what has a name until somebody removes it"


def test_importing_the_package_of_timing_does_not_import_torch():
    script = "import sys, sparsebench.timing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_convolution_for_want_of_a_faster_one_is_named(capfd):
    slow = FALLBACKS["aten::_slow_conv2d_forward"]
    convolution = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    threads = torch.get_num_threads()
    # Which one is taken depends on the batch and the threads: ConvParams::use_mkldnn asks for more than one sample.
    found = {batch: fallback_kernels(operators(convolution, (torch.ones(batch, 3, 16, 16),), 1)) for batch in (1, 8)}
    assert torch.get_num_threads() == threads
    assert fallback_kernels(operators(nn.Linear(3, 3), (torch.ones(1, 3),), 1)) == ()
    assert capfd.readouterr().err == "", "the profiler's library keeps quiet"
    if slow not in found[1]:
        pytest.skip("PyTorch takes oneDNN here for one sample and one thread, too")
    assert found[1] == (slow,)
    if torch.backends.mkldnn.is_available():
        assert found[8] == ()


def test_max_pooling_is_known_to_depend_on_the_values_that_it_meets():
    images = (torch.ones(2, 3, 8, 8),)
    assert depends_on_values(operators(nn.MaxPool2d(2), images, 1))
    assert depends_on_values(operators(nn.AdaptiveMaxPool2d(2), images, 1))
    assert not depends_on_values(operators(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2)), images, 1))

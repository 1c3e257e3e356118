"""The timing loop against a clock that only the network advances, and batches of the wanted size."""

import gc

import numpy as np
import pytest
import torch
from small_nets import SmallCNN, SmallGRU, built, images, packed, sequences
from sparsebench.timing.loop import KEPT_SAMPLES
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from sparsebench.errors import DataError, SparsebenchError
from sparsebench.timing import batch_of, time_network


class Clock:
    """Nanoseconds that pass only when somebody says so."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class Slow(nn.Module):
    """Takes the given milliseconds, one after another, on its clock; remembers under what conditions it ran."""

    def __init__(self, clock, *milliseconds):
        super().__init__()
        self.clock = clock
        self.milliseconds = milliseconds
        self.calls = 0
        self.seen = []

    def forward(self, x):
        self.clock.now += int(1e6 * self.milliseconds[self.calls % len(self.milliseconds)])
        self.calls += 1
        self.seen.append((len(x), torch.get_num_threads(), gc.isenabled(), torch.is_inference_mode_enabled()))


def timed(net, seconds=1.0, max_calls=10_000, batch_size=1, threads=1):
    return time_network(
        net,
        (images(4),),
        batch_size=batch_size,
        threads=threads,
        seconds=seconds,
        max_calls=max_calls,
        clock=net.clock,
    )


def test_calls_go_on_until_the_time_is_spent():
    net = Slow(Clock(), 10)
    timing = timed(net, seconds=1)
    assert timing.calls == 100
    assert net.calls == 100 + 10  # warm-up for a tenth of the time
    assert timing.samples_ms == (10.0,) * 100


def test_a_slow_network_is_warmed_up_and_timed_five_times_nevertheless():
    net = Slow(Clock(), 10_000)
    assert timed(net, seconds=0.3).calls == 5
    assert net.calls == 10


def test_no_more_calls_than_allowed_are_timed():
    assert timed(Slow(Clock(), 0.001), seconds=1, max_calls=7).calls == 7
    assert timed(Slow(Clock(), 1000), seconds=1, max_calls=2).calls == 2


def test_the_warm_up_does_not_count():
    net = Slow(Clock(), *[500] * 5, *[1] * 1000)
    timing = timed(net, seconds=1)
    assert timing.median_ms == timing.p99_ms == 1


def test_percentiles_are_those_of_all_calls():
    milliseconds = [float(n) for n in range(1, 101)]
    timing = timed(Slow(Clock(), *milliseconds), seconds=20)
    samples = np.array(timing.samples_ms)
    assert timing.calls == len(samples)
    assert timing.median_ms == pytest.approx(np.median(samples))
    assert timing.p95_ms == pytest.approx(np.percentile(samples, 95))
    assert timing.p99_ms == pytest.approx(np.percentile(samples, 99))
    assert timing.median_ms < timing.p95_ms < timing.p99_ms


def test_many_samples_are_thinned_evenly_but_summed_up_completely():
    # A rare slow call may be thinned away from the samples; the percentiles still know it.
    timing = timed(Slow(Clock(), *[1] * 97, *[50] * 3), seconds=1000, max_calls=5000)
    assert timing.calls == 5000
    assert len(timing.samples_ms) == KEPT_SAMPLES
    assert timing.p99_ms == 50


def test_the_kept_samples_are_evenly_spaced_from_the_first_call_to_the_last():
    # Every call takes one millisecond more than the one before.
    kept = timed(Slow(Clock(), *range(1, 30_000)), seconds=1e6, max_calls=5000).samples_ms
    assert len(kept) == KEPT_SAMPLES
    assert kept[-1] - kept[0] == 4999
    assert set(np.diff(kept)) == {5.0, 6.0}  # 4999 steps of the loop in 999 steps of the record


def test_threads_are_set_and_the_former_number_comes_back():
    before = torch.get_num_threads()
    net = Slow(Clock(), 100)
    timed(net, threads=before + 1)
    assert {threads for _, threads, _, _ in net.seen} == {before + 1}
    assert torch.get_num_threads() == before


def test_the_garbage_collector_rests_while_timing():
    net = Slow(Clock(), 100)
    timed(net)
    assert {(collecting, inference) for _, _, collecting, inference in net.seen} == {(False, True)}
    assert gc.isenabled()


def test_a_stopped_garbage_collector_stays_stopped():
    gc.disable()
    try:
        timed(Slow(Clock(), 100))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_everything_is_restored_where_the_network_raises():
    class Broken(Slow):
        def forward(self, x):
            raise ValueError("broken")

    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="broken"):
        timed(Broken(Clock(), 1), threads=before + 1)
    assert torch.get_num_threads() == before
    assert gc.isenabled()


def test_the_batch_has_the_wanted_size():
    net = Slow(Clock(), 100)
    timed(net, batch_size=7)
    assert {size for size, *_ in net.seen} == {7}


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"seconds": 0}, {"seconds": float("nan")}, {"max_calls": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SparsebenchError, match=r"is not possible; threads and max_calls must be at least 1"):
        timed(Slow(Clock(), 1), **wrong)


def test_a_real_network_is_timed_on_the_real_clock():
    timing = time_network(built(SmallCNN), (images(),), batch_size=2, threads=1, seconds=0.001)
    assert timing.calls >= 5
    assert 0 < timing.median_ms <= timing.p95_ms <= timing.p99_ms


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_on_a_gpu_is_timed_by_its_events():
    timing = time_network(built(SmallCNN).cuda(), (images().cuda(),), batch_size=2, threads=1, seconds=0.01)
    assert timing.calls >= 5
    assert 0 < timing.median_ms < 1000


def test_the_first_samples_make_a_smaller_batch():
    assert torch.equal(batch_of(images(4), 2), images(4)[:2])


def test_samples_are_repeated_from_the_start_for_a_larger_batch():
    assert torch.equal(batch_of(images(3), 5), images(3)[[0, 1, 2, 0, 1]])


@pytest.mark.parametrize("wanted", [1, 3, 7])
def test_packed_sequences_are_repeated_as_sequences(wanted):
    example = packed((5, 2, 4))
    batch = batch_of(example, wanted)
    padded, lengths = pad_packed_sequence(batch, batch_first=True)
    assert isinstance(batch, PackedSequence)
    assert lengths.tolist() == [(5, 2, 4)[n % 3] for n in range(wanted)]
    for row, length, n in zip(padded, lengths, range(wanted), strict=True):
        assert torch.equal(row[:length], sequences(3)[n % 3, :length])
    net = built(SmallGRU)
    assert torch.allclose(net(batch), net(example)[[n % 3 for n in range(wanted)]], atol=1e-6)


def test_structures_are_kept_and_what_has_no_batch_passes_through():
    example = {"x": images(3), "rest": (torch.tensor(2.0), None, [sequences(3)])}
    batch = batch_of(example, 2)
    assert batch["x"].shape[0] == batch["rest"][2][0].shape[0] == 2
    assert batch["rest"][:2] == (torch.tensor(2.0), None)


def test_batches_that_cannot_be_made_are_refused():
    with pytest.raises(DataError, match="has no sample"):
        batch_of(torch.empty(0, 3), 2)
    with pytest.raises(DataError, match="batch of 0 samples is not possible"):
        batch_of(images(), 0)

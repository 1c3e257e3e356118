"""Calibration batches are read once, in the order of the trainer, and held within bounds."""

import pytest
import torch
from recordings import recorded
from small_nets import packed
from torch import nn

from sparsebench.errors import QuantizationError
from sparsebench.quantization import Recording


class Seen(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, scale=1):
        self.seen.append((x, scale))
        return x


def batches(count):
    return [torch.full((2, 3), float(number)) for number in range(count)]


def test_a_trainer_reads_its_batches_once_and_only_when_they_are_asked_for():
    reads = []

    def read(network):
        reads.append(1)
        network(torch.zeros(1))

    recording = Recording(nn.Identity(), read, 10)
    assert reads == []
    for network in (Seen(), Seen()):
        recording.feed(network)
        assert len(network.seen) == 1
    assert reads == [1]


@pytest.mark.parametrize("memory_bytes", [0, 2 * 24, 2**20])
def test_batches_come_back_as_they_were_fed_wherever_they_were_held(memory_bytes):
    fed = batches(5)
    recording = recorded(*fed, memory_bytes=memory_bytes)
    assert len(recording) == 5
    for _ in range(2):
        assert all(torch.equal(ours, theirs) for (ours,), theirs in zip(recording.batches(), fed, strict=True))


def test_packed_sequences_survive_the_temporary_file():
    (again,) = next(recorded(packed(), memory_bytes=0).batches())
    assert type(again) is type(packed())
    assert torch.equal(again.data, packed().data)
    assert torch.equal(again.batch_sizes, packed().batch_sizes)


def test_no_more_batches_are_kept_than_allowed():
    assert len(recorded(*batches(5), limit=3)) == 3


def test_the_first_batches_of_a_recording_keep_an_account_of_their_own():
    whole = recorded(*batches(5))
    first = whole.first(2)
    assert [float(batch[0, 0]) for (batch,) in first.batches()] == [0, 1]
    assert (len(first), first.used, whole.used) == (2, 2, 0)


def test_more_batches_than_were_allowed_to_be_recorded_are_refused():
    with pytest.raises(QuantizationError, match="7 calibration batches are wanted, but at most 3 were recorded"):
        recorded(*batches(5), limit=3).first(7)


def test_what_a_trainer_does_to_a_batch_afterwards_is_not_recorded():
    def read(network):
        batch = torch.zeros(2)
        network(batch)
        batch.fill_(9)

    ((kept,),) = Recording(nn.Identity(), read, 10).batches()
    assert torch.equal(kept, torch.zeros(2))


def test_keywords_of_a_trainer_are_fed_to_torch_and_refused_for_exported_networks():
    def read(network):
        network(torch.ones(1), scale=3)

    recording, network = Recording(Seen(), read, 10), Seen()
    recording.feed(network)
    assert [scale for _, scale in network.seen] == [3]
    with pytest.raises(QuantizationError, match=r"with keywords \(scale\).*positional arguments"):
        list(recording.batches())

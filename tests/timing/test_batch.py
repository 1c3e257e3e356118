"""Batches of the wanted size out of the one at hand."""

import pytest
import torch
from small_nets import SmallGRU, built, images, packed, sequences
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from sparsebench.errors import DataError
from sparsebench.timing import batch_of


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

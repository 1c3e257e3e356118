"""Sequences of several lengths in one batch: filled up, with a mask of what is filled."""

import pytest
import torch

from sparsebench.data import load_collate
from sparsebench.data.padding import padded
from sparsebench.errors import DataError

SAMPLES = [([5, 6, 7], 1), ([8], 0)]


def test_sequences_are_filled_up_to_the_longest_and_masked():
    batch, labels = padded(SAMPLES, fill=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert labels.tolist() == [1, 0]


def test_all_batches_have_one_length_where_it_is_given():
    batch, _ = load_collate({"name": "sparsebench.data.padding:padded", "options": {"length": 2}})(SAMPLES)
    assert batch["input_ids"].tolist() == [[5, 6], [8, 0]]


def test_several_sequences_a_sample_keep_their_names_and_an_own_mask():
    one = {"input_ids": torch.tensor([1, 2]), "attention_mask": torch.tensor([1, 0])}
    batch, _ = padded([(one, 0), ({"input_ids": [3], "attention_mask": [1]}, 1)])
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 0]]
    assert set(batch) == {"input_ids", "attention_mask"}


def test_what_cannot_be_padded_is_told():
    with pytest.raises(DataError, match=r"length is 0; give the length of all sequences, at least 1"):
        padded(SAMPLES, length=0)
    with pytest.raises(DataError, match=r"differ in their lengths \(a 1, b 2\); give one to each step"):
        padded([({"a": [1], "b": [1, 2]}, 0)])

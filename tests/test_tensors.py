"""Inputs of any nesting: how a network is called with them, and what is done to all tensors among them."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from small_nets import packed
from torch import nn

from sparsebench.errors import DataError, ModelError
from sparsebench.tensors import arguments_of, batch_of, cloned, flattened, moved, rebuilt, samples_in


class Views(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Two(nn.Module):
    def forward(self, image, side, scale=None):
        return image + side


class One(nn.Module):
    def forward(self, both):
        return sum(both.values()) if isinstance(both, dict) else both[0] + both[1]


class Wrapped(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.stands_for = net

    def forward(self, *inputs):
        return self.stands_for(*inputs)


class ByKeyword(nn.Module):
    def forward(self, *, image):
        return image


A, B = torch.ones(3, 2), torch.full((3, 2), 2.0)


@pytest.mark.parametrize("inputs", [(A, B), [A, B], Views(A, B)])
@pytest.mark.parametrize("net", [Two(), Wrapped(Two()), torch.compile(Two(), backend="eager")])
def test_a_tuple_is_several_arguments_where_forward_takes_as_many(net, inputs):
    assert len(arguments_of(net, inputs)) == 2
    assert torch.equal(net(*arguments_of(net, inputs)), A + B)


@pytest.mark.parametrize("inputs", [(A, B), [A, B], Views(A, B)])
@pytest.mark.parametrize("net", [One(), Wrapped(One())])
def test_a_tuple_is_one_argument_where_forward_takes_one(net, inputs):
    assert arguments_of(net, inputs) == (inputs,)
    assert torch.equal(net(*arguments_of(net, inputs)), A + B)


def test_a_mapping_is_arguments_by_name_and_what_lies_between_them_has_its_default():
    assert arguments_of(Two(), {"side": B, "image": A}) == (A, B)
    bilinear = nn.Bilinear(2, 2, 1)
    assert arguments_of(bilinear, {"input2": B, "input1": A}) == (A, B)

    class Gap(nn.Module):
        def forward(self, image, mask=None, side=None):
            return image

    assert arguments_of(Gap(), {"image": A, "side": B}) == (A, None, B)


def test_a_mapping_of_other_names_is_one_argument():
    net, inputs = One(), {"image": A, "side": B}
    assert arguments_of(net, inputs) == (inputs,)
    assert torch.equal(net(*arguments_of(net, inputs)), A + B)


def test_what_is_taken_by_keyword_only_is_refused():
    with pytest.raises(ModelError, match=r"forward of ByKeyword takes image by keyword only; .*an ordinary parameter"):
        arguments_of(ByKeyword(), {"image": A})


def test_floats_of_numpy_and_torch_are_cast_and_whole_numbers_stay_whole():
    given = {"a": np.ones((2, 3)), "b": (torch.ones(2, dtype=torch.float64), np.arange(2), packed()), "c": "kept"}
    there = moved(given, "cpu", torch.float32)
    assert there["a"].dtype == there["b"][0].dtype == there["b"][2].data.dtype == torch.float32
    assert there["b"][1].dtype == torch.int64
    assert there["c"] == "kept"


def test_what_is_done_to_a_copy_leaves_the_original_alone():
    given = Views(torch.ones(2), packed())
    copy = cloned(given)
    copy.left.zero_()
    copy.right.data.zero_()
    assert isinstance(copy, Views)
    assert given.left.sum() == 2
    assert given.right.data.abs().sum() > 0


def test_structures_are_put_together_again_as_they_were():
    given = ({"b": A, "a": [B, None]}, Views(A, B))
    assert [leaf is B for leaf in flattened(given)] == [True, False, False, True]
    again = rebuilt(given, flattened(given))
    assert list(again[0]) == ["b", "a"]
    assert again[0]["a"] == [B, None]
    assert isinstance(again[1], Views)
    # The order of the names in a mapping is nobody's promise.
    assert flattened({"a": A, "b": B}) == flattened({"b": B, "a": A}) == (A, B)


def test_tensors_that_differ_in_their_first_dimension_are_not_cut():
    with pytest.raises(DataError, match=r"begin with dimensions of 3 and 7.*padded tensors in place of offsets"):
        batch_of((torch.ones(7), torch.ones(3)), 2)


def test_samples_are_counted_by_the_first_that_has_any():
    assert samples_in((None, torch.tensor(1.0), {"x": A})) == 3
    assert samples_in([packed((5, 2))]) == 2
    assert samples_in((None, "text")) is None

"""Which activations get an int8 scale: those that eight bits can hold."""

import pytest
import torch
from awkward_nets import OwnAttention, made, words
from hypothesis import given
from hypothesis import strategies as st
from small_nets import SmallCNN, built, images

from sparsebench.quantization import calibration_state, load_calibration_state
from sparsebench.quantization.int8 import Static
from sparsebench.quantization.observing import NOT_FINITE, is_coarse
from sparsebench.quantization.torch_ao.layers import is_observer


def rounds_to_zero(values):
    """Whether symmetric int8 leaves nothing of a tensor but what lies near its largest value; straight from that."""
    largest = values.abs().max()
    others = values[values.abs() < largest / 2]
    return len(others) > 0 and bool((others != 0).any()) and bool((others.abs() < largest / 255).all())


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), st.sampled_from([1.0, 1e-3, 1e4]))
def test_a_tensor_is_coarse_where_all_but_its_largest_values_are_lost(values, scale):
    found = torch.tensor(values) * scale
    assert is_coarse(found) == rounds_to_zero(found)


@pytest.mark.parametrize(
    ("values", "coarse"),
    [
        ([0.0, 1.0, 0.0, 1.0], False),  # one-hot
        ([0.0, 0.0], False),
        ([], False),
        ([3.0, -2.0, -10000.0], True),  # scores beside a mask
        ([3.0, -2.0, -100.0], False),
    ],
)
def test_masks_are_told_from_other_values(values, coarse):
    assert is_coarse(torch.tensor(values)) is coarse


def test_nothing_is_observed_but_float_tensors():
    prepared = Static().prepare(made(OwnAttention), (words(8),))
    kinds = []
    for module in prepared.modules():
        if is_observer(module):
            module.register_forward_pre_hook(lambda _, inputs: kinds.append(inputs[0].dtype))
    prepared(words())
    assert set(kinds) == {torch.float32}


def test_calibration_that_was_stored_before_infinities_were_watched_for_is_read():
    prepared = Static().prepare(built(SmallCNN), (images(),))
    prepared(images())
    old = {name: value for name, value in calibration_state(prepared).items() if not name.endswith(NOT_FINITE)}
    again = Static().prepare(built(SmallCNN), (images(),))
    load_calibration_state(again, old)
    assert torch.equal(Static().convert(again)(images()), Static().convert(prepared)(images()))

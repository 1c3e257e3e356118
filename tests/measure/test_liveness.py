"""Which activations are live at the same time, in graphs counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsebench.measure.liveness import Made, Step, peak_bytes


def floats(elements):
    return Made(elements, 4 * elements)


def step(reads, made, elements, kind="operation", in_int8=False):
    return Step(tuple(reads), {made: floats(elements)}, kind, in_int8)


def peak(*steps, outputs, elements=1):
    return peak_bytes({"x": floats(elements)}, steps, outputs)


def test_a_skip_is_live_as_long_as_something_reads_it():
    chain = [step("x", "a", 10), step("a", "b", 10), step("b", "c", 10)]
    assert peak(*chain, outputs="c", elements=10) == 4 * 20
    assert peak(*chain, step("cx", "d", 10), outputs="d", elements=10) == 4 * 30


def test_what_the_network_returns_is_live_to_the_end():
    assert peak(step("x", "a", 10), step("x", "b", 1), step("b", "c", 1), outputs="ac") == 4 * 12


def test_what_nothing_reads_is_live_while_it_is_made():
    assert peak(Step(("x",), {"a": floats(3), "unread": floats(50)}), step("a", "b", 3), outputs="b") == 4 * 54


def test_a_view_keeps_alive_what_it_looks_at():
    steps = [step("x", "a", 10), step("a", "v", 5, "view"), step("x", "b", 10), step("vb", "c", 1)]
    assert peak(*steps, outputs="c") == 4 * (1 + 20)


@pytest.mark.parametrize(
    ("reads", "live"),
    [("a", 20), ("ab", 30)],
    ids=["nothing reads it later", "a skip reads it later"],
)
def test_an_element_wise_operation_writes_over_what_nothing_reads_later(reads, live):
    steps = [step("x", "a", 10), step("a", "b", 10, "elementwise"), step(reads, "c", 10)]
    assert peak(*steps, outputs="c") == 4 * live


def test_element_wise_operations_in_a_row_are_one():
    # x · sigmoid(x), as runtimes fuse it: nothing of its own is held for the sigmoid.
    steps = [step("x", "a", 10), step("a", "s", 10, "elementwise"), step("as", "b", 10, "elementwise")]
    assert peak(*steps, outputs="b") == 4 * 11


def test_what_is_only_read_quantized_is_held_in_8_bits():
    int8 = [
        step("x", "qx", 64, "quantize"),
        step(["qx"], "dx", 64, "dequantize"),
        step(["dx", "w"], "a", 128, in_int8=True),
        step("a", "r", 128, "elementwise"),
        step("r", "qr", 128, "quantize"),
        step(["qr"], "dr", 128, "dequantize"),
        step(["dr", "w"], "y", 8, in_int8=True),
    ]
    # The input beside its copy; then the copy beside 128 bytes; then those beside 8 floats.
    assert peak(*int8, outputs="y", elements=64) == 4 * 64 + 64
    assert peak(*int8, outputs="y", elements=4) == 64 + 128


def test_what_reads_floats_again_needs_them():
    steps = [step("x", "q", 64, "quantize"), step("q", "d", 64, "dequantize"), step("d", "y", 1)]
    assert peak(*steps, outputs="y", elements=1) == 64 + 4 * 64


@given(st.lists(st.tuples(st.integers(1, 50), st.lists(st.integers(0, 20), min_size=1, max_size=3)), max_size=12))
def test_the_peak_lies_between_the_largest_operation_and_all_of_them(drawn):
    """A chain of operations, each of which reads some of what is there."""
    steps = [
        step([reader % (place + 1) for reader in reads], place + 1, elements)
        for place, (elements, reads) in enumerate(drawn)
    ]
    made = {0: 3} | {place + 1: elements for place, (elements, _) in enumerate(drawn)}
    found = peak_bytes({0: floats(3)}, steps, [len(steps)])
    largest = max((sum(made[one] for one in {*each.reads, *each.makes}) for each in steps), default=3)
    assert 4 * largest <= found <= 4 * sum(made.values())

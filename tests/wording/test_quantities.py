"""Quantities with units: what is read, and what an error says."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsebench.errors import SparsebenchError
from sparsebench.wording.numbers import BYTES, COUNT, MILLISECONDS, PERCENT, POINTS, parse_quantity


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("0.5pp", POINTS, 0.5),
        ("1 pp", POINTS, 1.0),
        ("-0.25pp", POINTS, -0.25),
        ("5%", PERCENT, 0.05),
        ("100kB", BYTES, 100_000),
        ("64 KiB", BYTES, 65_536),
        ("1.5MB", BYTES, 1_500_000),
        ("2MiB", BYTES, 2 * 2**20),
        ("512B", BYTES, 512),
        ("2ms", MILLISECONDS, 2.0),
        ("1.5s", MILLISECONDS, 1500.0),
        ("800us", MILLISECONDS, 0.8),
        ("800µs", MILLISECONDS, 0.8),
        ("800μs", MILLISECONDS, 0.8),
        ("5M", COUNT, 5e6),
        ("1e6", COUNT, 1e6),
        (".5pp", POINTS, 0.5),
        (" 3. ms ", MILLISECONDS, 3.0),
    ],
)
def test_a_number_with_its_unit_is_read_in_the_base_unit(text, dimension, value):
    assert parse_quantity(text, dimension) == (pytest.approx(value), dimension)


def test_of_several_dimensions_the_unit_says_which():
    assert parse_quantity("5%", PERCENT, BYTES)[1] is PERCENT
    assert parse_quantity("5kB", PERCENT, BYTES)[1] is BYTES


@pytest.mark.parametrize(
    ("text", "dimension", "said"),
    [
        (
            "100kb",
            BYTES,
            "'kb' is no unit of a number of bytes. Did you mean 100kB? Allowed: B, kB, MB, GB, KiB,",
        ),
        ("100mib", BYTES, "Did you mean 100MiB?"),
        ("2msec", MILLISECONDS, "Did you mean 2ms?"),
        (
            "1%",
            POINTS,
            "'%' is no unit of a difference of fractions. Allowed: pp, as in 0.5pp. pp are percentage",
        ),
        ("100", BYTES, "the unit is missing. Allowed: B, kB,"),
        ("0,5pp", POINTS, "a number and a unit are expected, such as 0.5pp. Decimals are written with a point."),
        ("", POINTS, "a number and a unit are expected, such as 0.5pp."),
        ("pp", POINTS, "a number and a unit are expected"),
        ("nanpp", POINTS, "a number and a unit are expected"),
        ("1e999pp", POINTS, "1e999 is too large for a number."),
        ("__import__('os')", POINTS, "a number and a unit are expected"),
        ("5x", PERCENT, "'x' is no unit of a relative change. Allowed: %, as in 5%."),
    ],
)
def test_what_is_no_quantity_is_an_error_that_says_what_is_allowed(text, dimension, said):
    with pytest.raises(SparsebenchError) as error:
        parse_quantity(text, dimension)
    assert said in str(error.value)


@given(st.floats(0, 1e9), st.sampled_from(sorted(BYTES.units)), st.sampled_from(["", " "]))
def test_every_number_with_every_unit_is_read_as_it_was_written(number, unit, space):
    value, _ = parse_quantity(f"{number!r}{space}{unit}", BYTES)
    assert value == pytest.approx(number * BYTES.units[unit])


@given(st.text(max_size=12))
def test_no_text_raises_anything_but_a_sentence(text):
    with suppress(SparsebenchError):
        value, dimension = parse_quantity(text, POINTS, BYTES, MILLISECONDS, COUNT)
        assert abs(value) < float("inf")
        assert dimension in (POINTS, BYTES, MILLISECONDS, COUNT)

"""What is said of an interval, and of a session by its controls."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sparsebench.statistics.verdicts import (
    CONFIDENCE,
    ERROR_LEVEL,
    Limits,
    Validity,
    Verdict,
    holm,
    is_inside,
    validity,
    verdict,
)

LIMIT = st.floats(0.1, 10.0)
BAND = st.floats(0.001, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.011, 1.03, Verdict.FASTER),
        (1.009, 1.03, Verdict.INCONCLUSIVE),  # faster for certain, by what may not matter
        (0.97, 0.99, Verdict.SLOWER),
        (0.97, 0.995, Verdict.INCONCLUSIVE),
        (0.995, 1.005, Verdict.EQUIVALENT),
        (1.002, 1.008, Verdict.EQUIVALENT),  # faster, by what does not matter
        (0.98, 1.02, Verdict.INCONCLUSIVE),
        (1.01, 1.02, Verdict.INCONCLUSIVE),  # all of it must lie beyond
    ],
)
def test_a_verdict_is_what_one_reads_off_the_interval(low, high, expected):
    assert verdict(low, high, 0.01) is expected


@given(one=LIMIT, other=LIMIT, band=BAND)
def test_for_every_interval_and_band_exactly_one_verdict_is_true(one, other, band):
    low, high = min(one, other), max(one, other)
    statements = {
        Verdict.FASTER: low > 1 + band,
        Verdict.SLOWER: high < 1 / (1 + band),
        Verdict.EQUIVALENT: low >= 1 / (1 + band) and high <= 1 + band,
    }
    true = [found for found, holds in statements.items() if holds] or [Verdict.INCONCLUSIVE]
    assert true == [verdict(low, high, band)]


MIRRORED = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}


@given(one=LIMIT, other=LIMIT, band=BAND)
def test_the_inverse_of_a_speedup_has_the_mirrored_verdict(one, other, band):
    low, high = min(one, other), max(one, other)
    edges = (1 + band, 1 / (1 + band))
    # An inverse is rounded: at the edge itself, the last digit decides.
    assume(all(abs(math.log(limit / edge)) > 1e-12 for limit in (low, high) for edge in edges))
    found = verdict(low, high, band)
    assert verdict(1 / high, 1 / low, band) is MIRRORED.get(found, found)


@given(one=LIMIT, other=LIMIT, band=BAND)
def test_with_too_few_processes_only_an_open_question_has_another_name(one, other, band):
    low, high = min(one, other), max(one, other)
    found, few = verdict(low, high, band), verdict(low, high, band, enough=False)
    assert few is (Verdict.TOO_FEW_ROUNDS if found is Verdict.INCONCLUSIVE else found)
    assert found.decided is few.decided is (found is not Verdict.INCONCLUSIVE)


def test_the_baseline_is_no_answer():
    assert not Verdict.BASELINE.decided


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ([(0.995, 1.005), (0.993, 1.009)], Validity.VALID),
        ([(0.995, 1.005), (0.985, 1.009)], Validity.NOISY),
        ([(0.95, 1.05)], Validity.NOISY),
        ([(0.995, 1.005), (1.012, 1.03)], Validity.INVALID),
        ([(0.95, 0.985), (0.9, 1.1)], Validity.INVALID),
        ([], Validity.NOISY),  # nothing is known
    ],
)
def test_a_session_is_what_its_controls_say(controls, expected):
    assert validity([Limits(*one) for one in controls], band=0.01) is expected


@given(low=LIMIT, high=LIMIT, band=BAND)
def test_a_control_beyond_the_band_is_invalid_where_a_network_would_have_a_verdict(low, high, band):
    assume(low <= high)
    found = validity([Limits(low, high)], band)
    assert (found is Validity.INVALID) is (verdict(low, high, band) in (Verdict.FASTER, Verdict.SLOWER))
    assert (found is Validity.VALID) is is_inside(Limits(low, high), band)


def test_half_a_point_of_the_level_is_kept_back_for_stopping_early():
    assert pytest.approx(0.045) == ERROR_LEVEL
    assert pytest.approx(0.95) == CONFIDENCE


def test_holm_gives_the_published_steps():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

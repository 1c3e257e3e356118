"""What is said of timing sessions."""

import pytest

from sparsebench.statistics.verdicts import Limits, Validity
from sparsebench.wording.sessions import reach_text, session_text


@pytest.mark.parametrize(
    ("state", "controls", "expected"),
    [
        (
            Validity.VALID,
            (0.997, 1.004),
            "VALID: copies of the baseline differ by −0.3 to +0.4 %, less than 1 %. "
            "This session detects differences above 1.5 %.",
        ),
        (
            Validity.NOISY,
            (0.98, 1.02),
            "NOISY: copies of the baseline differ by −2.0 to +2.0 %. "
            "This session detects differences above 1.5 %. A quieter machine or more time detects smaller ones.",
        ),
        (
            Validity.INVALID,
            (1.02, 1.05),
            "INVALID: copies of the baseline differ by +2.0 to +5.0 %, though they are the same network. "
            "Ignore the verdicts of this session. Time again on a quieter machine, or with fewer threads.",
        ),
    ],
    ids=str,
)
def test_a_state_is_said_with_what_the_controls_found_and_what_differences_are_found(state, controls, expected):
    assert session_text(state, Limits(*controls), 0.01, 0.0151) == expected


def test_a_session_is_named_where_it_is_one_of_several():
    text = session_text(Validity.VALID, Limits(0.999, 1.001), 0.01, 0.02, "eager, batch 1")
    assert text.startswith("VALID (eager, batch 1): copies of the baseline differ")


def test_a_resolution_that_is_not_known_is_left_out():
    text = session_text(Validity.VALID, Limits(0.999, 1.001), 0.01, None)
    assert text == "VALID: copies of the baseline differ by −0.1 to +0.1 %, less than 1 %."


def test_intervals_of_a_single_process_say_nothing():
    assert session_text(Validity.NOISY, Limits(2e-9, 4e8), 0.01, 4.9e8) == (
        "NOISY: fewer than two processes were timed, so nothing can be said. Give it more time."
    )
    assert reach_text(Limits(2e-9, 4e8)) == "any amount"


def test_no_difference_has_no_minus_sign():
    assert reach_text(Limits(0.99999, 1.00001)) == "+0.0 to +0.0 %"

"""What timing sessions can tell, as sentences."""

from sparsebench.statistics.verdicts import Limits, Validity
from sparsebench.wording.numbers import significant

UNKNOWN = 1e3
"""A difference by more than this factor is none that was measured: intervals of a single process reach that far."""


def session_text(state: Validity, controls: Limits, band: float, smallest: float | None, of: str = "") -> str:
    """Return what a session can tell: a sentence or two.

    Args:
        state: of the session.
        controls: the lowest and the highest limit of the speedups of its controls.
        band: differences up to this fraction do not matter.
        smallest: the session's resolution, as a fraction; None where it is not known.
        of: which session is meant, to stand behind the state.
    """
    head = f"{state} ({of})" if of else str(state)
    if smallest is not None and smallest > UNKNOWN:
        return f"{head}: fewer than two processes were timed, so nothing can be said. Give it more time."
    found = f"{head}: copies of the baseline differ by {reach_text(controls)}"
    finds = "" if smallest is None else f" This session detects differences above {percent_text(smallest)} %."
    if state is Validity.VALID:
        return f"{found}, less than {100 * band:.3g} %.{finds}"
    if state is Validity.NOISY:
        return f"{found}.{finds} A quieter machine or more time detects smaller ones."
    return (
        f"{found}, though they are the same network. Ignore the verdicts of this session. "
        "Time again on a quieter machine, or with fewer threads."
    )


def percent_text(fraction: float) -> str:
    """Return a small fraction in percent, with two significant digits."""
    return significant(100 * fraction, 2)


def reach_text(controls: Limits) -> str:
    """Return by how much copies differ, in percent, from the lowest limit to the highest."""
    if controls.low < 1 / UNKNOWN or controls.high > UNKNOWN:
        return "any amount"
    low, high = (f"{round(100 * (limit - 1), 1) + 0.0:+.1f}".replace("-", "−") for limit in controls)
    return f"{low} to {high} %"

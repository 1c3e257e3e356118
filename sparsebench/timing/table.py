"""A comparison as text."""

from typing import TYPE_CHECKING

from sparsebench.verdicts import Verdict, is_valid

if TYPE_CHECKING:
    from sparsebench.timing.comparison import Comparison, Timing

_HEADINGS = ("variant", "median ms", "p95 ms", "ratio", "95 % interval", "speedup", "verdict")


def table(comparison: "Comparison") -> str:
    """Return VALID or INVALID, how the session ended, and an aligned row for each variant."""
    rows = [_HEADINGS, *(_row(timing) for timing in comparison.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join(
        [*_validity(comparison), _ending(comparison), *_place(comparison), "", *lines, *_notes(comparison)]
    )


def _row(timing: "Timing") -> tuple[str, ...]:
    start = (timing.name, f"{timing.median_ms:.4g}", f"{timing.p95_ms:.4g}")
    if timing.verdict is Verdict.BASELINE:
        return (*start, "1", "", "1", "baseline")
    return (*start, f"{timing.ratio:.4f}", _interval(timing), f"{timing.speedup:.2f}×", str(timing.verdict))


def _interval(timing: "Timing") -> str:
    return f"{timing.low:.4f} to {timing.high:.4f}"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    """Names and verdicts are aligned to the left, numbers to the right."""
    last = len(row) - 1
    cells = [
        cell.ljust(width) if place in {0, last} else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _validity(comparison: "Comparison") -> list[str]:
    lines = []
    for control in comparison.controls:
        took = f"a second copy of {comparison.baseline!r} took {control.ratio:.4f} ({_interval(control)}) of its time"
        if is_valid(control.low, control.high, comparison.band):
            lines.append(f"VALID: {took}.")
        else:
            lines.append(
                f"INVALID: {took}, though it is the same. Trust none of the verdicts of this session; "
                "repeat it with less other work on the machine, or with fewer threads."
            )
    # What is wrong comes first.
    return sorted(lines)


def _ending(comparison: "Comparison") -> str:
    percent = f"{100 * comparison.precision:.3g} %"
    why = {
        "precise": f"every interval reaches less than {percent} to either side",
        "cap": f"time or rounds ran out before every interval reached less than {percent} to either side",
    }[comparison.stopped]
    generations = len({(one.group, one.generation) for one in comparison.rounds})
    return (
        f"Stopped ({comparison.stopped}): {why}. {len(comparison.rounds)} rounds in {generations} generations, "
        f"{comparison.seconds:.0f} s, threads {comparison.threads}, seed {comparison.seed}."
    )


def _place(comparison: "Comparison") -> list[str]:
    if comparison.in_process_because is None:
        return []
    return [
        f"Timed in the calling process, where generations are restarts of the loop: {comparison.in_process_because}."
    ]


def _notes(comparison: "Comparison") -> list[str]:
    variants = len(comparison) - 1
    if variants < 2:
        return []
    return ["", f"Intervals are for each variant by itself; FASTER and SLOWER hold for all {variants} together (Holm)."]

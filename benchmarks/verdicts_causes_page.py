"""The page's account of what makes one copy of a network look faster than others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from measuring import mean_interval
from performance_page import table
from verdicts_causes import ARMS, COPIES, MEANS, SECONDS, with_and_without

from sparsebench.statistics.verdicts import LEVEL

CAUSES = {"loaded_first": "loaded first", "every_second": "every second block"}


def section(found: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Return the account, and its rows for the page of all measurements."""
    if not found:
        return "", []
    listed = [dict(one) for one in found]
    by_arm = {arm.name: [one["advantage"] for one in listed if one["arm"] == arm.name] for arm in ARMS}
    lines = [[name, str(len(values)), _written(mean_interval(values)), ""] for name, values in by_arm.items() if values]
    rows = []

    def add(what: str, count: int, effect: tuple[float, float, float]) -> None:
        is_cause = effect[1] > 0 or effect[2] < 0
        lines.append([what, str(count), _written(effect), "a cause" if is_cause else "not shown to be one"])
        row = dict(zip(("figure", "low", "high"), effect, strict=True))
        rows.append({"what": f"error of one privileged baseline: {what}", **row, "unit": "%"})

    for cause, name in CAUSES.items():
        there, absent = with_and_without(listed, cause)
        if len(there) > 1 and len(absent) > 1:
            add(f"effect of: {name}", len(there) + len(absent), _difference(there, absent))
    for count in MEANS:
        values = [one[f"mean of {count}"] for one in listed if f"mean of {count}" in one]
        if values:
            add(f"effect of: a copy beside the mean latency of {count} others", len(values), mean_interval(values))
    text = (
        "## What favours one baseline\n\n"
        f"Fresh processes, of which each times {COPIES} copies of ResNet-20 for {SECONDS:g} s, with the blocks of the "
        "product. The advantage of the first copy is the mean over the others of the median over rounds of the "
        "difference of log latencies; 0 is the truth, above 0 it looks faster. Where it has every second block, each "
        "other copy is compared with its blocks before and after. *Effect of*: the mean of the arms that have it less "
        "that of the arms that have it not. The last two are of the processes in which all places are alike: each copy "
        "is compared with the mean of several others in the same round, instead of with each of them, and what it "
        "looks faster by in the mean over all copies, which is 0 where pairs are compared, is what the estimate makes "
        "of nothing. Intervals are Student's t over processes, 95 %, each by itself."
    )
    return f"{text}\n\n{table(['what', 'processes', 'advantage [95 %]', 'said'], '-rr-', lines)}", rows


def _difference(there: Sequence[float], absent: Sequence[float]) -> tuple[float, float, float]:
    """Return a difference of means with the limits of Welch's t."""
    # Not at the top, for it takes a second to load.
    from scipy.stats import ttest_ind

    interval = ttest_ind(there, absent, equal_var=False).confidence_interval(1 - LEVEL)
    return mean_interval(there)[0] - mean_interval(absent)[0], float(interval.low), float(interval.high)


def _written(interval: tuple[float, float, float]) -> str:
    centre, low, high = (100 * value for value in interval)
    return f"{centre:+.2f} %" + ("" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")

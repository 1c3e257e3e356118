"""Gates: ``accuracy_drop>0.5pp`` fails where a second run lost more than that against a first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from sparsebench.decide.changes import METRIC_DROP, METRICS, drop_name
from sparsebench.decide.compare import Row, RunComparison
from sparsebench.decide.metric import Change, Metric
from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.points.latency import setting_text
from sparsebench.registry import unknown_name
from sparsebench.statistics.verdicts import LEVEL
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.numbers import BYTES, PERCENT, Dimension, parse_quantity, ratio
from sparsebench.wording.scales import loss_dimension, loss_limits, loss_number, with_unit

EVIDENCE = ("significant", "estimate", "certain")
"""What a gate asks for before it fails, the default first."""

State = Literal["kept", "broken", "open"]

_GATE = re.compile(r"\s*([A-Za-z_]\w*)\s*([<>=!]+)\s*(.*?)\s*")


@dataclass(frozen=True)
class Gate:
    """A metric, how much it may change, in the base unit of its dimension, and what is asked for before it fails.

    ``evidence`` is ``significant``: the estimate is beyond the limit, and it is significant at 5 % over all rows that
    anything changed; ``estimate``: the estimate is beyond the limit; or ``certain``: the whole 95 % interval is. What
    is known exactly is beyond its limit or not, and what has no interval is judged by its estimate. A gate on latency
    limits by how much latency may rise, 1 / (1 + the change of the speedup) − 1. A gate on accuracy goes by the
    interval over another training, and where there is one seed by that for these networks.
    """

    text: str
    metric: Metric
    limit: float
    dimension: Dimension
    evidence: str


@dataclass(frozen=True)
class Judged:
    """What one row says to a gate."""

    row: Row
    change: Change
    state: State
    excess: bool
    """Whether the estimate is beyond the limit, whatever the gate makes of it."""

    @property
    def where(self) -> str:
        """The row, and the batch size and threads of a latency."""
        return f"{self.row.label}{setting_text(self.change.setting)}"


@dataclass(frozen=True)
class Verdicts:
    """What all rows say to a gate.

    ``state`` is ``broken`` where one row is, ``open`` where a clock was needed and could not tell.
    """

    gate: Gate
    rows: tuple[Judged, ...]

    @property
    def state(self) -> State:
        """The state of the gate."""
        states = {row.state for row in self.rows}
        if "broken" in states:
            return "broken"
        return "open" if "open" in states or not self.rows else "kept"

    @property
    def over(self) -> tuple[str, ...]:
        """What the intervals are over that the rows were judged by; empty for what has no such interval."""
        return tuple(dict.fromkeys(row.change.over for row in self.rows if row.change.over))

    @property
    def finds(self) -> tuple[float, float] | None:
        """The smallest loss that would have broken the gate, in percentage points, of its best row and its worst.

        None for other metrics than accuracy, where the estimate alone decides, or where nothing changed at all.
        """
        changes = [row.change for row in self.rows if row.change.finds is not None]
        limit = self.gate.limit
        if self.gate.evidence == "significant":
            found = [max(limit, c.finds) for c in changes if c.finds is not None]
        elif self.gate.evidence == "certain":
            found = [limit + (c.high - c.low) / 2 for c in changes if c.high is not None and c.low is not None]
        else:
            found = []
        return (min(found), max(found)) if found else None


def parse_gates(texts: Sequence[str], evidence: str = EVIDENCE[0], scale: Scale = ACCURACY) -> tuple[Gate, ...]:
    """Return gates out of texts such as ``latency_p50>5%``. Nothing is evaluated: a name, a sign, a quantity.

    Args:
        texts: the gates.
        evidence: what they ask for before they fail.
        scale: of the metric of the runs; a gate on what is lost of it is called after it.

    Raises:
        ProblemsError: with every text that is no gate.
        SparsebenchError: where there is no such evidence, with the nearest spelling.
    """
    gates, problems = [], []
    for text in texts:
        try:
            gates.append(_gate(text, evidence, scale))
        except SparsebenchError as error:
            problems.append(f"--fail-on {text!r}: {error}")
    if problems:
        raise ProblemsError("The command cannot be carried out:", problems)
    if evidence not in EVIDENCE:
        raise SparsebenchError(f"--evidence: {unknown_name('evidence', evidence, EVIDENCE)}")
    return tuple(gates)


def _gate(text: str, evidence: str, scale: Scale) -> Gate:
    found = _GATE.fullmatch(text)
    dimension = loss_dimension(scale)
    if found is None:
        example = f"{drop_name(scale)}>{dimension.example}"
        raise SparsebenchError(f"write a metric, > and a limit, such as {example}.")
    name, sign, quantity = found.groups()
    # What is lost of the metric comes first, by the name of the metric.
    metrics = {drop_name(scale) if key == METRIC_DROP else key: metric for key, metric in METRICS.items()}
    if name.lower() not in metrics:
        raise SparsebenchError(unknown_name("metric", name, metrics))
    metric = metrics[name.lower()]
    if metric.name == METRIC_DROP:
        metric = replace(metric, dimensions=(dimension,))
    if sign != ">":
        raise SparsebenchError(f"a gate fails beyond its limit; write {name}>{quantity or '…'}.")
    limit, dimension = parse_quantity(quantity, *metric.dimensions)
    return Gate(text.strip(), metric, limit, dimension, evidence)


def judge(gate: Gate, comparison: RunComparison, *, each_trial: bool = False) -> Verdicts:
    """Return what a comparison says to a gate: it is broken as soon as one row is.

    Args:
        gate: the gate.
        comparison: of the two runs.
        each_trial: whether every trial is a row, and not the mean over seeds of an operating point.

    Raises:
        SparsebenchError: where nothing was measured in both runs that the gate could be judged by, and no clock was
            needed; or where it asks for certainty of something that has no interval.
    """
    metric = gate.metric
    if gate.evidence == "certain" and not metric.tested and not metric.exact:
        raise SparsebenchError(f"--fail-on {gate.text!r}: {metric.name} has no interval, so nothing is certain.")
    rows = tuple(
        _judge(gate, row, change) for row in comparison.shown(each_trial) for change in row.changes[metric.name]
    )
    if not rows and not metric.timed:
        raise SparsebenchError(
            f"--fail-on {gate.text!r} cannot be judged: no trial has {metric.name} in both runs. Are both complete?"
        )
    return Verdicts(gate, rows)


def _judge(gate: Gate, row: Row, change: Change) -> Judged:
    if change.change is None:
        return Judged(row, change, "open", excess=False)
    rise = _rise(gate, change)
    if rise.amount <= gate.limit:
        return Judged(row, change, "kept", excess=False)
    if not gate.metric.tested or gate.evidence == "estimate":
        proven = True
    elif gate.evidence == "certain":
        proven = rise.low is not None and rise.low > gate.limit
    else:
        proven = change.p_adjusted is not None and change.p_adjusted <= LEVEL
    unproven: State = "open" if gate.metric.timed else "kept"
    return Judged(row, change, "broken" if proven else unproven, excess=True)


def _loss_number(scale: Scale, rise: "_Rise") -> str:
    sign = "+" if rise.amount > 0 else ""
    value = f"{sign}{with_unit(scale, loss_number(scale, rise.amount))}"
    if rise.low is None or rise.high is None:
        return value
    return f"{value} {loss_limits(scale, rise.low, rise.high)}"


class _Rise(NamedTuple):
    """What is compared with a limit, with the limits of its interval where it has one; above 0 is worse."""

    amount: float
    low: float | None
    high: float | None


def _rise(gate: Gate, change: Change) -> _Rise:
    """Return bytes gained, by how much latency rose, or the change as it is."""
    if gate.dimension is BYTES and change.before is not None and change.after is not None:
        return _Rise(change.after - change.before, None, None)
    amount = change.change or 0.0
    if not gate.metric.timed:
        return _Rise(amount, change.low, change.high)
    low, high = (None if limit is None else 1 / (1 + limit) - 1 for limit in (change.high, change.low))
    return _Rise(1 / (1 + amount) - 1, low, high)


def amount_text(gate: Gate, change: Change) -> str:
    """Return a change as a gate sees it, with its interval; that of a speedup with both speedups."""
    rise = _rise(gate, change)
    if gate.dimension is BYTES:
        return f"{rise.amount:+,.0f} B".replace("-", "−")
    if not change.scale.share:
        return _loss_number(change.scale, rise)
    scale, unit = (100.0, " %") if gate.dimension is PERCENT else (1.0, " pp")
    value = f"{scale * rise.amount:+.2f}{unit}"
    if rise.low is not None and rise.high is not None:
        value += f" [{scale * rise.low:.2f}, {scale * rise.high:.2f}]"
    if gate.metric.timed:
        value = f"latency {value}, speedup {ratio(change.before)} → {ratio(change.after)}"
    return value.replace("-", "−")

"""What is looked for: objectives as numbers of which less is better, and limits that are kept or broken."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsebench.config import SearchConfig
from sparsebench.decide.question import OPTIONS, limits_from
from sparsebench.errors import ConfigError
from sparsebench.points.rows import exact_value
from sparsebench.search.fronts import Values
from sparsebench.search.plans import Format
from sparsebench.store.records import TrialResult
from sparsebench.store.scales import Scale

METRIC = "metric"
"""The objective that is the run's metric."""

EXACT = ("deflated_size", "size", "flash", "memory", "macs")
"""What is known exactly of a network in a format."""

MOST_LOST_PP = 10.0
"""Percentage points below dense fp32 at which a network is worth nothing: one side of the box of a hypervolume."""

MOST_LOST_SHARE = 0.5
"""The same of a metric that is no share, as a share of what dense fp32 has."""


@dataclass(frozen=True, eq=False)
class Found:
    """A network in a format, judged on validation.

    Attributes:
        network: its pruner and threshold.
        format: its scheme and backend.
        epochs: of its training; None for one in full.
        loss: what it loses against dense fp32 on its backend, in the unit of a drop.
        costs: what it costs, by the name of the criterion.
        trial: its records.
    """

    network: tuple[str, float]
    format: Format
    epochs: int | None
    loss: float
    costs: Mapping[str, float]
    trial: TrialResult


LEAST_SHARE = 0.01
"""Of what dense fp32 costs: the other side of that box, whose sides are logarithms of costs. Twice as small counts the
same everywhere; who is smaller still goes beyond it."""

ALLOWED_BRIEFLY = 1.0
"""Of the most that may be lost, what a training of no epochs may lose beyond the limit: longer ones win it back. The
allowance shrinks with the epochs, and a full training has none."""


class Judge:
    """Turns what was found into values that can be compared.

    The metric's value is the loss as a share of ``MOST_LOST_PP`` or of ``MOST_LOST_SHARE``. That of a cost is its
    logarithm: 1 for what dense fp32 costs on the first backend, 0 for ``LEAST_SHARE`` of that. At 1 in all of them is
    the reference of hypervolumes.

    Args:
        search: objectives and limits.
        scale: that of the metric.
        dense: what dense fp32 costs, by the name of the criterion.
        dense_value: its metric on validation.
        epochs: of a full training.

    Raises:
        ConfigError: with every limit that cannot be read.
    """

    def __init__(
        self, search: SearchConfig, scale: Scale, dense: Mapping[str, float], dense_value: float, epochs: int = 0
    ) -> None:
        self.scale, self.dense, self._epochs = scale, dense, epochs
        self.objectives: Sequence[str] = tuple(search.objectives)
        self.limits = parsed_limits(search, scale)
        self._most_lost = MOST_LOST_PP if scale.share else max(1e-12, MOST_LOST_SHARE * abs(dense_value))

    @property
    def reference(self) -> Values:
        """The corner of the box in which hypervolumes are taken, whose volume is 1."""
        return (1.0,) * len(self.objectives)

    def values(self, loss: float, costs: Mapping[str, float]) -> Values | None:
        """Return one value for each objective; None where one is not known.

        Who is better than dense fp32 on validation is taken for equal, for a gain this small is luck.
        """
        found = []
        for name in self.objectives:
            if name == METRIC:
                found.append(max(0.0, loss / self._most_lost))
            elif name in costs and self.dense.get(name):
                ratio = max(costs[name], 1e-12) / self.dense[name]
                found.append(1 - math.log(ratio) / math.log(LEAST_SHARE))
            else:
                return None
        return tuple(found)

    def of(self, found: Found) -> Values | None:
        """Return the values of what was found."""
        return self.values(found.loss, found.costs)

    def excesses(
        self, costs: Mapping[str, float], loss: float | None = None, epochs: int | None = None
    ) -> dict[str, float]:
        """Return by how much each limit is broken, as a share of it; 0 and less where it is kept.

        What is not known breaks no limit. A network that was trained for fewer ``epochs`` than in full may lose more.
        """
        missing = 0.0 if epochs is None or not self._epochs else max(0.0, 1 - epochs / self._epochs)
        found = {name: costs[name] / most - 1 for name, most in self.limits.items() if name != "drop" and name in costs}
        if loss is not None and "drop" in self.limits:
            found["drop"] = (loss - self.limits["drop"]) / self._most_lost - ALLOWED_BRIEFLY * missing
        return found

    def over(self, found: Found) -> dict[str, float]:
        """Return by how much what was found breaks each limit, with what a short training may lose more."""
        return self.excesses(found.costs, found.loss, found.epochs)

    def keeps(self, found: Found) -> bool:
        """Whether what was found keeps all limits, with what a short training may lose more."""
        return all(excess <= 0 for excess in self.over(found).values())


def parsed_limits(search: SearchConfig, scale: Scale) -> dict[str, float]:
    """Return the limits of a search in their base units, by the name of the criterion.

    Raises:
        ConfigError: with every limit that cannot be read.
    """
    problems: list[str] = []
    found = limits_from(search.limits, scale, problems)
    if problems:
        keys = {option: f"search.{option[2:].replace('-', '_')} =" for option in OPTIONS.values()}
        named = [f"{keys[text.partition(' ')[0]]} {text.partition(' ')[2]}" for text in problems]
        raise ConfigError("The search was not started:", named)
    return found


def costs_of(trial: TrialResult) -> dict[str, float]:
    """Return what is known exactly of a trial, by the name of the criterion."""
    known = ((name, exact_value(name, trial)) for name in EXACT)
    return {name: float(value) for name, value in known if value is not None}

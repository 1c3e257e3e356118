"""What the performance scripts share: rounds in random order, intervals, and the rows that the page gathers."""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from sparsebench.store.environment import describe_environment

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A median with its 95 % interval; without one where there was one measurement only."""

    median: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.median:.4g}{interval}"


@dataclass(frozen=True)
class Row:
    """One line of the page: a figure beside its target.

    Attributes:
        what: what was measured, against what.
        estimate: the figure; None where it was not measured.
        unit: ``×`` for ratios, ``%`` for shares (which are kept as fractions), or ``s``.
        target: what it must reach; None where there is no target.
        at_least: whether the target is a lower limit.
        why_not: why it was not measured.
    """

    what: str
    estimate: Estimate | None
    unit: str
    target: float | None
    at_least: bool = True
    why_not: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target."""
        if self.target is None or self.estimate is None:
            return None
        return self.estimate.median >= self.target if self.at_least else self.estimate.median <= self.target

    def __str__(self) -> str:
        if self.estimate is None:
            return f"{self.what}: {self.why_not}"
        return f"{self.what}: {self.estimate} {'(a fraction)' if self.unit == '%' else self.unit}"

    def as_json(self, command: str) -> dict[str, Any]:
        """Return the row as the page reads it."""
        found = self.estimate
        figure = {"figure": found.median if found else self.why_not, "low": None, "high": None}
        if found:
            figure |= {"low": found.low, "high": found.high}
        target = {"target": self.target, "at_least": self.at_least, "met": self.met}
        return {"what": self.what, **figure, "unit": self.unit, **target, "command": command}


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the median over rounds and its percentile-bootstrap 95 % interval."""
    measured = np.asarray(values, dtype=float)
    if len(measured) < 2:
        return Estimate(float(measured[0]), None, None)
    draws = np.random.default_rng(seed).choice(measured, (RESAMPLES, len(measured)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return Estimate(float(np.median(measured)), float(low), float(high))


def mean_interval(values: Sequence[float], error: float = 0.05) -> tuple[float, float, float]:
    """Return the mean with the limits of Student's t; without limits (nan) where there is one value only."""
    measured = np.asarray(values, dtype=float)
    centre, count = float(measured.mean()), len(measured)
    if count < 2:
        return centre, float("nan"), float("nan")
    reach = float(stdtrit(count - 1, 1 - error / 2) * measured.std(ddof=1) / np.sqrt(count))
    return centre, centre - reach, centre + reach


class State:
    """Finished pieces of a long measurement, one a line of a file, so that it goes on where it was interrupted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._pieces: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def of(self, part: str) -> list[dict[str, Any]]:
        """Return the finished pieces of one part, in the order in which they were finished."""
        return [piece for piece in self._pieces if piece["part"] == part]

    def add(self, part: str, piece: Mapping[str, Any]) -> None:
        """Keep a piece."""
        kept = json.dumps({"part": part, **piece}, default=_plain)
        self._pieces.append(json.loads(kept))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(kept + "\n")


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold a lock on a file meanwhile, so that other work that takes the lock waits; None for no lock."""
    if path is None:
        yield
        return
    import fcntl  # Not on every system.

    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def interleaved(
    ways: Mapping[str, Callable[[], object]], rounds: int, seed: int = 0, warm_up: int = 1
) -> dict[str, np.ndarray]:
    """Time complete rounds of all ways in random order, so that a change of the machine's speed falls on all alike.

    Returns:
        Seconds by way; shape (rounds,). Ratios are to be taken within rounds.
    """
    order = random.Random(seed)  # noqa: S311 - dice, no secrets
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-warm_up, rounds):
        for name in order.sample(sorted(ways), len(ways)):
            taken = seconds_of(ways[name])
            if number >= 0:
                seconds[name].append(taken)
        if number >= 0:
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return {name: np.array(values) for name, values in seconds.items()}


def seconds_of(work: Callable[..., object], *arguments: object) -> float:
    """Return how long one call took."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def parser_of(description: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts have."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/performance"), help="folder of the results")
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds of each measurement")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def write_rows(path: Path, rows: Sequence[Row], command: str, details: Mapping[str, Any] | None = None) -> None:
    """Write what a script found: rows for the page, the machine, and whatever else it wants to keep."""
    content = {
        "rows": [row.as_json(command) for row in rows],
        "environment": asdict(describe_environment()),
        **(details or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else dict(value)

"""The arms of the comparison of searches: each trains networks for so many seconds, which then dominate a volume."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparsebench.api.sweeps import run_sweep
from sparsebench.config import SweepConfig
from sparsebench.progress.display import watcher_for
from sparsebench.search.finals import Finals, on_validation
from sparsebench.search.fronts import hypervolume
from sparsebench.search.judging import Judge
from sparsebench.search.plans import stage_seconds
from sparsebench.search.sequence import Searched, search
from sparsebench.store.records import TrialResult

ARMS = ("search", "grid", "random")

Boxes = Mapping[str, Sequence[str]]

LOWEST, HIGHEST = 0.3, 0.98
"""Thresholds of the grid, as of the search."""

_NEARLY = 0.9
"""Of the seconds, from which on a grid is not made finer: all of it would be trained anew."""


@dataclass(frozen=True)
class Arm:
    """What an arm came to.

    Attributes:
        volumes: hypervolume on validation of networks trained in full, by the name of the box.
        seconds: of training, conversion and evaluation on validation.
        own_seconds: that a search took beside its stages.
        networks: trained in full, or briefly by the search.
    """

    volumes: Mapping[str, float]
    seconds: float
    own_seconds: float
    networks: int


def carried_out(name: str, config: SweepConfig, runs_dir: Path, seconds: float, boxes: Boxes) -> Arm:
    """Carry out an arm, or go on with it."""
    ways: Mapping[str, Callable[[SweepConfig, Path, float, Boxes], Arm]] = {
        "search": _search,
        "grid": _grid,
        "random": _random,
    }
    return ways[name](config, runs_dir, seconds, boxes)


def _searched(config: SweepConfig, runs_dir: Path) -> Searched:
    with watcher_for() as watcher:
        return search(config, runs_dir=runs_dir, watcher=watcher, check=False)


def _judge(found: Searched, config: SweepConfig, box: Sequence[str]) -> Judge:
    """Return the judge of a search with other objectives, and the same dense network."""
    assert config.search is not None
    dense, sought = found.rounds.dense, config.search.model_copy(update={"objectives": tuple(box)})
    return Judge(sought, dense.scale, dense.costs, dense.values[dense.formats[0].backend], config.train.epochs)


def _volume(found: Searched, config: SweepConfig, box: Sequence[str], trials: Sequence[TrialResult] | None) -> float:
    """Return what the points of some trials dominate; those of the search's own front where None."""
    judge = _judge(found, config, box)
    section = found.section if trials is None else on_validation(trials)
    finals = Finals(judge, section, lambda _: True)
    values = [value for point in finals.candidates if (value := finals.values(point)) is not None]
    return hypervolume(values, judge.reference)


def _search(config: SweepConfig, runs_dir: Path, _: float, boxes: Boxes) -> Arm:
    found = _searched(config, runs_dir)
    volumes = {name: _volume(found, config, box, None) for name, box in boxes.items()}
    return Arm(volumes, _without_test(found), found.own_seconds, len(found.rounds.networks))


def _random(config: SweepConfig, runs_dir: Path, seconds: float, boxes: Boxes) -> Arm:
    """Draw networks by chance from the space of the search, and train each in full."""
    assert config.search is not None
    own = {"sampler": "random", "profile": False, "epochs": (config.train.epochs,), "finalists": 1, "batch": 1}
    chance = config.model_copy(update={"search": config.search.model_copy(update={**own, "seconds": seconds})})
    found = _searched(chance, runs_dir)
    trials = {(one.trial.trial.train, one.format): one.trial for one in found.rounds.points}
    dense = found.rounds.dense.trials.values()
    volumes = {name: _volume(found, config, box, [*dense, *trials.values()]) for name, box in boxes.items()}
    return Arm(volumes, _without_test(found), found.own_seconds, len(found.rounds.networks))


def _grid(config: SweepConfig, runs_dir: Path, seconds: float, boxes: Boxes) -> Arm:
    """Train global magnitude at as many thresholds as there is time for, evenly apart.

    How many that are is told by how long the first three take, which belong to every such grid.
    """
    networks = 3
    trials = _swept(config, runs_dir, networks)
    spent = _seconds(trials)
    trained = {t.train.key: t.train.seconds for t in trials if t.train and t.trial.threshold}
    each = (spent - _seconds([t for t in trials if not t.trial.threshold])) / max(1, len(trained))
    while (left := int((seconds - spent) / each)) > 0:
        networks += left
        trials = _swept(config, runs_dir, networks)
        spent = _seconds(trials)
        if spent > _NEARLY * seconds:
            break
    none = config.model_copy(update={"search": config.search.model_copy(update={"trials": 1, "finalists": 1})})  # type: ignore[union-attr]
    found = _searched(none.model_copy(update={"name": f"{config.name}-dense"}), runs_dir)
    return Arm({name: _volume(found, config, box, trials) for name, box in boxes.items()}, spent, 0.0, networks)


def thresholds(networks: int) -> tuple[float, ...]:
    """Return 0 and so many thresholds, evenly apart in the logarithm of the weights that stay."""
    kept = [(1 - LOWEST) * ((1 - HIGHEST) / (1 - LOWEST)) ** (place / (networks - 1)) for place in range(networks)]
    return (0.0, *sorted(round(1 - share, 4) for share in kept))


def _swept(config: SweepConfig, runs_dir: Path, networks: int) -> Sequence[TrialResult]:
    grid = config.model_copy(update={"thresholds": thresholds(networks), "search": None})
    return run_sweep(grid, runs_dir=runs_dir, check=False).trials


def _seconds(trials: Sequence[TrialResult]) -> float:
    tests = {trial.trial.evaluate for trial in trials}
    return sum(value for key, value in stage_seconds(trials).items() if key not in tests)


def _without_test(found: Searched) -> float:
    tests = {trial.trial.evaluate for trial in found.run.trials}
    read = {key: value for key, value in stage_seconds(found.run.trials).items() if key in tests}
    return found.seconds - sum(read.values())

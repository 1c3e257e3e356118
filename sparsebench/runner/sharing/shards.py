"""How a sweep is split among several processes that share its run directory: ``--shard 2/4``.

Trained networks are dealt out, each with all its schemes and backends. Processes need not talk to each other for that:
each works out the same split from the same plan. A dense network that several shards start from is trained by
whichever comes first, and the others wait for it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sparsebench.errors import ConfigError
from sparsebench.runner.plan import Plan, Stage, training_of
from sparsebench.store.records import Run


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal parts of a sweep; ``number`` counts from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Return the shard that ``text`` names, such as ``2/4``.

    Raises:
        ConfigError: where it names none.
    """
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found and 1 <= int(found[1]) <= int(found[2]):
        return Shard(int(found[1]), int(found[2]))
    problem = f"--shard {text}: write NUMBER/COUNT, with a number from 1 to the count: 1/4, 2/4, 3/4 and 4/4."
    raise ConfigError("The run was not started:", [problem])


def part_of(plan: Plan, shard: Shard) -> Plan:
    """Return the part of a plan that is a shard's: training, compression and evaluation, not timing.

    Each trial falls to one shard. Shards are equal within one unit (a sparse network, or a chain of networks each of
    which starts from the one before), and disjoint but for dense networks that several start from. Networks of one
    dense network stay together as far as that is possible.
    """
    stages = {stage.key: stage for stage in plan.stages}
    units = _units(plan.stages)
    trained = frozenset(
        key for place, unit in enumerate(units) if place * shard.count // len(units) + 1 == shard.number for key in unit
    )
    trials = tuple(replace(trial, measure=()) for trial in plan.trials if trial.train in trained)
    starts = {key for trial in trials for key in trial.ancestors}

    def is_done_here(stage: Stage) -> bool:
        if stage.kind == "train":
            return stage.key in trained or stage.key in starts
        return stage.kind != "measure" and training_of(stage, stages) in trained

    return Plan(stages=tuple(filter(is_done_here, plan.stages)), trials=trials)


def what_is_left(run: Run) -> str:
    """Return in a sentence, to be followed by a command, what shards leave to a run of the whole."""
    timed = any(trial.trial.measure for trial in run.trials)
    rest = "timing and the report" if timed else "the report"
    offered = [trial for trial in run.trials if not trial.trial.not_offered and not trial.failed_stage]
    undone = sum(trial.evaluate is None for trial in offered)
    if undone:
        return f"{undone} trials of other shards are still to be done. Once all shards have ended, {rest} is left to"
    return f"No trial of any shard is left to be done. What remains is {rest}"


def _units(stages: Iterable[Stage]) -> list[list[str]]:
    """Return the keys of training stages in groups that one process should do, in the order of the plan.

    A network that starts from a dense one is a unit; what starts from it joins it. A dense network joins the first
    that starts from it, or is a unit where none does.
    """
    training = {stage.key: stage for stage in stages if stage.kind == "train"}
    starts = {stage.parent for stage in training.values()}
    units: list[list[str]] = []
    unit_of: dict[str, list[str]] = {}
    alone: set[str | None] = set()
    for key, stage in training.items():
        if stage.parent is None and key in starts:
            alone.add(key)
        elif stage.parent in unit_of:
            unit_of[key] = unit_of[stage.parent]
            unit_of[key].append(key)
        else:
            unit_of[key] = [stage.parent, key] if stage.parent and stage.parent in alone else [key]
            alone.discard(stage.parent)
            units.append(unit_of[key])
    return units

"""A search from its config to its front: the dense network, rounds of proposals, full trainings, timing, the test."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from sparsebench.config import PrunerConfig, SearchConfig, SweepConfig
from sparsebench.points.points import Point, Section
from sparsebench.runner.executors import Executor, build_executor
from sparsebench.runner.facts import gather_facts
from sparsebench.runner.plan import Plan
from sparsebench.runner.planner import make_plan, plan_sensitivity
from sparsebench.runner.sitting import Sitting
from sparsebench.runner.watcher import Watcher
from sparsebench.search.beginning import checked, lowest_threshold
from sparsebench.search.dense import Dense, dense_of
from sparsebench.search.finals import Finals, Identity, identity, identity_of, is_control, on_validation
from sparsebench.search.first import PROFILED, first_proposals
from sparsebench.search.judging import Found, Judge, costs_of
from sparsebench.search.plans import (
    Format,
    Network,
    network_key,
    part,
    shortened,
    stage_seconds,
    with_control,
    with_networks,
)
from sparsebench.search.proposing import Proposer
from sparsebench.search.rounds import Rounds
from sparsebench.search.space import Space
from sparsebench.store.records import Run, TrialRecord, TrialResult
from sparsebench.store.results import SensitivityResult


@dataclass(frozen=True, kw_only=True, eq=False)
class Searched:
    """What a search found.

    Attributes:
        run: the run of its front, as ``load_run`` reads it: the trials of the front and dense fp32.
        root: its directory.
        front: the points of the front, chosen on validation, smallest loss first; empty where none keeps the limits.
        section: where they stand, with the validation split in place of the test set.
        rounds: how it went.
        finalists: the networks that were trained in full.
        importances: the share of each value in what tells good points from others.
        seconds: of all training, conversion and evaluation, of all sittings together.
        own_seconds: of this sitting that were no stages: what the search itself took.
        why_none: how near any point came where none keeps the limits.
    """

    run: Run
    root: Path
    front: tuple[Point, ...]
    section: Section
    rounds: Rounds
    finalists: tuple[Network, ...]
    importances: dict[str, float]
    seconds: float
    own_seconds: float
    why_none: str


def search(
    config: SweepConfig,
    *,
    runs_dir: Path,
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    command: str = "",
    check: bool = True,
) -> Searched:
    """Search for networks under limits, or go on with a search; arguments as those of ``run_sweep``.

    Raises:
        ConfigError: with all that is wrong with the config, or where no network can keep the limits.
        SparsebenchError: where the dense network cannot be trained, evaluated or pruned.
        StoreError: where the run directory cannot be written to.
    """
    settings = checked(config, Path(runs_dir))
    told = watcher or Watcher()
    with (
        closing(executor or build_executor("local", settings, jobs)) as place,
        Sitting(
            Path(runs_dir) / settings.name,
            place,
            told,
            retry_failed=retry_failed,
            check=check,
            command=command,
        ) as sitting,
    ):
        return _Hunt(settings, sitting).run()


class _Hunt:
    """One sitting of a search. All that it decides follows from the config and from records, in their order."""

    def __init__(self, config: SweepConfig, sitting: Sitting) -> None:
        self.asked = config
        self.config = with_control(config)
        self.search = config.search or SearchConfig()
        self.sitting = sitting
        facts = gather_facts(self.config)
        self.facts = facts if sitting.machine is None else replace(facts, machine=sitting.machine)
        self.rungs = self.search.rungs(config.train.epochs)
        self.timed = bool({"latency"} & {*self.search.objectives, *self._limited()})
        self.stages: dict[str, float] = {}
        self._formats: dict[str, dict[str, float]] = {}
        self._began, self._working = time.perf_counter(), 0.0

    def run(self) -> Searched:
        dense = self._dense()
        judge = Judge(
            self.search, dense.scale, dense.costs, dense.values[dense.formats[0].backend], self.asked.train.epochs
        )
        lowest = lowest_threshold(self.config, self.facts, dense, judge)
        space = Space(
            self.search,
            self.config.pruners,
            dense.formats,
            dense.weights,
            lambda pruner, threshold: self._alone(dense, pruner, threshold),
            self.facts.thresholds,
            lowest,
        )
        rounds = Rounds(
            space,
            judge,
            dense,
            self.search,
            self.rungs,
            lambda networks, epochs: self._briefly(dense, networks, epochs),
            lambda: sum(self.stages.values()),
            self.sitting.watcher.noted,
        )
        proposer = Proposer(space, self.search)
        if self.search.sampler != "random":  # Which is to be judged by chance alone.
            profile = self._profile() if self.search.profile and space.grouped else None
            proposer.first(first_proposals(space, profile, dense.groups))
        rounds.run(proposer, lambda: self._has_time(rounds))
        finalists = rounds.finalists()
        return self._finish(dense, judge, rounds, finalists, proposer)

    # -- the dense network -------------------------------------------------------------------------------------------

    def _dense(self) -> Dense:
        config = shortened(self.config, self.rungs[0], timed=self.timed)
        plan = part(make_plan(config, self.facts), lambda trial: not trial.threshold, timed=self.timed)
        trials = self._carry_out(config, plan)
        dense = dense_of(self.config, self.asked.schemes, trials, self.sitting.store)
        for text in dense.left_out:
            self.sitting.watcher.noted(text)
        if not self.sitting.is_noted:
            self.sitting.note_run(config, plan)
        return dense

    def _profile(self) -> SensitivityResult | None:
        config = shortened(self.config, self.rungs[0]).model_copy(update={"thresholds": PROFILED})
        plan = plan_sensitivity(config, self.facts)
        self._carry_out(config, plan)
        for stage in plan.stages:
            record = self.sitting.store.believed(stage.kind, stage.key)
            if record is not None and isinstance(record.result, SensitivityResult):
                self.stages[record.key] = record.seconds
                return record.result
        return None

    def _alone(self, dense: Dense, pruner: PrunerConfig, threshold: float) -> dict[str, float]:
        """Return what share of each group a pruner zeroes of the dense network by itself."""
        zeros = dense.computed.cut(Network(pruner, threshold)).zeros
        return {
            group: sum(zeros[layer] for layer in layers) / dense.weights[group]
            for group, layers in dense.groups.items()
        }

    # -- short trainings ---------------------------------------------------------------------------------------------

    def _briefly(
        self, dense: Dense, networks: Sequence[tuple[Network, Sequence[Format]]], epochs: int
    ) -> Sequence[Found]:
        """Train networks for so many epochs and judge each in its formats."""
        if not networks:
            return []
        config = with_networks(shortened(self.config, epochs), (network for network, _ in networks))
        wanted = {(network.key, to) for network, formats in networks for to in formats}
        plan = part(make_plan(config, self.facts), lambda trial: (network_key(trial), Format.of(trial)) in wanted)
        found = []
        for trial in self._carry_out(config, plan):
            to = Format.of(trial.trial)
            if trial.validated is None or trial.compressed is None:
                continue
            loss = dense.scale.loss_factor * (dense.values[to.backend] - trial.validated.value)
            costs = costs_of(trial)
            if to in dense.latencies:
                network = next(one for one, _ in networks if one.key == network_key(trial.trial))
                costs["latency"] = dense.computed.costs(network, to)["latency"]
            found.append(Found(network_key(trial.trial), to, epochs, loss, costs, trial))
        return found

    def _has_time(self, rounds: Rounds) -> bool:
        """Whether there is time for another batch, if the front's own trainings are to be done as well."""
        if self.search.seconds is None:
            return True
        spent, train = sum(self.stages.values()), self.asked.train
        trained = {f.trial.train.key: (f.epochs or 0, f.trial.train.seconds) for f in rounds.points if f.trial.train}
        epochs, seconds = (sum(column) for column in zip(*trained.values(), strict=True)) if trained else (1, 0.0)
        networks = (1 + min(self.search.finalists, len(trained))) * len(self.asked.seeds)
        # Dense networks of the other seeds are trained too, and each network is brought into its formats.
        full = train.epochs * networks + (train.dense_epochs or train.epochs) * (len(self.asked.seeds) - 1)
        formats = sum(sum(own.values()) for own in self._formats.values()) / max(1, len(self._formats))
        return spent + full * seconds / max(1, epochs) + networks * formats < self.search.seconds

    # -- the front ---------------------------------------------------------------------------------------------------

    def _finish(
        self, dense: Dense, judge: Judge, rounds: Rounds, finalists: Sequence[Network], proposer: Proposer
    ) -> Searched:
        config = with_networks(self.config, finalists)
        plan = make_plan(config, self.facts)
        offered = set(dense.formats)
        allowed = {(network.key, to) for network in finalists for to in rounds.formats(network)}
        allowed |= {(("", 0.0), to) for to in dense.formats}

        def is_candidate(trial: TrialRecord) -> bool:
            return is_control(trial) or (network_key(trial), Format.of(trial)) in allowed

        trials = self._carry_out(config, part(plan, is_candidate))
        finals = Finals(judge, on_validation(trials), offered.__contains__)
        chosen = finals.front
        times = bool(config.measure.batch_sizes)
        if times and chosen:
            trials = self._carry_out(config, part(plan, self._with_controls(chosen, dense), timed=True))
            finals = Finals(judge, on_validation(trials), offered.__contains__, latency=True)
            chosen = finals.front
        ending = part(plan, self._with_controls(chosen, dense), test=True, timed=times)
        self._carry_out(config, ending)
        run = self.sitting.note_run(config, ending)
        return Searched(
            run=run,
            root=self.sitting.store.root,
            front=tuple(chosen),
            section=finals.section,
            rounds=rounds,
            finalists=tuple(finalists),
            importances=proposer.importances(),
            seconds=sum(self.stages.values()),
            own_seconds=time.perf_counter() - self._began - self._working,
            why_none="" if chosen else finals.nearest(),
        )

    def _with_controls(self, points: Iterable[Point], dense: Dense) -> Callable[[TrialRecord], bool]:
        """Return which trials are of these points, or of dense fp32 on a backend of theirs."""
        wanted: set[Identity] = {identity(point) for point in points}
        backends = {name[3] for name in wanted} or {dense.formats[0].backend}
        return lambda trial: identity_of(trial) in wanted or (is_control(trial) and trial.backend in backends)

    # -- what all of it needs ----------------------------------------------------------------------------------------

    def _carry_out(self, config: SweepConfig, plan: Plan) -> tuple[TrialResult, ...]:
        began = time.perf_counter()
        trials = self.sitting.carry_out(config, plan)
        self._working += time.perf_counter() - began
        self.stages |= stage_seconds(trials)
        for trial in trials:
            own = [record.seconds for record in (trial.compress, trial.validate) if record]
            self._formats.setdefault(trial.trial.train, {})[trial.trial.compress or ""] = sum(own)
        return trials

    def _limited(self) -> set[str]:
        return {name for name, text in self.search.limits.items() if text is not None}

"""Optuna asked for proposals and told what became of them; nothing else here knows of it."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from sparsebench.config import SearchConfig
from sparsebench.errors import SparsebenchError
from sparsebench.search.space import FORMAT, KEPT, ODDS, PRUNER, Space

try:
    import optuna
except ImportError as error:
    raise SparsebenchError(
        "A search needs optuna, which is not installed; run \"pip install 'sparsebench[search]'\"."
    ) from error

Told = Mapping[str, tuple[Sequence[float], Mapping[str, float]]]
"""Of one network, by the label of each format: values, less is better, and by how much each limit is broken."""

_RANDOM_FIRST = 16
"""Points that are told before proposals are more than chance."""


class Proposer:
    """Proposes networks. What it proposes follows from the seed, and from what it was told in which order, alone.

    A search that goes on asks again for all that it asked before, and tells what it told before: no state is kept.

    Args:
        space: what may be proposed.
        search: the sampler and its seed.
    """

    def __init__(self, space: Space, search: SearchConfig) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        low, high = space.kept
        floats = optuna.distributions.FloatDistribution
        choice = optuna.distributions.CategoricalDistribution
        self._ranges: dict[str, optuna.distributions.BaseDistribution] = {
            KEPT: floats(low, high, log=True),
            PRUNER: choice(list(space.pruners)),
            FORMAT: choice(list(space.by_label)),
        }
        if space.grouped:
            self._ranges |= {f"{ODDS}{group}": floats(-space.spread, space.spread) for group in space.weights}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What is experimental there is pinned by tests here.
            self.study = optuna.create_study(directions=["minimize"] * len(search.objectives), sampler=_sampler(search))
        self._running: dict[int, optuna.Trial] = {}

    def first(self, proposals: Sequence[Mapping[str, Any]]) -> None:
        """Propose these before all others, in their order."""
        for proposal in proposals:
            self.study.enqueue_trial(dict(proposal))

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Return the number of a proposal, and its values by their names."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self.study.ask(self._ranges)
        self._running[trial.number] = trial
        return trial.number, dict(trial.params)

    def tell(self, number: int, told: Told) -> None:
        """Take what became of a proposal, in all formats; nothing where it was not trained or failed."""
        trial = self._running.pop(number)
        own = told.get(trial.params[FORMAT])
        if own is None:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            for name, excess in own[1].items():
                trial.set_constraint(name, excess)
            self.study.tell(trial, list(own[0]))
        for label, (values, excesses) in told.items():
            if label != trial.params[FORMAT]:
                self.study.add_trial(
                    optuna.trial.create_trial(
                        params=trial.params | {FORMAT: label},
                        distributions=self._ranges,
                        values=list(values),
                        constraints=dict(excesses),
                    )
                )

    def importances(self) -> dict[str, float]:
        """Return the share of each value in what tells good points from others (PED-ANOVA), the largest first.

        Good are those whose objectives, each as a rank among all, add up to little. Empty where there are too few.
        """
        complete = [trial for trial in self.study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
        if len(complete) < _RANDOM_FIRST:
            return {}
        columns = list(zip(*(trial.values for trial in complete), strict=True))
        orders = [sorted(column) for column in columns]
        ranks = {
            trial.number: float(sum(order.index(value) for order, value in zip(orders, trial.values, strict=True)))
            for trial in complete
        }
        told = [name for name, own in self._ranges.items() if not own.single()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(
                self.study, params=told, target=lambda trial: ranks[trial.number]
            )
        return dict(found)


def _sampler(search: SearchConfig) -> optuna.samplers.BaseSampler:
    match search.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=_RANDOM_FIRST)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=search.seed, population_size=max(4, 2 * search.batch))
        case "gp":
            return optuna.samplers.GPSampler(seed=search.seed, n_startup_trials=_RANDOM_FIRST)
        case "random":
            return optuna.samplers.RandomSampler(seed=search.seed)

"""What has to hold before a search begins, and where its range of thresholds begins."""

from collections.abc import Sequence
from pathlib import Path

from sparsebench.config import SearchConfig, SweepConfig
from sparsebench.decide.criteria import limits_of
from sparsebench.errors import ConfigError, PruningError
from sparsebench.runner.facts import Facts
from sparsebench.search.dense import Dense
from sparsebench.search.judging import Judge
from sparsebench.search.plans import Network
from sparsebench.store.run_directory import Store

_HALVINGS = 10


def checked(config: SweepConfig, runs_dir: Path) -> SweepConfig:
    """Return the config with its ``[search]``, the default one where it has none.

    Raises:
        ConfigError: with all that keeps a search from beginning.
    """
    search = config.search or SearchConfig()
    problems = []
    for name, several in (("model", config.model), ("data", config.data)):
        if len(several) > 1:
            names = ", ".join(one.name for one in several)
            problems.append(f"{name} has {names}: a search is for one network on one data set; name one of them.")
    if config.train.start_from != "dense":
        problems.append(
            f"train.start_from = {config.train.start_from!r}: short trainings of a search start from the dense "
            "network; set start_from = 'dense'."
        )
    if too_long := [epochs for epochs in search.epochs or () if epochs > config.train.epochs]:
        problems.append(
            f"search.epochs = {', '.join(map(str, too_long))} is longer than a full training, train.epochs = "
            f"{config.train.epochs}; give fewer."
        )
    if "latency" in {*search.objectives, *(["latency"] if search.max_latency else [])} and not (
        config.measure.batch_sizes
    ):
        problems.append("measure.batch_sizes = []: nothing is timed, and the search asks for a latency; name one.")
    before = Store(runs_dir / config.name, writable=False).read_run_if_any()
    if before is not None and not before.config.get("search"):
        problems.append(
            f"{runs_dir / config.name} holds a sweep, which the front of a search would take the place of; give the "
            f"search another name: --set name={config.name}-search."
        )
    if problems:
        raise ConfigError("The search was not started:", problems)
    return config.model_copy(update={"search": search})


def lowest_threshold(config: SweepConfig, facts: Facts, dense: Dense, judge: Judge) -> float:
    """Return the lowest threshold at which some pruner keeps all limits that can be computed, in some format.

    Raises:
        ConfigError: where none does at the highest threshold, with how near it comes to each limit.
    """
    low, high = (config.search or SearchConfig()).thresholds
    only = [Network(pruner, own) for pruner in config.pruners for own in facts.thresholds.get(pruner.label, ())]
    free = [pruner for pruner in config.pruners if pruner.label not in facts.thresholds]

    def fits(threshold: float) -> bool:
        return any(_fits(Network(pruner, threshold), dense, judge) for pruner in free)

    if not free or fits(low):
        if not free and not any(_fits(network, dense, judge) for network in only):
            raise _impossible(only, dense, judge)
        return low
    if not fits(high):
        if any(_fits(network, dense, judge) for network in only):
            return low
        raise _impossible([*only, *(Network(pruner, high) for pruner in free)], dense, judge)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _fits(network: Network, dense: Dense, judge: Judge) -> bool:
    try:
        return any(
            all(excess <= 0 for excess in judge.excesses(dense.computed.costs(network, to)).values())
            for to in dense.formats
        )
    except PruningError:
        return False


def _impossible(networks: Sequence[Network], dense: Dense, judge: Judge) -> ConfigError:
    problems = []
    known = limits_of(dense.scale)
    for name, most in judge.limits.items():
        least: tuple[float, str] | None = None
        for network in networks:
            for to in dense.formats:
                try:
                    cost = dense.computed.costs(network, to).get(name)
                except PruningError:
                    continue
                if cost is not None and (least is None or cost < least[0]):
                    least = cost, f"{network.label} · {to.label}"
        if least is not None and least[0] > most:
            problems.append(
                f"{known[name].noun} ≤ {known[name].shown(most)} is kept by no network: the least is "
                f"{known[name].shown(least[0])}, of {least[1]}. Raise the limit or search.thresholds, or offer other "
                "schemes or pruners."
            )
    if not problems:
        problems = ["No network keeps all limits at once, though each is kept by some; raise one of them."]
    return ConfigError("The search was not started:", problems)

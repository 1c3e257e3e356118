"""Proposals in batches: those that can keep the limits are trained briefly, the best of them for longer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sparsebench.config import SearchConfig
from sparsebench.errors import PruningError
from sparsebench.search.dense import Dense
from sparsebench.search.fronts import Values, best_in_turn, hypervolume
from sparsebench.search.judging import Found, Judge, costs_of
from sparsebench.search.plans import Format, Network
from sparsebench.search.proposing import Proposer
from sparsebench.search.space import Proposal, Space

MOST_TRIES = 100
"""Proposals in a row of which none can be trained, after which a search has nothing left to try."""

Key = tuple[str, float]

Train = Callable[[Sequence[tuple[Network, Sequence[Format]]], int], Sequence[Found]]
"""Trains networks for so many epochs, each in its formats, and returns what came of it."""


@dataclass(frozen=True)
class Moment:
    """How far a search had come: networks trained, seconds of all stages so far, and the hypervolume of its front."""

    networks: int
    seconds: float
    volume: float


@dataclass
class Rounds:
    """The part of a search in which networks are proposed.

    Attributes:
        refused: proposals that broke a computed limit, and were not trained.
        broken: proposals that their pruner could not prune.
        networks: those that were trained, in their order.
        moments: one after each batch.
    """

    space: Space
    judge: Judge
    dense: Dense
    search: SearchConfig
    rungs: Sequence[int]
    train: Train
    seconds: Callable[[], float]
    say: Callable[[str], None]
    refused: int = 0
    broken: int = 0
    networks: dict[Key, Network] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    _formats: dict[Key, tuple[Format, ...]] = field(default_factory=dict)
    _found: list[dict[Key, list[Found]]] = field(default_factory=list)

    def run(self, proposer: Proposer, may_go_on: Callable[[], bool]) -> None:
        """Propose, train and tell until there are enough networks, or no time for more.

        Args:
            proposer: asks and is told, in an order that does not depend on how fast anything is.
            may_go_on: asked before each batch but the first.
        """
        self._found = [{} for _ in self.rungs]
        self._note()
        while len(self.networks) < self.search.trials and (len(self.moments) < 2 or may_go_on()):
            asked = self._batch(proposer)
            drawn = [self.space.network(proposal) for _, proposal in asked]
            new = list({one.key: one for one in drawn if one.key not in self.networks}.values())
            if not new:
                self.say("The search ends: nothing new is proposed that could keep the limits.")
                return
            self.networks |= {network.key: network for network in new}
            self._carry_out(new, 0)
            for (number, _), network in zip(asked, drawn, strict=True):
                proposer.tell(number, self._told(network.key))
            for rung in range(1, len(self.rungs)):
                self._carry_out(self._promoted(rung), rung)
            self._note()

    def finalists(self) -> list[Network]:
        """Return the networks that are worth a full training, by what they were after their longest so far."""
        latest: dict[Key, list[Found]] = {}
        for rung in self._found:
            latest |= {key: found for key, found in rung.items() if found}
        return [self.networks[key] for key in self._best(latest, self.search.finalists)]

    def formats(self, network: Network) -> tuple[Format, ...]:
        """Return the formats in which a network keeps the limits that can be computed; none where it cannot be pruned.

        Raises:
            PruningError: where its pruner cannot prune it.
        """
        if network.key not in self._formats:
            computed = self.dense.computed
            costs = {to: self.judge.excesses(computed.costs(network, to)) for to in self.space.formats}
            self._formats[network.key] = tuple(
                to for to, excesses in costs.items() if all(excess <= 0 for excess in excesses.values())
            )
        return self._formats[network.key]

    @property
    def points(self) -> list[Found]:
        """All that was found, the longest training of each network."""
        latest: dict[Key, list[Found]] = {}
        for rung in self._found:
            latest |= rung
        return [found for own in latest.values() for found in own]

    def _batch(self, proposer: Proposer) -> list[tuple[int, Proposal]]:
        """Return proposals, of as many new networks as a batch has; those that break a limit are told as failed."""
        most = min(self.search.batch, self.search.trials - len(self.networks))
        asked: list[tuple[int, Proposal]] = []
        new: set[Key] = set()
        for _ in range(MOST_TRIES):
            if len(new) == most:
                break
            number, proposal = proposer.ask()
            network = self.space.network(proposal)
            try:
                allowed = bool(self.formats(network))
            except PruningError:
                self.broken += 1
                proposer.tell(number, {})
                continue
            if not allowed:
                self.refused += 1
                proposer.tell(number, {})
                continue
            asked.append((number, proposal))
            if network.key not in self.networks:
                new.add(network.key)
        return asked

    def _carry_out(self, networks: Sequence[Network], rung: int) -> None:
        found = self.train([(network, self.formats(network)) for network in networks], self.rungs[rung])
        self._found[rung] |= {network.key: [] for network in networks}
        for one in found:
            self._found[rung][one.network].append(one)

    def _told(self, key: Key) -> dict[str, tuple[Values, Mapping[str, float]]]:
        told: dict[str, tuple[Values, Mapping[str, float]]] = {}
        for found in self._found[0].get(key, ()):
            if (values := self.judge.of(found)) is not None:
                told[found.format.label] = values, self.judge.over(found)
        return told

    def _promoted(self, rung: int) -> list[Network]:
        """Return the networks that are now trained for longer: the best of all that were trained for less."""
        before, already = self._found[rung - 1], self._found[rung]
        room = int(self.search.keep * len(before)) - len(already)
        if room <= 0:
            return []
        best = self._best(before, len(already) + room)
        return [self.networks[key] for key in best if key not in already][:room]

    def _best(self, found: Mapping[Key, Sequence[Found]], most: int) -> list[Key]:
        """Return the best networks: those of points that keep all limits, then those that break them least."""
        kept: dict[Key, list[Values]] = {}
        least: dict[Key, float] = {}
        for key, own in found.items():
            for one in own:
                if (values := self.judge.of(one)) is None:
                    continue
                excess = sum(max(0.0, over) for over in self.judge.over(one).values())
                least[key] = min(excess, least.get(key, excess))
                if not excess:
                    kept.setdefault(key, []).append(values)
        best = best_in_turn(kept, most, self.judge.reference)
        others = sorted((key for key in least if key not in kept), key=lambda key: least[key])
        return [*best, *others][:most]

    def _note(self) -> None:
        kept = [values for found in self.points if self.judge.keeps(found) and (values := self.judge.of(found))]
        volume = hypervolume([*kept, *self.dense_values()], self.judge.reference)
        self.moments.append(Moment(len(self.networks), self.seconds(), volume))
        self.say(
            f"Search: {len(self.networks)} of {self.search.trials} networks trained, hypervolume {volume:.4f}, "
            f"{self.refused} proposals refused because of limits."
        )

    def dense_values(self) -> list[Values]:
        """Return the values of the dense network in the formats in which it keeps the limits."""
        kept = filter(self.judge.keeps, dense_found(self.dense))
        return [values for found in kept if (values := self.judge.of(found))]


def dense_found(dense: Dense) -> list[Found]:
    """Return the dense network in each format."""
    found = []
    for to in dense.formats:
        trial = dense.trials[to]
        assert trial.validated is not None and trial.trained is not None  # noqa: S101, PT018 - or it is no format
        loss = dense.scale.loss_factor * (dense.values[to.backend] - trial.validated.value)
        costs = costs_of(trial) | ({"latency": dense.latencies[to]} if to in dense.latencies else {})
        found.append(Found(("", 0.0), to, None, loss, costs, trial))
    return found

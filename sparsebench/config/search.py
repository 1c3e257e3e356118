"""The section that says what ``sparsebench search`` looks for, where, and how long."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sparsebench.config.sections import AboveZero, Axis, Count, Fraction, Increasing, NoneOrMore, Section, UpToOne
from sparsebench.registry import nearest

OBJECTIVES = ("metric", "deflated_size", "size", "flash", "memory", "macs", "latency")
"""What a search may look for: the best metric, and the least of the others."""


def _known(name: str) -> str:
    if name not in OBJECTIVES:
        guess = nearest(name, OBJECTIVES)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise ValueError(f"it is no objective.{hint} Allowed: {', '.join(OBJECTIVES)}.")
    return name


def _graph_or_patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    if "graph" in value and len(value) > 1:
        raise ValueError("'graph' stands for all groups, made from the network; name it alone, or give patterns alone.")
    return value


def _written(value: object) -> object:
    """Take a number for what it says; what unit it lacks is told with all limits."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Limit = Annotated[Annotated[str, Field(min_length=1, max_length=40)] | None, BeforeValidator(_written)]


class SearchConfig(Section):
    """What a search looks for. Pruners, schemes, backends, seeds and training are those of the sweep's own keys."""

    trials: Count = Field(40, description="Networks that are trained, each for every scheme and backend.")
    seconds: AboveZero | None = Field(
        None,
        description="Seconds of training, conversion and evaluation after which no network is proposed any more; the "
        "front's own trainings are reckoned with, timing and the test are not. No limit by default.",
    )
    seed: NoneOrMore = Field(0, description="Of the proposals.")
    sampler: Literal["tpe", "nsga2", "gp", "random"] = Field(
        "tpe",
        description="What proposes (Optuna): 'tpe', 'nsga2', 'gp', or 'random', against which the others are judged.",
    )
    batch: Count = Field(
        4, description="Networks that are proposed together; --jobs trains so many at once at most. Changes proposals."
    )
    objectives: Axis[Annotated[str, AfterValidator(_known)]] = Field(
        ("metric", "deflated_size"),
        min_length=2,
        description="What to have most of, the metric, and least of: 'deflated_size', 'size', 'flash', 'memory', "
        "'macs', 'latency'.",
    )
    max_drop: Limit = Field(None, description="Most that may be lost on validation, as '1pp'.")
    max_size: Limit = Field(None, description="Largest saved file, as '100kB'.")
    max_deflated_size: Limit = Field(None, description="Largest saved file as a zip holds it.")
    max_flash: Limit = Field(None, description="Largest store of the non-zero weights alone, as '64kB'.")
    max_ram: Limit = Field(None, description="Largest working memory, as '16kB'.")
    max_macs: Limit = Field(None, description="Most multiply-accumulates with a non-zero weight, as '5M'.")
    max_latency: Limit = Field(None, description="Highest latency, as '2ms', by the upper end of its interval.")
    groups: Annotated[Axis[Annotated[str, Field(min_length=1)]], AfterValidator(_graph_or_patterns)] = Field(
        ("graph",),
        min_length=1,
        description="Layers that get a threshold together: patterns, 'a|b.*' for several of one group, or 'graph' for "
        "groups made from the network.",
    )
    most_groups: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="Groups that are made from the network at most."
    )
    thresholds: Annotated[Increasing[Fraction], Field(min_length=2, max_length=2)] = Field(
        (0.3, 0.98), description="Lowest and highest threshold of a network."
    )
    spread: Annotated[float, Field(ge=0, le=6, allow_inf_nan=False)] = Field(
        1.5,
        description="How far the odds of being pruned in a group may differ from those that magnitude over all layers "
        "gives it, as a natural logarithm; 0 leaves the thresholds of groups to magnitude.",
    )
    epochs: Increasing[NoneOrMore] | None = Field(
        None,
        min_length=1,
        description="Epochs of the short trainings, the shortest for all, each longer one for the best of those "
        "before; a quarter and a half of train.epochs by default.",
    )
    keep: UpToOne = Field(0.34, description="Fraction of the networks that goes on to the next longer training.")
    profile: bool = Field(
        True,
        description="Whether layers are pruned alone, without training, for first proposals (dynamic programming).",
    )
    finalists: Count = Field(6, description="Networks that are trained in full, for all seeds, at most.")

    @model_validator(mode="after")
    def _range_is_one(self) -> "SearchConfig":
        if "metric" not in self.objectives:
            raise ValueError("objectives without 'metric' are met best by a network that does nothing; add 'metric'.")
        if self.thresholds[0] == 0:
            raise ValueError("thresholds: 0 is the dense network, which is always there; begin above 0, as at 0.3.")
        return self

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs of the short trainings, given those of a full one."""
        if self.epochs is not None:
            return self.epochs
        found = {max(1, round(epochs / 4)), max(1, round(epochs / 2))} if epochs else {0}
        return tuple(sorted(found))

    @property
    def limits(self) -> dict[str, str | None]:
        """Limits as they were written, by the name of the criterion."""
        return {
            "drop": self.max_drop,
            "size": self.max_size,
            "deflated_size": self.max_deflated_size,
            "flash": self.max_flash,
            "memory": self.max_ram,
            "macs": self.max_macs,
            "latency": self.max_latency,
        }

"""What sections are made of: the values that keys may have, and how they may be written."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from sparsebench.registry import Registry

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Item = TypeVar("Item")


class Section(BaseModel):
    """A part of the config: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def named(registry: Registry) -> AfterValidator:
    """Return a validator that accepts what ``registry`` knows and replaces aliases."""

    def check(name: str) -> str:
        problem = registry.problem(name)
        if problem:
            raise ValueError(problem)
        return registry.canonical(name)

    return AfterValidator(check)


def _sequence(value: Any) -> Any:
    """Accept one value, or a string with commas, where a list is meant: ``--set thresholds=0,0.5``."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return value if isinstance(value, Sequence) else [value]


def table(value: Any) -> Any:
    """Accept a name where a table is meant."""
    return {"name": value} if isinstance(value, str) else value


def _tables(value: Any) -> Any:
    return [table(item) for item in (value if isinstance(value, list | tuple) else [value])]


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse an axis that names the same point twice: its trials could not be told apart."""
    # Networks and datasets have no label: they are told apart by their name alone.
    names = [getattr(value, "label", getattr(value, "name", value)) for value in values]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice; name each value once.")
    return values


def _increasing(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(values))


def run_name(name: str) -> str:
    """Refuse a name that cannot be that of a directory everywhere."""
    if not _RUN_NAME.fullmatch(name):
        raise ValueError(
            "a run name has letters, digits, '.', '_' and '-', begins with a letter or digit, at most 100."
        )
    return name


Axis = Annotated[tuple[Item, ...], BeforeValidator(_sequence), AfterValidator(_unique)]
Increasing = Annotated[Axis[Item], AfterValidator(_increasing)]
Tables = Annotated[tuple[Item, ...], BeforeValidator(_tables), AfterValidator(_unique)]
NamedTables = Annotated[tuple[Item, ...], BeforeValidator(_tables), BeforeValidator(_sequence), AfterValidator(_unique)]

Count = Annotated[int, Field(ge=1)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
UpToOne = Annotated[float, Field(gt=0, le=1)]
BetweenZeroAndOne = Annotated[float, Field(gt=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
SecondsOfADay = Annotated[float, Field(gt=0, le=86_400)]

"""What text from outside may hold, said once: rules that return a value made anew, or refuse it by a sentence."""

import math
import re
from collections.abc import Callable
from typing import Any

from sparsebench.errors import SparsebenchError
from sparsebench.export.files.sizes import LARGEST

Rule = Callable[[Any], Any]

_LONE = ("Infinity", "-Infinity", "NaN")
"""How PyTorch writes numbers that JSON has not."""


def refused(what: str) -> SparsebenchError:
    """Return the error for what is not written there."""
    return SparsebenchError(f"is no program as torch.export.save writes it: {what}. Export the network again.")


def shown(value: object) -> str:
    """Return the beginning of a value, for a sentence."""
    return repr(value)[:60]


def whole(low: int = -LARGEST, high: int = LARGEST) -> Rule:
    """Return what reads a whole number in a range; true and false are none."""

    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise refused(f"{shown(value)} stands where a whole number from {low} to {high} is expected")
        return value

    return read


def number(value: Any) -> Any:
    """Read a number."""
    if value in _LONE or (type(value) is float and math.isfinite(value)):
        return value
    if type(value) is int and abs(value) <= LARGEST:
        return value
    raise refused(f"{shown(value)} stands where a number is expected")


def truth(value: Any) -> bool:
    """Read true or false."""
    if type(value) is not bool:
        raise refused(f"{shown(value)} stands where true or false is expected")
    return value


def text(pattern: re.Pattern[str], what: str) -> Rule:
    """Return what reads a text of a form, which ``what`` describes."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise refused(f"{shown(value)} stands where {what} is expected")
        return value

    return read


def maybe(rule: Rule) -> Rule:
    """Return what reads something, or null."""
    return lambda value: None if value is None else rule(value)


def list_of(rule: Rule) -> Rule:
    """Return what reads a list of things alike."""

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise refused(f"{shown(value)} stands where a list is expected")
        return [rule(one) for one in value]

    return read


def table(key: Rule, rule: Rule) -> Rule:
    """Return what reads a mapping of things alike."""
    return lambda value: {key(name): rule(one) for name, one in mapping(value).items()}


def fields(**rules: Rule) -> Rule:
    """Return what reads a mapping: of its fields those named here, where they are there."""
    return lambda value: {name: rule(value[name]) for name, rule in rules.items() if name in mapping(value)}


def one_of(**rules: Rule) -> Rule:
    """Return what reads a mapping with one field, which says what it is."""

    def read(value: Any) -> dict[str, Any]:
        [(kind, inner)] = mapping(value).items() if len(mapping(value)) == 1 else [("nothing", None)]
        if kind not in rules:
            raise refused(f"it holds a value of the kind {shown(kind)}, which plain networks have not")
        return {kind: rules[kind](inner)}

    return read


def nothing(value: Any) -> Any:
    """Read what must be empty."""
    if value:
        raise refused(f"it holds objects of classes of their own ({shown(value)})")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """Read a mapping, whatever is in it."""
    if not isinstance(value, dict):
        raise refused(f"{shown(value)} stands where a mapping is expected")
    return value

"""What two profiles of one call say, in sentences. Pure: nothing is run here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sparsebench.timing.kernels import FALLBACKS
from sparsebench.wording.text import counted, first_of, listing

INT8, FLOAT, CONVERSIONS, OTHER = "int8 layers", "float layers", "conversions", "other operators"
BETWEEN = "between operators"
GROUPS = (INT8, FLOAT, CONVERSIONS, OTHER, BETWEEN)
"""What operators are put together: layers by the format in which they multiply; what quantizes, dequantizes, casts and
reorders; the rest; and the time between operators, in Python and in calling them."""

NAMED = 3
"""Most layers or operators that a sentence names."""

WORTH_SAYING = 0.05
"""The least share of the time that is worth a sentence."""


@dataclass(frozen=True)
class Part:
    """One operator of a profile; as ``sparsebench.backends.profiling.OperatorTime``, its layer by its path alone."""

    layer: str
    operator: str
    microseconds: float
    group: str
    times: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the time of one call of a trial goes.

    Attributes:
        label: of the trial.
        batch_size: samples in the call.
        microseconds: latency of the call without a profiler, the median of short blocks in turn with the other's.
        parts: its operators, in the order in which they run.
        in_float: layers that the scheme left in float, each with the reason.
        off_width: layers whose channels are no multiple of what a vector holds, with their number.
        width: values that a vector holds in fp32.
    """

    label: str
    batch_size: int
    microseconds: float
    parts: tuple[Part, ...]
    in_float: Mapping[str, str] = field(default_factory=dict)
    off_width: Mapping[str, int] = field(default_factory=dict)
    width: int = 0

    @cached_property
    def total(self) -> float:
        """Microseconds of all operators, with what the profiler costs."""
        return sum(part.microseconds for part in self.parts) or 1.0

    def of_group(self, group: str) -> float:
        """Microseconds of one group."""
        return sum(part.microseconds for part in self.parts if part.group == group)

    def of_layer(self, layer: str) -> list[Part]:
        """Return the operators of a layer."""
        return [part for part in self.parts if part.layer == layer]

    def layers(self) -> tuple[str, ...]:
        """Return the layers that have operators, in the order in which they run."""
        return tuple(dict.fromkeys(part.layer for part in self.parts if part.layer))


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Two trials side by side at one or more batch sizes; ``pairs`` are baseline and other, one pair a batch size."""

    pairs: tuple[tuple[Profile, Profile], ...]
    threads: int

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is to be said, the most important first."""
        said = [sentence for pair in self.pairs[:1] for sentence in compared(*pair)]
        said += [what_the_batch_changes(self.pairs[0], pair) for pair in self.pairs[1:]]
        return tuple(said)


def compared(base: Profile, other: Profile) -> list[str]:
    """Return why one network takes more or less time than another."""
    return [
        _headline(base, other),
        *_where(base, other),
        *_fallbacks(base, other),
        *_layers(base, other),
        *_conversions(other),
        *_in_float(other),
        *_off_width(other),
    ]


def what_the_batch_changes(first: tuple[Profile, Profile], second: tuple[Profile, Profile]) -> str:
    """Return how another batch size changes the picture."""
    ratios = [other.microseconds / base.microseconds for base, other in (first, second)]
    at, then = first[1], second[1]
    text = f"At batch {then.batch_size} it takes {ratios[1]:.2f}× the time, at batch {at.batch_size} {ratios[0]:.2f}×"
    moved = max(GROUPS, key=lambda group: abs(then.of_group(group) / then.total - at.of_group(group) / at.total))
    shares = [one.of_group(moved) / one.total for one in (at, then)]
    return f"{text}: {moved} have {_share(shares[1])} of it there, {_share(shares[0])} here."


def _headline(base: Profile, other: Profile) -> str:
    ratio = other.microseconds / base.microseconds
    both = f"({_ms(other.microseconds)} against {_ms(base.microseconds)} a call at batch {base.batch_size})"
    return f"{other.label} takes {ratio:.2f}× the time of {base.label} {both}."


def _where(base: Profile, other: Profile) -> list[str]:
    """Return in which group the difference lies."""
    changes = {group: other.of_group(group) - base.of_group(group) for group in GROUPS}
    grown = other.total > base.total
    toward = {group: change for group, change in changes.items() if (change > 0) == grown and change}
    whole = sum(toward.values())
    if not whole or abs(whole) < WORTH_SAYING * base.total:
        return []
    group = max(toward, key=lambda one: abs(toward[one]))
    what = f"Of what it takes {'more' if grown else 'less'}, {_share(toward[group] / whole)} is {_are(group)}"
    if group == BETWEEN:
        return [f"{what}, in Python and in calling them: {_layers_between(base, other)}."]
    if grown:
        return [f"{what}: {_operators([part for part in other.parts if part.group == group])}."]
    return [f"{what}: {_operators([part for part in base.parts if part.group == group])} before."]


def _layers_between(base: Profile, other: Profile) -> str:
    """Return the layers between whose operators most passes more or less than before."""

    def passes(one: Profile, layer: str) -> float:
        return _sum([part for part in one.of_layer(layer) if part.group == BETWEEN])

    changes = {layer: passes(other, layer) - passes(base, layer) for layer in other.layers()}
    most = sorted(changes, key=lambda layer: -abs(changes[layer]))[:NAMED]
    most = [layer for layer in most if abs(changes[layer]) > abs(changes[most[0]]) / 3]
    return listing([f"{layer} {passes(other, layer):.1f} µs in place of {passes(base, layer):.1f}" for layer in most])


def _are(group: str) -> str:
    return group if group in (CONVERSIONS, BETWEEN) else f"in {group}"


def _layers(base: Profile, other: Profile) -> list[str]:
    """Return the layers that became slower, with what runs in place of what."""
    slower = []
    for layer in other.layers():
        before, after = (_sum([part for part in one.of_layer(layer) if part.group != BETWEEN]) for one in (base, other))
        if before and after - before > WORTH_SAYING * base.total:
            slower.append((after - before, layer, before, after))
    told = []
    for _, layer, before, after in sorted(slower, reverse=True)[:NAMED]:
        ways = (_operators(one.of_layer(layer)) for one in (base, other))
        told.append("{} takes {:.1f} µs in place of {:.1f}: {} before, {} now.".format(layer, after, before, *ways))
    return told


def _conversions(other: Profile) -> list[str]:
    share = other.of_group(CONVERSIONS) / other.total
    if share < WORTH_SAYING:
        return []
    parts = [part for part in other.parts if part.group == CONVERSIONS]
    times = sum(part.times for part in parts)
    around = f" around {counted(len(other.in_float), 'float layer')}" if other.in_float else ""
    return [f"{_share(share)} of its time are {counted(times, 'conversion')}{around}: {_operators(parts)}."]


def _in_float(other: Profile) -> list[str]:
    if not other.in_float:
        return []
    reasons = dict.fromkeys(other.in_float.values())
    names = first_of(list(other.in_float), NAMED)
    return [f"{counted(len(other.in_float), 'layer')} of it still in float: {names} ({'; '.join(reasons)})."]


def _fallbacks(base: Profile, other: Profile) -> list[str]:
    told = []
    for operator, text in FALLBACKS.items():
        shares = [
            (_sum([part for part in one.parts if part.operator == operator]) / one.total, one.label)
            for one in (base, other)
        ]
        said = [f"{_share(share)} of the time of {label}" for share, label in shares if share >= WORTH_SAYING]
        if said:
            told.append(
                f"{listing(said)} {'is' if len(said) == 1 else 'are'} {text}, which PyTorch takes at this batch size "
                "and number of threads; other ones, and other runtimes, compute it otherwise."
            )
    return told


def _off_width(other: Profile) -> list[str]:
    if not other.off_width:
        return []
    names = first_of([f"{layer} has {channels}" for layer, channels in other.off_width.items()], NAMED)
    return [f"Channels of {counted(len(other.off_width), 'layer')} do not fill the vectors of {other.width}: {names}."]


def _operators(parts: Sequence[Part]) -> str:
    """Return the operators that take most, each with how often it runs."""
    found: dict[str, tuple[float, int]] = {}
    for part in parts:
        if part.group != BETWEEN:
            microseconds, times = found.get(part.operator, (0.0, 0))
            found[part.operator] = microseconds + part.microseconds, times + part.times
    most = sorted(found, key=lambda operator: -found[operator][0])[:NAMED]
    return listing([f"{found[operator][1]} × {operator}" for operator in most])


def _sum(parts: Sequence[Part]) -> float:
    return sum(part.microseconds for part in parts)


def _share(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1000:.3g} ms"

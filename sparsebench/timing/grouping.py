"""Variants that do not fit into memory together are timed in groups."""

import re
from collections.abc import Sequence
from pathlib import Path

from sparsebench.timing.variants import Variant, weight_bytes

SHARE = 0.5
"""Share of the available memory that weights may take; activations and the runtime need the rest."""


def grouped(
    others: Sequence[Variant], baselines: Sequence[Variant], group_size: int | None, limit_bytes: int | None
) -> list[list[Variant]]:
    """Return the variants in groups, in their order; a variant that is too large by itself is a group by itself.

    Args:
        others: all variants but the baselines; without any there is one group, which is empty.
        baselines: loaded in each group, the first of them twice.
        group_size: most variants in a group.
        limit_bytes: most bytes of weights in a group; None for ``SHARE`` of what is available.
    """
    limit = _available_bytes() * SHARE if limit_bytes is None else limit_bytes
    room = limit - sum(map(weight_bytes, (baselines[0], *baselines)))
    groups: list[list[Variant]] = []
    taken = 0
    for variant in others:
        needed = weight_bytes(variant)
        full = groups and group_size is not None and len(groups[-1]) >= group_size
        if not groups or full or taken + needed > room:
            groups.append([])
            taken = 0
        groups[-1].append(variant)
        taken += needed
    return groups or [[]]


def fits(variants: Sequence[Variant], times: int, limit_bytes: int | None) -> bool:
    """Whether the weights of all variants fit so many times into the limit, or ``SHARE`` of what is available."""
    limit = _available_bytes() * SHARE if limit_bytes is None else limit_bytes
    return times * sum(map(weight_bytes, variants)) <= limit


def _available_bytes() -> float:
    """Return what can be used without swapping; infinite where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return float("inf")
    found = re.search(r"^MemAvailable:\s*(\d+) kB", text, re.MULTILINE)
    return float(found[1]) * 1024 if found else float("inf")

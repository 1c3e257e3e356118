"""How a comparison is made."""

import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], int]
"""Returns nanoseconds that never run backwards."""

BLOCK_MS = 50.0
"""A block lasts at least this long: a scheduler's time slice, a few milliseconds, is a small part of it."""

HANG_SECONDS = 600.0
"""A worker that makes no step for so long hangs; to compile a large network may take minutes."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``sparsebench.timing.compare`` that say how it times; see there."""

    threads: int = 1
    seconds_cap: float = 60.0
    precision: float = 0.01
    band: float = 0.01
    seed: int = 0
    block_ms: float = BLOCK_MS
    workers: bool | None = None
    group_size: int | None = None
    memory_limit_bytes: int | None = None
    hang_seconds: float = HANG_SECONDS
    cuda_graphs: bool = False
    footprint: bool = False
    clock: Clock | None = None

    @property
    def now(self) -> Clock:
        """The clock that was given, or else that of the system."""
        return self.clock or time.perf_counter_ns

    @property
    def block_ns(self) -> float:
        """How long a block lasts at least."""
        return self.block_ms * 1e6

    def problems(self) -> list[str]:
        """Return a sentence for everything that is not possible."""
        found = [
            f"{name}={value} is not possible; it must be at least 1."
            for name, value in (("threads", self.threads), ("group_size", self.group_size))
            if value is not None and value < 1
        ]
        found += [
            f"{name}={share} is not possible; it is a fraction between 0 and 1, 0.01 for one percent."
            for name, share in (("precision", self.precision), ("band", self.band))
            if not 0 < share < 1
        ]
        found += [
            f"{name}={amount} is not possible; it must be a number of {unit} above 0."
            for name, amount, unit in (
                ("seconds_cap", self.seconds_cap, "seconds"),
                ("hang_seconds", self.hang_seconds, "seconds"),
                ("block_ms", self.block_ms, "milliseconds"),
            )
            if not 0 < amount < float("inf")
        ]
        return found

"""Where stages run. An executor has one method: it takes a stage's work and what the work needs."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a stage needs while it runs.

    Attributes:
        gpu: whether it uses a GPU where there is one.
        exclusive: whether nothing else of ours may run on the machine meanwhile, as timing asks for.
    """

    gpu: bool = False
    exclusive: bool = False


class Executor(Protocol):
    """Runs the work of stages."""

    def submit(self, work: Callable[[], T], needs: Needs) -> "Future[T]":
        """Take the work of one stage; the future holds its result or its exception."""
        ...

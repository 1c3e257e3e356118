"""The executor of one machine: stages run in this process, one after the other, in the order of the plan."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from sparsebench.executors import Needs

T = TypeVar("T")


class Local:
    """Runs each stage at once, so that every stage has the whole machine."""

    def submit(self, work: Callable[[], T], needs: Needs) -> "Future[T]":  # noqa: ARG002 - one at a time meets any need
        """Run ``work`` now and return a future that is already done; an interrupt is not held back."""
        future: Future[T] = Future()
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)
        return future

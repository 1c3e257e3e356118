"""Worker processes: a generation is one process that loads the variants, times rounds and ends."""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.errors import SparsebenchError
from sparsebench.timing.bench import Bench, RoundSample
from sparsebench.timing.cores import idlest_cores
from sparsebench.timing.variants import unpickled

_NOTHING_YET = -1
_SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class _Order:
    """What a worker shall be: its threads, its cores, and how long its blocks last at least."""

    threads: int
    cores: tuple[int, ...] | None
    least_block_ns: float


@dataclass(frozen=True)
class _Failure:
    """What went wrong in a worker."""

    text: str
    details: str


@contextmanager
def worker(
    payloads: Sequence[bytes], names: Sequence[str], *, threads: int, least_block_ns: float
) -> Iterator["WorkerTimer"]:
    """Start a process, load the variants in it and hand out its timer; the process ends with the context.

    Args:
        payloads: pickled variants, the baseline first.
        names: their names.
        threads: threads of torch inside one operation.
        least_block_ns: how long a block lasts at least.

    Raises:
        SparsebenchError: where the worker fails or dies; names the variant at which it did.
    """
    # A spawned process starts afresh, with a memory layout of its own: that is what a generation varies.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Written by the worker without waking anybody, read after its death.
    current = context.RawValue("i", _NOTHING_YET)
    order = _Order(threads, idlest_cores(threads), least_block_ns)
    process = context.Process(target=_serve, args=(theirs, current, order), daemon=True)
    process.start()
    theirs.close()
    timer = WorkerTimer(process, ours, current, names, order.cores)
    try:
        timer.load(list(payloads))
        yield timer
        timer.end()
    finally:
        ours.close()
        process.join(_SECONDS_TO_END if process.exitcode is None and timer.ended else 0)
        if process.is_alive():
            process.kill()
            process.join()


class WorkerTimer:
    """Times rounds in a worker process.

    Attributes:
        block_ns: how long a block of each variant lasts, as the warm-up promises.
        cores: cores the process stays on; None where it may run anywhere.
        ended: whether it was told to end.
    """

    def __init__(
        self,
        process: BaseProcess,
        connection: "Connection[Any, Any]",
        current: Any,
        names: Sequence[str],
        cores: tuple[int, ...] | None,
    ) -> None:
        self._process, self._connection, self._current, self._names = process, connection, current, names
        self.cores = cores
        self.block_ns: Sequence[float] = ()
        self.ended = False

    def load(self, payloads: list[bytes]) -> None:
        """Send the variants and wait until they are warmed up."""
        self.block_ns = self._ask((list(self._names), payloads))

    def round(self, order: NDArray[np.int_]) -> RoundSample:
        """Time one block of each variant in ``order``, which holds their numbers."""
        sample: RoundSample = self._ask(order)
        return sample

    def end(self) -> None:
        """Tell the process to end; a dead one is taken as ended."""
        self.ended = True
        try:
            self._connection.send(None)
        except OSError:
            return

    def _ask(self, question: Any) -> Any:
        try:
            self._connection.send(question)
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._died()
        if isinstance(answer, _Failure):
            error = SparsebenchError(answer.text)
            error.add_note(f"In the worker process:\n{answer.details}")
            raise error
        return answer

    def _died(self) -> NoReturn:
        self._process.join(_SECONDS_TO_END)
        code, number = self._process.exitcode, int(self._current.value)
        how = f"exit code {code}" if code is None or code >= 0 else f"signal {-code}, {_signal_name(-code)}"
        if number == _NOTHING_YET:
            raise SparsebenchError(
                f"A timing worker died before it loaded a variant ({how}). Workers import the script that started "
                'them: call compare under `if __name__ == "__main__":`, or pass workers=False.'
            )
        raise SparsebenchError(
            f"The timing worker died at variant {self._names[number]!r} ({how}). Call that variant once by itself; "
            "where memory ran out, compare fewer at a time with group_size."
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _serve(connection: "Connection[Any, Any]", current: Any, order: _Order) -> None:
    """Load variants, then time rounds until told to end; the main function of the process."""
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if order.cores is not None:
        os.sched_setaffinity(0, order.cores)
    torch.set_num_interop_threads(1)

    def remember(number: int) -> None:
        current.value = number

    try:
        names, payloads = connection.recv()
        variants = []
        for number, payload in enumerate(payloads):
            remember(number)
            variants.append(unpickled(payload, names[number]))
        bench = Bench.load(
            variants,
            threads=order.threads,
            least_block_ns=order.least_block_ns,
            clock=time.perf_counter_ns,
            on_block=remember,
        )
        connection.send(bench.block_ns)
        while (asked := connection.recv()) is not None:
            connection.send(bench.round(asked))
    except (EOFError, OSError):
        return  # The parent is gone.
    except Exception as error:
        connection.send(_Failure(str(error), traceback.format_exc()))

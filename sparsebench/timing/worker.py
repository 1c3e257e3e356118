"""Worker processes: a generation is one process that loads the variants, times rounds and ends."""

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.processes import how_it_ended, without_main
from sparsebench.timing.bench import Bench, Loaded, RoundSample, built
from sparsebench.timing.cores import idlest_cores
from sparsebench.timing.variants import Sent, Variant, unpickled

_NOTHING_YET = -1
_SECONDS_TO_END = 5.0
_SECONDS_TO_START = 120.0
"""A process that imports torch on a busy machine is given so long at least."""
_LOOK_SECONDS = 1.0
"""How often a worker is looked after while it is waited for."""


@dataclass(frozen=True)
class Order:
    """What a worker shall be.

    Attributes:
        names: of its variants, the baseline first.
        threads: threads of torch inside one operation.
        least_block_ns: how long a block lasts at least.
        hang_seconds: it is ended where it stays at one variant, or starts, for longer than this.
        cuda_graphs: whether networks on a GPU are replayed as CUDA graphs.
        footprint: whether the memory that running each variant takes is measured.
    """

    names: tuple[str, ...]
    threads: int
    least_block_ns: float
    hang_seconds: float
    cuda_graphs: bool = False
    footprint: bool = False


@dataclass(frozen=True)
class _Failure:
    """What went wrong in a worker, and at which variant, if at one."""

    variant: str | None
    text: str
    details: str


@dataclass(frozen=True)
class _Go:
    """What a worker that has built its variants is told when its turn comes."""

    cores: tuple[int, ...] | None
    footprint: bool


class Generations:
    """The workers of a session, one for each generation; they end with its context.

    Those up to the first look are started at once and build their variants side by side, before any of them times: most
    of that is importing, on one core. While one times, the others wait and do nothing.

    Args:
        sent: pickled variants, in the order of their names.
        order: what workers shall be.
        ahead: how many are started at once.
    """

    def __init__(self, sent: Sent, order: Order, ahead: int) -> None:
        self._sent, self._order, self._ahead = sent, order, ahead
        self._waiting: list[WorkerTimer] = []

    def __enter__(self) -> "Generations":
        try:
            self._waiting = [self._started() for _ in range(self._ahead)]
            for timer in self._waiting:
                timer.send(self._sent)
            for timer in self._waiting:
                timer.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for timer in self._waiting:
            timer.close()

    @contextmanager
    def start(self, generation: int) -> Iterator["WorkerTimer"]:
        """Hand out the timer of a worker whose variants are warmed up; it ends with the context.

        Raises:
            VariantError: where the worker fails, dies or hangs at a variant.
            SparsebenchError: where it does so before.
        """
        timer = self._waiting.pop(0) if self._waiting else self._started()
        try:
            if not timer.built:
                timer.send(self._sent)
                timer.wait()
            timer.go(footprint=self._order.footprint and generation == 0)
            yield timer
            timer.end()
        finally:
            timer.close()

    def _started(self) -> "WorkerTimer":
        # A spawned process starts afresh, with a memory layout of its own: that is what a generation varies.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # Written by the worker without waking anybody: the variant in hand, and how often that changed.
        current = context.RawArray("q", [_NOTHING_YET, 0])
        process = context.Process(target=_serve, args=(theirs, current, self._order), daemon=True)
        with nullcontext() if any(b"__main__" in payload for payload in self._sent.variants) else without_main():
            process.start()
        theirs.close()
        return WorkerTimer(process, ours, current, self._order)


class WorkerTimer:
    """Times rounds in a worker process.

    Attributes:
        loaded: what is known of the variants.
        cores: cores the process stays on; None where it may run anywhere.
        built: whether the variants are built.
        ended: whether it was told to end.
    """

    def __init__(self, process: BaseProcess, connection: "Connection[Any, Any]", current: Any, order: Order) -> None:
        self._process, self._connection, self._current, self._order = process, connection, current, order
        self.cores: tuple[int, ...] | None = None
        self.loaded = Loaded((), (), ())
        self.built = self.ended = False

    def send(self, sent: Sent) -> None:
        """Send the variants, which the worker begins to build."""
        try:
            self._connection.send(sent)
        except OSError:
            self._died()

    def wait(self) -> None:
        """Wait until they are built."""
        self._answer()
        self.built = True

    def go(self, footprint: bool) -> None:
        """Give the worker its cores, those that are idlest now, and wait until its variants are warmed up."""
        self.cores = idlest_cores(self._order.threads)
        self.loaded = self._ask(_Go(self.cores, footprint))

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

    def close(self) -> None:
        """End the process, whatever it does."""
        self._connection.close()
        self._process.join(_SECONDS_TO_END if self._process.exitcode is None and self.ended else 0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, question: Any) -> Any:
        try:
            self._connection.send(question)
        except OSError:
            self._died()
        return self._answer()

    def _answer(self) -> Any:
        try:
            self._wait()
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._died()
        if isinstance(answer, _Failure):
            named = answer.variant is not None
            error = VariantError(str(answer.variant), answer.text) if named else SparsebenchError(answer.text)
            error.add_note(f"In the worker process:\n{answer.details}")
            raise error
        return answer

    def _wait(self) -> None:
        """Wait for an answer, or end a worker that makes no step for too long."""
        steps, since = self._current[1], time.monotonic()
        while not self._connection.poll(min(_LOOK_SECONDS, self._order.hang_seconds)):
            if self._current[1] != steps:
                steps, since = self._current[1], time.monotonic()
            elif time.monotonic() - since >= self._patience():
                self._process.kill()
                self._hung()

    def _patience(self) -> float:
        started = self._current[0] != _NOTHING_YET
        return self._order.hang_seconds if started else max(self._order.hang_seconds, _SECONDS_TO_START)

    def _hung(self) -> NoReturn:
        number, limit = int(self._current[0]), f"{self._patience():g} s"
        if number == _NOTHING_YET:
            raise SparsebenchError(
                f"A timing worker did not start within {limit} and was ended. Is the machine out of memory, or busy?"
            )
        name = self._order.names[number]
        raise VariantError(
            name,
            f"The timing worker hung at variant {name!r}: no block of it ended within {limit}, and it was ended. Call "
            "that variant once by itself; where a call really takes so long, raise hang_seconds.",
        )

    def _died(self) -> NoReturn:
        self._process.join(_SECONDS_TO_END)
        how, number = how_it_ended(self._process.exitcode), int(self._current[0])
        if number == _NOTHING_YET:
            raise SparsebenchError(
                f"A timing worker died before it loaded a variant ({how}). Workers import the script that started "
                'them: call compare under `if __name__ == "__main__":`, or pass workers=False.'
            )
        name = self._order.names[number]
        raise VariantError(
            name,
            f"The timing worker died at variant {name!r} ({how}). Call that variant once by itself; "
            "where memory ran out, compare fewer at a time with group_size.",
        )


def _serve(connection: "Connection[Any, Any]", current: Any, order: Order) -> None:
    """Load variants, then time rounds until told to end; the main function of the process."""
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_interop_threads(1)

    def remember(number: int) -> None:
        current[0] = number
        current[1] += 1

    try:
        sent: Sent = connection.recv()
        variants = _unpacked(sent, order, remember)
        calls = built(variants, order.threads, order.cuda_graphs, remember)
        connection.send(None)
        go: _Go | None = connection.recv()
        if go is None:
            return
        _stay_on(go.cores)
        bench = Bench.warmed_up(
            calls,
            threads=order.threads,
            least_block_ns=order.least_block_ns,
            clock=time.perf_counter_ns,
            footprint=go.footprint,
            on_block=remember,
        )
        connection.send(bench.loaded)
        while (asked := connection.recv()) is not None:
            connection.send(bench.round(asked))
    except (EOFError, OSError):
        return  # The parent is gone.
    except VariantError as error:
        connection.send(_Failure(error.variant, str(error), traceback.format_exc()))
    except Exception as error:
        connection.send(_Failure(None, str(error), traceback.format_exc()))


def _stay_on(cores: tuple[int, ...] | None) -> None:
    """Keep this process, and the threads that runtimes have started in it already, on these cores."""
    if cores is None:
        return
    os.sched_setaffinity(0, cores)
    for thread in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # It has just ended.
            os.sched_setaffinity(int(thread.name), cores)


def _unpacked(sent: Sent, order: Order, remember: Callable[[int], None]) -> list[Variant]:
    variants: list[Variant] = []
    inputs = pickle.loads(sent.inputs)  # noqa: S301 - written by our own process a moment ago
    for number, (name, payload) in enumerate(zip(order.names, sent.variants, strict=True)):
        remember(number)
        variants.append(unpickled(payload, name, inputs))
    return variants

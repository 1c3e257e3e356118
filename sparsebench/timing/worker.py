"""Worker processes: each loads the variants, times rounds and ends."""

import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.errors import SparsebenchError, VariantError
from sparsebench.processes import how_it_ended, safe_path, without_main
from sparsebench.processes.confinement import start_confined
from sparsebench.timing.bench import Bench, Loaded, RoundSample, built
from sparsebench.timing.machine import idlest_cores
from sparsebench.timing.schedule import Settings
from sparsebench.timing.session import Starter
from sparsebench.timing.variants import Variant, named

_NOTHING_YET = -1
_SECONDS_TO_END = 5.0
_SECONDS_TO_START = 120.0
"""A process that imports torch on a busy machine is given so long at least."""

_LOOK_SECONDS = 1.0
"""How often a worker is looked after while it is waited for."""


@dataclass(frozen=True)
class Sent:
    """Variants as bytes for a worker.

    Attributes:
        variants: each without its inputs, by name, the baseline first.
        inputs: what all of them are fed; a large batch is sent, and held, once.
    """

    variants: Mapping[str, bytes]
    inputs: bytes


def pickled(variants: Sequence[Variant]) -> Sent | str:
    """Return variants that share their inputs as bytes, or why a worker could not load them."""
    sent: dict[str, bytes] = {}
    try:
        inputs = pickle.dumps(variants[0].inputs)
    except Exception as error:  # Whatever a __reduce__ raises.
        return f"the inputs cannot be pickled ({type(error).__name__}: {error})"
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    for variant in variants:
        try:
            payload = pickle.dumps(replace(variant, inputs=None))
        except Exception as error:
            return f"{variant.name!r} cannot be pickled ({type(error).__name__}: {error})"
        if b"__main__" in payload and not (main and Path(main).is_file()):
            return f"{variant.name!r} is defined in an interactive session, which a worker cannot import"
        sent[variant.name] = payload
    return Sent(sent, inputs)


@dataclass(frozen=True)
class _Failure:
    error: SparsebenchError
    details: str


@contextmanager
def generations(sent: Sent, settings: Settings, ahead: int, random: np.random.Generator) -> Iterator[Starter]:
    """Hand out what starts the workers of a session; all of them end with the context.

    Several are started at once and build their variants side by side, before any of them times: most of that is
    importing, on one core. While one times, the others wait and do nothing. Each builds and warms up its variants in
    a random order of its own, so that no variant always comes first.

    Args:
        sent: the variants.
        settings: how they are timed.
        ahead: how many workers are started at once, at most.
        random: draws the orders.

    Raises:
        VariantError: where a worker fails, dies or hangs at a variant.
        SparsebenchError: where it does so before.
    """
    waiting: list[WorkerTimer] = []

    def prepare(count: int) -> None:
        began = settings.now()
        waiting.extend(WorkerTimer(sent, settings) for _ in range(count))
        for timer in waiting:
            timer.tell((sent, random.permutation(len(sent.variants)).tolist()))
        for timer in waiting:
            timer.answer()
        for timer in waiting:
            timer.ready_ns = (settings.now() - began) / count

    @contextmanager
    def start(process: int, left: int) -> Iterator[WorkerTimer]:  # noqa: ARG001 - all are started alike
        if not waiting:
            prepare(min(left, ahead))
        timer = waiting.pop(0)
        timer.more_ready = len(waiting)
        try:
            timer.go()
            yield timer
            timer.end()
        finally:
            timer.close()

    try:
        yield start
    finally:
        for timer in waiting:
            timer.close()


class WorkerTimer:
    """A ``RoundTimer`` in a worker process, which it starts."""

    def __init__(self, sent: Sent, settings: Settings) -> None:
        self.cores: tuple[int, ...] | None = None
        self.loaded: Sequence[Loaded] = ()
        self.ready_ns = self.warm_up_ns = 0.0
        self.more_ready = 0
        self._names, self._settings = tuple(sent.variants), settings
        # A spawned process starts afresh, with a memory layout of its own: that is what processes vary.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # Written by the worker without waking anybody: the variant in hand, and how often that changed.
        self._current: Any = context.RawArray("q", [_NOTHING_YET, 0])
        self._process = context.Process(
            target=_serve, args=(theirs, self._current, replace(settings, watch=None)), daemon=True
        )
        main = nullcontext() if any(b"__main__" in payload for payload in sent.variants.values()) else without_main()
        with main, safe_path():
            if settings.writes_to is None:
                self._process.start()
            else:
                start_confined(self._process.start, settings.writes_to)
        theirs.close()

    def go(self) -> None:
        """Give the worker its cores, those that are idlest now, and wait until its variants are warmed up."""
        began = self._settings.now()
        self.cores = idlest_cores(self._settings.threads)
        self.tell(self.cores)
        self.loaded = self.answer()
        self.warm_up_ns = self._settings.now() - began

    def round(self, order: NDArray[np.int_]) -> RoundSample:
        """Time one block of each variant in ``order``, which holds their numbers."""
        self.tell(order)
        return cast("RoundSample", self.answer())

    def end(self) -> None:
        """Tell the process to end, and give it time for that; a dead one is taken as ended."""
        with suppress(OSError):
            self._connection.send(None)
        self._process.join(_SECONDS_TO_END)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._connection.close()
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def tell(self, something: object) -> None:
        """Send something to the worker: its variants, which it begins to build, or what it shall time."""
        try:
            self._connection.send(something)
        except OSError:
            self._died()

    def answer(self) -> Any:
        """Return what the worker answers, or raise what it failed by."""
        try:
            self._wait()
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._died()
        if isinstance(answer, _Failure):
            answer.error.add_note(f"In the worker process:\n{answer.details}")
            raise answer.error
        return answer

    def _wait(self) -> None:
        steps, since = self._current[1], time.monotonic()
        while not self._connection.poll(min(_LOOK_SECONDS, self._settings.hang_seconds)):
            started = self._current[0] != _NOTHING_YET
            patience = self._settings.hang_seconds if started else max(self._settings.hang_seconds, _SECONDS_TO_START)
            if self._current[1] != steps:
                steps, since = self._current[1], time.monotonic()
            elif time.monotonic() - since >= patience:
                self._process.kill()
                limit = f"{patience:g} s"
                self._fail(
                    f"A timing worker did not start within {limit} and was ended. "
                    "Is the machine out of memory, or busy?",
                    f"The timing worker hung at variant {{name!r}}: no block of it ended within {limit}, and it was "
                    "ended. Call that variant once by itself; where a call really takes so long, raise hang_seconds.",
                )

    def _died(self) -> NoReturn:
        self._process.join(_SECONDS_TO_END)
        how = how_it_ended(self._process.exitcode)
        self._fail(
            f"A timing worker died before it loaded a variant ({how}). Workers import the script that started "
            'them: call compare under `if __name__ == "__main__":`, or pass workers=False.',
            f"The timing worker died at variant {{name!r}} ({how}). Call that variant once by itself; "
            "where memory ran out, compare fewer at a time with group_size.",
        )

    def _fail(self, before: str, at_variant: str) -> NoReturn:
        """Raise one text where no variant was in hand yet, and otherwise the other, with the variant's name."""
        number = int(self._current[0])
        if number == _NOTHING_YET:
            raise SparsebenchError(before)
        name = self._names[number]
        raise VariantError(name, at_variant.format(name=name))


def _serve(connection: "Connection[Any, Any]", current: Any, settings: Settings) -> None:
    """Load variants, then time rounds until told to end; the main function of the process."""
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_interop_threads(1)
    if settings.writes_to is not None:
        os.environ["TMPDIR"] = settings.writes_to

    def remember(number: int) -> None:
        current[0] = number
        current[1] += 1

    try:
        if settings.prepare is not None:
            settings.prepare()
        sent, loading = cast("tuple[Sent, list[int]]", connection.recv())
        inputs = pickle.loads(sent.inputs)  # noqa: S301 - written by our own process a moment ago
        variants = [partial(_loaded, name, payload, inputs) for name, payload in sent.variants.items()]
        calls = built(variants, loading, settings, remember)
        connection.send(None)
        cores = connection.recv()
        if cores is not None:
            _stay_on(cores)
        bench = Bench.warmed_up(calls, settings, on_block=remember)
        connection.send(bench.loaded)
        while (asked := connection.recv()) is not None:
            connection.send(bench.round(asked))
        connection.close()
        # Locks that libraries made, such as those of progress bars, are named by the system, and outlive the process.
        util._run_finalizers()  # type: ignore[attr-defined]
        os._exit(0)  # Taking torch apart takes half a second, and leaves nothing that anybody needs.
    except (EOFError, OSError):
        return  # The parent is gone.
    except Exception as error:
        told = error if isinstance(error, VariantError) else SparsebenchError(str(error))
        connection.send(_Failure(told, traceback.format_exc()))


def _loaded(name: str, payload: bytes, inputs: Any) -> Variant:
    with named(name, "being loaded by a worker"):
        variant: Variant = pickle.loads(payload)  # noqa: S301 - written by our own process a moment ago
        return replace(variant, name=name, inputs=inputs)


def _stay_on(cores: tuple[int, ...]) -> None:
    """Keep this process, and the threads that runtimes have started in it already, on these cores."""
    os.sched_setaffinity(0, cores)
    for thread in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # It has just ended.
            os.sched_setaffinity(int(thread.name), cores)

"""A process made quiet for timing."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def quiet(threads: int, *, collect: bool = True) -> Iterator[None]:
    """Set the threads and stop the garbage collector, whose pauses would fall on single calls; restore both.

    Args:
        threads: threads of torch inside one operation, at least 1.
        collect: whether garbage is collected first, which takes a tenth of a second in a process with torch.
    """
    threads_before, collecting = torch.get_num_threads(), gc.isenabled()
    if collect:
        gc.collect()
    gc.disable()
    try:
        torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(threads_before)
        if collecting:
            gc.enable()

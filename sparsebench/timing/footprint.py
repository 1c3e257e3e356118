"""How much memory a variant takes while it runs, measured in a process of its own."""

import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import torch

from sparsebench.timing.blocks import WARM_UP_CALLS
from sparsebench.timing.variants import Variant, ready

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Written to clear_refs, it sets the peak of resident memory to what is resident now (proc(5))."""


def peak_bytes(variant: Variant, threads: int, seconds: float) -> int | None:
    """Return how much memory loading and running a variant takes at its peak.

    A child is forked from the calling process before that has loaded any variant. It loads this variant alone and calls
    it a few times; the peak of its anonymous resident memory during these calls, less what it had when it began, is
    returned: weights, the runtime's own state, activations and scratch memory, but neither Python and torch
    themselves, nor code and other pages of files, nor what building and compiling took for a while.

    Args:
        variant: what to run.
        threads: threads of torch inside one operation.
        seconds: a child that takes longer is ended.

    Returns:
        Bytes; None where the system does not tell, the variant fails, is on a GPU, or takes too long.
    """
    if not (hasattr(os, "fork") and os.access(_RESET, os.W_OK) and _STATUS.is_file()):
        return None
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ours.close()
            theirs.send(_measured(variant, threads))
            code = 0
        finally:
            # Nothing of the parent's may be flushed or ended twice.
            os._exit(code)
    theirs.close()
    try:
        found: int | None = ours.recv() if ours.poll(seconds) else None
    except EOFError:
        found = None
    finally:
        ours.close()
        _end(child)
    return found


def _measured(variant: Variant, threads: int) -> int | None:
    torch.set_num_threads(threads)
    before = _resident("RssAnon")
    call = ready(variant, threads)
    if call.device:
        return None
    with torch.inference_mode(call.inference):
        call.call()
        _RESET.write_text(_RESET_PEAK, encoding="ascii")
        for _ in range(WARM_UP_CALLS):
            call.call()
    # The system keeps the peak of all resident memory; pages of files and shared ones only grow during the calls.
    peak = _resident("VmHWM") - _resident("RssFile") - _resident("RssShmem")
    return max(0, peak - before)


def _resident(field: str) -> int:
    """Return a line of /proc/self/status in bytes; raises where the system has no such line."""
    found = re.search(rf"^{field}:\s*(\d+) kB", _STATUS.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS} has no {field}.")
    return int(found[1]) * 1024


def _end(child: int) -> None:
    """End a child that may have ended already, and take its exit code."""
    for _ in range(100):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

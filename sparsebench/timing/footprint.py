"""How much memory a network takes while it runs, beside what it holds when it is loaded."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import torch

from sparsebench.processes import give_back
from sparsebench.timing.blocks import WARM_UP_CALLS

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Written to clear_refs, it sets the peak of resident memory to what is resident now (proc(5))."""


def peak_bytes(call: Callable[[], object]) -> int | None:
    """Return how much memory running something that is loaded, and was never called, takes at its peak.

    It is called a few times. The peak of the process's anonymous resident memory during all calls but the first, which
    may compile, less what it was before the first, is returned: activations, scratch memory, and what a runtime keeps
    for its later calls; not the weights as they were loaded. Memory that networks share, such as scratch memory that
    torch keeps, counts with the first that needs it.

    Returns:
        Bytes; None where the system does not tell.
    """
    if not (_STATUS.is_file() and os.access(_RESET, os.W_OK)):
        return None
    give_back()  # So that using it again is seen.
    try:
        before = _resident("RssAnon")
        call()
        _RESET.write_text(_RESET_PEAK, encoding="ascii")
        for _ in range(WARM_UP_CALLS):
            call()
        # The system keeps the peak of all resident memory; pages of files and shared ones only grow during the calls.
        peak = _resident("VmHWM") - _resident("RssFile") - _resident("RssShmem")
    except OSError:
        return None
    return max(0, peak - before)


def wake_torch() -> None:
    """Run a convolution and a matrix product, so that what torch needs for its first ones counts with no network."""
    with torch.inference_mode():
        torch.nn.functional.conv2d(torch.ones(1, 8, 8, 8), torch.ones(8, 8, 3, 3))
        torch.ones(8, 8) @ torch.ones(8, 8)


def _resident(field: str) -> int:
    """Return a line of /proc/self/status in bytes; raises OSError where the system has no such line."""
    found = re.search(rf"^{field}:\s*(\d+) kB", _STATUS.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS} has no {field}.")
    return int(found[1]) * 1024

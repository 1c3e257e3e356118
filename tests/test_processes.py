"""Freed memory, by the pages that the system has to hand out again."""

import os
import platform
import subprocess
import sys

import pytest

BLOCK = 48 * 2**20
"""Larger than any block that glibc keeps by itself when it is freed."""

STEPS = """
import resource, sys
from pathlib import Path
import torch
from sparsebench.processes import keeping_freed

def fetched_in(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(int(sys.argv[1]) // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

print(fetched_in(20))
with keeping_freed():
    fetched_in(20)  # Until there is a gap that fits.
    print(fetched_in(20))
    most = resident()
print(most - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told")
def test_what_a_step_frees_is_there_for_the_next_and_given_back_in_the_end():
    run = subprocess.run([sys.executable, "-c", STEPS, str(BLOCK)], check=True, capture_output=True, text=True)
    left_alone, kept, given_back = (int(line) for line in run.stdout.split())
    assert kept < 0.2 * left_alone
    assert given_back * os.sysconf("SC_PAGE_SIZE") > 0.9 * BLOCK

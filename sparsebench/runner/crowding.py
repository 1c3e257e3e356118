"""Whether a run would start more threads than its machine has cores for them, and what to set instead."""

import os

from sparsebench.config import SweepConfig
from sparsebench.store.environment import available_cores
from sparsebench.store.limits import cores_given
from sparsebench.wording.text import counted

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def crowding(config: SweepConfig, jobs: int, threads: int | None) -> tuple[str, ...]:
    """Return what a person should know where threads outnumber the cores that this process is given; else nothing.

    Args:
        config: what is run.
        jobs: stages at once on this machine.
        threads: those of torch in each; None for as many as it takes by itself.
    """
    cores = max(1, int(cores_given()))
    each, where = (threads, "run.threads" if config.run.threads else "") if threads else _by_itself()
    found = []
    if jobs * each > cores:
        have = f"{counted(jobs, 'job')} of {counted(each, 'thread')}" if jobs > 1 else counted(each, "thread")
        cause = f" ({where})" if where else ""
        what = f"--set run.threads={max(1, cores // jobs)}"
        fewer = f", or --jobs {max(1, cores // each)}" if jobs > 1 and each <= cores else ""
        if jobs > cores:
            what, fewer = f"--jobs {cores} --set run.threads=1", ""
        found.append(f"This run has {have}{cause}, and the machine gives it {_given(cores)}: pass {what}{fewer}.")
    timed = [number for number in config.measure.threads if number > cores] if config.measure.batch_sizes else []
    if timed:
        numbers = ", ".join(map(str, timed))
        found.append(
            f"Latencies are asked for with {numbers} threads, and the machine gives {_given(cores)}: they would be "
            f"those of threads that wait for each other. Pass --set measure.threads={cores}, or fewer."
        )
    return (" ".join(found),) if found else ()


def _given(cores: int) -> str:
    quota = " by its quota" if cores < available_cores() else ""
    return f"{counted(cores, 'core')}{quota}"


def _by_itself() -> tuple[int, str]:
    """Return how many threads torch takes where nobody says, and what they come from."""
    for variable in _VARIABLES:
        if (text := os.environ.get(variable, "").partition(",")[0].strip()).isdigit() and int(text):
            return int(text), variable
    return available_cores(), ""

"""What a config asks of this machine, and what it cannot give: threads, processes, and memory for a batch."""

import math

from sparsebench.config import SweepConfig
from sparsebench.data import Splits
from sparsebench.errors import ConfigError
from sparsebench.store.limits import memory_given, most_threads

_SHARE_OF_MEMORY = 0.25
"""What the inputs of one batch may take; a network holds several times as much while it runs."""

_BYTES_A_NUMBER = 4


def refuse_too_many(config: SweepConfig, jobs: int) -> None:
    """Refuse more threads or processes than this machine can run.

    Raises:
        ConfigError: with all of them.
    """
    most = most_threads()
    asked = {"run.threads": config.run.threads or 1, "--jobs": jobs, "measure.threads": max(config.measure.threads)}
    problems = [
        f"{name} = {number} is more than this machine can run; at most {most} are allowed here."
        for name, number in asked.items()
        if number > most
    ]
    if problems:
        raise ConfigError("The run was not started:", problems)


def batches_beyond_memory(config: SweepConfig, splits: Splits) -> list[str]:
    """Return which batch sizes need more memory for their inputs alone than this machine has to give, as sentences."""
    sample, most = _BYTES_A_NUMBER * math.prod(splits.input_shape), _SHARE_OF_MEMORY * memory_given()
    return [
        f"measure.batch_sizes = {size} needs {size * sample / 1e9:,.3g} GB for the inputs of one batch; at most "
        f"{most / 1e9:,.3g} GB, a quarter of the memory, are given to them on this machine. Lower it."
        for size in config.measure.batch_sizes
        if size * sample > most
    ]

"""Latency of every trial of a sweep, one benchmark each: pytest benchmarks --benchmark-only.

These are plain medians of one network after the other: they show the order of magnitude, and no more on a machine
that does other work at the same time.
"""

import pytest
import torch

from sparsebench.records import flat_row


@pytest.fixture
def threads(sweep):
    """Time with the number of threads that the sweep was measured with."""
    before = torch.get_num_threads()
    torch.set_num_threads(sweep[0].measure.threads[0])
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.benchmark(max_time=0.2, min_rounds=10, warmup=True, warmup_iterations=20)
def test_latency(benchmark, trial, sweep, workbench):
    config, run = sweep
    row = next(flat_row(result) for result in run.trials if result.trial == trial)
    if row["status"] != "done":
        pytest.skip(row["reason"] or row["status"])
    network = workbench.restored(trial.compress)
    inputs = workbench.inputs(trial.compress, config.measure.batch_sizes[0])
    benchmark.group = f"{trial.model} · {trial.data} · {trial.backend} · batch {config.measure.batch_sizes[0]}"
    shown = ("top1", "sparsity_asked", "sparsity", "int8_fraction", "file_bytes", "deflated_file_bytes", "key")
    benchmark.extra_info.update({column: row[column] for column in shown})
    with torch.inference_mode():
        output = benchmark(network, inputs)
    assert output.shape[0] == config.measure.batch_sizes[0]

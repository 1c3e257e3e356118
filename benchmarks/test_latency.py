"""Latency of every trial of a sweep, one benchmark each: pytest benchmarks --benchmark-only.

These are plain medians of one network after the other: they show the order of magnitude, and no more on a machine
that does other work at the same time.
"""

import pytest


@pytest.mark.benchmark(max_time=0.2, min_rounds=10)
def test_latency(benchmark, compressed_network):
    output = benchmark(compressed_network)
    assert output.shape[0] == compressed_network.batch_size

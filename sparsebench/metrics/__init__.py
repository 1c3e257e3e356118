"""What is measured on a network besides its latency."""

from sparsebench.metrics.accuracy import wilson_interval
from sparsebench.metrics.compute import ComputeCounts, LayerCompute, count_macs
from sparsebench.metrics.memory import working_memory
from sparsebench.metrics.size import NetworkSize, measure_size
from sparsebench.metrics.sparsity import count_zeros, parameter_counts

__all__ = [
    "ComputeCounts",
    "LayerCompute",
    "NetworkSize",
    "count_macs",
    "count_zeros",
    "measure_size",
    "parameter_counts",
    "wilson_interval",
    "working_memory",
]

"""What is measured on a network besides its latency."""

from sparsebench.measure.compute import ComputeCounts, LayerCompute, count_macs
from sparsebench.measure.memory import working_memory
from sparsebench.measure.size import NetworkSize, count_zeros, measure_size, parameter_counts

__all__ = [
    "ComputeCounts",
    "LayerCompute",
    "NetworkSize",
    "count_macs",
    "count_zeros",
    "measure_size",
    "parameter_counts",
    "working_memory",
]

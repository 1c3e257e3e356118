"""How latency is measured."""

from sparsebench.timing.batch import batch_of
from sparsebench.timing.loop import LoopTiming, time_network

__all__ = ["LoopTiming", "batch_of", "time_network"]

"""What networks are judged by: a metric by name, or a user's own.

A metric says which way is better and in what unit it is, which outputs and targets it takes, and how far it is known
over other samples. It is of one of two kinds: the mean of one value a sample, or one value over all samples, which is
resampled. A new one is a class in a file of its family and a line in ``METRICS``.
"""

from sparsebench.metrics.base import Measured, Metric
from sparsebench.metrics.build import build_metric, metric_of
from sparsebench.metrics.means import MeanMetric
from sparsebench.metrics.resampled import Resampled, SumsMetric

__all__ = ["MeanMetric", "Measured", "Metric", "Resampled", "SumsMetric", "build_metric", "metric_of"]

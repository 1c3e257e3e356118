"""A run's records in an experiment tracker, for those who compare all their experiments there."""

from sparsebench.tracking.to_mlflow import Tracked, track_in_mlflow

__all__ = ["Tracked", "track_in_mlflow"]

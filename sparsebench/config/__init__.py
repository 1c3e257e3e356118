"""The configuration of a sweep: frozen models, TOML in, every fault reported at once with its remedy."""

from sparsebench.config.components import BackendConfig, PrunerConfig
from sparsebench.config.search import SearchConfig
from sparsebench.config.sections import (
    MAX_CALIBRATION_BATCHES,
    DataConfig,
    ModelConfig,
    PruneConfig,
    RayConfig,
)
from sparsebench.config.sweep import SECTIONS, SweepConfig, default_toml, load_config
from sparsebench.config.training import HOW_TRAINING_RUNS, MetricConfig, TrainConfig

__all__ = [
    "HOW_TRAINING_RUNS",
    "MAX_CALIBRATION_BATCHES",
    "SECTIONS",
    "BackendConfig",
    "DataConfig",
    "MetricConfig",
    "ModelConfig",
    "PruneConfig",
    "PrunerConfig",
    "RayConfig",
    "SearchConfig",
    "SweepConfig",
    "TrainConfig",
    "default_toml",
    "load_config",
]

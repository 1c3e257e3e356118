"""The configuration of a sweep: frozen models, TOML in, every fault reported at once with its remedy."""

from sparsebench.config.loading import default_toml, load_config
from sparsebench.config.sections import (
    MAX_CALIBRATION_BATCHES,
    SECTIONS,
    BackendConfig,
    DataConfig,
    ModelConfig,
    PruneConfig,
    PrunerConfig,
    RayConfig,
    SweepConfig,
)
from sparsebench.config.training import HOW_TRAINING_RUNS, TrainConfig

__all__ = [
    "HOW_TRAINING_RUNS",
    "MAX_CALIBRATION_BATCHES",
    "SECTIONS",
    "BackendConfig",
    "DataConfig",
    "ModelConfig",
    "PruneConfig",
    "PrunerConfig",
    "RayConfig",
    "SweepConfig",
    "TrainConfig",
    "default_toml",
    "load_config",
]

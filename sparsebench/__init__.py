"""sparsebench: a quantization and pruning benchmarking toolkit for PyTorch.

The public names are loaded on first use, so that importing the package costs no import of torch.
"""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sparsebench.config import SweepConfig, load_config
    from sparsebench.pruning import prune_net
    from sparsebench.report import write_report
    from sparsebench.runner.sequencer import run_sweep
    from sparsebench.store.records import Run
    from sparsebench.store.run_directory import load_run
    from sparsebench.training.contract import check_trainer
    from sparsebench.training.trainer import Trainer
    from sparsebench.training.weights import copy_weights

_HOMES = {
    "Trainer": "sparsebench.training.trainer",
    "prune_net": "sparsebench.pruning",
    "copy_weights": "sparsebench.training.weights",
    "check_trainer": "sparsebench.training.contract",
    "SweepConfig": "sparsebench.config",
    "load_config": "sparsebench.config",
    "run_sweep": "sparsebench.runner.sequencer",
    "load_run": "sparsebench.store.run_directory",
    "Run": "sparsebench.store.records",
    "write_report": "sparsebench.report",
}

__all__ = [
    "Run",
    "SweepConfig",
    "Trainer",
    "check_trainer",
    "copy_weights",
    "load_config",
    "load_run",
    "prune_net",
    "run_sweep",
    "write_report",
]

__getattr__ = lazy_attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])

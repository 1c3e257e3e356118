"""sparsebench: a quantization and pruning benchmarking toolkit for PyTorch.

The public names are loaded on first use, so that importing the package costs no import of torch.
"""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sparsebench.api.run import Run
    from sparsebench.api.searches import run_search
    from sparsebench.api.sweeps import load_run, run_sweep, sweep
    from sparsebench.config import SweepConfig, load_config
    from sparsebench.pruning import prune_net
    from sparsebench.report import write_report
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
    "sweep": "sparsebench.api.sweeps",
    "run_sweep": "sparsebench.api.sweeps",
    "run_search": "sparsebench.api.searches",
    "load_run": "sparsebench.api.sweeps",
    "Run": "sparsebench.api.run",
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
    "run_search",
    "run_sweep",
    "sweep",
    "write_report",
]

__getattr__ = lazy_attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])

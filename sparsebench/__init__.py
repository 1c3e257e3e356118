"""sparsebench: a quantization and pruning benchmarking toolkit for PyTorch.

The public names are loaded on first use, so that importing the package costs no import of torch.
"""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sparsebench.config import SweepConfig, load_config
    from sparsebench.contract import check_trainer
    from sparsebench.morphism import copy_weights
    from sparsebench.pruning import prune_net
    from sparsebench.records import Run
    from sparsebench.report import write_report
    from sparsebench.runner import run_sweep
    from sparsebench.store import load_run
    from sparsebench.trainer import Trainer

_HOMES = {
    "Trainer": "sparsebench.trainer",
    "prune_net": "sparsebench.pruning",
    "copy_weights": "sparsebench.morphism",
    "check_trainer": "sparsebench.contract",
    "SweepConfig": "sparsebench.config",
    "load_config": "sparsebench.config",
    "run_sweep": "sparsebench.runner",
    "load_run": "sparsebench.store",
    "Run": "sparsebench.records",
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
    return sorted([*globals(), *_HOMES])

"""Schemes: the numeric formats a trained network is brought into, and the audit of what they really did.

The modules that hold the schemes import torch inside their functions, and the public names are loaded on first use:
a plan asks every scheme whether it calibrates, and shall not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsebench.quantization.auditing import LayerFact, audit, int8_fraction, warn_no_effect, zero_share
    from sparsebench.quantization.base import Scheme
    from sparsebench.quantization.calibration import calibration_state, load_calibration_state

_HOMES = {
    "LayerFact": "auditing",
    "audit": "auditing",
    "int8_fraction": "auditing",
    "warn_no_effect": "auditing",
    "zero_share": "auditing",
    "Scheme": "base",
    "calibration_state": "calibration",
    "load_calibration_state": "calibration",
}

__all__ = [
    "LayerFact",
    "Scheme",
    "audit",
    "calibration_state",
    "int8_fraction",
    "load_calibration_state",
    "warn_no_effect",
    "zero_share",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Schemes: the numeric formats a trained network is brought into, and the audit of what they really did.

The modules that hold the schemes import torch inside their functions, and the public names are loaded on first use:
a plan asks every scheme whether it calibrates, and shall not wait for torch.
"""

from typing import TYPE_CHECKING

from sparsebench.lazy import lazy_attributes

if TYPE_CHECKING:
    from sparsebench.quantization.auditing import LayerFact, audit, int8_fraction, warn_no_effect, zero_share
    from sparsebench.quantization.base import Scheme
    from sparsebench.quantization.calibration import calibration_state, load_calibration_state
    from sparsebench.quantization.recording import Call, Recording

_HOMES = {
    "Call": "sparsebench.quantization.recording",
    "LayerFact": "sparsebench.quantization.auditing",
    "audit": "sparsebench.quantization.auditing",
    "int8_fraction": "sparsebench.quantization.auditing",
    "warn_no_effect": "sparsebench.quantization.auditing",
    "zero_share": "sparsebench.quantization.auditing",
    "Recording": "sparsebench.quantization.recording",
    "Scheme": "sparsebench.quantization.base",
    "calibration_state": "sparsebench.quantization.calibration",
    "load_calibration_state": "sparsebench.quantization.calibration",
}

__all__ = [
    "Call",
    "LayerFact",
    "Recording",
    "Scheme",
    "audit",
    "calibration_state",
    "int8_fraction",
    "load_calibration_state",
    "warn_no_effect",
    "zero_share",
]

__getattr__ = lazy_attributes(__name__, _HOMES)

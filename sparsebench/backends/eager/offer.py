"""What PyTorch without a compiler offers."""

import sys
from importlib.util import find_spec
from pathlib import Path

from sparsebench.backends.probe import TorchOffer, cuda_capability
from sparsebench.registry import SCHEMES

_INSTEAD = {
    "dynamic": "Choose backend 'onnxruntime', which quantizes Linear and LSTM dynamically",
    "static": "Choose backend 'onnxruntime', 'openvino' or 'inductor'",
    "both": "Choose backend 'onnxruntime'",
    "qat": "Choose static on backend 'onnxruntime', 'openvino' or 'inductor'",
}
"""What is offered in place of the schemes of torch.ao."""


class EagerOffer(TorchOffer):
    """What PyTorch without a compiler offers. Schemes of installed packages bring their own conversion with them."""

    name = "eager"

    def offers(self, scheme: str) -> str | None:
        """Return why eager does not offer ``scheme``, a sentence; None where it does."""
        scheme = SCHEMES.canonical(scheme)
        if scheme not in SCHEMES:
            return SCHEMES.problem(scheme)
        if scheme in ("fp32", "bf16", "fp16") or not SCHEMES[scheme].startswith("sparsebench."):
            return None
        if scheme in ("dynamic", "static", "both", "qat"):
            return self._by_torch_ao(scheme)
        if scheme == "weight_only":
            return self.by_torchao(scheme)
        if scheme == "sparse_2_4":
            return self._by_sparse_tensor_cores(scheme)
        return f"eager does not offer {scheme}."

    def _by_torch_ao(self, scheme: str) -> str | None:
        if self.device != "cpu":
            return (
                f"eager does not offer {scheme} on {self.device}: PyTorch has int8 kernels for the CPU only; choose "
                "bf16 or fp16 there."
            )
        if _has_torch_ao():
            return None
        return (
            f"eager does not offer {scheme}: the installed torch has no torch.ao.quantization any more. "
            f"{_INSTEAD[scheme]}, or install an earlier torch."
        )

    def _by_sparse_tensor_cores(self, scheme: str) -> str | None:
        if self.device != "cpu" and (cuda_capability(self.device) or (0, 0)) >= (8, 0):
            return None
        return (
            f"eager offers {scheme} on a GPU with sparse tensor cores only (compute capability 8.0 or higher), with "
            'the option device = "cuda".'
        )


def _has_torch_ao() -> bool:
    """Whether the installed torch still has torch.ao.quantization; looks at its files, imports nothing."""
    if sys.modules.get("torch.ao.quantization", sys) is None:  # It was tried, and cannot be imported.
        return False
    found = find_spec("torch")
    places = found.submodule_search_locations if found else None
    return any(Path(place, "ao", "quantization", "__init__.py").is_file() for place in places or ())

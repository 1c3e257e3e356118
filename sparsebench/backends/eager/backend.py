"""PyTorch itself, as it runs without a compiler."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.backends.base import Compressed
from sparsebench.backends.devices import check_device, cuda_capability, device_problem, on_device
from sparsebench.errors import QuantizationError
from sparsebench.registry import SCHEMES, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from sparsebench.backends.base import Train
    from sparsebench.quantization import Recording, Scheme

_CALIBRATION = "calibration.pt"
_TRAINED = "trained.pt"
_LEAST_CAPABILITY = (8, 0)


class Eager:
    """PyTorch without a compiler: every scheme on the CPU, half precision and 2:4 sparsity on a GPU.

    Schemes of installed packages bring their own conversion with them.

    Args:
        device: where networks run: ``cpu``, or a GPU such as ``cuda:0``.
    """

    name = "eager"

    def __init__(self, device: str = "cpu") -> None:
        self.device = check_device(device)

    def problem(self) -> str | None:
        """Return why nothing runs here: torch is not installed, or there is no such device; None where it does."""
        if not find_spec("torch"):
            return "torch is not installed; run 'pip install torch'."
        return device_problem(self.device)

    def offers(self, scheme: str) -> str | None:
        """Return why eager does not offer ``scheme``, a sentence; None where it does."""
        scheme = SCHEMES.canonical(scheme)
        if scheme not in SCHEMES:
            return unknown_name("scheme", scheme, [*SCHEMES, *SCHEMES.aliases])
        if not SCHEMES[scheme].startswith("sparsebench."):
            return None
        reason = _REASONS.get(scheme)
        return reason(scheme, self.device) if reason else f"eager does not offer {scheme}."

    def compress(
        self,
        net: nn.Module,
        scheme: str,
        example: tuple[Any, ...],
        batches: Recording,
        train: Train | None = None,
    ) -> Compressed:
        """Prepare, train or calibrate where the scheme does, convert, and run the result once on ``example``.

        Raises:
            QuantizationError: where the scheme is not offered, the network cannot be brought into it, or the converted
                network does not run.
        """
        from sparsebench.quantization import audit, calibration_state

        chosen = self._scheme(scheme)
        prepared = chosen.prepare(net, example)
        files = {}
        if getattr(chosen, "trains", False):
            if train is None:
                raise QuantizationError(f"{scheme} trains the network further, but nothing was given to train it with.")
            prepared = train(prepared)
            files[_TRAINED] = _written(prepared.state_dict())
        elif chosen.calibrates:
            state = calibration_state(batches.feed(prepared))
            if state:
                files[_CALIBRATION] = _written(state)
        network = self._converted(chosen, prepared)
        placed = on_device(network, self.device)
        if chosen.name != "fp32":
            _require_running(placed, chosen.name, example)
        return Compressed(placed, files, layers=audit(network))

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:
        """Prepare, put back what training left or calibration observed, convert.

        Raises:
            QuantizationError: where the files do not belong to this network and scheme.
        """
        from sparsebench.quantization import load_calibration_state, load_trained_state

        chosen = self._scheme(scheme)
        prepared = chosen.prepare(net, example)
        if getattr(chosen, "trains", False):
            load_trained_state(prepared, _read(files, _TRAINED))
        else:
            load_calibration_state(prepared, _read(files, _CALIBRATION))
        return on_device(self._converted(chosen, prepared), self.device)

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:  # noqa: ARG002
        """Return ``network`` itself: without a compiler there is nothing to be made for certain shapes."""
        return network

    def _scheme(self, name: str) -> Scheme:
        reason = self.offers(name)
        if reason:
            raise QuantizationError(reason)
        scheme: Scheme = SCHEMES.load(name)()
        return scheme

    def _converted(self, scheme: Scheme, prepared: nn.Module) -> nn.Module:
        return scheme.convert(prepared if self.device == "cpu" else prepared.to(self.device))


def _any_device(scheme: str, device: str) -> None:  # as the other reasons
    """Half precision and float run anywhere."""


def _torch_ao(scheme: str, device: str) -> str | None:
    if device != "cpu":
        return (
            f"eager does not offer {scheme} on {device}: PyTorch has int8 kernels for the CPU only; choose bf16 or "
            "fp16 there."
        )
    if _has_torch_ao():
        return None
    return (
        f"eager does not offer {scheme}: the installed torch has no torch.ao.quantization any more. Install an "
        "earlier torch that has it, or choose another backend."
    )


def _torchao(scheme: str, device: str) -> str | None:
    if device != "cpu":
        return f"eager does not offer {scheme} on {device}; choose bf16 or fp16 there."
    if find_spec("torchao"):
        return None
    return f"eager offers {scheme} by torchao, which is not installed; run 'pip install sparsebench[torchao]'."


def _sparse_tensor_cores(scheme: str, device: str) -> str | None:
    found = None if device == "cpu" else cuda_capability(int(device.partition(":")[2] or 0))
    if found is not None and found >= _LEAST_CAPABILITY:
        return None
    return (
        f"eager offers {scheme} on a GPU with sparse tensor cores only (compute capability 8.0 or higher), with the "
        'option device = "cuda".'
    )


_REASONS: Mapping[str, Callable[[str, str], str | None]] = {
    **dict.fromkeys(("fp32", "bf16", "fp16"), _any_device),
    **dict.fromkeys(("dynamic", "static", "both", "qat"), _torch_ao),
    "weight_only": _torchao,
    "sparse_2_4": _sparse_tensor_cores,
}
"""For each scheme of this package that eager knows: a function that returns why it is not offered, if it is not."""


def _has_torch_ao() -> bool:
    """Whether the installed torch still has torch.ao.quantization; looks at its files, imports nothing."""
    found = find_spec("torch")
    places = found.submodule_search_locations if found else None
    return any(Path(place, "ao", "quantization", "__init__.py").is_file() for place in places or ())


def _written(state: Mapping[str, Any]) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(dict(state), file)
    return file.getvalue()


def _read(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    import torch

    return dict(torch.load(files[name], weights_only=True)) if name in files else {}


def _require_running(network: nn.Module, scheme: str, example: tuple[Any, ...]) -> None:
    """Find at once what torch only finds when it runs, such as an int8 layer that is fed floats."""
    import torch

    from sparsebench.quantization.base import reason

    try:
        with torch.inference_mode():
            network(*example)
    except Exception as error:
        raise QuantizationError(
            f"The network was converted by {scheme} but does not run: {reason(error)} Where it has QuantStub modules, "
            "check that every int8 layer lies between a QuantStub and a DeQuantStub; otherwise choose another scheme."
        ) from error

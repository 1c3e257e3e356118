"""PyTorch itself, as it runs without a compiler."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.backends.base import Compressed
from sparsebench.errors import QuantizationError
from sparsebench.registry import SCHEMES, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from sparsebench.quantization import Recording, Scheme

_INT8 = ("dynamic", "static", "both")
_CALIBRATION = "calibration.pt"


class Eager:
    """Runs the schemes of torch.ao, and those of installed packages, which bring their own conversion with them."""

    name = "eager"

    def problem(self) -> str | None:
        """Return None: where torch is installed, it runs. Without torch, return what to install."""
        return None if find_spec("torch") else "torch is not installed; run 'pip install torch'."

    def offers(self, scheme: str) -> str | None:
        """Return why eager does not offer ``scheme``, a sentence; None where it does."""
        scheme = SCHEMES.canonical(scheme)
        if scheme not in SCHEMES:
            return unknown_name("scheme", scheme, [*SCHEMES, *SCHEMES.aliases])
        if scheme in _INT8 and not _has_torch_ao():
            return (
                f"eager does not offer {scheme}: the installed torch has no torch.ao.quantization any more. Install an "
                "earlier torch that has it, or choose another backend."
            )
        ours = SCHEMES[scheme].startswith("sparsebench.")
        return f"eager does not offer {scheme}." if ours and scheme not in ("fp32", *_INT8) else None

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Prepare, calibrate where the scheme does, convert, and run the result once on ``example``.

        Raises:
            QuantizationError: where the scheme is not offered, the network cannot be brought into it, or the converted
                network does not run.
        """
        import torch

        from sparsebench.quantization import calibration_state

        chosen = self._scheme(scheme)
        prepared = chosen.prepare(net, example)
        files = {}
        if chosen.calibrates:
            state = calibration_state(batches.feed(prepared))
            if state:
                written = io.BytesIO()
                torch.save(state, written)
                files[_CALIBRATION] = written.getvalue()
        network = chosen.convert(prepared)
        if chosen.name != "fp32":
            _require_running(network, chosen.name, example)
        return Compressed(network, files)

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:
        """Prepare, put back what calibration observed, convert.

        Raises:
            QuantizationError: where the calibration does not belong to this network and scheme.
        """
        import torch

        from sparsebench.quantization import load_calibration_state

        chosen = self._scheme(scheme)
        prepared = chosen.prepare(net, example)
        state = torch.load(files[_CALIBRATION], weights_only=True) if _CALIBRATION in files else {}
        load_calibration_state(prepared, state)
        return chosen.convert(prepared)

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:  # noqa: ARG002
        """Return ``network`` itself: without a compiler there is nothing to be made for certain shapes."""
        return network

    def _scheme(self, name: str) -> Scheme:
        reason = self.offers(name)
        if reason:
            raise QuantizationError(reason)
        scheme: Scheme = SCHEMES.load(name)()
        return scheme


def _has_torch_ao() -> bool:
    """Whether the installed torch still has torch.ao.quantization; looks at its files, imports nothing."""
    found = find_spec("torch")
    places = found.submodule_search_locations if found else None
    return any(Path(place, "ao", "quantization", "__init__.py").is_file() for place in places or ())


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

"""PyTorch itself, as it runs without a compiler."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from sparsebench.backends.base import Compressed, offered
from sparsebench.backends.eager.offer import EagerOffer
from sparsebench.backends.elsewhere import naming_another
from sparsebench.backends.in_torch import on_device, read, written
from sparsebench.errors import QuantizationError
from sparsebench.quantization import (
    Recording,
    Scheme,
    audit,
    calibration_state,
    failing_as,
    load_calibration_state,
    load_trained_state,
)
from sparsebench.quantization.torch_ao import has_stubs
from sparsebench.registry import SCHEMES

_CALIBRATION = "calibration.pt"
_TRAINED = "trained.pt"
_REMEDY = "Check that every int8 layer lies between a QuantStub and a DeQuantStub of the network."


class Eager(EagerOffer):
    """PyTorch without a compiler: every scheme on the CPU, half precision and 2:4 sparsity on a GPU."""

    def compress(
        self,
        net: nn.Module,
        scheme: str,
        example: tuple[Any, ...],
        batches: Recording,
        train: Callable[[nn.Module], nn.Module] | None = None,
    ) -> Compressed:
        """Prepare, train or calibrate where the scheme does, convert, and run the result once on ``example``."""
        chosen = self._scheme(scheme)
        with naming_another(self.name, chosen.name, net, example):
            return self._compressed(net, chosen, example, batches, train)

    def _compressed(
        self,
        net: nn.Module,
        chosen: Scheme,
        example: tuple[Any, ...],
        batches: Recording,
        train: Callable[[nn.Module], nn.Module] | None,
    ) -> Compressed:
        scheme, facts = chosen.name, SCHEMES.facts(chosen.name)
        prepared = chosen.prepare(net, example)
        files = {}
        if getattr(facts, "trains", False):
            if train is None:
                raise QuantizationError(f"{scheme} trains the network further, but nothing was given to train it with.")
            prepared = train(prepared)
            files[_TRAINED] = written(prepared.state_dict())
        elif facts.calibrates:
            state = calibration_state(batches.feed(prepared))
            if state:
                files[_CALIBRATION] = written(state)
        network = self._converted(chosen, prepared)
        placed = on_device(network, self.device)
        if chosen.name != "fp32":
            # What torch only finds when it runs, such as an int8 layer that is fed floats, is found at once.
            problem = f"The network was converted by {chosen.name} but does not run"
            with failing_as(problem, _REMEDY if has_stubs(net) else ""), torch.inference_mode():
                placed(*example)
        return Compressed(placed, files, layers=audit(network))

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:
        """Prepare, put back what training left or calibration observed, convert."""
        chosen = self._scheme(scheme)
        prepared = chosen.prepare(net, example)
        if getattr(SCHEMES.facts(scheme), "trains", False):
            load_trained_state(prepared, read(files, _TRAINED))
        else:
            load_calibration_state(prepared, read(files, _CALIBRATION))
        return on_device(self._converted(chosen, prepared), self.device)

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:  # noqa: ARG002
        """Return ``network`` itself: without a compiler there is nothing to be made for certain shapes."""
        return network

    def _scheme(self, name: str) -> Scheme:
        return cast("Scheme", SCHEMES.load(offered(self, name))())

    def _converted(self, scheme: Scheme, prepared: nn.Module) -> nn.Module:
        return scheme.convert(prepared if self.device == "cpu" else prepared.to(self.device))

"""Schemes in floating point: fp32 as it was trained, bf16 and fp16, which are fed and read in float32."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sparsebench.errors import QuantizationError, reason
from sparsebench.quantization.base import float_copy
from sparsebench.tensors import mapped, tensors_in

SHORT_NAMES: Mapping[torch.dtype, str] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""The names of floating-point formats, as schemes and audits write them."""


class Float32:
    """Changes nothing but the place: a copy on the CPU, in evaluation mode."""

    name = "fp32"

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:  # noqa: ARG002 # part of the protocol
        """Return a copy of ``net`` on the CPU, in evaluation mode."""
        return float_copy(net)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return ``prepared`` itself."""
        return prepared


class BFloat16(Float32):
    """Weights and activations in bfloat16, which CPUs with AMX or AVX512-BF16 and most GPUs multiply natively."""

    name = "bf16"
    dtype = torch.bfloat16

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
        """Return a copy of ``net`` on the CPU that computes in half precision, in evaluation mode.

        Weights and activations are cast as a whole. Where an operation of the network has no kernel for that on the
        CPU, torch's autocast chooses by operation instead.

        Raises:
            QuantizationError: where it runs neither way.
        """
        tried = []
        for autocast in (False, True):
            network = InPrecision(float_copy(net), self.dtype, autocast)
            try:
                with torch.inference_mode():
                    network(*example)
            except Exception as error:
                tried.append(reason(error))
            else:
                return network
        raise QuantizationError(
            f"{type(net).__name__} does not run in {self.name}, neither cast as a whole ({tried[0]}) nor under "
            f"autocast ({tried[1]}). Keep the operation that fails in float32 inside the network, or use scheme 'fp32'."
        )


class Float16(BFloat16):
    """Weights and activations in float16, which GPUs and a few CPUs multiply natively."""

    name = "fp16"
    dtype = torch.float16


class InPrecision(nn.Module):
    """Runs a network in half precision; whoever evaluates it gives and gets float32, as with any other network.

    Args:
        network: a float network in evaluation mode.
        dtype: ``torch.bfloat16`` or ``torch.float16``.
        autocast: False casts weights and inputs, so that everything is computed in ``dtype``. True leaves the weights
            in float32 and lets torch choose by operation: matrix products and convolutions in ``dtype``, the rest as
            it must be.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, autocast: bool = False) -> None:
        super().__init__()
        self.network = network if autocast else network.to(dtype)
        self.dtype, self.autocast = dtype, autocast
        self.train(network.training)

    @property
    def stands_for(self) -> nn.Module:
        """The network, by whose parameters it is fed."""
        return self.network

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the network returns for these arguments, all in float32."""
        if self.autocast:
            device = next((tensor.device.type for tensor in tensors_in((inputs, named))), "cpu")
            with torch.autocast(device, self.dtype):
                outputs = self.network(*inputs, **named)
        else:
            outputs = self.network(*_cast(inputs, torch.float32, self.dtype), **_cast(named, torch.float32, self.dtype))
        return _cast(outputs, self.dtype, torch.float32)


def _cast(value: Any, source: torch.dtype, target: torch.dtype) -> Any:
    """Return a nested structure with its tensors of format ``source`` in ``target``; all else is left as it is."""
    return mapped(value, lambda held: held.to(target) if held.data.dtype == source else held)

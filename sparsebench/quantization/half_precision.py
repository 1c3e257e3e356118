"""Networks that compute in half precision and are fed and read in float32."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.errors import QuantizationError
from sparsebench.quantization.base import float_copy, reason

SHORT_NAMES: Mapping[torch.dtype, str] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""The names of floating-point formats, as schemes and audits write them."""


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
        self.dtype = dtype
        self.autocast = autocast
        self.train(network.training)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the network returns, in float32.

        Args:
            inputs: as the network takes them, in float32.
            named: keywords of the network.
        """
        if self.autocast:
            device = next((value.device.type for value in inputs if isinstance(value, Tensor)), "cpu")
            with torch.autocast(device, self.dtype):
                outputs = self.network(*inputs, **named)
        else:
            outputs = self.network(*cast(inputs, torch.float32, self.dtype), **cast(named, torch.float32, self.dtype))
        return cast(outputs, self.dtype, torch.float32)


def in_precision(net: nn.Module, dtype: torch.dtype, example: tuple[Any, ...]) -> nn.Module:
    """Return a copy of ``net`` on the CPU that computes in ``dtype``.

    Weights and activations are cast as a whole. Where an operation of the network has no kernel for that on the CPU,
    torch's autocast chooses by operation instead.

    Raises:
        QuantizationError: where it runs neither way.
    """
    tried = []
    for autocast in (False, True):
        network = InPrecision(float_copy(net), dtype, autocast)
        try:
            with torch.inference_mode():
                network(*example)
        except Exception as error:
            tried.append(reason(error))
        else:
            return network
    raise QuantizationError(
        f"{type(net).__name__} does not run in {SHORT_NAMES[dtype]}, neither cast as a whole ({tried[0]}) nor under "
        f"autocast ({tried[1]}). Keep the operation that fails in float32 inside the network, or use scheme 'fp32'."
    )


def cast(value: Any, source: torch.dtype, target: torch.dtype) -> Any:
    """Return a nested structure with its tensors of format ``source`` in ``target``; all else is left as it is."""
    if isinstance(value, PackedSequence):
        return value.to(target) if value.data.dtype == source else value
    if isinstance(value, Tensor):
        return value.to(target) if value.dtype == source else value
    if isinstance(value, Mapping):
        return {key: cast(part, source, target) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [cast(part, source, target) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value

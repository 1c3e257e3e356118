"""The float network as it was trained: the control of every comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class Float32:
    """Changes nothing but the place: a copy on the CPU, in evaluation mode."""

    name = "fp32"
    calibrates = False

    def prepare(self, net: nn.Module, example: tuple[Any, ...]) -> nn.Module:  # noqa: ARG002 # part of the protocol
        """Return a copy of ``net`` on the CPU, in evaluation mode."""
        from sparsebench.quantization.base import float_copy

        return float_copy(net)

    def convert(self, prepared: nn.Module) -> nn.Module:
        """Return ``prepared`` itself."""
        return prepared

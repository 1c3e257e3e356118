"""What a backend is: a runtime that brings a network into a scheme's format and hands it back as a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Compressed:
    """A network that a backend made ready to run.

    Attributes:
        network: what runs; its accuracy, its size and its latency are those of the trial.
        calibration: what calibration observed, as plain tensors by name; empty where the scheme does not calibrate.
            With the float network it is all that ``Backend.restore`` needs.
    """

    network: nn.Module
    calibration: dict[str, Tensor] = field(default_factory=dict)


class Backend(Protocol):
    """A runtime. Modules that define one import torch, or the runtime, inside their functions only.

    Attributes:
        name: the name under which configs and records know the backend.
    """

    name: str

    def problem(self) -> str | None:
        """Return why this backend cannot run on this machine, a sentence with the remedy; None where it can."""

    def offers(self, scheme: str) -> str | None:
        """Return why this backend does not offer ``scheme``, a sentence; None where it does. Imports no torch."""

    def compress(
        self,
        net: nn.Module,
        scheme: str,
        example: tuple[Any, ...],
        calibrate: Callable[[nn.Module], nn.Module],
    ) -> Compressed:
        """Bring ``net`` into the format of ``scheme``.

        Args:
            net: the trained float network; it is left as it is.
            scheme: a scheme that this backend offers.
            example: positional arguments of one forward pass, on the CPU.
            calibrate: feeds calibration batches to the prepared network and returns it; called once, and only where
                the scheme calibrates.

        Raises:
            QuantizationError: where the scheme is not offered or the network cannot be brought into it.
        """

    def restore(
        self, net: nn.Module, scheme: str, example: tuple[Any, ...], calibration: Mapping[str, Tensor]
    ) -> nn.Module:
        """Return the network that ``compress`` returned, from the same float network, without calibrating again.

        Args:
            net: the float network that was given to ``compress``; it is left as it is.
            scheme: the scheme that was given to ``compress``.
            example: positional arguments of one forward pass, on the CPU.
            calibration: ``Compressed.calibration``.

        Raises:
            QuantizationError: where ``calibration`` does not belong to this network and scheme.
        """

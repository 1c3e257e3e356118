"""What a backend is: a runtime that brings a network into a scheme's format and hands it back as a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sparsebench.errors import QuantizationError
from sparsebench.registry import SCHEMES

if TYPE_CHECKING:
    from torch import nn

    from sparsebench.quantization import LayerFact, Recording


@dataclass(frozen=True)
class Parameter:
    """One tensor of weights as an exported file holds it.

    Attributes:
        elements: how many there are.
        nonzero: how many are not zero; for int8, how many differ from the zero point.
        bits: width of one element.
    """

    elements: int
    nonzero: int
    bits: int


@dataclass(frozen=True)
class Export:
    """The file of a network that does not live in torch, and what is in it.

    Attributes:
        file: what a deployer would ship, all of it; its length and its deflated length are the network's sizes.
        parameters: its weights and biases, without scales, zero points and shapes.
        payload_bytes: bytes of all constants in it, scales and zero points included.
    """

    file: bytes
    parameters: tuple[Parameter, ...]
    payload_bytes: int


@dataclass(frozen=True)
class Microcontroller:
    """What a network takes on a microcontroller, as an interpreter for such measured it.

    Attributes:
        flash_bytes: of its file; the interpreter's own code is not in it. None where it is withheld.
        arena_bytes: of all memory that running it takes, for one sample.
        pruned_flash_bytes: of its file with the weights as a bit for each and those that are not zero; None where that
            is not smaller.
        pruned_arena_bytes: of the memory that it then takes, decoded weights among it.
        withheld: why something is not told, a sentence; empty where all is.
    """

    flash_bytes: int | None = None
    arena_bytes: int | None = None
    pruned_flash_bytes: int | None = None
    pruned_arena_bytes: int | None = None
    withheld: str = ""


@dataclass(frozen=True)
class Compressed:
    """A network that a backend made ready to run.

    Attributes:
        network: what runs; its accuracy, its size and its latency are those of the trial.
        files: artifacts by file name: with the float network, all that ``Backend.restore`` needs.
        layers: the audit of the graph that really runs; None where the network is a torch module that
            ``quantization.audit`` can look into.
        export: what the network's file holds; None where its state dict is what is stored.
        working_memory_bytes: peak of the activations that are live at the same time at batch 1, by the definition of
            ``sparsebench.measure.liveness``; None where the network is a torch module that can be watched.
        layered: the network as PyTorch runs it layer by layer, where ``network`` is compiled and cannot be watched or
            looked into: its state dict is what is stored, and its activations are those of ``network``.
        microcontroller: what it takes there; None where it was not measured.
    """

    network: nn.Module
    files: Mapping[str, bytes] = field(default_factory=dict)
    layers: tuple[LayerFact, ...] | None = None
    export: Export | None = None
    working_memory_bytes: int | None = None
    layered: nn.Module | None = None
    microcontroller: Microcontroller | None = None


class Offer(Protocol):
    """What a backend can do on this machine; its module imports neither torch nor the runtime.

    It is built with the backend's options as keyword arguments; wrong ones raise ``TypeError`` or ``SparsebenchError``.

    Attributes:
        name: the name under which configs and records know the backend.

    A class may also have ``runtime``, the packages beside torch on whose versions it depends how fast its networks run:
    where one is upgraded, they are timed anew.
    """

    name: str

    def problem(self) -> str | None:
        """Return why this backend cannot run on this machine, a sentence with the remedy; None where it can."""

    def offers(self, scheme: str) -> str | None:
        """Return why this backend does not offer ``scheme``, a sentence; None where it does."""


class Backend(Offer, Protocol):
    """A runtime, which is its own offer.

    A backend of this package inherits its offer from a module of its own, so that planning imports no torch. Any other
    may import torch, or the runtime, inside its functions only.
    """

    def compress(
        self,
        net: nn.Module,
        scheme: str,
        example: tuple[Any, ...],
        batches: Recording,
        train: Callable[[nn.Module], nn.Module] | None = None,
    ) -> Compressed:
        """Bring ``net`` into the format of ``scheme``.

        Args:
            net: the trained float network; it is left as it is. What is made of it may be kept by its attribute
                ``built_of``, which tells it, and the code that built it, from all others; it need not have one.
            scheme: a scheme that this backend offers.
            example: positional arguments of one forward pass, on the CPU.
            batches: the calibration batches; they are recorded when they are first asked for, so that a scheme that
                does not calibrate costs no pass over the data.
            train: trains a prepared network further, by its own trainer and with its zeros kept, and returns it on the
                CPU. It is given for schemes that train alone, so that a backend which offers none of them needs no
                such parameter.

        Raises:
            QuantizationError: where the scheme is not offered or the network cannot be brought into it.
        """

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:
        """Return the network that ``compress`` returned, from the same float network, without calibrating again.

        Args:
            net: the float network that was given to ``compress``; it is left as it is.
            scheme: the scheme that was given to ``compress``.
            example: positional arguments of one forward pass, on the CPU.
            files: where the artifacts of ``Compressed.files`` lie for now; they are gone when this has returned.

        Raises:
            QuantizationError: where the files do not belong to this network and scheme.
        """

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:
        """Return a network that computes the same and is made for inputs of exactly these shapes, as a deployer would.

        Args:
            network: what ``compress`` or ``restore`` returned.
            inputs: positional arguments of one forward pass, on the CPU, of the batch size that will run.
            threads: threads that one forward pass may use.
        """


def offered(offer: Offer, scheme: str) -> str:
    """Return a scheme by its own name, where it was asked for by an alias.

    Raises:
        QuantizationError: where it is not offered.
    """
    if reason := offer.offers(scheme):
        raise QuantizationError(reason)
    return SCHEMES.canonical(scheme)

"""PyTorch compiled by TorchInductor, as torch.compile does it."""

from __future__ import annotations

import io
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.backends.base import Compressed, Export, Parameter
from sparsebench.backends.devices import check_device, device_problem, moved, on_device
from sparsebench.errors import QuantizationError
from sparsebench.registry import SCHEMES

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import GraphModule

    from sparsebench.backends.inductor.network import Lowered
    from sparsebench.backends.inductor.quantization import QuantizedWeight
    from sparsebench.quantization import LayerFact, Recording

_CALIBRATION = "calibration.pt"
_FLOAT = ("fp32", "bf16", "fp16")
_TORCHAO = ("static", "weight_only")


class Inductor:
    """TorchInductor, the compiler of torch.compile: float, half precision, int8 by PT2E, int8 weights by torchao.

    Args:
        device: where networks run: ``cpu``, or a GPU such as ``cuda:0``.
        reduce_range: whether static int8 uses 7 of 8 bits for activations. Without it a CPU needs VNNI, and results
            differ from those of other CPUs.
    """

    name = "inductor"
    runtime = ("torchao",)  # the passes that make int8 kernels of a graph are its own

    def __init__(self, device: str = "cpu", reduce_range: bool = True) -> None:
        self.device = check_device(device)
        self.reduce_range = reduce_range

    def problem(self) -> str | None:
        """Return why nothing compiles here: no torch, no C++ compiler, no such device; None where it does."""
        if not find_spec("torch"):
            return "torch is not installed; run 'pip install torch'."
        if self.device != "cpu":
            return device_problem(self.device) or _triton_problem()
        return _compiler_problem()

    def offers(self, scheme: str) -> str | None:
        """Return why inductor does not offer ``scheme``, a sentence; None where it does."""
        scheme = SCHEMES.canonical(scheme)
        if scheme in _FLOAT:
            return None
        if scheme not in _TORCHAO:
            return f"inductor does not offer {scheme}; it offers {', '.join((*_FLOAT, *_TORCHAO))}."
        if self.device != "cpu":
            return f"inductor does not offer {scheme} on {self.device}; choose bf16 or fp16 there."
        if not find_spec("torchao"):
            return (
                f"inductor offers {scheme} by torchao, which is not installed; run 'pip install sparsebench[torchao]'."
            )
        if scheme == "static" and platform.machine().lower() not in ("x86_64", "amd64"):
            return f"inductor offers static by int8 kernels for x86 alone, and this is {platform.machine()}."
        return None

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Bring ``net`` into the scheme, export it and compile it for the batch size of ``example``.

        Raises:
            QuantizationError: where the scheme is not offered, or the network cannot be exported or compiled.
        """
        scheme = self._offered(scheme)
        if scheme == "static":
            return _compress_static(self._prepared(net, example), net, example, batches)
        from sparsebench.backends.inductor.network import Lowered

        layered = self._layered(net, scheme, example)
        lowered = Lowered()
        network = self._compiled(layered, scheme, example, lowered)
        return Compressed(network, layers=_confirmed(layered, lowered), layered=on_device(layered, self.device))

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:
        """Do the same again, with what calibration observed put back; inductor's cache makes it quick.

        Raises:
            QuantizationError: where the calibration does not belong to this network and scheme.
        """
        scheme = self._offered(scheme)
        if scheme != "static":
            return self._compiled(self._layered(net, scheme, example), scheme, example)
        import torch

        from sparsebench.backends.inductor import quantization
        from sparsebench.quantization import load_calibration_state

        prepared = self._prepared(net, example)
        state = torch.load(files[_CALIBRATION], weights_only=True) if _CALIBRATION in files else {}
        load_calibration_state(prepared, state)
        graph, _ = quantization.convert(prepared)
        return _compiled_graph(graph, example)

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:
        """Return the network compiled for inputs of exactly these shapes, and so many threads."""
        from sparsebench.backends.inductor.network import Compiled

        inner = network if isinstance(network, Compiled) else network.network
        if not isinstance(inner, Compiled):
            raise QuantizationError(
                "This network was not compiled by inductor; give what compress or restore returned."
            )
        return on_device(inner.for_inputs(moved(inputs, self.device), threads), self.device)

    def _offered(self, name: str) -> str:
        reason = self.problem() or self.offers(name)
        if reason:
            raise QuantizationError(reason)
        return SCHEMES.canonical(name)

    def _prepared(self, net: nn.Module, example: tuple[Any, ...]) -> GraphModule:
        import torch

        from sparsebench.backends.inductor import quantization

        if not self.reduce_range and not torch.cpu._is_vnni_supported():
            raise QuantizationError(
                "reduce_range = false needs a CPU with VNNI: without it int8 products overflow. Leave the option out."
            )
        return quantization.prepare(net, example, self.reduce_range)

    def _layered(self, net: nn.Module, scheme: str, example: tuple[Any, ...]) -> nn.Module:
        """Return the network in its scheme as PyTorch would run it layer by layer, on the device."""
        chosen = SCHEMES.load(scheme)()
        network: nn.Module = chosen.convert(chosen.prepare(net, example).to(self.device))
        return network

    def _compiled(
        self, layered: nn.Module, scheme: str, example: tuple[Any, ...], lowered: Lowered | None = None
    ) -> nn.Module:
        from sparsebench.backends.inductor import quantization

        inputs = moved(example, self.device)
        graph = quantization.export_graph(layered, inputs)
        compiled = _compiled_graph(graph, inputs, lowered, freezing=scheme != "weight_only")
        return on_device(compiled, self.device)


def _compress_static(prepared: GraphModule, net: nn.Module, example: tuple[Any, ...], batches: Recording) -> Compressed:
    import torch

    from sparsebench.backends.inductor import quantization
    from sparsebench.backends.inductor.graph import working_memory
    from sparsebench.backends.inductor.network import Lowered
    from sparsebench.quantization import calibration_state

    batches.feed(prepared)
    state = io.BytesIO()
    torch.save(calibration_state(prepared), state)
    graph, weights = quantization.convert(prepared)
    lowered = Lowered()
    network = _compiled_graph(graph, example, lowered)
    return Compressed(
        network,
        {_CALIBRATION: state.getvalue()},
        layers=quantization.audit_lowered(net, weights, lowered.int8_scales),
        export=_export(quantization.constants(graph), weights),
        working_memory_bytes=working_memory(graph, tuple(value[:1] for value in example)),
    )


def _compiled_graph(
    graph: GraphModule, inputs: tuple[Any, ...], lowered: Lowered | None = None, freezing: bool = True
) -> nn.Module:
    import torch

    from sparsebench.backends.inductor.network import Compiled

    return Compiled(graph, inputs, torch.get_num_threads(), freezing, lowered)


def _confirmed(layered: nn.Module, lowered: Lowered) -> tuple[LayerFact, ...]:
    """Return the audit of a network, of which what is said to be int8 was found in the compiled graph."""
    from dataclasses import replace

    from sparsebench.quantization import audit

    left = [shape.numel() for shape in lowered.int8_shapes]
    facts = []
    for fact in audit(layered):
        if fact.bits == 8 and fact.weights in left:
            left.remove(fact.weights)
        elif fact.bits == 8:
            fact = replace(fact, bits=32, reason=f"{fact.kind} kept in float32: inductor folded its weights into float")
        facts.append(fact)
    return tuple(facts)


def _export(constants: Mapping[str, Tensor], weights: tuple[QuantizedWeight, ...]) -> Export:
    """Return what is stored of an int8 graph: the tensors that it uses, without the float weights that it holds too."""
    import torch

    file = io.BytesIO()
    torch.save(dict(constants), file)
    quantized = tuple(
        Parameter(elements=weight.values.numel(), nonzero=weight.values.numel() - weight.zeros, bits=8)
        for weight in weights
    )
    floats = tuple(
        Parameter(tensor.numel(), int(torch.count_nonzero(tensor)), 8 * tensor.itemsize)
        for name, tensor in constants.items()
        if tensor.is_floating_point() and not name.rpartition(".")[2].startswith("_scale_")
    )
    payload = sum(tensor.nbytes for tensor in constants.values())
    return Export(file=file.getvalue(), parameters=(*quantized, *floats), payload_bytes=payload)


def _compiler_problem() -> str | None:
    """Return why inductor would find no C++ compiler, by the rules by which it looks for one."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    asked = shlex.split(os.environ.get("CXX") or usual)[0]
    if shutil.which(asked):
        return None
    return f"inductor compiles with a C++ compiler, and {asked} was not found; install one, or name yours in CXX."


def _triton_problem() -> str | None:
    if find_spec("triton"):
        return None
    return "inductor compiles for GPUs with triton, which is not installed; run 'pip install triton'."

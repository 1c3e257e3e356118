"""PyTorch compiled by TorchInductor, as torch.compile does it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from sparsebench.backends.base import Compressed, Export, Parameter, offered
from sparsebench.backends.checks import mixes_samples
from sparsebench.backends.elsewhere import naming_another
from sparsebench.backends.flat import taking_tensors
from sparsebench.backends.in_torch import on_device, read, written
from sparsebench.backends.inductor import quantization
from sparsebench.backends.inductor.network import Compiled, Lowered
from sparsebench.backends.inductor.offer import InductorOffer
from sparsebench.errors import QuantizationError
from sparsebench.quantization import (
    LayerFact,
    Recording,
    audit,
    calibration_state,
    float_copy,
    in_float,
    load_calibration_state,
)
from sparsebench.quantization.observing import kept_in_float
from sparsebench.registry import SCHEMES
from sparsebench.tensors import flattened, moved

_CALIBRATION = "calibration.pt"


class Inductor(InductorOffer):
    """TorchInductor, the compiler of torch.compile: float, half precision, int8 by PT2E, int8 weights by torchao."""

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Bring ``net`` into the scheme, export it and compile it for the batch size of ``example``."""
        scheme = self._offered(scheme)
        with naming_another(self.name, scheme, net, example):
            return self._compressed(net, scheme, example, batches)

    def _compressed(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        lowered, whole = Lowered(), mixes_samples(float_copy(net), example)
        if scheme != "static":
            layered = self._layered(net, scheme, example)
            network = self._compiled(layered, scheme, example, whole, lowered)
            return Compressed(network, layers=_confirmed(layered, lowered), layered=on_device(layered, self.device))
        net, inputs = taking_tensors(self.name, net, example)
        prepared = self._prepared(net, inputs)
        with _fed_in_a_row(prepared):
            state = calibration_state(batches.feed(prepared))
        graph, weights = quantization.convert(prepared)
        return Compressed(
            network=Compiled(graph, inputs, torch.get_num_threads(), lowered=lowered, whole=whole),
            files={_CALIBRATION: written(state)},
            layers=(
                *quantization.audit_lowered(net, weights, lowered.int8_scales),
                *in_float(kept_in_float(graph)),
            ),
            export=_export(quantization.constants(graph), weights),
            working_memory_bytes=quantization.working_memory(graph, tuple(value[:1] for value in inputs)),
        )

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:
        """Do the same again, with what calibration observed put back; inductor's cache makes it quick."""
        scheme, whole = self._offered(scheme), mixes_samples(float_copy(net), example)
        if scheme != "static":
            return self._compiled(self._layered(net, scheme, example), scheme, example, whole)
        net, inputs = taking_tensors(self.name, net, example)
        prepared = self._prepared(net, inputs)
        load_calibration_state(prepared, read(files, _CALIBRATION))
        graph, _ = quantization.convert(prepared)
        return Compiled(graph, inputs, torch.get_num_threads(), whole=whole)

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> nn.Module:
        """Return the network compiled for inputs of exactly these shapes, and so many threads."""
        inner = network if isinstance(network, Compiled) else network.network
        if not isinstance(inner, Compiled):
            raise QuantizationError(
                "This network was not compiled by inductor; give what compress or restore returned."
            )
        return on_device(inner.for_inputs(moved(inputs, self.device), threads), self.device)

    def _offered(self, name: str) -> str:
        if problem := self.problem():
            raise QuantizationError(problem)
        return offered(self, name)

    def _prepared(self, net: nn.Module, example: tuple[Tensor, ...]) -> GraphModule:
        if not self.reduce_range and not torch.cpu._is_vnni_supported():
            raise QuantizationError(
                "reduce_range = false needs a CPU with VNNI: without it int8 products overflow. Leave the option out."
            )
        return quantization.prepare(net, example, self.reduce_range)

    def _layered(self, net: nn.Module, scheme: str, example: tuple[Any, ...]) -> nn.Module:
        """Return the network in its scheme as PyTorch would run it layer by layer, on the device."""
        chosen = SCHEMES.load(scheme)()
        return cast("nn.Module", chosen.convert(chosen.prepare(net, example).to(self.device)))

    def _compiled(
        self, layered: nn.Module, scheme: str, example: tuple[Any, ...], whole: bool, lowered: Lowered | None = None
    ) -> nn.Module:
        layered, inputs = taking_tensors(self.name, layered, moved(example, self.device))
        graph = quantization.export_graph(layered, inputs)
        compiled = Compiled(graph, inputs, torch.get_num_threads(), scheme != "weight_only", lowered, whole)
        return on_device(compiled, self.device)


@contextmanager
def _fed_in_a_row(graph: GraphModule) -> Iterator[None]:
    """Let a graph, which takes tensors in a row, be called with tuples, lists and mappings of them for a while."""
    hook = graph.register_forward_pre_hook(lambda _, arguments: flattened(arguments))
    try:
        yield
    finally:
        hook.remove()


def _confirmed(layered: nn.Module, lowered: Lowered) -> tuple[LayerFact, ...]:
    """Return the audit of a network, of which what is said to be int8 was found in the compiled graph."""
    left = [shape.numel() for shape in lowered.int8_shapes]
    facts = []
    for fact in audit(layered):
        if fact.bits == 8 and fact.weights in left:
            left.remove(fact.weights)
        elif fact.bits == 8:
            fact = replace(fact, bits=32, reason=f"{fact.kind} kept in float32: inductor folded its weights into float")
        facts.append(fact)
    return tuple(facts)


def _export(constants: Mapping[str, Tensor], weights: tuple[quantization.QuantizedWeight, ...]) -> Export:
    """Return what is stored of an int8 graph: the tensors that it uses, without the float weights that it holds too."""
    quantized = (
        Parameter(elements=weight.values.numel(), nonzero=weight.values.numel() - weight.zeros, bits=8)
        for weight in weights
    )
    floats = (
        Parameter(tensor.numel(), int(torch.count_nonzero(tensor)), 8 * tensor.itemsize)
        for name, tensor in constants.items()
        if tensor.is_floating_point() and not name.rpartition(".")[2].startswith("_scale_")
    )
    return Export(
        file=written(constants),
        parameters=(*quantized, *floats),
        payload_bytes=sum(tensor.nbytes for tensor in constants.values()),
    )

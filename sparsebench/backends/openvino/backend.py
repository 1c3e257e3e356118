"""OpenVINO on the CPU, quantized by NNCF."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsebench.backends.base import Compressed, Export, offered
from sparsebench.backends.openvino import export, quantization
from sparsebench.backends.openvino.graph import audit_openvino, held_by, working_memory_openvino
from sparsebench.backends.openvino.network import OpenVINONetwork
from sparsebench.backends.openvino.offer import OpenVINOOffer
from sparsebench.backends.openvino.runtime import ov
from sparsebench.backends.outside_torch import parameters_of, require_files, require_own, require_same, require_tensors
from sparsebench.quantization import LayerFact, Recording
from sparsebench.quantization.base import float_copy

_HINTS = {"fp32": "f32", "static": "f32", "weight_only": "f32", "bf16": "bf16", "fp16": "f16"}
_WHY = {
    "fp32": "{kind} kept in float: the scheme quantizes nothing",
    "bf16": "{kind} kept in float: the scheme quantizes nothing",
    "fp16": "{kind} kept in float: the scheme quantizes nothing",
    "static": "{kind} kept in float: NNCF quantizes it not, or was told to leave it",
    "weight_only": "{kind} kept in float: NNCF compresses weights of it not, or was told to leave it",
}


class OpenVINO(OpenVINOOffer):
    """Runs networks in OpenVINO on the CPU; int8 by NNCF's post-training quantization."""

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Convert, compare with torch, quantize as the scheme says."""
        scheme = offered(self, scheme)
        inputs = require_tensors(self.name, example)
        copy = float_copy(net)
        model = export.to_openvino(copy, inputs)
        xml, weights = export.write(model)
        require_same(self.name, self._network(xml, weights, "fp32"), copy, inputs)
        if scheme != "fp32":
            # What the float model was made of belongs to torch; the one that is read back stands on its own.
            model = self._converted(export.read(xml, weights), scheme, batches)
            xml, weights = export.write(model, half=scheme == "fp16")
        network = self._network(xml, weights, scheme)
        one = export.read(xml, weights)
        one.reshape({number: [1, *value.shape[1:]] for number, value in enumerate(inputs)})
        ran = self.specialise(network, tuple(value[:1] for value in inputs), threads=1).graph()
        return Compressed(
            network=network,
            files={export.XML: xml, export.BIN: weights},
            layers=tuple(_with_width(fact, scheme) for fact in audit_openvino(one, ran, _WHY[scheme])),
            export=Export(xml + weights, parameters_of(held_by(one)), len(weights)),
            working_memory_bytes=working_memory_openvino(ran),
        )

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:  # noqa: ARG002
        """Read the model; the float network is not needed."""
        scheme = offered(self, scheme)
        xml, weights = require_files(self.name, files, export.XML, export.BIN)
        network = self._network(xml, weights, scheme)
        network.require_inputs(require_tensors(self.name, example))
        return network

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> OpenVINONetwork:
        """Return the model compiled for exactly these shapes and so many threads, one inference at a time."""
        own = require_own(self.name, network, OpenVINONetwork)
        settings = own.settings | {"INFERENCE_NUM_THREADS": threads}
        return OpenVINONetwork(own.xml, own.weights, settings, [list(value.shape) for value in inputs])

    def _network(self, xml: bytes, weights: bytes, scheme: str) -> OpenVINONetwork:
        """Return a model compiled for any batch size and torch's number of threads."""
        settings: dict[str, Any] = {
            # Left to itself, OpenVINO takes bf16 or f16 where the processor has them.
            "INFERENCE_PRECISION_HINT": _HINTS[scheme],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        if scheme == "weight_only":
            # Where the processor has VNNI, OpenVINO would quantize activations at run time.
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        return OpenVINONetwork(xml, weights, settings)

    def _converted(self, model: ov.Model, scheme: str, batches: Recording) -> ov.Model:
        if scheme == "static":
            return quantization.quantize(
                model, batches, self.subset_size, self.options, self.ignored_scope, self.advanced
            )
        if scheme == "weight_only":
            return quantization.compress_weights(model, self.weight_mode, self.ignored_scope)
        return model


def _with_width(fact: LayerFact, scheme: str) -> LayerFact:
    """Say of a layer that was to run in half precision, and did not, why."""
    if scheme not in ("bf16", "fp16") or fact.computed_in in ("", scheme):
        return fact
    return replace(fact, reason=f"{fact.kind} computed in {fact.computed_in}: this processor has no {scheme} units")

"""LiteRT on the CPU, int8 by AI Edge Quantizer."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsebench.backends.base import Compressed, offered
from sparsebench.backends.elsewhere import naming_another
from sparsebench.backends.flat import require_tensors, taking_tensors
from sparsebench.backends.litert import checking
from sparsebench.backends.litert.converter import quantized
from sparsebench.backends.litert.files import ANY, TYPES, graph_of, read, without_notes, write
from sparsebench.backends.litert.graph import audit_litert, export_of, working_memory_litert
from sparsebench.backends.litert.micro import is_there, on_microcontroller
from sparsebench.backends.litert.network import LiteRTNetwork, to_litert
from sparsebench.backends.litert.offer import LiteRTOffer
from sparsebench.backends.outside_torch import (
    LastMade,
    calibration_arrays,
    require_files,
    require_own,
    require_same,
)
from sparsebench.quantization import Recording, float_copy
from sparsebench.tensors import samples_in

FILE = "model.tflite"

_ALL = ["*"]
_OPERATORS = {"static": _ALL, "weight_only": _ALL, "dynamic": ["FULLY_CONNECTED"]}
"""What the recipes quantize. Linear and recurrent layers alone, as ``dynamic`` is everywhere; LiteRT would add
convolutions, which get slower."""

_WHY = {
    "fp32": "{kind} kept in float: the scheme quantizes nothing",
    "static": "{kind} kept in float: AI Edge Quantizer quantizes it not, or was told to leave it",
    "dynamic": "{kind} kept in float: Linear and recurrent layers are quantized, or it was told to leave it",
    "weight_only": "{kind} kept in float: AI Edge Quantizer compresses weights of it not, or was told to leave it",
}

_last = LastMade()


class LiteRT(LiteRTOffer):
    """Runs networks in LiteRT on the CPU, by XNNPACK; int8 by AI Edge Quantizer, static in integers throughout."""

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Convert, compare with torch, quantize as the scheme says."""
        scheme = offered(self, scheme)
        with naming_another(self.name, scheme, net, example):
            return self._compressed(net, scheme, example, batches)

    def _compressed(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        net, inputs = taking_tensors(self.name, net, example)
        copy = float_copy(net)
        file = _last.made_of(copy, inputs, lambda: to_litert(copy, inputs))
        require_same(self.name, _network(file), copy, inputs)
        if scheme != "fp32":
            file = self._quantized(file, scheme, batches)
        network, layers = _network(file), audit_litert(file, _WHY[scheme])
        macs = sum(layer.macs or 0 for layer in layers)
        return Compressed(
            network=network,
            files={FILE: file},
            layers=layers,
            export=export_of(file),
            working_memory_bytes=working_memory_litert(file),
            microcontroller=on_microcontroller(network, inputs, macs) if is_there() else None,
        )

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:  # noqa: ARG002
        """Read the file; the float network and the converter are not needed."""
        offered(self, scheme)
        (file,) = require_files(self.name, files, FILE)
        network = _network(checking.artifact(file, FILE))
        network.require_inputs(require_tensors(self.name, example))
        return network

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> LiteRTNetwork:
        """Return the network made ready for exactly this number of samples and so many threads."""
        return LiteRTNetwork(require_own(self.name, network, LiteRTNetwork).file, threads, samples=samples_in(inputs))

    def _quantized(self, file: bytes, scheme: str, batches: Recording) -> bytes:
        model = read(file)
        (signature,) = model.signatureDefs
        options = {
            "scheme": scheme,
            "operators": _OPERATORS[scheme],
            "kept": self.ignored,
            "calibration": self.calibration,
            "signature": signature.signatureKey.decode(),
            "threads": torch.get_num_threads(),
        }
        arrays = _by_name(model, batches) if scheme == "static" else ()
        made = read(quantized(file, options, arrays))
        made.description = model.description
        without_notes(made)
        return write(made)


def _by_name(model: Any, batches: Recording) -> Iterator[dict[str, Any]]:
    """Yield calibration batches by the names of the inputs; sample by sample where the file takes one."""
    (signature,) = model.signatureDefs
    graph = graph_of(model)
    inputs = {
        one.name.decode(): TYPES[graph.tensors[one.tensorIndex].type].lower()
        for one in sorted(signature.inputs, key=lambda one: int(one.name.decode().rpartition("_")[2]))
    }
    whole = model.description == ANY
    for arrays in calibration_arrays("litert", batches):
        cast = [array.astype(kind, copy=False) for array, kind in zip(arrays, inputs.values(), strict=True)]
        for begin in range(0, len(cast[0]), len(cast[0]) if whole else 1):
            end = None if whole else begin + 1
            yield {name: array[begin:end] for name, array in zip(inputs, cast, strict=True)}


def _network(file: bytes) -> LiteRTNetwork:
    """Return a file ready for any number of samples, with torch's number of threads."""
    return LiteRTNetwork(file, torch.get_num_threads())

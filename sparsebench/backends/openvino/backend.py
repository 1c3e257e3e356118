"""OpenVINO on the CPU, quantized by NNCF."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsebench.backends.base import Compressed, Export, offered
from sparsebench.backends.elsewhere import naming_another
from sparsebench.backends.flat import require_tensors, taking_tensors
from sparsebench.backends.openvino import checking
from sparsebench.backends.openvino.finite import without_infinite_ranges
from sparsebench.backends.openvino.graph import audit_openvino, held_by, ov, sparse_layers, working_memory_openvino
from sparsebench.backends.openvino.network import BIN, XML, OpenVINONetwork, read, to_openvino, write
from sparsebench.backends.openvino.offer import OpenVINOOffer
from sparsebench.backends.outside_torch import (
    calibration_arrays,
    parameters_of,
    require_files,
    require_own,
    require_same,
)
from sparsebench.backends.probe import int8_saturates
from sparsebench.errors import QuantizationError, SparsebenchError
from sparsebench.quantization import LayerFact, Recording, failing_as, float_copy, in_float, quiet_runtimes
from sparsebench.registry import unknown_name
from sparsebench.tensors import flattened

with quiet_runtimes():
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

_HINTS = {"fp32": "f32", "static": "f32", "weight_only": "f32", "bf16": "bf16", "fp16": "f16"}
_WHY = {
    "fp32": "{kind} kept in float: the scheme quantizes nothing",
    "bf16": "{kind} kept in float: the scheme quantizes nothing",
    "fp16": "{kind} kept in float: the scheme quantizes nothing",
    "static": "{kind} kept in float: NNCF quantizes it not, or was told to leave it",
    "weight_only": "{kind} kept in float: NNCF compresses weights of it not, or was told to leave it",
}
_RATE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
"""Share of zeros from which on OpenVINO keeps int8 weights of linear layers packed, where it can."""

_KEPT_IN_FLOAT = ("LSTMSequence", "LSTMCell")
"""OpenVINO quantizes the hidden state of every step by the range of the first, which is zero: an int8 LSTM classifier
keeps nothing of it (top-1 agreement with fp32 of 10 % among 10 classes). NNCF leaves GRUs in float by itself."""

_ENUMS = {"preset": nncf.QuantizationPreset, "target_device": nncf.TargetDevice, "model_type": nncf.ModelType}


class OpenVINO(OpenVINOOffer):
    """Runs networks in OpenVINO on the CPU; int8 by NNCF's post-training quantization."""

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Convert, compare with torch, quantize as the scheme says."""
        scheme = offered(self, scheme)
        with naming_another(self.name, scheme, net, example):
            return self._compressed(net, scheme, example, batches)

    def _compressed(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        net, inputs = taking_tensors(self.name, net, example)
        copy = float_copy(net)
        model = to_openvino(copy, inputs)
        xml, weights = write(model)
        require_same(self.name, self._network(xml, weights, "fp32"), copy, inputs)
        kept: dict[str, str] = {}
        if scheme != "fp32":
            # What the float model was made of belongs to torch; the one that is read back stands on its own.
            model = self._converted(read(xml, weights), scheme, batches)
            kept = without_infinite_ranges(model)
            xml, weights = write(model, half=scheme == "fp16")
        network = self._network(xml, weights, scheme)
        one = read(xml, weights)
        one.reshape({number: [1, *value.shape[1:]] for number, value in enumerate(inputs)})
        ran = self.specialise(network, tuple(value[:1] for value in inputs), threads=1).graph()
        sparse = sparse_layers(one, self.rate) if self.rate is not None and _RATE in network.settings else set()
        facts = audit_openvino(one, ran, _WHY[scheme], sparse)
        return Compressed(
            network=network,
            files={XML: xml, BIN: weights},
            layers=(*(_with_width(fact, scheme) for fact in facts), *in_float(kept)),
            export=Export(xml + weights, parameters_of(held_by(one)), len(weights)),
            working_memory_bytes=working_memory_openvino(
                one, in_half=any(fact.computed_in in ("bf16", "fp16") for fact in facts)
            ),
        )

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:  # noqa: ARG002
        """Read the model; the float network is not needed."""
        scheme = offered(self, scheme)
        xml, weights = require_files(self.name, files, XML, BIN)
        network = self._network(checking.artifact(xml, weights, XML), weights, scheme)
        network.require_inputs(require_tensors(self.name, example))
        return network

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> OpenVINONetwork:
        """Return the model compiled for exactly these shapes and so many threads, one inference at a time."""
        own = require_own(self.name, network, OpenVINONetwork)
        settings, shapes = own.settings | {"INFERENCE_NUM_THREADS": threads}, [[*v.shape] for v in flattened(inputs)]
        try:
            return OpenVINONetwork(own.xml, own.weights, settings, shapes)
        except QuantizationError:
            # OpenVINO 2026.4 fails to fold what depends on no input, as where a decoder asks with learned queries,
            # through compressed weights. With an open batch it does not try.
            return OpenVINONetwork(own.xml, own.weights, settings, [[-1, *shape[1:]] for shape in shapes])

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
        if scheme == "static" and self.rate is not None and sparse_layers(read(xml, weights), self.rate):
            settings[_RATE] = self.rate
        return OpenVINONetwork(xml, weights, settings)

    def _converted(self, model: ov.Model, scheme: str, batches: Recording) -> ov.Model:
        if scheme == "static":
            return self._quantized(model, batches)
        if scheme == "weight_only":
            scope = _scope(self.ignored_scope)
            with failing_as("NNCF cannot compress the weights", "Choose another scheme."), quiet_runtimes():
                return nncf.compress_weights(
                    model, mode=nncf.CompressWeightsMode(self.weight_mode), ignored_scope=scope
                )
        return model

    def _quantized(self, model: ov.Model, batches: Recording) -> ov.Model:
        given = {key: _member(key, value) for key, value in self.options.items() if value is not None}
        scope, details = _scope(_with_lstms(self.ignored_scope or {}, model)), _advanced(self.advanced)
        count = min(self.subset_size or len(batches), len(batches))
        if not count:
            raise QuantizationError("openvino was given no calibration batch; feed it at least one.")
        remedy = "Change the options of backend 'openvino', or choose another scheme."
        with failing_as("NNCF cannot quantize the network", remedy), quiet_runtimes():
            data = nncf.Dataset(_Batches(batches))
            return nncf.quantize(
                model, data, subset_size=count, ignored_scope=scope, advanced_parameters=details, **given
            )


def _with_width(fact: LayerFact, scheme: str) -> LayerFact:
    """Say of a layer that was to run in half precision, and did not, why."""
    if scheme not in ("bf16", "fp16") or fact.computed_in in ("", scheme):
        return fact
    return replace(fact, reason=f"{fact.kind} computed in {fact.computed_in}: this processor has no {scheme} units")


class _Batches:
    """Recorded batches that can be read more than once, as NNCF does."""

    def __init__(self, batches: Recording) -> None:
        self._batches = batches

    def __iter__(self) -> Any:
        return calibration_arrays("openvino", self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def _with_lstms(ignored: Mapping[str, Any], model: ov.Model) -> dict[str, Any]:
    """Return what stays in float, the LSTMs of the model among it; NNCF refuses types that a model does not have."""
    lstms = {operation.get_type_name() for operation in model.get_ops()}.intersection(_KEPT_IN_FLOAT)
    return {**ignored, "types": [*ignored.get("types", ()), *sorted(lstms)]} if lstms else dict(ignored)


def _member(key: str, value: Any) -> Any:
    if key not in _ENUMS:
        return value
    found = {member.name.lower(): member for member in _ENUMS[key]}
    if str(value).lower() not in found:
        raise SparsebenchError(unknown_name(key, str(value), found))
    return found[str(value).lower()]


def _scope(ignored: Mapping[str, Any] | None) -> nncf.IgnoredScope | None:
    if not ignored:
        return None
    try:
        return nncf.IgnoredScope(**ignored)
    except TypeError as error:
        raise SparsebenchError(
            f"ignored_scope cannot be used: {error}. It takes names, patterns, types, subgraphs and validate."
        ) from error


def _advanced(given: Mapping[str, Any]) -> AdvancedQuantizationParameters:
    known = [field.name for field in fields(AdvancedQuantizationParameters)]
    wrong = [unknown_name("advanced option", key, known) for key in given if key not in known]
    if wrong:
        raise SparsebenchError(" ".join(wrong))
    values = dict(given)
    if int8_saturates():
        values.setdefault("overflow_fix", "enable")
    for key, value in values.items():
        if key == "overflow_fix":
            values[key] = OverflowFix(value)
        elif key.endswith("range_estimator_params") and isinstance(value, str):
            estimators = [name for name in vars(RangeEstimatorParametersSet) if name.isupper()]
            if value.upper() not in estimators:
                raise SparsebenchError(unknown_name("range estimator", value, [name.lower() for name in estimators]))
            values[key] = getattr(RangeEstimatorParametersSet, value.upper())
    return AdvancedQuantizationParameters(**values)

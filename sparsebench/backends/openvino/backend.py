"""OpenVINO on the CPU, quantized by NNCF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.backends.base import Compressed, Export
from sparsebench.backends.probe import not_installed, why_not
from sparsebench.errors import QuantizationError, SparsebenchError

if TYPE_CHECKING:
    import openvino
    from torch import nn

    from sparsebench.backends.openvino.network import OpenVINONetwork
    from sparsebench.quantization import LayerFact, Recording

_HINTS = {"fp32": "f32", "static": "f32", "weight_only": "f32", "bf16": "bf16", "fp16": "f16"}
_STATIC_OR_NOT = (
    "OpenVINO has no int8 with ranges found at run time for CPUs in general; choose static, or weight_only, which "
    "leaves activations in float."
)
_REASONS = {
    "dynamic": _STATIC_OR_NOT,
    "both": _STATIC_OR_NOT,
    "qat": "NNCF trains for int8 in a training loop of its own; choose static, or qat on backend 'eager'.",
}
_WHY = {
    "fp32": "{kind} kept in float: the scheme quantizes nothing",
    "bf16": "{kind} kept in float: the scheme quantizes nothing",
    "fp16": "{kind} kept in float: the scheme quantizes nothing",
    "static": "{kind} kept in float: NNCF quantizes it not, or was told to leave it",
    "weight_only": "{kind} kept in float: NNCF compresses weights of it not, or was told to leave it",
}
_WEIGHTS = ("int8_asym", "int8_sym")


class OpenVINO:
    """Runs networks in OpenVINO on the CPU; int8 by NNCF's post-training quantization.

    Options without a default here have NNCF's; see ``nncf.quantize`` for what they do.

    Args:
        preset: ``performance`` (symmetric activations) or ``mixed``.
        target_device: the device that NNCF quantizes for: ``any``, ``cpu``, ….
        subset_size: calibration batches that NNCF reads; all that were recorded by default.
        fast_bias_correction: NNCF's default is True: it corrects biases by the means of channels, as if these were the
            same at every place of an image. On small images with borders they are not, and int8 networks for digits
            lost a tenth of their accuracy by it. False runs the calibration batches instead, for some seconds more.
        model_type: ``transformer`` for networks of that kind.
        ignored_scope: what stays in float: ``{names = […], patterns = […], types = […], validate = false}``. Layers of
            a torch module ``a.b`` are called ``__module.a.b/…``.
        advanced: fields of ``nncf.AdvancedQuantizationParameters``. Range estimators are given by name, such as
            ``activations_range_estimator_params = "median_minmax"``. ``overflow_fix`` is ``enable`` on processors
            whose int8 products saturate, and NNCF's default elsewhere.
        weight_mode: ``int8_asym`` or ``int8_sym``, for weight_only.
    """

    name = "openvino"
    runtime = ("openvino",)

    def __init__(
        self,
        preset: str | None = None,
        target_device: str | None = None,
        subset_size: int | None = None,
        fast_bias_correction: bool = False,
        model_type: str | None = None,
        ignored_scope: Mapping[str, Any] | None = None,
        advanced: Mapping[str, Any] | None = None,
        weight_mode: str = "int8_asym",
    ) -> None:
        if weight_mode not in _WEIGHTS:
            raise SparsebenchError(f"weight_mode is {weight_mode!r}; it must be one of {', '.join(_WEIGHTS)}.")
        if subset_size is not None and subset_size < 1:
            raise SparsebenchError(f"subset_size is {subset_size}; it must be at least 1.")
        self.subset_size, self.weight_mode = subset_size, weight_mode
        self.advanced = dict(advanced or {})
        self.ignored_scope = dict(ignored_scope) if ignored_scope else None
        self.options = {
            "preset": preset,
            "target_device": target_device,
            "fast_bias_correction": fast_bias_correction,
            "model_type": model_type,
        }

    def problem(self) -> str | None:
        """Return which packages are missing and how to install them; None where all are there."""
        return not_installed("openvino", "openvino", "nncf")

    def offers(self, scheme: str) -> str | None:
        """Return why OpenVINO does not offer ``scheme``, a sentence; None where it does."""
        return why_not(self.name, scheme, tuple(_HINTS), _REASONS)

    def compress(self, net: nn.Module, scheme: str, example: tuple[Any, ...], batches: Recording) -> Compressed:
        """Convert, compare with torch, quantize as the scheme says.

        Raises:
            QuantizationError: where the scheme is not offered, or OpenVINO or NNCF cannot take the network.
        """
        scheme = self._canonical(scheme)
        from sparsebench.backends.exported import require_same, require_tensors
        from sparsebench.backends.openvino import export
        from sparsebench.backends.openvino.graph import audit_openvino, parameters_of, working_memory_openvino
        from sparsebench.quantization.base import float_copy

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
        single = [[1, *value.shape[1:]] for value in inputs]
        one.reshape(dict(enumerate(single)))
        ran = self.specialise(network, tuple(value[:1] for value in inputs), threads=1).graph()
        return Compressed(
            network=network,
            files={export.XML: xml, export.BIN: weights},
            layers=tuple(_with_width(fact, scheme) for fact in audit_openvino(one, ran, _WHY[scheme])),
            export=Export(xml + weights, parameters_of(one), len(weights)),
            working_memory_bytes=working_memory_openvino(ran),
        )

    def restore(self, net: nn.Module, scheme: str, example: tuple[Any, ...], files: Mapping[str, Path]) -> nn.Module:  # noqa: ARG002
        """Read the model; the float network is not needed.

        Raises:
            QuantizationError: where the files are no model of OpenVINO, or one for other inputs.
        """
        scheme = self._canonical(scheme)
        from sparsebench.backends.exported import require_files, require_tensors
        from sparsebench.backends.openvino.export import BIN, XML

        xml, weights = require_files(self.name, files, XML, BIN)
        network = self._network(xml, weights, scheme)
        network.require_inputs(require_tensors(self.name, example))
        return network

    def specialise(self, network: nn.Module, inputs: tuple[Any, ...], threads: int) -> OpenVINONetwork:
        """Return the model compiled for exactly these shapes and so many threads, one inference at a time."""
        from sparsebench.backends.openvino.network import OpenVINONetwork

        if not isinstance(network, OpenVINONetwork):
            raise QuantizationError(f"This {type(network).__name__} is no network of backend 'openvino'.")
        settings = network.settings | {"INFERENCE_NUM_THREADS": threads}
        return OpenVINONetwork(network.xml, network.weights, settings, [list(value.shape) for value in inputs])

    def _canonical(self, scheme: str) -> str:
        from sparsebench.registry import SCHEMES

        reason = self.offers(scheme)
        if reason:
            raise QuantizationError(reason)
        return SCHEMES.canonical(scheme)

    def _network(self, xml: bytes, weights: bytes, scheme: str) -> OpenVINONetwork:
        """Return a model compiled for any batch size and torch's number of threads."""
        import torch

        from sparsebench.backends.openvino.network import OpenVINONetwork

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

    def _converted(self, model: openvino.Model, scheme: str, batches: Recording) -> openvino.Model:
        from sparsebench.backends.openvino import quantization

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

"""What OpenVINO offers on the CPU."""

from collections.abc import Mapping
from typing import Any, ClassVar

from sparsebench.backends.probe import RuntimeOffer, has_amx_int8
from sparsebench.errors import SparsebenchError

_STATIC_OR_NOT = (
    "OpenVINO has no int8 with ranges found at run time for CPUs in general; choose static, or weight_only, which "
    "leaves activations in float."
)
_WEIGHTS = ("int8_asym", "int8_sym")

SPARSE_FROM = 0.75
"""Share of zeros from which on packed weights are worth it: at 80 % they were 1.5 times as fast as dense ones, at 0 %
not told from them."""


class OpenVINOOffer(RuntimeOffer):
    """What OpenVINO offers on the CPU.

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
        sparse_weights: share of zeros in (0, 1] from which on the weights of an int8 linear layer are kept packed, and
            unpacked as they are multiplied: less to fetch from memory, the same outputs. Needs AMX int8. By default
            0.75 where the processor has it, and off elsewhere; 1 is off for all layers but those of zeros alone.
    """

    name = "openvino"
    runtime = ("openvino",)
    packages = ("openvino", "nncf")
    schemes = ("fp32", "static", "weight_only", "bf16", "fp16")
    reasons: ClassVar = {
        "dynamic": _STATIC_OR_NOT,
        "both": _STATIC_OR_NOT,
        "qat": "NNCF trains for int8 in a training loop of its own; choose static, or qat on backend 'eager'.",
    }

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
        sparse_weights: float | None = None,
    ) -> None:
        if sparse_weights is not None and not 0 < sparse_weights <= 1:
            raise SparsebenchError(f"sparse_weights is {sparse_weights}; it must be a share above 0, at most 1.")
        self.sparse_weights = sparse_weights
        if weight_mode not in _WEIGHTS:
            raise SparsebenchError(f"weight_mode is {weight_mode!r}; it must be one of {', '.join(_WEIGHTS)}.")
        if subset_size is not None and subset_size < 1:
            raise SparsebenchError(f"subset_size is {subset_size}; it must be at least 1.")
        self.subset_size, self.weight_mode = subset_size, weight_mode
        self.advanced = dict(advanced or {})
        self.ignored_scope = dict(ignored_scope) if ignored_scope else None
        self.options: dict[str, Any] = {
            "preset": preset,
            "target_device": target_device,
            "fast_bias_correction": fast_bias_correction,
            "model_type": model_type,
        }

    def problem(self) -> str | None:
        """Return what is missing: packages, or what an option needs of the processor; None where nothing is."""
        if self.sparse_weights is not None and not has_amx_int8():
            return (
                f"sparse_weights = {self.sparse_weights:g} of backend 'openvino' needs a processor with AMX int8, and "
                "this one has none; leave the option away, or run where there is."
            )
        return super().problem()

    @property
    def rate(self) -> float | None:
        """Share of zeros from which on weights are kept packed here; None where they never are."""
        if not has_amx_int8():
            return None
        return SPARSE_FROM if self.sparse_weights is None else self.sparse_weights

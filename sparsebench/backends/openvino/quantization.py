"""NNCF's post-training quantization of OpenVINO models, with options as they stand in a config."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sparsebench.backends.openvino.runtime import ov
from sparsebench.backends.outside_torch import calibration_arrays
from sparsebench.backends.probe import int8_saturates
from sparsebench.backends.quiet import quiet
from sparsebench.errors import QuantizationError, SparsebenchError
from sparsebench.quantization import Recording
from sparsebench.quantization.base import failing_as
from sparsebench.registry import unknown_name

with quiet():
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

_KEPT_IN_FLOAT = ("LSTMSequence", "LSTMCell")
"""OpenVINO quantizes the hidden state of every step by the range of the first, which is zero: an int8 LSTM classifier
keeps nothing of it (top-1 agreement with fp32 of 10 % among 10 classes). NNCF leaves GRUs in float by itself."""

_ENUMS = {"preset": nncf.QuantizationPreset, "target_device": nncf.TargetDevice, "model_type": nncf.ModelType}


def quantize(
    model: ov.Model,
    batches: Recording,
    subset_size: int | None,
    options: Mapping[str, Any],
    ignored_scope: Mapping[str, Any] | None,
    advanced: Mapping[str, Any],
) -> ov.Model:
    """Return a model whose layers are int8, calibrated on recorded batches.

    Args:
        model: a float model.
        batches: the calibration batches.
        subset_size: how many of them are read; None for all.
        options: arguments of ``nncf.quantize``, enumerations by name; None takes NNCF's default.
        ignored_scope: fields of ``nncf.IgnoredScope``; LSTMs always stay in float.
        advanced: fields of ``nncf.AdvancedQuantizationParameters``.

    Raises:
        QuantizationError: where NNCF cannot quantize the model.
        SparsebenchError: where an option is not one that NNCF takes.
    """
    given = {key: _member(key, value) for key, value in options.items() if value is not None}
    scope, details = _scope(_with_lstms(ignored_scope or {}, model)), _advanced(advanced)
    count = len(batches) if subset_size is None else min(subset_size, len(batches))
    if not count:
        raise QuantizationError("openvino was given no calibration batch; feed it at least one.")
    data = _Batches(batches)
    remedy = "Change the options of backend 'openvino', or choose another scheme."
    with failing_as("NNCF cannot quantize the network", remedy), quiet():
        return nncf.quantize(
            model, nncf.Dataset(data), subset_size=count, ignored_scope=scope, advanced_parameters=details, **given
        )


def compress_weights(model: ov.Model, mode: str, ignored_scope: Mapping[str, Any] | None) -> ov.Model:
    """Return a model whose weights are held in int8 and multiplied in float.

    Raises:
        QuantizationError: where NNCF cannot compress the model.
    """
    scope = _scope(ignored_scope)
    with failing_as("NNCF cannot compress the weights", "Choose another scheme."), quiet():
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode(mode), ignored_scope=scope)


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

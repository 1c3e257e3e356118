"""From a name, a reference or a function to a metric."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sparsebench.errors import SparsebenchError
from sparsebench.metrics.base import Metric
from sparsebench.metrics.from_torchmetrics import TorchmetricsMetric
from sparsebench.metrics.own import OwnMetric, fits, scale_of
from sparsebench.registry import LIVE, METRICS
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.user_code import own_code


def metric_of(settings: Mapping[str, Any] | None) -> Metric | None:
    """Return the metric of the section ``[metric]`` of a config; None for accuracy, which trainers know themselves.

    Raises:
        SparsebenchError: as ``build_metric``.
    """
    if settings is None or METRICS.canonical(settings["name"]) == ACCURACY.metric:
        return None
    return build_metric(
        settings["name"],
        settings["options"],
        higher_is_better=settings["higher_is_better"],
        unit=settings["unit"],
        digits=settings["digits"],
    )


def build_metric(
    metric: str | Callable[..., Any] | Metric,
    options: Mapping[str, Any] | None = None,
    *,
    higher_is_better: bool | None = None,
    unit: str | None = None,
    digits: int | None = None,
) -> Metric:
    """Return a metric.

    Args:
        metric: a name in ``METRICS``, ``package.module:callable``, a function ``(outputs, targets)`` of one value a
            sample or one number over all, a ``Metric`` or a class of such.
        options: keyword arguments of the class or the function.
        higher_is_better: its direction, which a function must have here or as an attribute.
        unit: of its values; "%" where they are fractions that are read in percent.
        digits: decimals of its values.

    Raises:
        UnknownNameError: where no such metric is known.
        SparsebenchError: where it does not take its options, has no direction, or another than is said.
    """
    name = _shown(metric) if isinstance(metric, str) else _name_of(metric)
    found = METRICS.load(metric) if isinstance(metric, str) else metric
    options = dict(options or {})
    reference = name if isinstance(metric, str) and METRICS.is_own(metric) else None
    with own_code(("metric", reference)):
        if inspect.isclass(found) and issubclass(found, Metric):
            found = _of_class(found, name, options)
        if not isinstance(found, Metric):
            return _of_function(found, name, options, reference, higher_is_better, unit, digits)
    if higher_is_better not in (None, found.scale.higher_is_better):
        better = "higher" if found.scale.higher_is_better else "lower"
        raise SparsebenchError(f"Of metric {name!r} {better} values are better; leave higher_is_better out.")
    found.scale = _told(found.scale, name, unit, digits)
    return found


def _shown(name: str) -> str:
    """Return a name as people read it: that of an object of a Python session without its digest."""
    prefix, _, rest = name.partition(":")
    return rest.partition("@")[0] if prefix == LIVE else name


def _name_of(metric: object) -> str:
    if isinstance(metric, functools.partial):
        return _name_of(metric.func)
    if isinstance(metric, Metric):
        return metric.scale.metric
    return str(getattr(metric, "__name__", type(metric).__name__))


def _of_class(kind: type[Metric], name: str, options: dict[str, Any]) -> Metric:
    try:
        inspect.signature(kind).bind(**options)
    except TypeError as error:
        takes = ", ".join(inspect.signature(kind).parameters)
        told = f"It takes {takes}." if takes else "It takes no options."
        raise SparsebenchError(f"Metric {name!r} cannot be built with these options: {error}. {told}") from error
    return kind(**options)


def _of_function(
    found: Any,
    name: str,
    options: dict[str, Any],
    reference: str | None,
    higher_is_better: bool | None,
    unit: str | None,
    digits: int | None,
) -> Metric:
    if isinstance(found, TorchmetricsMetric):
        found, options = found.with_options(options), {}
    if problem := fits(found, name, options):
        raise SparsebenchError(problem)
    scale = scale_of(found, name, higher_is_better, unit, digits)
    more = {
        key: getattr(found, key)
        for key in ("targets", "criterion", "per_sample", "structures", "groups")
        if hasattr(found, key)
    }
    function = functools.partial(found, **options) if options else found
    return OwnMetric(function, scale, reference=reference, **more)


def _told(scale: Scale, name: str, unit: str | None, digits: int | None) -> Scale:
    if unit is not None:
        if scale.share and unit != "%":
            raise SparsebenchError(f"Metric {name!r} is a share, in percent; leave unit out.")
        if unit == "%" and not scale.share:
            raise SparsebenchError(f"Metric {name!r} is no share, so its unit cannot be %; give another, or none.")
        scale = scale if scale.share else replace(scale, unit=unit)
    return scale if digits is None else replace(scale, digits=digits)

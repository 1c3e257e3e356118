"""Metrics that are functions of a user's own, or a library's: one value a sample, or one over all samples."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsebench.errors import DataError, SparsebenchError
from sparsebench.metrics.base import Measured, Metric, Targets
from sparsebench.metrics.means import mean_of
from sparsebench.metrics.resampled import resampled
from sparsebench.statistics.resamples import RESAMPLES, drawn, over_groups
from sparsebench.store.scales import Scale
from sparsebench.tensors import moved, samples_in
from sparsebench.user_code import own_code

FEWEST, SECONDS = 100, 60.0
"""Resamples of a slow metric, and the seconds that more of them may take."""

Groups = Callable[[Any, Any], Any]


class OwnMetric(Metric):
    """A function ``(outputs, targets)`` of one value a sample, (N,), or of one number over all samples.

    Which of the two it is shows on the first batch, unless ``per_sample`` says it. What is of all samples is kept on
    the CPU, outputs and targets of the whole split, and computed again over each bootstrap resample.

    Args:
        function: the function; outputs are the scores in what the network returns, or all of it with ``structures``.
        scale: its direction and unit.
        targets: what targets are brought to.
        criterion: the loss of training where none is named.
        per_sample: whether it returns a value for each sample; None to see.
        structures: whether it takes what a network returns as it is.
        groups: of outputs and targets, the group of each sample, (N,): what is resampled together; None for samples.
        reference: the function's ``package.module:callable``, for errors.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        scale: Scale,
        *,
        targets: Targets = "any",
        criterion: str = "cross_entropy",
        per_sample: bool | None = None,
        structures: bool = False,
        groups: Groups | None = None,
        reference: str | None = None,
    ) -> None:
        self.function, self.scale, self.per_sample, self.groups = function, scale, per_sample, groups
        self.targets = targets  # type: ignore[misc] # each its own
        self.criterion = criterion  # type: ignore[misc]
        self.takes_structures = structures  # type: ignore[misc]
        self._reference = reference

    def kept(self, outputs: Any, targets: Any) -> Any:
        """Return the values of a batch, (N,), or what is needed of it: outputs, targets and groups on the CPU."""
        if self.per_sample is not False:
            found = self._called(outputs, targets)
            samples = samples_in(targets) or samples_in(outputs)
            is_row = isinstance(found, Tensor | np.ndarray) and found.ndim == 1
            if is_row and len(found) == samples:
                self.per_sample = True
                return torch.as_tensor(found).detach().double()
            if self.per_sample:
                shape = f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""
                raise DataError(
                    f"The metric {self.scale.metric} returned {type(found).__name__}{shape} for {samples} samples; "
                    f"return one value for each, ({samples},)."
                )
            self._number(found)
            self.per_sample = False
        groups = None
        if self.groups is not None:
            with own_code(("metric", self._reference)):
                groups = self.groups(outputs, targets)
        return moved(_detached(outputs), "cpu"), moved(_detached(targets), "cpu"), groups

    def measured(self, kept: Sequence[Any]) -> Measured:
        """Return the metric with its interval, over samples or by resampling."""
        if self.per_sample:
            return mean_of(torch.cat(list(kept)).cpu().numpy(), self.scale.title)
        outputs, targets = (joined([one[place] for one in kept]) for place in (0, 1))
        samples = samples_in(targets) or samples_in(outputs) or 0
        began = time.perf_counter()
        value = self._whole(outputs, targets)
        seconds = time.perf_counter() - began
        resamples = int(min(RESAMPLES, max(FEWEST, SECONDS / max(seconds, 1e-9))))
        note = ""
        if resamples < RESAMPLES:
            note = (
                f"The metric {self.scale.metric} takes {seconds:.2g} s, so that its interval is from {resamples} "
                f"bootstrap resamples in place of {RESAMPLES}."
            )
        places, units = np.arange(samples), samples
        if self.groups is not None:
            places, units = over_groups(np.concatenate([np.asarray(torch.as_tensor(one[2]).cpu()) for one in kept]))
        members = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places, minlength=units))[:-1])
        replicates = np.array([self._of_draw(outputs, targets, members, draw) for draw in drawn(units, resamples)])
        if not np.isfinite(replicates).any():
            return Measured(value=value, samples=samples, note=note)
        return resampled(value, samples, units, replicates, note)

    def value(self, kept: Sequence[Any]) -> float:
        """Return the metric alone."""
        if self.per_sample:
            return float(torch.cat(list(kept)).mean())
        return self._whole(*(joined([one[place] for one in kept]) for place in (0, 1)))

    def _of_draw(self, outputs: Any, targets: Any, members: Sequence[Any], draw: Any) -> float:
        index = np.concatenate([members[unit] for unit in draw]).tolist()
        try:
            return self._number(self.function(taken(outputs, index), taken(targets, index)))
        except Exception:  # A resample may lack a class, say; the whole split did not.
            return float("nan")

    def _whole(self, outputs: Any, targets: Any) -> float:
        value = self._number(self._called(outputs, targets))
        if not np.isfinite(value):
            raise DataError(
                f"The metric {self.scale.metric} is {value}; it must return a finite number. Look for NaN in the "
                "outputs of the network and in the targets."
            )
        return value

    def _called(self, outputs: Any, targets: Any) -> Any:
        with own_code(("metric", self._reference)):
            return self.function(outputs, targets)

    def _number(self, found: Any) -> float:
        try:
            if isinstance(found, bool):
                raise TypeError
            return float(found)
        except (TypeError, ValueError, RuntimeError):
            shape = f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""
            raise DataError(
                f"The metric {self.scale.metric} returned {type(found).__name__}{shape}; return one value for each "
                "sample, a tensor (N,), or one number over all samples."
            ) from None


def scale_of(function: Any, name: str, higher_is_better: bool | None, unit: str | None, digits: int | None) -> Scale:
    """Return the scale of a function: what a config says of it, or its own attributes do.

    Raises:
        SparsebenchError: where neither says which way is better.
    """
    better = getattr(function, "higher_is_better", None) if higher_is_better is None else higher_is_better
    if not isinstance(better, bool):
        raise SparsebenchError(
            f"Metric {name!r} does not say which way is better. Add higher_is_better = true or false to [metric], or "
            "give the function an attribute higher_is_better."
        )
    own_unit = getattr(function, "unit", "") if unit is None else unit
    own_digits = getattr(function, "digits", None) if digits is None else digits
    metric = name.rpartition(":")[2].rpartition(".")[2]
    return Scale(
        metric=metric,
        title=str(getattr(function, "title", metric.replace("_", " "))),
        short=str(getattr(function, "short", metric.replace("_", " "))),
        higher_is_better=better,
        share=own_unit == "%",
        unit="" if own_unit == "%" else str(own_unit),
        digits=2 if own_unit == "%" and own_digits is None else own_digits,
    )


def fits(function: Any, name: str, options: Mapping[str, Any]) -> str | None:
    """Return why a function cannot be called with outputs, targets and options, as a sentence; None where it can."""
    if not callable(function):
        return f"Metric {name!r} is {type(function).__name__}, which cannot be called; give a function."
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # What is compiled may not tell.
        return None
    try:
        signature.bind(None, None, **options)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        return f"Metric {name!r} cannot be called with outputs, targets and these options: {error}. It takes {takes}."
    return None


def taken(value: Any, index: Sequence[int]) -> Any:
    """Return some samples of a structure: of tensors and arrays their rows, of a list its items."""
    if isinstance(value, Tensor | np.ndarray):
        return value[index]
    if isinstance(value, Mapping):
        return {key: taken(part, index) for key, part in value.items()}
    if isinstance(value, list):
        return [value[place] for place in index]
    return tuple(taken(part, index) for part in value) if isinstance(value, tuple) else value


def joined(batches: Sequence[Any]) -> Any:
    """Return the samples of several batches as one: tensors and lists one after another."""
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.cat(list(batches))
    if isinstance(first, Mapping):
        return {key: joined([batch[key] for batch in batches]) for key in first}
    if isinstance(first, list):
        return [item for batch in batches for item in batch]
    if isinstance(first, tuple):
        return tuple(joined([batch[place] for batch in batches]) for place in range(len(first)))
    return first


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _detached(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_detached(part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value

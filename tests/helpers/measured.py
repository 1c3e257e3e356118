"""Runs written by hand whose metric is another than accuracy."""

from dataclasses import replace

import numpy as np

from sparsebench.statistics.differences import from_samples
from sparsebench.statistics.resamples import counted, percentiles
from sparsebench.store.floats import pack_floats
from sparsebench.store.results import EvaluateResult, Score
from sparsebench.store.scales import Scale

MAE = Scale(metric="mean_absolute_error", title="mean absolute error", short="MAE", higher_is_better=False, unit="mm")
R2 = Scale(metric="r2", title="R²", short="R²", higher_is_better=True)
AUROC = Scale(
    metric="auroc", title="area under the ROC curve", short="AUROC", higher_is_better=True, share=True, digits=2
)


def judged_by(run, scale, whole=False, left=True):
    """The same run with another metric: what lost accuracy lost as much of it, a hundredth of a unit a point.

    ``whole``: one value over all samples with replicates, and not a mean of samples. ``left``: whether the trainer left
    what intervals are made of.
    """

    def measured(record):
        if record is None or record.result is None:
            return record
        return replace(record, result=score_of(record.result, scale, whole, left))

    return replace(
        run,
        trials=tuple(
            replace(trial, evaluate=measured(trial.evaluate), validate=measured(trial.validate)) for trial in run.trials
        ),
    )


def score_of(result, scale, whole=False, left=True):
    samples, sign = result.samples, 1 if scale.higher_is_better else -1
    level = 0.9 if scale.share else 40.0
    centre = level + sign * (result.top1 - 0.95) * (1.0 if scale.share else 100.0)
    base = np.random.default_rng(0).normal(0, 0.05 * level, samples)
    own = np.random.default_rng(round(1e6 * result.top1)).normal(0, 0.002 * level, samples)
    values = base - base.mean() + own - own.mean() + centre
    if not left:
        score = Score(scale=scale, value=centre)
    elif whole:
        replicates = np.concatenate([weights @ values / samples for weights in counted(samples, 200)])
        low, high = percentiles(replicates, centre)
        packed = pack_floats(replicates)
        score = Score(scale=scale, value=centre, low=low, high=high, replicates=packed, resamples=200, units=samples)
    else:
        low, high = (float(end) for end in from_samples(values[:, None])[0].limits())
        score = Score(scale=scale, value=centre, low=low, high=high, values=pack_floats(values))
    return EvaluateResult(split=result.split, samples=samples, score=score)

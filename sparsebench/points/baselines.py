"""Each trial against its baselines: the dense fp32 trial of the same seed, on its own backend and on eager."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sparsebench.points.drops import Correctness, Drop, Joined, Term, drops_of, scored
from sparsebench.points.latency import Judge, SeedTiming
from sparsebench.store.records import TrialResult

FP32 = "fp32"
EAGER = "eager"


class Zeros(NamedTuple):
    """Fractions of the weights of one network that are zero, over the layers known before and after quantization.

    ``before`` is counted in the float network and ``after`` in the network that runs. ``alone`` is after − before of
    the dense network of the same seed, scheme, backend and calibration: rounding to a grid makes zeros of small weights
    of its own accord. ``owed`` is after − alone: the sparsity that pruning may claim. Since the small weights that
    rounding would lose are mostly those that pruning has zeroed already, it is a lower bound. ``alone`` and ``owed``
    are None where the dense network was not brought into that scheme.
    """

    before: float
    after: float
    alone: float | None
    owed: float | None


class Lost(NamedTuple):
    """What the seeds of a point lose: against their baselines, and by interaction; None where it cannot be told."""

    drop: Drop | None
    drop_eager: Drop | None
    interaction: Drop | None


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """A trial and what follows from its baselines; what cannot be compared is None.

    Attributes:
        drop: what is lost against dense fp32 of the same seed and backend; ``drop_eager`` against that on eager.
        val_drop: what ``drop`` is, on the validation split.
        interaction: joint drop − (drop by pruning alone + drop by quantization alone), in the unit of a drop;
            positive where the two together cost more than the sum. None for a trial that does not do both.
        file_ratio: dense fp32 file size / file size; ``deflated_ratio`` the same of deflated files.
        compression_ratio: dense fp32 payload / (non-zero parameters × their bits).
        theoretical_speedup: MACs of the dense network of the same seed / MACs with a non-zero weight; the same for all
            schemes and backends of one trained network.
    """

    trial: TrialResult
    drop: Drop | None
    drop_eager: Drop | None
    val_drop: Drop | None
    interaction: float | None
    file_ratio: float | None
    deflated_ratio: float | None
    compression_ratio: float | None
    theoretical_speedup: float | None
    zeros: Zeros | None
    timings: tuple[SeedTiming, ...]


Identity = tuple[str, str, str | None, float, int, str, str, int | None]


def identity(trial: TrialResult) -> Identity:
    """Return what tells a trial from all others: model, data, pruner, threshold, seed, scheme, backend, calibration."""
    t = trial.trial
    return t.model, t.data, t.pruner, t.threshold, t.seed, t.scheme, t.backend, t.calibration_batches


class Comparer:
    """Compares trials of one run; finds their baselines by name, so that all is done in one pass."""

    def __init__(self, trials: Iterable[TrialResult]) -> None:
        self._correctness = Correctness()
        self._index = {identity(trial): trial for trial in trials}
        self._judge = Judge(self._index.values())
        self._dense_macs = {
            (t.model, t.data, t.seed): trial.trained.macs
            for trial in self._index.values()
            if (t := trial.trial).threshold == 0.0 and trial.trained
        }

    def compare(self, trial: TrialResult) -> SeedResult:
        """Return ``trial`` with its comparisons."""
        return self.compare_all([trial])[0]

    def compare_all(self, trials: Sequence[TrialResult]) -> list[SeedResult]:
        """Return trials with their comparisons, whose intervals are computed at once."""
        found = _drops([(*self._lost_by([trial]), self._lost_on_validation(trial)) for trial in trials])
        return [self._compared(trial, *three) for trial, three in zip(trials, found, strict=True)]

    def over_seeds(self, groups: Iterable[Sequence[TrialResult]]) -> list[Lost]:
        """Return what the seeds of each operating point lose together."""
        return [Lost(*three) for three in _drops([(*self._lost_by(t), self._interaction(t)) for t in groups])]

    def _lost_by(self, trials: Sequence[TrialResult]) -> tuple[Joined | None, Joined | None]:
        """Return what is lost against the baselines of the same backend, and against those on eager."""
        own, eager = ([self.baseline(trial, backend) for trial in trials] for backend in (None, EAGER))
        lost = self._lost(own, trials)
        same = all(a is b for a, b in zip(own, eager, strict=True))
        return lost, lost if same else self._lost(eager, trials)

    def _lost(self, bases: Iterable[TrialResult | None], trials: Iterable[TrialResult]) -> Joined | None:
        results = [base.evaluated if base else None for base in bases]
        return self._correctness.lost([(b, t.evaluated) for b, t in zip(results, trials, strict=True)])

    def _lost_on_validation(self, trial: TrialResult) -> Joined | None:
        base = self.baseline(trial)
        return self._correctness.lost([(base.validated if base else None, trial.validated)])

    def _compared(
        self, trial: TrialResult, drop: Drop | None, drop_eager: Drop | None, val_drop: Drop | None
    ) -> SeedResult:
        base, interaction = self.baseline(trial), self._terms(trial)
        size, full = (one.compressed.size if one and one.compressed else None for one in (trial, base))
        return SeedResult(
            trial=trial,
            drop=drop,
            drop_eager=drop_eager,
            val_drop=val_drop,
            interaction=_lost_together(interaction) if interaction else None,
            file_ratio=_quotient(full.file_bytes, size.file_bytes) if full and size else None,
            deflated_ratio=_quotient(full.deflated_file_bytes, size.deflated_file_bytes) if full and size else None,
            compression_ratio=_quotient(full.payload_bytes, size.flash_bytes) if full and size else None,
            theoretical_speedup=_quotient(
                self._dense_macs.get((trial.trial.model, trial.trial.data, trial.trial.seed)),
                trial.trained.effective_macs if trial.trained else None,
            ),
            zeros=zeros_of(trial, self._dense_trial(trial, trial.trial.scheme, trial.trial.backend)),
            timings=self._judge.timings(trial),
        )

    def baseline(self, trial: TrialResult, backend: str | None = None) -> TrialResult | None:
        """Return dense fp32 of the same seed, on ``backend`` or the trial's own; None where there is none."""
        return self._dense_trial(trial, FP32, backend or trial.trial.backend)

    def _dense_trial(self, trial: TrialResult, scheme: str, backend: str) -> TrialResult | None:
        t = trial.trial
        batches = None if scheme == FP32 else t.calibration_batches
        return self._index.get((t.model, t.data, None, 0.0, t.seed, scheme, backend, batches))

    def _interaction(self, trials: Sequence[TrialResult]) -> Joined | None:
        found = [terms for trial in trials if (terms := self._terms(trial))]
        return self._correctness.joined(found) if found else None

    def _terms(self, trial: TrialResult) -> tuple[Term, ...]:
        """Return the accuracies that make an interaction, pruned + quantized − dense − joint; none where one lacks."""
        t = trial.trial
        if t.threshold == 0.0 or t.scheme == FP32:
            return ()
        pruned = self._index.get((t.model, t.data, t.pruner, t.threshold, t.seed, FP32, t.backend, None))
        quantized = self._dense_trial(trial, t.scheme, t.backend)
        four = ((1, pruned), (1, quantized), (-1, self.baseline(trial)), (-1, trial))
        terms = tuple((sign, r) for sign, one in four if one is not None and scored(r := one.evaluated))
        return terms if len(terms) == len(four) else ()


def _lost_together(terms: Sequence[Term]) -> float:
    return terms[0][1].scale.loss_factor * sum(sign * result.value for sign, result in terms)


def _drops(found: Sequence[Sequence[Joined | None]]) -> list[list[Drop | None]]:
    """Return differences with their intervals, all at once, as they were grouped."""
    drops = iter(drops_of([one for several in found for one in several if one]))
    return [[next(drops) if one else None for one in several] for several in found]


def _quotient(dense: float | None, here: float | None) -> float | None:
    return dense / here if dense and here and dense > 0 and here > 0 else None


def zeros_of(trial: TrialResult, dense: TrialResult | None) -> Zeros | None:
    """Return a trial's zeros against those of ``dense``, the dense network in the same format.

    With Z the zeros and W the weights of the layers that stand in the trained and in the running network alike, sums
    over layers, channels that were removed left out of both:

        before = Z_trained / W,  after = Z_running / W,  alone = after(dense) − before(dense),  owed = after − alone

    Returns:
        None where no layer can be found in both networks by its name.
    """
    shares = _shares(trial)
    if shares is None:
        return None
    own = _shares(dense) if dense else None
    alone = own[1] - own[0] if own else None
    return Zeros(*shares, alone, None if alone is None else shares[1] - alone)


def mean_zeros(found: Sequence[Zeros]) -> Zeros | None:
    """Return the means over seeds; what one of them does not know is unknown."""
    if not found:
        return None
    return Zeros._make(None if None in values else sum(values) / len(found) for values in zip(*found, strict=True))


def zeros_row(zeros: Zeros | None) -> dict[str, float | None]:
    """Return zeros as columns of data.csv; empty where they are not known."""
    names = "sparsity_before_quantization", "sparsity_after_quantization", "zeros_by_quantization_alone"
    return dict(zip((*names, "sparsity_without_those"), zeros or [None] * 4, strict=True))


def _shares(trial: TrialResult) -> tuple[float, float] | None:
    if trial.trained is None or trial.compressed is None:
        return None
    asked, zeros = Counter[str](), Counter[str]()
    for row in trial.trained.layers:
        asked[row.name] += row.weights
        zeros[row.name] += row.zeros
    # Removed channels count as zeros of the trained network, and are not in the one that runs.
    found = [
        (layer.weights, zeros[layer.name] - removed, layer.zeros)
        for layer in trial.compressed.layers
        if layer.name in asked and 0 <= (removed := asked[layer.name] - layer.weights) <= zeros[layer.name]
    ]
    weights, before, after = (sum(counts) for counts in zip(*found, strict=True)) if found else (0, 0, 0)
    return (before / weights, after / weights) if weights else None

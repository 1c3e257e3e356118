"""What a run answers: a pick and a comparison that read as their commands print them."""

import html
from dataclasses import dataclass

from sparsebench.decide.changes_text import table_text
from sparsebench.decide.compare import RunComparison
from sparsebench.decide.gates import Verdicts
from sparsebench.decide.pick import Decision
from sparsebench.decide.pick_text import decision_text
from sparsebench.points.exportable import KEY_LENGTH
from sparsebench.store.records import TrialResult


@dataclass(frozen=True, repr=False)
class Picked:
    """The answer of ``Run.pick``.

    Attributes:
        decision: which network, why, and what would settle it where none can be named.
    """

    decision: Decision

    @property
    def trial(self) -> TrialResult | None:
        """The trial that is named; None where none is."""
        return self.decision.trial

    def __bool__(self) -> bool:
        return self.trial is not None

    def __repr__(self) -> str:
        key = self.trial.trial.evaluate if self.trial else None
        return decision_text(self.decision, f'run.export("{key[:KEY_LENGTH]}")' if key else "")

    def _repr_html_(self) -> str:
        return _preformatted(repr(self))


@dataclass(frozen=True, repr=False)
class Compared:
    """The answer of ``Run.compare``.

    Attributes:
        comparison: what changed, trial by trial.
        verdicts: what each gate found.
        each_trial: whether rows are trials.
    """

    comparison: RunComparison
    verdicts: tuple[Verdicts, ...] = ()
    each_trial: bool = False

    @property
    def kept(self) -> bool:
        """Whether all gates are kept, and nothing that was done before is missing."""
        return all(one.state == "kept" for one in self.verdicts) and not (self.verdicts and self.comparison.lost)

    def __repr__(self) -> str:
        return table_text(self.comparison, self.verdicts, self.each_trial)

    def _repr_html_(self) -> str:
        return _preformatted(repr(self))


def _preformatted(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"

"""The command that exports a trial."""

import shlex
from collections.abc import Sequence

from sparsebench.errors import SparsebenchError
from sparsebench.export.formats import FORMATS, Format, refusal, require_exportable
from sparsebench.export.trials import KEY_LENGTH
from sparsebench.store.run import TrialResult

STEM = "network"
"""Name of the file that the command writes, without its ending."""


def export_command(run: Sequence[str], trial: TrialResult, trials: tuple[TrialResult, ...]) -> str:
    """Return the command line that exports a trial, to the format of its own backend where that has one.

    Args:
        run: how the run is named on the command line.
        trial: a trial that has been evaluated.
        trials: all trials of its run.

    Raises:
        SparsebenchError: where no format can hold it; the text says why and names trials that can be exported.
    """
    backend = trial.trial.backend.partition("(")[0]
    # Of no backend of ours, a program of torch.export needs no other library.
    ordered = sorted(FORMATS.values(), key=lambda to: (backend not in to.backends, to.name != "pt2"))
    fitting: list[Format] = [to for to in ordered if refusal(trial.trial, to) is None]
    if not fitting:
        require_exportable(trial, ordered[0], trials)
    if not fitting or not trial.trial.evaluate:
        raise SparsebenchError(f"{trial.trial.label} has not been evaluated, so that it cannot be exported.")
    to = fitting[0]
    key = trial.trial.evaluate[:KEY_LENGTH]
    return shlex.join(["sparsebench", "export", *run, key, "--to", to.name, "-o", f"{STEM}{to.suffix}"])

"""A run in the hands of a person: it shows its answer, and gives what one asks of it next."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.store import records
from sparsebench.store.records import TrialResult

if TYPE_CHECKING:
    from torch import nn

    from sparsebench.api.answers import Compared, Picked
    from sparsebench.export import Exported
    from sparsebench.report.card import Card

_OPTION = re.compile(r"--([a-z][a-z-]*)")

_REPORTS = Path("reports")


@dataclass(frozen=True, kw_only=True, repr=False)
class Run(records.Run):
    """A run: what was asked for, its trials, and what can be done with them.

    Attributes:
        root: its directory.
        notes: what a person should know of how its config came about, as sentences.
        made_here: whether it was run by this process, so that its code was named here.
    """

    root: Path = field(default=Path(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    made_here: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, run: records.Run, root: Path, notes: tuple[str, ...] = (), made_here: bool = False) -> Self:
        """Return a run that was read back as one that shows itself."""
        return cls(
            record=run.record,
            trials=run.trials,
            starts=run.starts,
            left_out=run.left_out,
            root=root,
            notes=notes,
            made_here=made_here,
        )

    def __repr__(self) -> str:
        from sparsebench.api.shown import run_text

        return run_text(self, self.root)

    def _repr_html_(self) -> str:
        """Return the answer, the table and the figures of the first page of a report, for a notebook."""
        from sparsebench.api.shown import run_html

        return run_html(self, self.root, self.notes)

    def pick(
        self,
        *,
        max_drop: str | float | None = None,
        max_size: str | float | None = None,
        max_deflated_size: str | float | None = None,
        max_ram: str | float | None = None,
        max_flash: str | float | None = None,
        max_macs: str | float | None = None,
        max_latency: str | float | None = None,
        minimize: str | None = None,
        maximize: str | None = None,
        then: Sequence[str] = (),
        backend: str | None = None,
        model: str | None = None,
        data: str | None = None,
        batch: int | None = None,
        threads: int | None = None,
        strict: bool = False,
        accept_open: bool = False,
        any_format: bool = False,
    ) -> "Picked":
        """Name the trial to ship, as ``sparsebench pick`` does; its options have the same names here.

        Args:
            max_drop: most accuracy that may be lost, as "1pp", which it is by default.
            max_size: largest saved file, as "100kB".
            max_deflated_size: largest saved file as a zip holds it.
            max_ram: largest arena on a microcontroller where it was measured, otherwise working memory.
            max_flash: most flash there, otherwise that of the non-zero weights.
            max_macs: most multiply-accumulates with a non-zero weight, as "5M".
            max_latency: highest median latency, as "2ms".
            minimize: what to have least of: latency, size, deflated_size (the default), flash, macs or memory.
            maximize: or what to have most of: accuracy.
            then: what decides among equals.
            backend: only trials of this backend.
            model: the network, where the run has several.
            data: the data, where the run has several sets.
            batch: the latency at so many samples in one call.
            threads: the latency on so many threads.
            strict: whether limits must hold at the far end of the 95 % interval, or for every seed.
            accept_open: whether the best guess is named where the test set is too small to be sure.
            any_format: whether what cannot be exported may be named.

        Raises:
            ProblemsError: with all that is wrong with the arguments.
        """
        from sparsebench.api.answers import Picked
        from sparsebench.decide.pick import decide
        from sparsebench.decide.question import ask
        from sparsebench.points.points import sections

        limits = {"drop": max_drop, "size": max_size, "deflated_size": max_deflated_size, "ram": max_ram}
        limits |= {"flash": max_flash, "macs": max_macs, "latency": max_latency}
        try:
            section, question = ask(
                sections(self),
                limits={name: None if most is None else str(most) for name, most in limits.items()},
                minimize=minimize,
                maximize=maximize,
                then=then,
                strict=strict,
                exportable_only=not any_format,
                model=model,
                data=data,
                backend=backend,
                batch=batch,
                threads=threads,
            )
        except ProblemsError as error:
            problems = [_OPTION.sub(lambda found: found[1].replace("-", "_"), text) for text in error.problems]
            raise ProblemsError("This cannot be picked:", problems) from None
        return Picked(decide(self, section, question, accept_open=accept_open))

    def compare(self, other: records.Run, *, fail_on: Sequence[str] = (), by: str = "point") -> "Compared":
        """Compare this run with a later one, trial by trial, paired where possible.

        Args:
            other: the run after.
            fail_on: gates, such as "accuracy_drop>0.5pp".
            by: rows: "point", operating points over their seeds, or "trial".

        Raises:
            SparsebenchError: where the runs cannot be compared, or a gate cannot be read.
        """
        from sparsebench.api.answers import Compared
        from sparsebench.decide.compare import compare_runs
        from sparsebench.decide.gates import judge, parse_gates

        if by not in ("point", "trial"):
            raise SparsebenchError(f"by = {by!r} is not allowed; compare by 'point' or by 'trial'.")
        found = compare_runs(self, other)
        gates = parse_gates(list(fail_on), "significant")
        verdicts = tuple(judge(gate, found, each_trial=by == "trial") for gate in gates)
        return Compared(found, verdicts, each_trial=by == "trial")

    def find(self, trial: "str | TrialResult | Picked") -> TrialResult:
        """Return a trial: by its key, or parts of its label as in ``"static 0.8 openvino"``.

        Raises:
            SparsebenchError: where no trial or more than one is meant; the text lists those that may be.
        """
        from sparsebench.export.formats import find_trial

        if isinstance(trial, TrialResult):
            return trial
        if isinstance(trial, str):
            return find_trial(self.trials, trial)
        if trial.trial is None:
            raise SparsebenchError(f"No trial was picked: {' '.join(trial.decision.reasons)}")
        return trial.trial

    def export(
        self,
        trial: "str | TrialResult | Picked",
        to: str | None = None,
        out: str | Path | None = None,
        *,
        force: bool = False,
        trust: bool = False,
    ) -> "Exported":
        """Write a trial as a file for its runtime, reload it, compare, and write a model card.

        Args:
            trial: what ``pick`` returned, a trial, or the text by which ``find`` finds it.
            to: ``onnx``, ``openvino``, ``tflite``, ``pt2`` or ``safetensors``; by default that of its backend.
            out: the file; by default one in this folder, of the run's name.
            force: whether files that exist are replaced.
            trust: whether code that the records name is run, where this process has not run it itself.

        Raises:
            SparsebenchError: where it cannot become such a file, or does not compute what was measured.
        """
        from sparsebench.export import export_of
        from sparsebench.export.formats import require_exportable
        from sparsebench.points.exportable import FORMATS, format_of, formats_in_order
        from sparsebench.registry import unknown_name

        found = self.find(trial)
        chosen = format_of(found) if to is None else FORMATS.get(to)
        if chosen is None:
            if to is not None:
                raise SparsebenchError(unknown_name("format", to, FORMATS))
            chosen = formats_in_order(found.trial)[0]
            require_exportable(found, chosen, self.trials)
        path = Path(out) if out is not None else Path(f"{self.record.name}{chosen.suffix}")
        return export_of(self, self.root, found, chosen, path, force=force, trust=trust or self.made_here)

    def report(self, out: str | Path | None = None, *, html: bool = False) -> Path:
        """Write the report of the run, and return the path of its first page.

        Args:
            out: the folder; ``reports/<name of the run directory>`` by default.
            html: whether to write index.html too.
        """
        from sparsebench.report import write_report

        return write_report(self, out or _REPORTS / self.root.resolve().name, html=html)

    def card(self, before: records.Run | None = None, *, fail_on: Sequence[str] = ()) -> "Card":
        """Return what each scheme and runtime makes of the network as a card: Markdown, HTML and JSON.

        Args:
            before: an earlier run; what changed since stands below.
            fail_on: gates on what changed, such as "accuracy_drop>0.5pp".
        """
        from sparsebench.report.card import Card

        return Card(self, before, tuple(fail_on))

    def network(self, trial: "str | TrialResult | Picked", *, trust: bool = False) -> "nn.Module":
        """Return the network of a trial, compressed and ready to be called, on the CPU.

        Args:
            trial: what ``pick`` returned, a trial, or the text by which ``find`` finds it.
            trust: whether code that the records name is run, where this process has not run it itself.

        Raises:
            SparsebenchError: where the trial has none, or its code is not here.
        """
        from sparsebench.runner.stages import Workbench
        from sparsebench.runner.trial_network import why_unusable
        from sparsebench.store.run_directory import Store
        from sparsebench.trust import require_trusted

        found = self.find(trial)
        if why := why_unusable(found):
            raise SparsebenchError(f"{found.trial.label} has no network to be called. {why}")
        settings = found.train.settings if found.train else {}
        require_trusted(settings, trust or self.made_here, "give trust=True")
        return Workbench(Store(self.root, writable=False), "cpu").restore(found.trial.compress)

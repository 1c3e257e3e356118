"""From the options of ``sparsebench pick`` to a question; all that is wrong with them is said at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from sparsebench.decide.choosing import Question, default_limit
from sparsebench.decide.criteria import criteria_of, limits_of
from sparsebench.errors import ProblemsError, SparsebenchError
from sparsebench.points.points import Point, Section
from sparsebench.registry import METRICS, unknown_name
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import parse_quantity
from sparsebench.wording.text import counted, listing

OPTIONS = {
    "drop": "--max-drop",
    "size": "--max-size",
    "deflated_size": "--max-deflated-size",
    "flash": "--max-flash",
    "memory": "--max-ram",
    "ram": "--max-ram",
    "macs": "--max-macs",
    "latency": "--max-latency",
}
"""The option that limits each criterion."""

DEFAULT_OBJECTIVE = "deflated_size"
"""What is minimized where nothing is said: the size that a report's first line gives."""


_NONE = Section("", "", (), ())


def ask(
    found: Sequence[Section],
    *,
    limits: Mapping[str, str | None] = MappingProxyType({}),
    minimize: str | None = None,
    maximize: str | None = None,
    then: Sequence[str] = (),
    strict: bool = False,
    exportable_only: bool = True,
    model: str | None = None,
    data: str | None = None,
    backend: str | None = None,
    batch: int | None = None,
    threads: int | None = None,
) -> tuple[Section, Question]:
    """Return the section that is meant, with the latencies that are meant, and the question.

    Options are as they were typed; None is what was not asked for. ``limits`` are by the name of the criterion. Where
    there is no limit on the drop, it is that of a report.

    Raises:
        ProblemsError: with all that is wrong with the options.
    """
    problems: list[str] = []
    later: list[str] = []
    section = _section(found, model, data, later)
    scale = (section or next(iter(found), None) or _NONE).scale
    most = limits_from(limits, scale, problems)
    objective = _objective(minimize, maximize, scale, problems)
    after = tuple(_criterion("--then", name, scale, problems) for name in then)
    problems += later
    if section:
        most.setdefault("drop", default_limit(section))
        section = _timed_at(section, batch, threads, problems)
    eligible = _eligible(section, backend, problems) if section else None
    if problems or section is None or eligible is None:
        raise ProblemsError("The command cannot be carried out:", problems)
    question = Question(objective=objective, then=after, limits=most, strict=strict, eligible=eligible)
    return section, replace(question, exportable_only=exportable_only)


def limits_from(texts: Mapping[str, str | None], scale: Scale, problems: list[str]) -> dict[str, float]:
    """Return limits in their base units, by the name of the criterion, from how they were typed.

    Args:
        texts: numbers with their units, None for no limit.
        scale: that of the metric, in whose unit a drop is.
        problems: takes a sentence for each text that cannot be used.
    """
    limits: dict[str, float] = {}
    known = limits_of(scale)
    for name, text in texts.items():
        if text is None:
            continue
        try:
            value, _ = parse_quantity(text, known[name].dimension)
        except SparsebenchError as error:
            problems.append(f"{OPTIONS[name]} {text}: {error}")
            continue
        if value <= 0 and name != "drop":
            problems.append(f"{OPTIONS[name]} {text}: nothing has so little; give more than 0.")
        limits[name] = value
    return limits


def _objective(minimize: str | None, maximize: str | None, scale: Scale, problems: list[str]) -> str:
    if minimize and maximize:
        problems.append(
            "--minimize and --maximize: one of them is the objective; name what decides after it with --then."
        )
    most = bool(maximize)
    option, other, better = ("--maximize", "--minimize", "less") if most else ("--minimize", "--maximize", "more")
    name = _criterion(option, maximize or minimize or DEFAULT_OBJECTIVE, scale, problems)
    criteria = criteria_of(scale)
    if name in criteria and criteria[name].most is not most:
        problems.append(f"{option} {name}: {better} of it is better; write {other} {name}.")
    return name


def _criterion(option: str, name: str, scale: Scale, problems: list[str]) -> str:
    known = name.strip().lower().replace("-", "_")
    known = METRICS.canonical(known)
    criteria = criteria_of(scale)
    if known not in criteria:
        problems.append(f"{option}: {unknown_name('criterion', name, criteria)}")
    return known


def _section(found: Sequence[Section], model: str | None, data: str | None, problems: list[str]) -> Section | None:
    for option, wanted, names in (
        ("--model", model, [section.model for section in found]),
        ("--data", data, [section.data for section in found]),
    ):
        if wanted is not None and wanted not in names:
            problems.append(f"{option}: {unknown_name('name', wanted, set(names))}")
            return None
    left = [s for s in found if model in (None, s.model) and data in (None, s.data)]
    if len(left) == 1:
        return left[0]
    if not left:
        problems.append("The run has no trials of that model and data." if found else "The run has no trials.")
    else:
        networks = listing([f"{section.model} on {section.data}" for section in left])
        problems.append(f"The run has {counted(len(left), 'network')}: {networks}. Name one with --model and --data.")
    return None


def _timed_at(section: Section, batch: int | None, threads: int | None, problems: list[str]) -> Section:
    """Return the section with its latencies read at the batch size and threads that are asked for."""
    asked = {"--batch": batch, "--threads": threads}
    shown = " ".join(f"{option} {value}" for option, value in asked.items() if value is not None)
    fitting = [s for s in section.settings if batch in (None, s[0]) and threads in (None, s[1])]
    if not shown:
        return section
    if fitting:
        return replace(section, preferred=fitting[0])
    known = listing([f"batch {size} with {counted(cores, 'thread')}" for size, cores in section.settings])
    why = f"latency was not measured so. It was at {known}." if known else "no latency was measured in this run."
    problems.append(f"{shown}: {why}")
    return section


def _eligible(section: Section, backend: str | None, problems: list[str]) -> Callable[[Point], bool]:
    """Return which points may be picked: those of the backend, by its label or its name without options.

    A network that predicts one class only is none of them, however accurate it is.
    """
    if backend is None:
        return lambda point: not point.predicts_one_class
    labels = [label for label in section.backends if backend in (label, label.partition("(")[0])]
    if not labels:
        problems.append(f"--backend: {unknown_name('backend', backend, section.backends)}")
    return lambda point: point.backend in labels and not point.predicts_one_class

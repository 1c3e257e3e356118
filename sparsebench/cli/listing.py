"""The tables that the command line prints: registries, and the plan of a run with its state."""

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from tabulate import tabulate

from sparsebench.backends import build_offer
from sparsebench.decide.boards import BOARDS
from sparsebench.registry import BACKENDS, DATASETS, METRICS, MODELS, PRUNERS, SCHEMES, Registry, import_reference
from sparsebench.runner.graph import StageStatus, stage_status
from sparsebench.runner.plan import Plan
from sparsebench.store.records import STAGE_KINDS
from sparsebench.store.run_directory import Store
from sparsebench.wording.text import counted

Row = dict[str, str]

REGISTRIES: dict[str, tuple[Registry, str]] = {
    "models": (MODELS, "networks"),
    "data": (DATASETS, "data that networks are trained and tested on"),
    "metrics": (METRICS, "what networks are judged by"),
    "pruners": (PRUNERS, "how weights are chosen that become zero, or are removed"),
    "schemes": (SCHEMES, "numeric formats, to which networks are quantized"),
    "backends": (BACKENDS, "what runs the networks, with what this machine has of it"),
}
"""What can be listed, by the kind that a command names."""

NARROWEST = 16
"""Characters below which no column of a table is wrapped."""


def kinds_to_list() -> list[Row]:
    """Return one row for each kind of thing that can be listed."""
    kinds = [
        {"kind": kind, "what it is": what, "known": str(len(registry) + len(registry.provided))}
        for kind, (registry, what) in REGISTRIES.items()
    ]
    boards = "microcontrollers, with the flash and RAM that reports judge by"
    return [*kinds, {"kind": "boards", "what it is": boards, "known": str(len(BOARDS))}]


def rows_of_boards() -> list[Row]:
    """Return one row for each board, with the document that its figures are from."""
    return [
        {
            "name": board.name,
            "chip": board.chip,
            "flash": f"{board.flash_bytes // 2**10:,} KiB",
            "RAM": f"{board.ram_bytes // 2**10:,} KiB",
            "source": board.source,
        }
        for board in BOARDS
    ]


def rows_of(kind: str) -> list[Row]:
    """Return one row for each name of a registry, with the first line of its documentation."""
    registry, _ = REGISTRIES[kind]
    aliases = {target: alias for alias, target in registry.aliases.items()}
    homes = {name: registry[name] for name in sorted(registry)}
    homes |= dict(sorted(registry.provided.items()))
    rows = []
    for name, home in homes.items():
        alias = {"alias": aliases.get(name, "")} if aliases else {}
        row = {"name": name, **alias, "what it is": _summary(home)}
        if kind == "backends":
            backend = build_offer(name)
            row["schemes"] = ", ".join(scheme for scheme in SCHEMES if not backend.offers(scheme))
            row["here"] = backend.problem() or "available"
        rows.append(row)
    return rows


def as_table(rows: Sequence[Row], width: int | None = None) -> str:
    """Return rows as a table for a terminal.

    Args:
        rows: one mapping from headings to cells for each.
        width: characters of a line, within which the longest columns are wrapped; None for as many as it takes.
    """
    # A heading has two blanks behind it, and so has each column but the last.
    widths = [max(len(name) + 2, *(len(row[name]) for row in rows)) for name in rows[0]] if rows else []
    natural = list(widths)
    while width and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    # Wrapping is slow where there are many rows: only what has to be is wrapped.
    wrapped = [most if most < was else None for most, was in zip(widths, natural, strict=True)]
    most_each = wrapped if any(wrapped) else None
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True, maxcolwidths=most_each)


def plan_text(plan: Plan, root: Path, status: Mapping[str, StageStatus] | None = None, width: int | None = None) -> str:
    """Return the plan of a run as text: every trial with its state, and the stages counted by state.

    Args:
        plan: what would be run.
        root: the run's directory, which may not exist.
        status: where each stage stands in it, where that is known already.
        width: characters of a line; None for as many as it takes.
    """
    status = status or stage_status(plan, Store(root, writable=False))
    several = len({trial.calibration_batches for trial in plan.trials} - {None}) > 1
    rows = []
    for trial in plan.trials:
        keys = [key for key in (trial.train, trial.compress, trial.validate, trial.evaluate, *trial.measure) if key]
        rows.append(
            {
                "model": trial.model,
                "data": trial.data,
                "pruner": trial.pruner or "dense",
                "threshold": f"{trial.threshold:g}",
                "seed": str(trial.seed),
                "scheme": trial.scheme,
                "backend": trial.backend,
                **({"calibration batches": str(trial.calibration_batches or "")} if several else {}),
                "state": trial.not_offered or _joint([status[key] for key in keys]),
            }
        )
    kinds = {stage.key: stage.kind for stage in plan.stages}
    counts = Counter((kinds[key], state) for key, state in status.items())
    states: tuple[StageStatus, ...] = ("done", "pending", "failed", "skipped")
    stages = [{"stage": kind, **{state: str(counts[kind, state]) for state in states}} for kind in STAGE_KINDS]
    alike = {name: rows[0][name] for name in ("model", "data", "backend") if len({row[name] for row in rows}) == 1}
    told = [{name: cell for name, cell in row.items() if name not in alike} for row in rows]
    every = f"All: {', '.join(f'{name} {value}' for name, value in alike.items())}.\n\n" if alike else ""
    count = f"{counted(len(plan.trials), 'trial')} in {root}"
    return f"{as_table(told, width)}\n\n{every}{count}\n\n{as_table(stages, width)}"


def _joint(states: Sequence[StageStatus]) -> str:
    """Return the state of a trial: failed or skipped if any stage is, done if all are."""
    if "failed" in states or "skipped" in states:
        return "failed"
    return "done" if all(state == "done" for state in states) else "pending"


def _summary(reference: str) -> str:
    """Return the first sentence of a component's documentation, read from its source: importing it may take torch."""
    module, _, attribute = reference.partition(":")
    source, kinds = _source(module), (ast.FunctionDef, ast.ClassDef)
    tree = ast.parse(source.read_text(encoding="utf-8") if source else "")
    found = (node for node in tree.body if isinstance(node, kinds) and node.name == attribute)
    documented = next((ast.get_docstring(node) for node in found), None)
    text = documented or import_reference(reference).__doc__ or ""
    # Docstrings are reStructuredText, and a terminal shows none.
    return text.strip().partition("\n")[0].rstrip(".").replace("``", "")


def _source(module: str) -> Path | None:
    """Return the file of a module without importing the packages that hold it; None where it is not a plain file."""
    package, *inner = module.split(".")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent.joinpath(*inner).with_suffix(".py") if inner else Path(spec.origin)
    return file if file.suffix == ".py" and file.is_file() else None

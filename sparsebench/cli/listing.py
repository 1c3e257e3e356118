"""The tables that the command line prints: registries, and the plan of a run with its state."""

import ast
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tabulate import tabulate

from sparsebench.backends import build_offer
from sparsebench.registry import BACKENDS, DATASETS, MODELS, PRUNERS, SCHEMES, Registry, import_reference
from sparsebench.runner.graph import StageStatus, stage_status
from sparsebench.runner.plan import Plan
from sparsebench.store.records import STAGE_KINDS
from sparsebench.store.run_directory import Store

Row = dict[str, str]

REGISTRIES: dict[str, Registry] = {
    "models": MODELS,
    "datasets": DATASETS,
    "pruners": PRUNERS,
    "schemes": SCHEMES,
    "backends": BACKENDS,
}


def rows_of(kind: str) -> list[Row]:
    """Return one row for each name of a registry, with the first line of its documentation."""
    registry = REGISTRIES[kind]
    aliases = {target: alias for alias, target in registry.aliases.items()}
    homes = {name: registry[name] for name in sorted(registry)}
    homes |= {f"{prefix}:{registry.placeholder}": home for prefix, home in sorted(registry.providers.items())}
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


def as_table(rows: Sequence[Row]) -> str:
    """Return rows as a table for a terminal."""
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


def plan_text(plan: Plan, root: Path) -> str:
    """Return the plan of a run as text: every trial with its state, and the stages counted by state.

    Args:
        plan: what would be run.
        root: the run's directory, which may not exist.
    """
    status = stage_status(plan, Store(root, writable=False))
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
    return f"{as_table(rows)}\n\n{len(plan.trials)} trials in {root}\n\n{as_table(stages)}"


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
    return text.strip().partition("\n")[0].rstrip(".")


def _source(module: str) -> Path | None:
    """Return the file of a module without importing the packages that hold it; None where it is not a plain file."""
    package, *inner = module.split(".")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent.joinpath(*inner).with_suffix(".py") if inner else Path(spec.origin)
    return file if file.suffix == ".py" and file.is_file() else None

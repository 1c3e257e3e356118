"""What other runs have done of a plan: it is taken over where a person asks for that, and told where it could be."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sparsebench.runner.graph import stage_status
from sparsebench.runner.plan import Plan
from sparsebench.store.records import StageKind
from sparsebench.store.reuse import runs_beside, take
from sparsebench.store.run_directory import Store
from sparsebench.wording.text import counted, listing

_NAMES: dict[StageKind, str] = {
    "train": "training",
    "compress": "conversion",
    "evaluate": "evaluation",
    "sensitivity": "profile",
}


def reused(plan: Plan, store: Store, sources: Sequence[Path]) -> tuple[str, ...]:
    """Take over what other runs have done of a plan, and return a sentence for each of them.

    Raises:
        StoreError: where one of them is no run, or a file cannot be read or written.
    """
    status = stage_status(plan, store)
    done = [stage for stage in plan.stages if status[stage.key] == "done"]
    parents = {stage.key: record for stage in done if (record := store.believed(stage.kind, stage.key))}
    left = [(stage.kind, stage.key, stage.parent) for stage in plan.stages if status[stage.key] != "done"]
    told = []
    for source in sources:
        kinds: Counter[StageKind] = Counter(record.stage for record in take(source, left, parents, store))
        what = listing([counted(kinds[kind], name) for kind, name in _NAMES.items() if kinds[kind]])
        told.append(f"Taken over from {source}: {what or 'nothing, for it has done no stage that is left to do'}.")
        left = [place for place in left if place[1] not in parents]
    return tuple(told)


def reusable(left: Sequence[str], store: Store) -> tuple[str, ...]:
    """Return a sentence where a run beside this one has done trainings that are left to do here, given by their keys.

    Of other stages nothing is said: training is what takes long.
    """
    for path, count in runs_beside(store, "train", left) if left else ():
        return (f"{path} has done {counted(count, 'training')} of this sweep. --reuse {path} takes over what it has.",)
    return ()

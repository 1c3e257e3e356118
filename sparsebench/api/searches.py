"""Searches from Python: over the objects at hand or a config, with progress."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.api.run import Run
from sparsebench.api.sweeps import shown
from sparsebench.config import SweepConfig, load_config
from sparsebench.errors import SparsebenchError
from sparsebench.runner.executors import Executor
from sparsebench.runner.watcher import Watcher

if TYPE_CHECKING:
    from sparsebench.search.sequence import Searched


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchedRun(Run):
    """The run of a search: its front and dense fp32, with all that a run has, and how the search went.

    Attributes:
        searched: the front as it was chosen on validation, the rounds, what matters, and seconds.
    """

    searched: "Searched | None" = field(default=None, compare=False)

    def page(self, out: str | os.PathLike[str] | None = None) -> Path:
        """Write the report of the search, ``search.md``, and return its path.

        Args:
            out: the folder; by default ``reports/`` and the name of the run.

        Raises:
            SparsebenchError: where it cannot be written.
        """
        from sparsebench.search.page import write_page

        if self.searched is None:
            raise SparsebenchError("This run was read back, and how its search went was not; call run_search again.")
        return write_page(self.searched, Path(out) if out is not None else Path("reports") / self.record.name)


def run_search(
    network: Any = None,
    data: Any = None,
    *,
    config: SweepConfig | None = None,
    trials: int | None = None,
    seconds: float | None = None,
    max_drop: str | None = None,
    max_size: str | None = None,
    max_deflated_size: str | None = None,
    max_flash: str | None = None,
    max_ram: str | None = None,
    max_macs: str | None = None,
    max_latency: str | None = None,
    search: Mapping[str, Any] | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    jobs: int = 1,
    executor: Executor | None = None,
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    check: bool = True,
    progress: bool = True,
    command: str = "",
    **keys: Any,
) -> SearchedRun:
    """Search for networks under limits, over the objects at hand or a config, and return the run of the front.

    Thresholds of groups of layers, pruners, schemes and backends are proposed; what breaks a limit that can be computed
    is never trained. Each network is trained briefly and judged in every format, the best of them in full. The front is
    chosen on validation and read once on test. The same call goes on where it was.

    Args:
        network: as in ``sweep``: a network, what builds one, or a name; None for that of ``config``.
        data: as in ``sweep``; None for that of ``config``.
        config: what to search, with its ``[search]``, in place of network, data and keys.
        trials: networks that are trained.
        seconds: of training, conversion and evaluation, after which nothing more is proposed.
        max_drop: most that may be lost on validation, as "1pp".
        max_size: largest saved file, as "100kB".
        max_deflated_size: largest saved file as a zip holds it.
        max_flash: largest store of the non-zero weights alone, as "64kB".
        max_ram: largest working memory, as "16kB".
        max_macs: most multiply-accumulates with a non-zero weight, as "5M".
        max_latency: highest latency, as "2ms", by the upper end of its interval.
        search: further keys of ``[search]``.
        runs_dir: the folder in which run directories lie.
        jobs: how many stages may run at once.
        executor: where stages run, in place of ``jobs``.
        retry_failed: whether stages that failed before are tried again.
        watcher: is told how the search goes on, in place of what shows progress.
        check: whether one real batch goes the whole way before any work.
        progress: whether progress is shown.
        command: the command line to note in the run's record.
        keys: as in ``sweep``: pruners, schemes, backends, seeds, epochs, train and all others of the config.

    Raises:
        ConfigError: with all that is wrong, or where no network can keep the limits.
        SparsebenchError: where the network or the data cannot be used, or optuna is not installed.
    """
    given = {
        "trials": trials,
        "seconds": seconds,
        "max_drop": max_drop,
        "max_size": max_size,
        "max_deflated_size": max_deflated_size,
        "max_flash": max_flash,
        "max_ram": max_ram,
        "max_macs": max_macs,
        "max_latency": max_latency,
    }
    sought = {**(search or {}), **{key: value for key, value in given.items() if value is not None}}
    notes: Sequence[str] = ()
    if network is None and data is None:
        if keys:
            names = ", ".join(sorted(keys))
            raise SparsebenchError(
                f"run_search was given {names} without a network and data; put that into the config."
            )
        asked_for = config or load_config()
        before = asked_for.model_dump(mode="json")
        settings = load_config({**before, "search": {**(before.get("search") or {}), **sought}})
    elif config is not None or network is None or data is None:
        raise SparsebenchError("run_search takes a network and data, or a config; give the one or the other.")
    else:
        from sparsebench.api.asked import asked

        found = asked(network, data, {**keys, "search": sought})
        settings, notes = found.config, found.notes
    from sparsebench.search.sequence import search as look_for

    with shown(progress, watcher) as told:
        for note in notes:
            told.noted(note)
        result = look_for(
            settings,
            runs_dir=Path(runs_dir),
            retry_failed=retry_failed,
            watcher=told,
            jobs=jobs,
            executor=executor,
            command=command,
            check=check,
        )
    run = Run.of(result.run, result.root, notes=tuple(notes), made_here=True)
    return SearchedRun(**{one.name: getattr(run, one.name) for one in fields(run)}, searched=result)

"""Sweeps from Python: over the objects at hand or a config, with progress, and a run that shows its answer."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsebench.api.run import Run
from sparsebench.config import SweepConfig, load_config
from sparsebench.progress.notebook import Cell, in_notebook
from sparsebench.runner import sequencer
from sparsebench.runner.executors import Executor
from sparsebench.runner.sharing.shards import Shard
from sparsebench.runner.watcher import Watcher
from sparsebench.store import run_directory

Reused = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def sweep(
    network: Any,
    data: Any,
    *,
    name: str | None = None,
    thresholds: Sequence[float] | float | None = None,
    schemes: Sequence[str] | str | None = None,
    backends: Sequence[Any] | str | None = None,
    pruners: Sequence[Any] | str | None = None,
    seeds: Sequence[int] | None = None,
    epochs: int | None = None,
    trainer: Any = None,
    metric: Any = None,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    prune: Mapping[str, Any] | None = None,
    quantize: Mapping[str, Any] | None = None,
    qat: Mapping[str, Any] | None = None,
    measure: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    ray: Mapping[str, Any] | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    jobs: int = 1,
    executor: Executor | None = None,
    retry_failed: bool = False,
    check: bool = True,
    reuse: Reused = (),
    progress: bool = True,
    **more: Any,
) -> Run:
    """Sweep pruning thresholds, schemes and runtimes over a network and data, and return the run.

    Networks and data may be the objects at hand or names. What can be imported by its name from a module is used by
    it, so that keys and records are those of the same config in TOML. Everything else, such as a class of a notebook, a
    trained network or tensors, is known by a digest of its code, weights and content: the same call goes on where it
    was, tomorrow and in another process too, and what has changed is made anew. Objects are never written into the run
    directory.

    Args:
        network: a trained ``nn.Module``: it is the dense network, copied and never changed. Or a class or function that
            builds a fresh one, with ``num_classes`` and ``input_shape`` where it takes them; a name, such as
            ``resnet20``, ``timm:resnet18`` or ``package.module:callable``; or a list of these.
        data: ``(train, test)``, ``(train, val, test)``, a mapping of these names, or one data set; each a map-style
            data set of ``(input, label)``, ``(inputs, labels)`` as tensors or arrays, or a ``DataLoader``, whose data
            set, batch size and collate function are used. What is missing is held out of train. Or a name or function,
            as in a config.
        name: of the run and its directory; by default from network and data.
        thresholds: fractions of the prunable weights that become zero; 0 is the dense control.
        schemes: numeric formats; ``all`` for every one.
        backends: what runs the networks, names or tables; ``all`` for every one.
        pruners: how weights are chosen, names or tables.
        seeds: each is a training of its own; 0 alone where nothing is trained.
        epochs: of each training. By default those of a config, or 0, no training, for trained networks.
        trainer: a class that keeps the trainer contract, an instance of it, or a name.
        metric: what networks are judged by: a name (``sparsebench list metrics``), a function ``(outputs, targets)`` of
            one value a sample or one number over all, which says ``higher_is_better`` as an attribute, or the keys of
            ``[metric]``, whose ``name`` may be such a function; accuracy by default.
        model: further keys of ``[model]``, such as ``options`` and ``weights``.
        train: keys of ``[train]``; so are ``prune``, ``quantize``, ``qat``, ``measure``, ``run`` and ``ray`` those of
            the sections of their names.
        prune: see ``train``.
        quantize: see ``train``.
        qat: see ``train``.
        measure: see ``train``; ``{"batch_sizes": []}`` times nothing.
        run: see ``train``.
        ray: see ``train``.
        runs_dir: the folder in which run directories lie.
        jobs: how many stages may run at once, in processes of their own where more than 1.
        executor: where stages run, in place of ``jobs``.
        retry_failed: whether stages that failed before are tried again.
        check: whether one real batch goes the whole way before any work.
        reuse: a run or several, by their directories, from which stages of the same keys are taken over.
        progress: whether progress is shown: in a notebook below the cell, else on stderr.
        more: further keys of the config.

    Raises:
        ConfigError: with all that is wrong; nothing was run.
        SparsebenchError: where the network or the data cannot be used.
    """
    from sparsebench.api.asked import asked

    keys: dict[str, Any] = {
        "name": name,
        "thresholds": thresholds,
        "schemes": schemes,
        "seeds": seeds,
        "epochs": epochs,
    }
    keys |= {"backends": backends, "pruners": pruners, "trainer": trainer, "metric": metric, "model": model}
    keys |= {
        "train": train,
        "prune": prune,
        "quantize": quantize,
        "qat": qat,
        "measure": measure,
        "run": run,
        "ray": ray,
    }
    found = asked(network, data, {**keys, **more})
    return run_sweep(
        found.config,
        runs_dir=runs_dir,
        jobs=jobs,
        executor=executor,
        retry_failed=retry_failed,
        check=check,
        reuse=reuse,
        progress=progress,
        notes=found.notes,
    )


def run_sweep(
    config: SweepConfig | None = None,
    *,
    runs_dir: str | os.PathLike[str] = "runs",
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    shard: Shard | None = None,
    command: str = "",
    check: bool = True,
    reuse: Reused = (),
    progress: bool = True,
    notes: Sequence[str] = (),
) -> Run:
    """Run what is left of a sweep and return the whole run.

    A stage that is done is never done again: a run that was killed goes on where it was, and a finished one returns
    at once. A stage that fails is recorded with its error, what builds on it is skipped, and the rest goes on. Several
    processes may run the same sweep in the same directory at once: they share the work.

    Args:
        config: what to sweep; the embedded default where None.
        runs_dir: the directory in which the run's own directory, named by ``config.name``, lies.
        retry_failed: whether stages that failed before are tried again.
        watcher: is told how the run goes on, in place of what shows progress.
        jobs: how many stages may run at once on this machine: one in this process, more in worker processes.
        executor: where stages run, in place of ``jobs``.
        shard: the part of the sweep to run, without timing; all of it where None.
        command: the command line to note in the run's record.
        check: whether data, networks and trainer are checked before any work, and one real batch goes the whole way.
        reuse: a run or several, by their directories; what they have done of the very same stages is taken over,
            latencies apart.
        progress: whether progress is shown: in a notebook below the cell, else on stderr.
        notes: what a person should know of how the config came about; they are shown, and stand in ``Run.notes``.

    Returns:
        The run as ``load_run`` reads it; of a shard, its own trials alone.

    Raises:
        ConfigError: where the data, the networks or the trainer of the config cannot be used; nothing was run.
        StoreError: where the run directory cannot be written to.
    """
    config = config or load_config()
    with shown(progress, watcher) as told:
        for note in notes:
            told.noted(note)
        found = sequencer.run_sweep(
            config,
            runs_dir=Path(runs_dir),
            retry_failed=retry_failed,
            watcher=told,
            jobs=jobs,
            executor=executor,
            shard=shard,
            command=command,
            check=check,
            reuse=[Path(one) for one in ([reuse] if isinstance(reuse, str | os.PathLike) else reuse)],
        )
    return Run.of(found, Path(runs_dir) / config.name, notes=tuple(notes), made_here=True)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run back from its directory.

    Args:
        path: ``runs/<name>``, which holds ``run.json``.

    Returns:
        The run's record and its trials, each joined with the records of its stages. Records that are not believed are
        left out, and named in ``left_out``; the next start of the run makes them again.

    Warns:
        LeftOutWarning: where records were left out.

    Raises:
        StoreError: where there is no run, or its own record is not believed.
        RecordSchemaError: where that was written under another schema version.
    """
    return Run.of(run_directory.load_run(path), Path(path))


@contextmanager
def shown(progress: bool, watcher: Watcher | None) -> Iterator[Watcher]:
    """Yield who is told of a run: the watcher that was given, or what shows it where a person looks."""
    if watcher is not None or not progress or (sys.stderr is None and not in_notebook()):
        yield watcher or Watcher()
        return
    from sparsebench.progress.display import watcher_for

    with Cell() if in_notebook() else watcher_for() as display:
        yield display

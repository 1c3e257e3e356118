"""From a trial to a verified file and its model card."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.errors import SparsebenchError
from sparsebench.export.formats import FORMATS, Format, content, require_exportable
from sparsebench.export.trials import find_trial
from sparsebench.registry import unknown_name
from sparsebench.store.disk import disk
from sparsebench.store.environment import describe_environment
from sparsebench.store.run_directory import Store, load_run

if TYPE_CHECKING:
    from sparsebench.export.verify import Verification

CARD = ".md"


@dataclass(frozen=True)
class Exported:
    """What an export left behind: the main file, all files with the card last, and how it was verified."""

    path: Path
    files: tuple[Path, ...]
    verification: "Verification"


def export_trial(
    run: str | os.PathLike[str], trial: str, to: str, out: str | os.PathLike[str], *, force: bool = False
) -> Exported:
    """Write a trial of a run as a file for its runtime, verify it, and write a model card beside it.

    The file is reloaded in a fresh process that has the runtime and torch only, or, of weights, into a freshly built
    network. The whole test set is run through it: outputs are compared with those of the trial's own network, and the
    accuracy with the recorded one. Only then is it moved to its place.

    Args:
        run: the run's directory, ``runs/<name>``.
        trial: the beginning of its key, or parts of its label: ``magnitude 0.8 static openvino seed 0``.
        to: ``onnx``, ``openvino``, ``pt2``, or ``safetensors`` for the weights of fp32 alone.
        out: the file to write, ending in ``.onnx``, ``.xml``, ``.pt2`` or ``.safetensors``; anywhere the caller may
            write. The card has the same name with ``.md``, and for OpenVINO the weights that with ``.bin``.
        force: whether files that exist are replaced.

    Raises:
        SparsebenchError: where the trial is not known or cannot become such a file, a file is there already, or what
            was written does not compute what was measured; nothing is left behind then.
    """
    if to not in FORMATS:
        raise SparsebenchError(unknown_name("format", to, FORMATS))
    kind, path = FORMATS[to], Path(out)
    found = load_run(run)
    chosen = find_trial(found.trials, trial)
    require_exportable(chosen, kind, found.trials)
    _require_free(path, kind, force)

    # Only now is torch worth its import.
    from sparsebench.export.model_card import model_card
    from sparsebench.export.verify import verify
    from sparsebench.runner.stages import Workbench

    workbench = Workbench(Store(Path(run), writable=False), "cpu")
    made = content(workbench, chosen, kind)
    with _written(path, made.files) as written:
        verification = verify(workbench, chosen, to, written / path.name, made)
        example = workbench.example(chosen.trial.train)
        card = model_card(found, chosen, kind, path.name, example, made.settings, verification, describe_environment())
        (written / path.with_suffix(CARD).name).write_text(card, encoding="utf-8")
        files = tuple(path.with_suffix(ending) for ending in (*made.files, CARD))
        for file in files:
            os.replace(written / file.name, file)
    return Exported(path, files, verification)


def _require_free(path: Path, kind: Format, force: bool) -> None:
    if path.suffix != kind.suffix:
        raise SparsebenchError(
            f"{path} has the wrong ending for {kind.name}; it must be {kind.suffix}: "
            f"-o {path.with_suffix(kind.suffix)}."
        )
    if not path.parent.is_dir():
        raise SparsebenchError(f"There is no folder {path.parent}; make it first, or choose another with -o.")
    taken = [p for ending in (kind.suffix, *kind.companions, CARD) if (p := path.with_suffix(ending)).exists()]
    if taken and not force:
        names = ", ".join(str(p) for p in taken)
        raise SparsebenchError(f"{names} already there; choose another path with -o, or replace with --force.")


@contextmanager
def _written(path: Path, files: dict[str, bytes]) -> Iterator[Path]:
    """Write files into a folder beside their place, from which they can be moved there; it goes in any case."""
    remedy = "Choose another path with -o."
    with disk("write", path, remedy), tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        for ending, data in files.items():
            Path(folder, path.with_suffix(ending).name).write_bytes(data)
        yield Path(folder)

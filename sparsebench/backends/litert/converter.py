"""The converter of LiteRT, run in its own environment: programs and samples go in, and a file comes out."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from sparsebench.backends.litert import child
from sparsebench.backends.litert.place import interpreter, not_there, place
from sparsebench.errors import QuantizationError
from sparsebench.processes.confinement import start_confined
from sparsebench.store.scratch import scratch

_NOISE = ("For more information", "Use tlparse", "---")


def converted(program: torch.export.ExportedProgram, named: str) -> bytes:
    """Return a program of torch.export as a file of LiteRT, for the shapes that it was exported with.

    Args:
        program: it goes there as a file of torch.export, not as a pickle.
        named: what errors call the network.

    Raises:
        QuantizationError: where LiteRT cannot convert it; the text carries its reason.
    """
    with scratch() as folder:
        source, result = folder / "network.pt2", folder / "network.tflite"
        torch.export.save(program, source)
        _run(folder, f"LiteRT cannot convert {named}", ["convert", str(source), str(result)], result)
        return result.read_bytes()


def quantized(file: bytes, options: Mapping[str, Any], batches: Iterable[Mapping[str, np.ndarray[Any, Any]]]) -> bytes:
    """Return a float file quantized.

    Args:
        file: the float file.
        options: as ``child.quantize`` takes them.
        batches: calibration batches, arrays by the names of the inputs; none where the scheme needs none.

    Raises:
        QuantizationError: where the quantizer refuses it; the text carries its reason.
    """
    with scratch() as folder:
        source, samples, result = folder / "float.tflite", folder / "samples", folder / "quantized.tflite"
        source.write_bytes(file)
        samples.mkdir()
        for number, arrays in enumerate(batches):
            np.savez(samples / f"{number:06}.npz", **arrays)  # type: ignore[arg-type] # arrays by name
        task = ["quantize", str(source), json.dumps(dict(options)), str(samples), str(result)]
        _run(folder, "AI Edge Quantizer cannot quantize the network", task, result)
        return result.read_bytes()


def _run(folder: Path, problem: str, task: Sequence[str], result: Path) -> None:
    """Run the child, which can write below the folder only, where the system offers that."""
    if missing := not_there():
        raise QuantizationError(missing)
    # -P: what lies beside the script must not stand in for other modules.
    command = [str(interpreter(place())), "-P", child.__file__, *task]
    with tempfile.TemporaryFile() as errors:
        process = start_confined(partial(_start, command, errors, str(folder)), folder)
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code or not result.is_file():
            errors.seek(0)
            raise QuantizationError(f"{problem}: {_told(errors.read().decode(errors='replace'), code)}")


def _start(command: Sequence[str], errors: IO[bytes], folder: str) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # Whatever wants a folder of its own, such as for caches, finds the one it can write to.
    own = {"TMPDIR": folder, "HOME": folder, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(  # noqa: S603 - our own script
        command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment | own, cwd=folder
    )


def _told(output: str, code: int) -> str:
    """Return what went wrong, as the last exception of a traceback says it, in one line."""
    lines = [line.rstrip() for line in output.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    after = lines[starts[-1] + 1 :] if starts else []
    told = next((line for line in after if line and not line.startswith((" ", *_NOISE))), "")
    if not told:
        told = next((line.strip() for line in reversed(lines) if line.strip()), f"it ended with code {code}")
    return told if told.endswith(".") else f"{told}."

"""What exporters and runtimes say about themselves, kept from people who cannot act on it."""

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

_LIBRARIES = ("torch", "onnxscript", "onnx_ir", "onnx", "onnxruntime", "openvino", "nncf")
_MESSAGES = (
    # The first is attributed to contextlib, the others to code that torch.fx generated.
    "The tensor attributes",
    "_check_is_size will be removed",
    "guard_size_oblivious",
)


@contextmanager
def quiet(told: list[warnings.WarningMessage] | None = None) -> Iterator[None]:
    """Silence libraries that export, convert and calibrate: their warnings, logs, prints, bars and telemetry.

    Warnings from anywhere else, such as the user's own network while it is followed, are given when the block ends.

    Args:
        told: is given every warning that was silenced, for callers that must know.
    """
    handlers = [handler for name in ("", *_LIBRARIES) for handler in logging.getLogger(name).handlers]
    levels = [handler.level for handler in handlers]
    # OpenVINO and NNCF ask for no consent before they report their use; in continuous integration they do not report.
    ci = os.environ.get("CI")
    os.environ["CI"] = "true"
    caught: list[warnings.WarningMessage] = []
    # Logging prints what has no handler, as libraries that log to the root logger cause it to do.
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        for handler in handlers:
            handler.setLevel(logging.CRITICAL + 1)
        with (
            warnings.catch_warnings(record=True) as caught,
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            yield
    finally:
        root.removeHandler(silent)
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)
        del os.environ["CI"]
        if ci is not None:
            os.environ["CI"] = ci
        for warning in caught:
            if not _is_theirs(warning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            elif told is not None:
                told.append(warning)


def _is_theirs(warning: warnings.WarningMessage) -> bool:
    text = str(warning.message)
    traced = warning.filename.startswith("<eval_with_key>") or warning.category.__name__ == "TracerWarning"
    if traced or text.startswith(_MESSAGES):
        return True
    parts = Path(warning.filename).parts
    return "site-packages" in parts and bool(set(parts) & set(_LIBRARIES))

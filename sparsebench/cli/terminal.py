"""What a command writes to a terminal: names and texts that came from records or files drive nothing there."""

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer

from sparsebench.errors import LeftOutWarning, printable


@contextmanager
def harmless_output() -> Iterator[None]:
    """Let everything that is written to stdout meanwhile stand there without control characters.

    What was left out of a run is said on stderr, in a line of its own.
    """
    stdout, show = sys.stdout, warnings.showwarning

    def say(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, LeftOutWarning):
            typer.echo(f"sparsebench: {printable(str(message))}", err=True)
        else:
            show(message, category, *place, **more)

    sys.stdout, warnings.showwarning = _Harmless(stdout), say
    try:
        yield
    finally:
        sys.stdout, warnings.showwarning = stdout, show


class _Harmless(io.TextIOBase):
    """A stream of text through which no control character passes but tabs and ends of lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def buffer(self) -> Any:
        """Bytes are for those who write no text."""
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override] # typed as one that can be set
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

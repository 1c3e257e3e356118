"""Files of LiteRT that somebody else may have written: made anew of LiteRT's own operators."""

from typing import Any

from sparsebench.backends.litert.files import ANY, ONE, operator, read, without_notes, write
from sparsebench.errors import QuantizationError, SparsebenchError

_REFUSED = ("", "CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CALL_ONCE", "VAR_HANDLE")
"""What calls code of a library that somebody has installed, or what no version of LiteRT here knows."""


def artifact(content: bytes, name: str) -> bytes:
    """Return the file in an artifact of a run, made anew.

    Raises:
        QuantizationError: where it holds anything else than one graph of LiteRT's own operators.
    """
    try:
        return checked(content)
    except SparsebenchError as error:
        raise QuantizationError(f"The artifact {name} {error} Compress the network again.") from error


def checked(content: bytes) -> bytes:
    """Return a file written anew, without what says by whom it was written.

    Raises:
        SparsebenchError: where it holds anything else than one graph of LiteRT's own operators; a sentence without the
            file's name.
    """
    try:
        model = read(content)
        _refuse_others(model)
    except SparsebenchError as error:
        if isinstance(error, QuantizationError):
            raise SparsebenchError("is no file that LiteRT can read; convert the network again.") from error
        raise
    except Exception as error:  # A file that is cut off fails wherever it was cut.
        raise SparsebenchError(
            f"is no file that LiteRT can read ({type(error).__name__}); convert it again."
        ) from error
    without_notes(model)
    model.description = model.description if model.description in (ANY, ONE) else b""
    return write(model)


def _refuse_others(model: Any) -> None:
    if len(model.subgraphs) != 1 or len(model.signatureDefs or ()) != 1:
        raise SparsebenchError(
            f"has {len(model.subgraphs)} graphs and {len(model.signatureDefs or ())} signatures, and one of each can "
            "be run; convert one network."
        )
    if getattr(model, "externalBuffers", None) or getattr(model, "externalBufferGroups", None):
        raise SparsebenchError("has weights in another file, which is not read.")
    for operation in model.subgraphs[0].operators:
        kind = operator(model, operation)
        if kind in _REFUSED:
            code = model.operatorCodes[operation.opcodeIndex].customCode
            told = code.decode(errors="replace")[:60] if code else kind or "one that is not known"
            raise SparsebenchError(
                f"calls {told!r}, which is none of LiteRT's own operators; it is not run. Export a network of "
                "PyTorch's own layers."
            )

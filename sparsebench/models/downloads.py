"""Downloads of published weights that fail, in words."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from sparsebench.errors import ModelError, SparsebenchError


@contextmanager
def download_in_words(what: str) -> Iterator[None]:
    """Turn whatever a library raises while it downloads into an error with its remedy.

    Args:
        what: subject of the sentence.

    Raises:
        ModelError: with the reason, in place of any other exception.
    """
    try:
        with redirect_stdout(sys.stderr):  # Where progress belongs; torch.hub prints its own to stdout.
            yield
    except SparsebenchError:
        raise
    except Exception as error:  # Each library has its own for a network that is down.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{what} could not be downloaded or read: {reason}. Download them where there is a network, "
            "and give the path of the file as model.weights."
        ) from error

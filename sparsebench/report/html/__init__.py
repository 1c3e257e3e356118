"""The report as one page with sortable tables and charts, made on demand; needs ``sparsebench[html]``.

Nothing that it is made with is imported before ``check_installed`` found it.
"""

from importlib.util import find_spec

from sparsebench.errors import SparsebenchError
from sparsebench.wording.text import listing

__all__ = ["check_installed"]

_NEEDED = {"plotly": "plotly", "itables": "itables", "markdown-it-py": "markdown_it"}


def check_installed() -> None:
    """Check that what a page is made with is installed.

    Raises:
        SparsebenchError: where something is missing; it says how to install it.
    """
    missing = [name for name, module in _NEEDED.items() if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise SparsebenchError(
            f"A page with sortable tables and charts needs {listing(missing)}, which {verb} not installed; "
            "run \"pip install 'sparsebench[html]'\"."
        )

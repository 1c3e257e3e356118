"""The store: records, the run directory, files on disk, and the machine that they come from."""

from sparsebench.lazy import lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {
        "load_run": "sparsebench.store.run_directory",
    },
)

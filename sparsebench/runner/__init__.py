"""The runner: which stages a sweep needs, and how they are carried out."""

from sparsebench.lazy import lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {
        "run_sensitivity": "sparsebench.runner.sequencer",
        "run_sweep": "sparsebench.runner.sequencer",
    },
)

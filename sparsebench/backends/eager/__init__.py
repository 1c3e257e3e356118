"""PyTorch itself, as it runs without a compiler."""

from sparsebench.lazy import lazy_attributes

__getattr__ = lazy_attributes(
    __name__,
    {
        "Eager": "sparsebench.backends.eager.backend",
    },
)

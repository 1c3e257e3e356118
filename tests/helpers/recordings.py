"""Calibration batches without a trainer, and the files of a backend as ``restore`` takes them."""

from pathlib import Path

from sparsebench.quantization import Recording


def recorded(*batches, net=None, limit=2000, memory_bytes=2**20):
    """Return batches as a trainer would have fed them to ``net``."""
    from torch import nn

    def read(network):
        for batch in batches:
            network(batch)

    return Recording(net or nn.Identity(), read, limit, memory_bytes)


def stored(compressed, folder):
    """Write the artifacts of a compressed network into a folder and return where they lie."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in compressed.files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in compressed.files}

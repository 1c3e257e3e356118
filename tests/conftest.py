import os

# As many tests run at once as there are cores, and each may start a process with as many threads: where those that wait
# keep their cores busy, all take a third longer. Before torch, which reads it once.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

from sparsebench.data import Splits, load_splits


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # Results depend on the number of threads, so that fixtures of every scope must see the same.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits() -> Splits:
    return load_splits("digits")


@pytest.fixture(autouse=True)
def _no_worker_of_xdist(monkeypatch):
    # What tests start, a pytest with pytest-benchmark for one, shall not take itself for a worker of theirs.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

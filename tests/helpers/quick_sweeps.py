"""Makes sweeps as small as can be, so that the documentation's own commands can be run as they stand.

It is also a pytest plugin (``-p quick_sweeps``), for suites that are run in a process of their own.
"""

from functools import wraps

from sparsebench import config

# Large batches: the data of the tutorial have 10,000 test samples.
QUICK = (
    *("seeds=0", "thresholds=0,0.8", "train.epochs=1", "train.batch_size=500", "qat.epochs=1"),
    "measure.batch_sizes=[]",
)

_load_config = config.load_config


@wraps(_load_config)
def load_config(path=None, overrides=()):
    return _load_config(path, [*overrides, *QUICK])


def pytest_configure(config):
    from sparsebench import config as module

    module.load_config = load_config

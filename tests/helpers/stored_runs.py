"""A small stored run that tests change, where its records lie, and which of them are not believed."""

from handmade import Bench

from sparsebench.store.run_directory import read_back

BENCH = Bench(thresholds=(0.0, 0.5), schemes=("fp32", "static"), seeds=(0,))
"""Four trials."""


def files(root, kind):
    return sorted(root.glob(f"{kind}/*/result.json"))


def left_out(root):
    return {(one.stage, one.key): one.why for one in read_back(root).left_out}

"""Sweeps, and then exports of a trial, each killed at random moments and started again until it is finished.

Run as a script: ``soak_exports.py FOLDER KILLS SEED``.
"""

from soak import killed_until_finished, run, soak

from sparsebench.export import export_trial


def weights(folder):
    """Export weights, which are verified in the same process."""
    _export(folder, "safetensors", "weights.safetensors")


def program(folder):
    """Export a program, which is verified in a process of its own."""
    _export(folder, "pt2", "program.pt2")


def _export(folder, to, name):
    out = folder / "exported"
    out.mkdir(exist_ok=True)
    if not {f"{name.partition('.')[0]}.md", name} <= {path.name for path in out.iterdir()}:
        export_trial(folder / "quick", "0.8 fp32", to, out / name, trust=True)


WORKS = (run, weights, program)


def killed_until_exported(folder, dice, *seconds):
    return sum(killed_until_finished(folder, time, dice, work) for work, time in zip(WORKS, seconds, strict=True))


if __name__ == "__main__":
    soak(killed_until_exported, WORKS)

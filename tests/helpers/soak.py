"""Sweeps in processes that are killed at random moments and started again until they are finished.

Run as a script: ``soak.py FOLDER KILLS SEED``. Importing torch takes longer than such a sweep, so that it is imported
once, and every process is a fork of this one, which runs nothing itself and has a single thread.
"""

import gc
import json
import os
import random
import signal
import sys
import time
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import torch
from patience import LONG
from quick import quick

from sparsebench import run_sweep

LIVES = (0.25, 0.25, 0.25, 1.0)
"""A process lives for up to one of these shares of the time that a sweep takes. Most live shortly, so that many are
killed before it ends; some live long, so that it ends though a stage should take longer than the others live."""

SECONDS_TO_END = LONG


def sweep(folder):
    """Start a process that runs the sweep; return its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        run_sweep(quick(), runs_dir=folder)
        (folder / "modules.json").write_text(json.dumps(sorted(sys.modules)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended_within(process, seconds):
    """Return whether a process has ended by itself in that time."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            if os.waitstatus_to_exitcode(status) != 0:
                raise SystemExit("A sweep ended with an error of its own; see above.")
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.001)


def undisturbed(folder):
    """Run a sweep that nobody kills and return its seconds."""
    start = time.monotonic()
    folder.mkdir()
    if not ended_within(sweep(folder), SECONDS_TO_END):
        raise SystemExit("An undisturbed sweep takes too long.")
    return time.monotonic() - start


def killed_until_finished(folder, seconds, dice):
    """Run one sweep to its end and return how often it was killed."""
    folder.mkdir()
    kills = 0
    # The longer it takes, the longer they live: a machine that is busy with other things may need it.
    while not ended_within(process := sweep(folder), dice.uniform(0, dice.choice(LIVES) * seconds * (1 + kills / 20))):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        kills += 1
    return kills


def made_ready(folder):
    """Import here what a sweep imports, for all that are to come."""
    torch.set_num_threads(1)
    undisturbed(folder / "first")
    for name in json.loads((folder / "first/modules.json").read_text()):
        with suppress(Exception):
            import_module(name)
    gc.freeze()  # Collecting in every process would copy what they share.


def soak(killed):
    """Kill sweeps by ``killed(folder, seconds, dice)``, which returns how often, and print what came of it.

    The command line holds a folder, how many kills are wanted, and the seed of the dice.
    """
    folder, wanted, dice = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    made_ready(folder)
    seconds = undisturbed(folder / "undisturbed")
    kills = []
    while sum(kills) < wanted:
        kills.append(killed(folder / f"killed-{len(kills)}", seconds, dice))
    print(json.dumps({"kills": kills, "seconds": seconds}))


if __name__ == "__main__":
    soak(killed_until_finished)

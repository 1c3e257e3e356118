"""Sweeps in processes that are killed at random moments and started again until they are finished.

Run as a script: ``soak.py FOLDER KILLS SEED``. Importing torch takes longer than such a sweep, so that it is imported
once, and every process is a fork of this one, which runs nothing itself and has a single thread. Temporary files of all
of them lie in a folder of their own, ``tmp``.
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
from sparsebench.store.scratch import scratch

LIVES = (0.25, 0.25, 0.25, 1.0)
"""A process lives for up to one of these shares of the time that a sweep takes. Most live shortly, so that many are
killed before it ends; some live long, so that it ends though a stage should take longer than the others live."""

SECONDS_TO_END = LONG


def run(folder):
    """Run the sweep, or what is left of it."""
    run_sweep(quick(), runs_dir=folder)


def begun(work, folder):
    """Start a process that does some work in a folder; return its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work(folder)
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


def undisturbed(folder, works):
    """Do all works, of which nobody kills one, and return the seconds of each."""
    folder.mkdir()
    return [seconds_of(work, folder) for work in works]


def seconds_of(work, folder):
    start = time.monotonic()
    if not ended_within(begun(work, folder), SECONDS_TO_END):
        raise SystemExit("An undisturbed process takes too long.")
    return time.monotonic() - start


def killed_until_finished(folder, seconds, dice, work=run):
    """Do one work to its end and return how often it was killed."""
    folder.mkdir(exist_ok=True)
    kills = 0
    # The longer it takes, the longer they live: a machine that is busy with other things may need it.
    while not ended_within(
        process := begun(work, folder), dice.uniform(0, dice.choice(LIVES) * seconds * (1 + kills / 20))
    ):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        kills += 1
    return kills


def made_ready(folder, works):
    """Import here what the works import, for all that are to come."""
    torch.set_num_threads(1)
    undisturbed(folder / "first", works)
    for name in json.loads((folder / "first/modules.json").read_text()):
        with suppress(Exception):
            import_module(name)
    gc.freeze()  # Collecting in every process would copy what they share.


def soak(killed, works=(run,)):
    """Kill processes by ``killed(folder, dice, *seconds)``, which returns how often, and print what came of it.

    The command line holds a folder, how many kills are wanted, and the seed of the dice.
    """
    folder, wanted, dice = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    os.environ["TMPDIR"] = str(folder / "tmp")
    (folder / "tmp").mkdir()
    made_ready(folder, works)
    seconds = undisturbed(folder / "undisturbed", works)
    kills = []
    while sum(kills) < wanted:
        kills.append(killed(folder / f"killed-{len(kills)}", dice, *seconds))
    with scratch():  # The next command that needs a folder for a while removes those of processes that were killed.
        pass
    print(json.dumps({"kills": kills, "seconds": seconds}))


if __name__ == "__main__":
    soak(lambda folder, dice, seconds: killed_until_finished(folder, seconds, dice))

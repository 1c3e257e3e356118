"""Pairs of drivers at one run directory, each killed at random moments and started again, until both have finished.

Run as a script: ``soak_pairs.py FOLDER KILLS SEED``.
"""

import os
import signal
import time

from soak import SECONDS_TO_END, begun, ended_within, run, soak

LIFE = 0.6
"""A process lives for up to this share of the time that a sweep takes, and longer the more were killed."""


def killed_until_both_finished(folder, dice, seconds):
    """Run one sweep by two drivers to its end and return how often one was killed."""
    folder.mkdir()
    kills, most = 0, time.monotonic() + SECONDS_TO_END

    def started():
        return begun(run, folder), time.monotonic() + dice.uniform(0, LIFE * seconds * (1 + kills / 10))

    drivers = [started(), started()]
    while drivers:
        if time.monotonic() > most:
            raise SystemExit(f"Two drivers do not come to an end; {kills} were killed.")
        process, until = drivers.pop(0)
        if ended_within(process, 0):
            continue
        if time.monotonic() > until:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            kills += 1
            process, until = started()
        drivers.append((process, until))
        time.sleep(0.001)
    return kills


if __name__ == "__main__":
    soak(killed_until_both_finished)

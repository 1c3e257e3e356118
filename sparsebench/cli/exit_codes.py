"""What the command line tells scripts by its exit code."""

DONE = 0

GATE_FAILED = 1
"""A gate was broken, a verdict was another than the one asked for, or nothing could be chosen."""

USAGE = 2
"""The command line, the config or a file cannot be used."""

TRIALS_FAILED = 3

NO_VERDICT = 4
"""Timing was asked for a verdict and has none that can be trusted."""

INTERRUPTED, TERMINATED = 130, 143
"""As shells say it of SIGINT and SIGTERM: 128 and the signal's number."""

"""How long tests wait for what takes seconds on an idle machine, and minutes on one that others load."""

LONG = 500
"""Seconds, less than pytest's own ``timeout``, so that what a process said until then is seen."""

VERY_LONG = 3 * LONG
"""Seconds for a test that runs tens of sweeps; it needs a ``timeout`` mark of its own."""

"""Imported after all else by the process that others are forked from: what is there then is never garbage.

Their collections of garbage pass it over, so that its memory stays shared, and so does the last one of that process,
which would go through all of torch for most of a second, while whoever reads the output of the command waits.
"""

import gc

gc.freeze()

"""The store: records, the run directory, files on disk, and the machine that they come from."""

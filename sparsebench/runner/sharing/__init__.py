"""Several drivers of one run directory: who is at a stage, and how a sweep is split among them."""

"""Operating points: trials joined over seeds, and held against their baselines."""

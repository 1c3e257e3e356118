"""A run in an experiment tracker, for those who compare all their experiments there."""

"""Intervals, tests and verdicts: pure functions of numbers, without torch and without records."""

"""Deciding from records: which trial to ship, and what changed from one run to another."""

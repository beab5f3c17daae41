"""Probes: one HTTP question each, and what the answer means."""

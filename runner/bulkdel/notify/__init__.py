"""Notifications about a run. None of them can hold up or fail a run."""

"""Chunks in, outcomes out: the workers of one session, their queue, backup, drain and progress."""

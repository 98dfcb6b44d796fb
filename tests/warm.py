"""Loaded last by the fork server: what every command would do first, done once, and every job and its commands."""

from __future__ import annotations

from bulkdel.job import GROUP, installed

for group in (GROUP, "bulkdel.commands"):
    for point in installed(group):
        point.load()

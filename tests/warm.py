"""Loaded last by the fork server: what every command would do first, done once."""

from __future__ import annotations

from bulkdel.job import GROUP, installed

for group in (GROUP, "bulkdel.commands"):
    installed(group)

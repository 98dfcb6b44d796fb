"""The fork server loads this last. It does once what each command does first, and it loads every job."""

from __future__ import annotations

from bulkdel.job import GROUP, installed

for group in (GROUP, "bulkdel.commands"):
    for point in installed(group):
        point.load()

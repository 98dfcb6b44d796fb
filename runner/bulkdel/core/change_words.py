"""A change of a running session in words, the same in the audit and in the report."""

from __future__ import annotations

from bulkdel.core.log_entries import Change, Changed, Source

CHANGES = {
    Changed.RATE: "{} requests a second",
    Changed.CONCURRENCY: "{} requests at the same time",
    Changed.UNTIL: "stops at {}",
    Changed.STOP: "stopped",
    Changed.SCHEDULE: "{} requests a second by --schedule",
    Changed.SLOWED: "slowed to {} requests a second by --slow-while",
}

SOURCES = {
    Source.CTL: "bulkdel ctl",
    Source.KEY: "a key on the terminal",
    Source.PAGE: "the live page",
    Source.PAUSE_FILE: "the pause file",
    Source.SCHEDULE: "the schedule",
    Source.SLOW_WHILE: "the watched URL",
    Source.LIBRARY: "the program that runs it",
}


def change_words(change: Change) -> str:
    """A change in words."""
    what, value = change.what, change.value
    if what is Changed.PAUSED:
        return "paused" if value else "resumed"
    if what is Changed.SCHEDULE and value is None:
        return "no limit by --schedule"
    if what is Changed.RATE and value == 0:
        return "no limit of the rate"
    return CHANGES[what].format(f"{value:g}" if isinstance(value, float) else value)


def with_origin(change: Change) -> str:
    """A change in words, with the user and the source."""
    words = change_words(change)
    by = f"by {change.user} ({SOURCES[change.source]})" if change.user else f"by {SOURCES[change.source]}"
    return f"{words[0].upper()}{words[1:]}, {by}"

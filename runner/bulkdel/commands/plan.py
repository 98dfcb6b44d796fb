"""The plan, in words and as values for a program, and what has to be confirmed. Sends nothing, writes nothing."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bulkdel.checkpoint.writer import is_fresh
from bulkdel.command_line import CommandLine
from bulkdel.commands.setup import Note, Prepared
from bulkdel.core.absence import COMMAS
from bulkdel.core.account_match import REUSE_AFTER_S, SKEW_S, Sampled, age_s
from bulkdel.core.bad_rows import with_article
from bulkdel.core.retry import sample_suffices
from bulkdel.core.run_state import Progress
from bulkdel.core.summary import Ending
from bulkdel.errors import UsageError
from bulkdel.export import Dialect
from bulkdel.format import counted, printable, span, until_words
from bulkdel.safety.sample import SampleCheck
from bulkdel.times import is_time_of_day, until_of

UNDONE = "a deletion cannot be undone"

CONFIRMING = ("--confirm", "--pool", "--confirm-host")


NEXT_DAY_S = 6 * 3600.0
"""A time of day that has stopped a run means that of the next day only so long after it. Sooner it has to be asked for
by its date: most likely the old command was typed again, or a scheduler has started it again at once."""


def confirming_command(prepared: Prepared) -> CommandLine:
    """Word the command that runs this plan without a question."""
    line = replace(prepared.line, command="run").instead("--confirm", str(prepared.ids))
    line = line.instead("--pool", prepared.sample_check.pool or "POOL").without("--confirm-host")
    word = prepared.protection.word(prepared.target.host)
    return line.plus("--confirm-host", word) if word else line


def command_to_go_on(prepared: Prepared, ending: Ending, now: datetime) -> CommandLine:
    """Word the command that goes on after a session that ended like this.

    Once --not-after has come, the run is confirmed again; a time of day becomes that of the next day.
    """
    line = prepared.line.without("--limit") if ending.limit_reached else prepared.line
    if prepared.until is None or now < prepared.until:
        return line
    line = line.without(*CONFIRMING, "--not-after")
    text = prepared.request.settings.not_after or ""
    if is_time_of_day(text):
        with suppress(UsageError):  # the clocks change about then
            line = line.plus("--not-after", until_of(text, now).isoformat())
    return line


def plan_lines(prepared: Prepared) -> list[str]:
    """Say what will be done, line by line."""
    reading, settings, sample_check = prepared.reading, prepared.request.settings, prepared.sample_check
    counts, dialect = reading.counts, reading.dialect
    requests = prepared.requests
    twice = ", each looked up first" if prepared.look_first else ""
    form = "one id a line" if dialect.format == "lines" else dialect.format.upper()
    how = [form, dialect.compression if dialect.compression != "none" else ""]
    where = _where_the_id_is(dialect, prepared.id_type.name)
    left_out = ", ".join(f"{counts[name]:,} {name}" for name in ("duplicate", "excluded", "invalid") if counts[name])
    adaptive_rate = f"at {settings.rate:g} requests/s" if settings.rate else "as fast as the server answers"
    lasts = f", about {span(max(1.0, requests / settings.rate))}" if settings.rate else ""
    lines = [
        ("job", f"{prepared.job.name}: {prepared.job.summary}"),
        ("host", prepared.target.pinned_host),
        ("pool", sample_check.pool or "not signed in"),
        ("key", prepared.target.key or "none"),
        ("export", f"{reading.export.path} ({' '.join(part for part in how if part)}{where})"),
        (
            "id type",
            f"{prepared.id_type.name}, such as {', '.join(reading.examples)}"
            if reading.examples
            else prepared.id_type.name,
        ),
        ("rows", f"{counts['rows']:,}" + (f" ({left_out})" if left_out else "")),
        ("to delete", f"{counted(prepared.ids, 'id')}{twice} in {counted(requests, 'request')} {adaptive_rate}{lasts}"),
        *_protected_lines(prepared),
        ("checkpoint", str(prepared.checkpoint_path)),
        ("backup", str(settings.backup) if settings.backup else "none; --backup FILE keeps a copy of every user"),
    ]
    if prepared.until:
        lines.append(("not after", until_words(prepared.until)))
    if settings.limit is not None:
        lines.append(("limit", f"{counted(settings.limit, 'id')} in this session"))
    if reading.export.spooled:
        lines.append(("copy", f"{reading.export.spooled} holds what came through the pipe; delete it when all is done"))
    if prepared.checkpoint is not None:
        progress = prepared.checkpoint.progress
        settled = counted(progress.rows - progress.remaining, "row", "is", "are")
        lines.append(("going on", f"{settled} settled, {progress.remaining:,} remaining"))
    if sample_check.asked:
        lines.append(("sample", _sample_text(prepared)))
    lines += [("note", note.text) for note in (*reading.notes, *_clock_notes(prepared))]
    width = max(len(name) for name, _ in lines)
    return [f"  {name:<{width}}  {text}" for name, text in lines]


def plan_values(prepared: Prepared) -> dict[str, Any]:
    """Give the plan as values, for `plan --json`: all that it says but ids and the texts of rows."""
    reading, settings, sample_check = prepared.reading, prepared.request.settings, prepared.sample_check
    dialect, until = reading.dialect, prepared.until
    copy, backup, limit = reading.export.spooled, settings.backup, settings.limit
    return {
        "job": prepared.job.name,
        "host": prepared.target.pinned_host,
        "pool": sample_check.pool,
        "key": prepared.target.key,
        "export": printable(reading.export.path),
        "copy": None if copy is None else printable(copy),
        "format": dialect.format,
        "compression": dialect.compression,
        "id_field": dialect.id_field,
        "guessed": dialect.guessed,
        "id_type": prepared.id_type.name,
        **{name: reading.counts[name] for name in ("rows", "ids", "duplicate", "excluded", "invalid")},
        "look_first": prepared.look_first,
        "requests": prepared.requests,
        "rate": settings.rate,
        "estimated_s": round(prepared.requests / settings.rate, 1) if settings.rate else None,
        "exclude": [{"path": printable(file.path), "ids": file.ids} for file in reading.excluded.files],
        "exclude_met": reading.kept,
        "exclude_perhaps": reading.perhaps,
        "own_user_protected": bool(sample_check.owner),
        "checkpoint": printable(prepared.checkpoint_path),
        "checkpoint_exists": not is_fresh(prepared.checkpoint_path),
        "backup": None if backup is None else printable(backup),
        "not_after": None if until is None else until.isoformat(),
        "limit": limit,
        "sample": _sample_values(sample_check) if sample_check.asked else None,
        "notes": [{"note": note.name, **note.facts} for note in (*reading.notes, *_clock_notes(prepared))],
        "trouble": _trouble(prepared),
        "command": None if prepared.ids == 0 or settings.sandbox else confirming_command(prepared).words,
    }


def _sample_values(sample_check: SampleCheck) -> dict[str, Any]:
    seen = [account.last_seen_at for account in sample_check.found.values() if account.last_seen_at]
    return {
        **sample_check.to_json(),
        "statuses": Counter(account.status for account in sample_check.found.values() if account.status),
        "latest_sign_in": datetime.fromtimestamp(max(seen), UTC).isoformat() if seen else None,
    }


def _trouble(prepared: Prepared) -> list[str]:
    """Name what keeps this plan from being run as it is, or makes it another one."""
    found = {
        "nothing_to_delete": prepared.ids == 0,
        "not_signed_in": prepared.sample_check.pool is None,
        "checkpoint_exists": not is_fresh(prepared.checkpoint_path),
        "sample": sample_trouble(prepared) is not None,
    }
    return [name for name, is_so in found.items() if is_so]


def _where_the_id_is(dialect: Dialect, id_type: str) -> str:
    if dialect.format == "lines":
        return f", recognised by the shape of {with_article(id_type)}" if dialect.guessed else ""
    where = f"field {dialect.id_field!r}" if dialect.id_field else "bare ids"
    return f", {where} (found by its name; --id-field names another)" if dialect.guessed else f", {where}"


def _protected_lines(prepared: Prepared) -> list[tuple[str, str]]:
    """What is never deleted, one line for each source; and how much of it is in the export."""
    reading = prepared.reading
    lines = [("protected", f"{counted(file.ids, 'id')} in {file.path}") for file in reading.excluded.files]
    if lines and reading.kept:
        text = (
            f"{reading.kept:,} of these ids met in the export; "
            f"{counted(reading.counts['excluded'], 'row', 'is', 'are')} left out for it"
        )
        if reading.perhaps:
            text += f", {reading.perhaps:,} of them only because they may be the same {prepared.id_type.name}"
        lines.append(("protected", text))
    if lines and not reading.counts["excluded"]:
        lines.append(("note", "none of the ids to keep is in the export: are they written alike, of the same kind?"))
    if prepared.sample_check.owner:
        lines.append(("protected", "the key's own user, should it be in the export"))
    return lines


def _sample_text(prepared: Prepared) -> str:
    sample_check = prepared.sample_check
    statuses = Counter(account.status for account in sample_check.found.values() if account.status)
    text = f"{len(sample_check.found)} of {sample_check.asked} looked up exist"
    if sample_check.unproven:
        text += f", {sample_check.unproven} with a comma could not be told"
    if statuses:
        text += " (" + ", ".join(f"{count} {status}" for status, count in statuses.most_common()) + ")"
    seen = [account.last_seen_at for account in sample_check.found.values() if account.last_seen_at]
    if seen:
        text += f"; the latest sign-in was {datetime.fromtimestamp(max(seen), UTC):%Y-%m-%d}"
    return text


def _clock_notes(prepared: Prepared) -> list[Note]:
    """What makes it impossible to tell an account from a newer one under the same id, and what happens then."""
    sample_check, progress = prepared.sample_check, prepared.checkpoint.progress if prepared.checkpoint else None
    sampled = sample_check.sampled if progress is None else Sampled.from_json(progress.header.sample)
    now, reusable = sample_check.moment, prepared.id_type.reusable
    if now is None:
        return []
    notes: list[Note] = []
    if now.ahead_s is not None and abs(now.ahead_s) > SKEW_S:
        where = "ahead of" if now.ahead_s > 0 else "behind"
        text = f"the server's clock (Date header) is {span(abs(now.ahead_s))} {where} this machine's"
        notes.append(Note("clock_differs", text, {"server_ahead_s": round(now.ahead_s)}))
    if reusable and now.ahead_s is None:
        notes.append(Note("clock_unknown", "the server's answers carry no Date, so its clock is unknown"))
    if reusable and sampled.future_s:
        text = f"a sampled createdAt is {span(sampled.future_s)} in the future: a clock or a time zone is wrong"
        notes.append(Note("created_in_the_future", text, {"future_s": round(sampled.future_s)}))
    elif reusable and sample_check.found and sampled.newest is None:
        notes.append(Note("created_at_missing", "the looked-up records carry no createdAt"))
    if reusable and progress is not None and progress.in_doubt.size:
        oldest_s = max(age_s(moment, now) for moment, _, _ in progress.intents)
        if oldest_s > REUSE_AFTER_S:
            text = f"some ids have been in doubt for {span(oldest_s)}"
            notes.append(Note("long_in_doubt", text, {"in_doubt_s": round(oldest_s)}))
    if notes and reusable:
        then = "is sent again (--in-doubt resend)"
        if prepared.request.settings.in_doubt != "resend":
            then = "ends as unknown and is not sent again; --in-doubt resend sends it"
        text = f"so an id in doubt that may be a newer account with the same {prepared.id_type.name} {then}"
        notes.append(Note("in_doubt_policy", text, {"in_doubt": prepared.request.settings.in_doubt}))
    return notes


def sample_trouble(prepared: Prepared) -> str | None:
    """Say why the sample forbids to go on; None when it does not, or with --allow-absent."""
    sample_check = prepared.sample_check
    if prepared.request.settings.allow_absent or sample_suffices(sample_check.asked, len(sample_check.found)):
        return None
    commas = f"Of {sample_check.unproven} others it could not be told. {COMMAS}. " if sample_check.unproven else ""
    return (
        f"{len(sample_check.found)} of {sample_check.asked} sampled ids exist as {prepared.id_type.name} "
        f"in pool {sample_check.pool}. "
        f"{commas}Is it the right pool, id type and column? Nothing was deleted. If they are meant to be gone already, "
        f"go on with:\n  {prepared.line.instead('--allow-absent')}"
    )


def confirmation_due(prepared: Prepared, now: float) -> str | None:
    """Say why the run has to be confirmed (again); None when it was."""
    start = None if prepared.checkpoint is None else prepared.checkpoint.progress.start
    if prepared.checkpoint is None or start is None:
        return UNDONE
    if prepared.more_excluded:
        return "exclude files were added"
    stopped = prepared.checkpoint.progress.stop
    if stopped is not None and (until := stopped.facts.get("not_after")):
        return f"the run was stopped by its --not-after, {until_words(datetime.fromisoformat(until))}"
    if due := _limit_due(start.facts.get("limit"), prepared.request.settings.limit, prepared.checkpoint.progress):
        return due
    age_s = now - datetime.fromisoformat(prepared.checkpoint.progress.confirmed_at).timestamp()
    if prepared.id_type.reusable and age_s > REUSE_AFTER_S:
        return (
            f"the run was confirmed {span(age_s)} ago, and a {prepared.id_type.name} may be somebody else's by now: "
            "does the export still hold?"
        )
    return None


def _limit_due(before: int | None, now: int | None, progress: Progress) -> str | None:
    """Say so when a run that was confirmed with --limit goes on beyond it."""
    if before is None or (now is not None and now <= max(before, progress.remaining)):
        return None
    return "the run goes on without --limit" if now is None else "--limit is more than what remains"


def meant_for_the_day_before(prepared: Prepared, now: float) -> str | None:
    """Say why the options do not confirm: the time of day that has just stopped this run would now mean tomorrow's."""
    text, stopped = prepared.request.settings.not_after, prepared.checkpoint and prepared.checkpoint.progress.stop
    until = stopped.facts.get("not_after") if stopped else None
    if until is None or prepared.until is None or text is None or not is_time_of_day(text):
        return None
    before = datetime.fromisoformat(until)
    age_s = now - before.timestamp()
    if age_s > NEXT_DAY_S or before.time() != prepared.until.time():
        return None
    return (
        f"--not-after stopped this run {span(max(0.0, age_s))} ago, and --not-after {text} would now mean "
        f"{until_words(prepared.until)}"
    )

"""The plan in words, and what has to be confirmed. Pure but for the shape of a command line: nothing is sent here."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from runner.core.policy import sample_suffices
from runner.core.presence import REUSE_AFTER_S
from runner.core.progress import Progress
from runner.core.summary import counts_of
from runner.core.unusable import with_article
from runner.core.window import WINDOW
from runner.preparing import Prepared
from runner.source import Dialect
from runner.telling import span
from runner.wording import COMMAS, command, until_words

UNDONE = "a deletion cannot be undone"

CONFIRMING = ("--confirm", "--pool", "--confirm-host")


def confirming_command(prepared: Prepared) -> str:
    """Word the command that runs this plan without a question."""
    argv = ["run", *prepared.argv[1:]]
    pool = prepared.survey.pool or "POOL"
    word = prepared.protection.word(prepared.target.host)
    plus = ["--confirm", str(prepared.ids), "--pool", pool, *(["--confirm-host", word] if word else [])]
    return command(argv, without=CONFIRMING, plus=plus)


def plan_lines(prepared: Prepared) -> list[str]:
    """Say what will be done, line by line."""
    reading, settings, survey = prepared.reading, prepared.request.settings, prepared.survey
    counts, dialect = reading.counts, reading.dialect
    requests = prepared.requests
    twice = ", each looked up first" if prepared.look_first else ""
    form = "one id a line" if dialect.format == "lines" else dialect.format.upper()
    how = [form, dialect.compression if dialect.compression != "none" else ""]
    where = _where_the_id_is(dialect, prepared.id_type.name)
    left_out = ", ".join(f"{counts[name]:,} {name}" for name in ("duplicate", "excluded", "invalid") if counts[name])
    pace = f"at {settings.rate:g} requests/s" if settings.rate else "as fast as the server answers"
    lasts = f", about {span(max(1.0, requests / settings.rate))}" if settings.rate else ""
    lines = [
        ("job", f"{prepared.job.name}: {prepared.job.summary}"),
        ("host", prepared.target.pinned_host),
        ("pool", survey.pool or "not signed in"),
        ("key", prepared.target.key or "none"),
        ("export", f"{reading.export.path} ({' '.join(part for part in how if part)}{where})"),
        (
            "id type",
            f"{prepared.id_type.name}, such as {', '.join(reading.examples)}"
            if reading.examples
            else prepared.id_type.name,
        ),
        ("rows", f"{counts['rows']:,}" + (f" ({left_out})" if left_out else "")),
        ("to delete", f"{prepared.ids:,} ids{twice} in {requests:,} requests {pace}{lasts}"),
        *_protected_lines(prepared),
        ("checkpoint", str(prepared.checkpoint_path)),
        ("backup", str(settings.backup) if settings.backup else "none; --backup FILE keeps a copy of every user"),
    ]
    if prepared.until:
        lines.append(("not after", until_words(prepared.until)))
    if settings.limit is not None:
        lines.append(("limit", f"{settings.limit:,} ids in this session"))
    if reading.export.spooled:
        lines.append(("copy", f"{reading.export.spooled} holds what came through the pipe; delete it when all is done"))
    if prepared.checkpoint is not None:
        progress = prepared.checkpoint.progress
        lines.append(("going on", f"{progress.settled.size:,} rows are settled, {progress.remaining:,} remain"))
    if survey.asked:
        lines.append(("sample", _sample_text(prepared)))
    lines += [("note", note) for note in reading.notes]
    if counts["duplicate"] and counts["rows"] > WINDOW:
        lines.append(("note", "the same id more than 100,000 rows apart is sent again, and counted twice"))
    width = max(len(name) for name, _ in lines)
    return [f"  {name:<{width}}  {text}" for name, text in lines]


def _where_the_id_is(dialect: Dialect, id_type: str) -> str:
    if dialect.format == "lines":
        return f", recognised by the shape of {with_article(id_type)}" if dialect.guessed else ""
    where = f"field {dialect.id_field!r}" if dialect.id_field else "bare ids"
    return f", {where} (found by its name; --id-field names another)" if dialect.guessed else f", {where}"


def _protected_lines(prepared: Prepared) -> list[tuple[str, str]]:
    """What is never deleted, one line for each source; and how much of it is in the export."""
    reading = prepared.reading
    lines = [("protected", f"{file.ids:,} ids in {file.path}") for file in reading.excluded.files]
    if lines and reading.kept:
        text = (
            f"{reading.kept:,} of these ids met in the export; {reading.counts['excluded']:,} rows are left out for it"
        )
        if reading.perhaps:
            text += f", {reading.perhaps:,} of them only because they may be the same {prepared.id_type.name}"
        lines.append(("protected", text))
    if lines and not reading.counts["excluded"]:
        lines.append(("note", "none of the ids to keep is in the export: are they written alike, of the same kind?"))
    if prepared.survey.owner:
        lines.append(("protected", "the key's own user, should it be in the export"))
    return lines


def _sample_text(prepared: Prepared) -> str:
    survey = prepared.survey
    statuses = Counter(account.status for account in survey.found.values() if account.status)
    text = f"{len(survey.found)} of {survey.asked} looked up exist"
    if survey.unproven:
        text += f", {survey.unproven} with a comma could not be told"
    if statuses:
        text += " (" + ", ".join(f"{count} {status}" for status, count in statuses.most_common()) + ")"
    seen = [account.last_seen_at for account in survey.found.values() if account.last_seen_at]
    if seen:
        text += f"; the latest sign-in was {datetime.fromtimestamp(max(seen), UTC):%Y-%m-%d}"
    return text


def sample_trouble(prepared: Prepared) -> str | None:
    """Say why the sample forbids to go on; None when it does not."""
    survey = prepared.survey
    if sample_suffices(survey.asked, len(survey.found)):
        return None
    commas = f"Of {survey.unproven} others it could not be told. {COMMAS}. " if survey.unproven else ""
    return (
        f"{len(survey.found)} of {survey.asked} sampled ids exist as {prepared.id_type.name} in pool {survey.pool}. "
        f"{commas}Is it the right pool, id type and column? Nothing was deleted. If they are meant to be gone already, "
        f"go on with:\n  {command(prepared.argv, plus=['--allow-absent'])}"
    )


def confirmation_due(prepared: Prepared, now: float) -> str | None:
    """Say why the run has to be confirmed (again); None when it was."""
    if prepared.checkpoint is None:
        return UNDONE
    start = prepared.checkpoint.progress.start
    if start is None:
        return UNDONE
    if prepared.more_excluded:
        return "exclude files were added"
    before, now_limit = start.facts.get("limit"), prepared.request.settings.limit
    if before is not None and (now_limit is None or now_limit > max(before, prepared.checkpoint.progress.remaining)):
        return "the run goes on without --limit" if now_limit is None else "--limit is more than what remains"
    age_s = now - datetime.fromisoformat(prepared.checkpoint.progress.confirmed_at).timestamp()
    if prepared.id_type.reusable and age_s > REUSE_AFTER_S:
        return (
            f"the run was confirmed {span(age_s)} ago, and a {prepared.id_type.name} may be somebody else's by now: "
            "does the export still hold?"
        )
    return None


def progress_lines(progress: Progress) -> list[str]:
    """The eight counts, one a line, those that are zero left out but for the first and the last."""
    counts = counts_of(progress)
    shown = [(name, count) for name, count in counts.items() if count or name in {"deleted", "remaining"}]
    return [f"  {name:<10} {count:>13,}" for name, count in shown]

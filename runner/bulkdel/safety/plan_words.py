"""The lines of a plan for people: names and texts of each fact, and the notes. `safety.plan_facts` has the list.

A line may have an id or the text of a row. Nothing here reads, sends or deletes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkdel.command_line import CommandLine
from bulkdel.core.account_match import REUSE_AFTER_S, SKEW_S, Sampled, age_s
from bulkdel.core.address import address_of
from bulkdel.core.bad_rows import with_article
from bulkdel.core.guards import ACTIVE_SINCE, CREATED_AFTER, ONLY_STATUS, Guard
from bulkdel.core.log_entries import MembershipsSaved
from bulkdel.core.shards import LOCAL
from bulkdel.core.sign_ins import sign_in_words
from bulkdel.export.converting import PARQUET_FORMAT, WORKBOOK
from bulkdel.export.encoding import UTF_8
from bulkdel.export.invalid_file import REASONS
from bulkdel.export.preflight import Preflight
from bulkdel.format import counted, first_of, printable, shown, span, until_words
from bulkdel.job import NEVER
from bulkdel.log_words import bad_row_words
from bulkdel.output import has_bars, has_terminal
from bulkdel.parameters import by_option
from bulkdel.safety.run_plan import RunPlan, RunToUndo, SampleCheck
from bulkdel.times import schedule_words

Lines = Iterator[tuple[str, str]]

NOT_FOUND_MAX = 20
"""Ids to keep of no account that are shown on a terminal."""

OLD_S = 86_400.0
"""A copy of the memberships that is older than this is called old."""

SPARED = {
    ACTIVE_SINCE: "each {} that signed in since {}",
    CREATED_AFTER: "each {} that was created after {}",
    ONLY_STATUS: "each {} whose status is not {}",
}


@dataclass(frozen=True, slots=True)
class Note:
    """A note in the plan. name, facts: for programs, without ids and row texts.

    seen: the text without them; empty where `text` has none.
    """

    name: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    seen: str = ""


def job(plan: RunPlan) -> Lines:
    """What the job does."""
    yield "job", f"{plan.arguments.job.name}: {plan.arguments.job.summary}"


def parameters(plan: RunPlan) -> Lines:
    """Each parameter of the job that has a value."""
    yield from by_option(plan.parameters)


def host(plan: RunPlan) -> Lines:
    """Where the requests go."""
    yield "host", plan.target.pinned_host


def pool(plan: RunPlan) -> Lines:
    """Whose ids they are."""
    yield "pool", known_pool(plan) or "not signed in"


def known_pool(plan: RunPlan) -> str | None:
    """The pool; of a complete run, which does not sign in, that of its log."""
    return plan.progress.header.pinned["pool"] if plan.progress is not None and plan.complete else plan.pool


def key(plan: RunPlan) -> Lines:
    """The name of the key."""
    yield "key", plan.target.key or "none"


def export(plan: RunPlan) -> Lines:
    """The file, and how it is read."""
    yield "export", f"{plan.export.path} ({_how_it_is_read(plan)})"


def id_type(plan: RunPlan) -> Lines:
    """The type, and examples."""
    examples = plan.export.examples if plan.shows_ids else ()
    yield "id type", plan.id_type.name + (f", such as {', '.join(examples)}" if examples else "")


def rows(plan: RunPlan) -> Lines:
    """How many rows there are, and how many of them are left out."""
    counts = plan.export.counts
    left_out = ", ".join(f"{counts[name]:,} {name}" for name in ("duplicate", "excluded", "invalid") if counts[name])
    yield "rows", f"{counts['rows']:,}" + (f" ({left_out})" if left_out else "")


def size_of_the_work(plan: RunPlan) -> Lines:
    """How many ids are sent, in how many requests, and how long that takes."""
    rate, requests, up_to = plan.arguments.settings.rate, plan.requests, "up to " if plan.guards else ""
    first = " (each id is looked up first)" if plan.look_first else ""
    pace = f"at {rate:g} requests/s" if rate else "as fast as the server answers"
    lasts = f", about {span(max(1.0, requests / rate))}" if rate else ""
    all_ids = "" if plan.remaining == plan.ids else f" that remain of {plan.ids:,},"
    text = f"{up_to}{counted(plan.remaining, 'id')}{all_ids} in {counted(requests, 'request')}{first} {pace}{lasts}"
    yield f"to {plan.words.verb}", text


def exclude_files(plan: RunPlan) -> Lines:
    """Yield the ids to keep, one line for each source."""
    for file in plan.excluded:
        where = f", sheet {file.sheet_read!r}" if file.sheet_read is not None else ""
        where += f", field {file.field_read!r}" if file.field_read is not None else ""
        kind = f", each {file.id_type} looked up" if file.looked_up else ""
        yield "exclude", f"{counted(file.ids, 'id')} to keep in {file.path}{where}{kind}"
        if file.sheets_hidden is not None:
            yield "note", f"{file.path}: hidden and not read: {file.sheets_hidden}"
        if file.recognised:
            text = f"{file.path}: has no column of the name that the export has; its column {file.field_read!r} is read"
            yield "note", text
        if file.unusual:
            what = "with a space, a comma, a quote, a comment or a mark of a list"
            yield "note", f"{file.path}: {counted(file.unusual, 'line')} {what}; each is taken whole as one id to keep"
    yield from _looked_up_lines(plan)


def protected(plan: RunPlan) -> Lines:
    """Yield what is kept, and how many rows are left out for it."""
    export = plan.export
    if plan.excluded and export.met:
        all_ids = f"{plan.excluded[0].ids:,}" if len(plan.excluded) == 1 and not plan.to_look_up else "these"
        rows, may_be = counted(export.counts["excluded"], "row", "is", "are"), "may be" if export.perhaps else "are"
        text = f"{export.met:,} of {all_ids} ids to keep {may_be} in the export, so {rows} left out"
        if export.perhaps:
            text += f", {export.perhaps:,} of them only because they may be the same {plan.id_type.name}"
        yield "protected", text
    if plan.excluded and not export.counts["excluded"]:
        yield "note", "none of the ids to keep is in the export: are they of the same kind, written in the same way?"
    if plan.server.owner:
        yield "protected", "the key's own user, should it be in the export"
    if plan.server.administrator:
        yield "protected", "one administrator, the first by its id"


def guards(plan: RunPlan) -> Lines:
    """Each guard, and how many sampled accounts it would spare."""
    counts = spared(plan)
    for guard in plan.guards.given:
        sampled = f": {_spared_share(plan, counts[guard])}" if plan.server.found else ""
        if guard == ONLY_STATUS and (has := plan.server.statuses):
            sampled += f"; the sample has {_status_counts(has)}"
        values = " or ".join(plan.guards.typed(guard))
        yield "spared", f"{SPARED[guard].format(plan.words.noun, values)} ({guard.option}){sampled}"


def _status_counts(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in statuses.items())


def _spared_share(plan: RunPlan, spared: int) -> str:
    """How many sampled accounts a guard spares, and how many of all ids that makes, in two digits."""
    text, asked = f"{spared} of {len(plan.server.found)} in the sample", plan.server.asked
    if not spared or plan.ids <= asked:
        return text
    return f"{text}, so about {float(f'{plan.ids * spared / asked:.1e}'):,.0f} of all"


def run_place(plan: RunPlan) -> Lines:
    """Where the log is, or will be."""
    yield "run", str(plan.run)


def shards(plan: RunPlan) -> Lines:
    """How many processes send. An export may be too small for as many as were asked for."""
    settings, shards = plan.arguments.settings, len(plan.shards) + 1
    wanted = settings.shard_count
    if plan.progress is None and wanted > shards:
        yield "shards", f"{shards} of the {wanted} that --shards asks for: the export is too small for more"
    elif plan.progress is not None and settings.shards is not None and wanted != shards:
        yield "shards", f"{shards}, as the run was begun, and not the {wanted} of --shards"
    elif shards > 1:
        where = "" if settings.on == LOCAL else ", on the nodes of a Ray cluster"
        yield "shards", f"{shards}, each with a process and a log of its own{where}"


def backup(plan: RunPlan) -> Lines:
    """Where the records are copied to."""
    if (to := plan.arguments.backup) is not None:
        begins = plan.progress is None and plan.memberships is None  # afterwards there is nothing more to copy
        without = begins and plan.arguments.job.memberships is not None
        yield "backup", f"{to}{'; --backup-memberships keeps groups and roles too' if without else ''}"
    elif plan.has_look_ups and not plan.arguments.job.takes_records:  # a copy is what a look-up returns
        yield "backup", f"none; --backup keeps a copy of every {plan.words.noun}"


def memberships(plan: RunPlan) -> Lines:
    """Where groups and roles are copied to, and what that takes."""
    if plan.memberships is None:
        return
    saved, cost = saved_memberships(plan), plan.server.memberships
    if saved is not None:
        age_s = time.time() - datetime.fromisoformat(saved.at).timestamp()
        old = f", {span(age_s)} old: what has changed since is not in it" if age_s > OLD_S else ""
        yield "memberships", f"{plan.memberships} ({counted(saved.members, 'membership')} of {saved.at}{old})"
        return
    yield "memberships", str(plan.memberships)
    if cost is not None:
        rate = plan.arguments.settings.rate
        lasts = f", {span(max(1.0, cost.requests / rate))}" if rate else ""
        first = "before the first id is sent; what changes during the run is not in the copy"
        yield "memberships", f"{cost.outline.words}; about {counted(cost.requests, 'request')}{lasts}, {first}"


def fires(plan: RunPlan) -> Lines:
    """What the API does besides."""
    if plan.arguments.job.fires:
        yield "fires", plan.arguments.job.fires


def explained(plan: RunPlan) -> Lines:
    """What the job says of itself."""
    yield from plan.arguments.job.plan_lines(plan.arguments.parameters)


def restores(plan: RunPlan) -> Lines:
    """What a restore brings back, and what the run after it does under the same confirmation."""
    if (undoes := plan.arguments.undoes) is None:
        return
    if undoes.confirmed is not None:
        yield "restores", f"{undoes.job}: groups and roles of the accounts that came back from {undoes.run}"
        return
    if undoes.only is None:
        yield "restores", f"{undoes.job}: {counted(undoes.done, 'row')} of {undoes.run}"
        if undoes.others:
            yield "left out", f"{counted(undoes.others, 'account')} that other restores of this run have"
    else:
        of = f"of {counted(undoes.done, 'row')} of {undoes.run}"
        yield "restores", f"{undoes.job}: only {counted(undoes.only, 'id')} {of}"
        if plan.shows_ids:
            yield from _chosen(undoes)
    yield "backups", shown(", ".join(undoes.backups))
    if (job := undoes.put_back_by) is not None and undoes.memberships is not None:
        these = f"those of these {plan.words.noun}s are put back"
        which = f"of the {counted(undoes.memberships, 'membership')} in the copy, {these}"
        fires = f"; fires {job.fires}" if job.fires else ""
        yield "afterwards", f"{job.name}: {which}, under the same confirmation{fires}"


def not_after(plan: RunPlan) -> Lines:
    """When the session ends, if it is not complete before."""
    if plan.until:
        yield "not after", until_words(plan.until)


def schedule(plan: RunPlan) -> Lines:
    """Which rate holds when."""
    if (found := plan.arguments.settings.schedule) is not None:
        yield "schedule", schedule_words(found, datetime.now(UTC))


def limit(plan: RunPlan) -> Lines:
    """How many ids this session settles."""
    if plan.arguments.settings.limit is not None:
        of_shards = ", divided among the shards: not exactly the first rows" if plan.shards else ""
        first = ": the first rows of the restore" if plan.arguments.undoes is not None else of_shards
        yield "limit", f"{counted(plan.arguments.settings.limit, 'id')} in this session{first}"


def version(plan: RunPlan) -> Lines:
    """Which version of an object elsewhere was read."""
    if (source := plan.export.source) is not None:
        yield "version", f"{source.version}, read at {source.at}"


def going_on(plan: RunPlan) -> Lines:
    """How far the run is."""
    if (log := plan.progress) is not None:
        settled = counted(log.rows - log.remaining, "row", "has", "have")
        yield "going on", f"{settled} an outcome, {log.remaining:,} remaining"


def sample(plan: RunPlan) -> Lines:
    """What was looked up, and what exists."""
    server = plan.server
    if server.asked:
        there = "are there under their old id" if plan.arguments.job.target_state.created else "exist"
        text = f"{len(server.found)} of {server.asked} looked up {there}"
        if server.unproven:
            text += f", {server.unproven} with {plan.look_ups.misread.mark} are not proven absent"
        if server.statuses:
            text += f" ({_status_counts(server.statuses)})"
        latest = latest_sign_in(server)
        yield "sample", text + (f"; the latest sign-in was {latest:%Y-%m-%d}" if latest else "")
    if counts := server.sign_ins:
        yield "sign-ins", sign_in_words(counts, bars=has_bars())


def _chosen(undoes: RunToUndo) -> Lines:
    """Yield what became of each id that --only names."""
    if (chosen := undoes.chosen) is None:
        return
    found = (f"{text} is {account}" if text != account else text for text, account in chosen.found.items())
    not_done = (
        f"{text}: in the backup, but not among the rows that the run has carried out" for text in chosen.not_done
    )
    has = {True: "has brought it back", False: "has it, and has not ended"}
    others = (f"{text}: restore-{number} {has[is_back]}" for text, (number, is_back) in chosen.others.items())
    for name, texts in (("found", found), ("not found", chosen.missing), ("not done", not_done), ("left out", others)):
        some = [*texts]
        yield from ((name, shown(text)) for text in some[:NOT_FOUND_MAX])
        if len(some) > NOT_FOUND_MAX:
            yield name, f"and {len(some) - NOT_FOUND_MAX:,} more"


def saved_memberships(plan: RunPlan) -> MembershipsSaved | None:
    """The copy that an earlier session has made; None where this one makes it."""
    return None if plan.progress is None or plan.copies_memberships else plan.progress.memberships


def latest_sign_in(server: SampleCheck) -> datetime | None:
    """The latest sign-in of the sampled accounts."""
    times = (account.last_seen_at for account in server.found.values())
    seen = [at for at in times if at is not None and at != NEVER]
    return datetime.fromtimestamp(max(seen), UTC) if seen else None


def spared(plan: RunPlan) -> dict[Guard, int]:
    """How many of the sampled accounts each guard alone would spare."""
    accounts = plan.server.found.values()
    alone = {guard: plan.guards.only(guard) for guard in plan.guards.given}
    return {
        guard: sum(guards.judge(account.facts).spared is not None for account in accounts)
        for guard, guards in alone.items()
    }


def _how_it_is_read(plan: RunPlan) -> str:
    dialect = plan.export.dialect
    packed = f" {dialect.compression}" if dialect.compression != "none" else ""
    if dialect.format == "lines":
        guessed = f", recognised by the shape of {with_article(plan.id_type.name)}" if dialect.guessed else ""
        return f"one id a line{packed}{guessed}"
    field_name = f"field {dialect.id_field!r}" if dialect.id_field else "bare ids"
    named = dialect.guessed and plan.arguments.undoes is None
    how = " (found by its name; --id-field names another)" if named else ""
    return f"{_format_words(plan)}{packed}, {field_name}{how}"


def _format_words(plan: RunPlan) -> str:
    """The format: of a table, what it is and which sheet is read."""
    dialect, hidden = plan.export.dialect, plan.export.hidden
    if dialect.format == WORKBOOK:
        not_read = f"; hidden and not read: {', '.join(hidden)}" if hidden else ""
        return f"sheet {dialect.sheet!r}{not_read}"
    if dialect.format == PARQUET_FORMAT:
        return "Parquet"
    return dialect.format.upper() + (f", {dialect.encoding}" if dialect.encoding != UTF_8 else "")


def _looked_up_lines(plan: RunPlan) -> Lines:
    """Yield what the look-ups of the exclude files have found."""
    if not plan.to_look_up or plan.complete:
        return
    if (found := plan.looked_up) is None:
        ids = counted(sum(map(len, plan.to_look_up.values())), "id")
        yield "note", f"{ids} to keep will be looked up after a sign-in"
        return
    yield "exclude", f"{counted(found.accounts, 'account')} to keep that these look-ups found"
    if found.without:
        yield "note", f"{found.without:,} of these accounts have no {plan.id_type.name}, so this run cannot reach them"
    if found.not_found:
        which = f": {first_of(found.not_found, NOT_FOUND_MAX)}" if plan.shows_ids and has_terminal() else ""
        ids = counted(len(found.not_found), "id")
        yield "note", f"protects no account: {ids} to keep, which no look-up finds{which}"


def note_lines(plan: RunPlan) -> Lines:
    """What to look at."""
    yield from (("note", note.text if plan.shows_ids or not note.seen else note.seen) for note in notes(plan))


def notes(plan: RunPlan) -> list[Note]:
    """What to look at before this plan is confirmed."""
    found, undoes = plan.export.preflight, plan.arguments.undoes
    return [
        *(_export_notes(found, plan.export.invalid_to) if found else ()),
        *_gone_notes(plan),
        *_cell_notes(plan),
        *(() if plan.has_look_ups else _unknowable(plan)),
        *_look_up_notes(plan),
        *_owner_notes(plan),
        *_guard_notes(plan),
        *_backup_notes(plan),
        *_clock_notes(plan),
        *(_undone_notes(undoes) if undoes is not None and undoes.confirmed is None else ()),
    ]


def _undone_notes(undoes: RunToUndo) -> Iterator[Note]:
    """Yield what a restore cannot bring back."""
    if undoes.memberships is None:
        yield Note("no_memberships", "the run kept no copy of groups and roles (--backup-memberships)")
    elif undoes.put_back_by is None:
        yield Note("memberships_left_out", "groups and roles are not put back (--without-memberships)")
    if undoes.coming.statuses:
        statuses = ", ".join(f"{count:,} {printable(status)}" for status, count in undoes.coming.statuses)
        text = (
            f"they come back with the status of their record: {statuses}. A record that was copied after an earlier "
            "step, such as a resignation, has the status after it: --records-of that run takes the copies of it"
        )
        yield Note("come_back_as", text, {"statuses": dict(undoes.coming.statuses)})
    for part, count in undoes.coming.lacking:
        text = f"{count:,} of these records have no {part} in the backup, so it does not come back"
        yield Note("come_back_without", text, {"part": part, "rows": count})
    if lost := undoes.not_restorable:
        text = f"{counted(lost, 'row', 'has', 'have')} no record in a backup, and cannot be restored"
        text = text if undoes.only is None else f"{counted(lost, 'id')} of --only cannot be restored"
        yield Note("without_record", text, {"rows": lost})
    if doubts := undoes.in_doubt:
        status, which = CommandLine("status", (str(undoes.run),)), counted(doubts, "row", "is", "are")
        text = f"{which} in doubt in that run, and not restored; how to settle them: {status}"
        yield Note("in_doubt_there", text, {"rows": doubts})


def _look_up_notes(plan: RunPlan) -> Iterator[Note]:
    """Yield a note when look-ups prove nothing."""
    if blind := plan.server.blind:
        text = (
            f"look-ups find none of {counted(blind, plan.words.noun)} that the API lists, so an empty response proves "
            "nothing: may the key read them, and is it the right id type?"
        )
        yield Note("look_ups_find_none", text, {"listed": blind})
    records = _records(plan)
    if records and all(map(plan.look_ups.lacks_state, records)):
        text = "no sampled record has a state where the job reads it, so no account would ever be"
        yield Note("no_state", f"{text} {plan.arguments.job.target_state.reached}: is its path right?")
    if plan.server.asked and not plan.server.seen.may_list:
        text = (
            f"the key may not list {plan.words.noun}s, so an empty look-up is proof only while one of the sampled ones "
            "is there; later an id that the API calls unknown is absent, and nothing proves it"
        )
        yield Note("no_control", text)


def _owner_notes(plan: RunPlan) -> Iterator[Note]:
    """Yield which facts of the key's own user are not known."""
    if plan.server.owner_unknown:
        text = (
            f"no look-up shows {with_article(plan.id_type.name)} of the key's own user, so only the id by which the "
            "sign-in names it is kept"
        )
        yield Note("own_user_unknown", text)


def _guard_notes(plan: RunPlan) -> Iterator[Note]:
    """Yield why the guards may not be what was meant."""
    for guard, count in spared(plan).items():
        if plan.server.found and count == len(plan.server.found):
            text = f"{guard.option} spares every account of the sample, so this run may send no id. Check its value"
            text += "; statuses are compared letter by letter" if guard == ONLY_STATUS else ""
            yield Note("guard_spares_all", text, {"guard": guard.option})
    lists = plan.look_ups.administrators() is not None
    if lists and plan.pool is not None and not plan.server.administrator:
        yield Note("no_administrator", "the API lists no administrator, so none is kept")


def _records(plan: RunPlan) -> list[Mapping[str, Any]]:
    """The records that the look-ups of the sample have found."""
    return [record for account in plan.server.found.values() for record in account.records]


def _backup_notes(plan: RunPlan) -> Iterator[Note]:
    """Yield what the copies of the backup will lack."""
    if not plan.arguments.settings.keeps_backup or not plan.server.found:
        return
    for part in plan.look_ups.parts:
        if not any(part in record for record in _records(plan)):
            text = f"no sampled record has {part}, although it was asked for: no copy will have it, and no restore"
            yield Note("part_missing", text, {"part": part})


def _unknowable(plan: RunPlan) -> Iterator[Note]:
    """Yield what cannot be known when the API has no look-ups."""
    doubt = "are sent again"
    if plan.id_type.reusable and plan.arguments.settings.in_doubt != "resend":
        doubt = "stay so, unless --in-doubt resend sends them again"
    for name, text in (
        ("no_sample", "the API has no look-ups, so no sample shows whether these ids exist"),
        ("absent_unproven", "an id that the API calls unknown (404) counts as absent, and nothing proves it"),
        ("cannot_be_verified", "`verify` cannot prove the result"),
        ("doubts_stay", f"ids that were sent without a response {doubt}"),
    ):
        yield Note(name, text)


def _export_notes(found: Preflight, to: Path | None) -> Iterator[Note]:
    """Yield the notes of the preflight: ids that a spreadsheet rewrote, and bad rows."""
    if found.spreadsheet:
        shown = ", ".join(found.spreadsheet_examples)
        text = f"{found.spreadsheet:,} ids look like a spreadsheet rewrote them"
        yield Note("spreadsheet", f"{text}, such as {shown}", {"ids": found.spreadsheet}, text)
    if invalid := found.counts["invalid"]:
        files = f"{to}, and the reasons to {to}{REASONS}"
        text = f"{counted(invalid, 'bad row')} left out; when a run begins, it writes them to {files}"
        yield Note("invalid", text, {"rows": invalid, "file": str(to), "reasons": f"{to}{REASONS}"})
    for group in found.bad:
        why, line = group.first.why, group.first.line
        text = f"{counted(group.count, 'row')}: {{}}; the first in line {line}"
        facts = {"rows": group.count, "reason": why.why.name.lower(), "first_line": line}
        yield Note("bad_rows", text.format(why.words), facts, text.format(bad_row_words(why.why.name)))


def _gone_notes(plan: RunPlan) -> Iterator[Note]:
    """Yield a note when the export is not read any more."""
    if plan.export.gone and not plan.complete:
        is_there = plan.arguments.settings.as_confirmed or address_of(plan.arguments.export) is not None
        why = "is not read again" if is_there else "is not there"
        text = f"{plan.export.path} {why}: the rows are sent that {plan.run} has of it"
        if not (plan.begun_by_me or plan.arguments.settings.sandbox):
            text += ". No session of it was begun by this user on this machine, so it may say anything"
        yield Note("export_gone", text)


def _cell_notes(plan: RunPlan) -> Iterator[Note]:
    """Yield a note when a workbook may show other digits than its cells hold."""
    of_workbook, found = plan.export.dialect.format == WORKBOOK, plan.export.preflight
    if of_workbook and found is not None and any(record.id.isdecimal() for record in plan.export.sample):
        text = (
            "ids of digits alone are what the cells hold: zeros that only the format of a cell shows are no part of an "
            "id. If the sheet shows some, save it as CSV"
        )
        yield Note("digits_of_cells", text)


def _clock_notes(plan: RunPlan) -> list[Note]:
    """The reasons for which a newer account with the same id could not be recognised, and the consequence."""
    server, progress = plan.server, plan.progress
    sampled = server.sampled if progress is None else Sampled.from_json(progress.header.sample)
    now, reusable = server.moment, plan.id_type.reusable
    if now is None:
        return []
    notes: list[Note] = []
    if now.ahead_s is not None and abs(now.ahead_s) > SKEW_S:
        where = "ahead of" if now.ahead_s > 0 else "behind"
        text = f"the server's clock (Date header) is {span(abs(now.ahead_s))} {where} this machine's"
        notes.append(Note("clock_differs", text, {"server_ahead_s": round(now.ahead_s)}))
    if reusable and now.ahead_s is None and server.requests:
        notes.append(Note("clock_unknown", "the server's responses carry no Date, so its clock is unknown"))
    if reusable and sampled.future_s:
        text = f"a sampled createdAt is {span(sampled.future_s)} in the future: a clock or a time zone is wrong"
        notes.append(Note("created_in_the_future", text, {"future_s": round(sampled.future_s)}))
    elif reusable and server.found and sampled.newest is None:
        notes.append(Note("created_at_missing", "the looked-up records carry no createdAt"))
    if reusable and progress is not None and progress.in_doubt.size:
        oldest_s = max(age_s(doubt.since, now) for _, _, doubt in progress.doubts())
        if oldest_s > REUSE_AFTER_S:
            text = f"some ids have been in doubt for {span(oldest_s)}"
            notes.append(Note("long_in_doubt", text, {"in_doubt_s": round(oldest_s)}))
    if notes and reusable:
        then = "is sent again (--in-doubt resend)"
        if plan.arguments.settings.in_doubt != "resend":
            then = "ends as unknown and is not sent again; --in-doubt resend sends it"
        text = f"so an id in doubt that may be a newer {plan.words.noun} with the same {plan.id_type.name} {then}"
        notes.append(Note("in_doubt_policy", text, {"in_doubt": plan.arguments.settings.in_doubt}))
    return notes

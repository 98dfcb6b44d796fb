"""The command `bulkdel sandbox`: makes its users, writes files, serves until a signal comes, and says how to use it.

The files are those of other people that an offboarding begins with: the export of a CRM, and a list of VIPs. Their rows
follow from the users of the sandbox, so the same users give the same files. `bulkdel_jobs.commands` has the options.
"""

from __future__ import annotations

import csv
import io
import random
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson

from bulkdel.durable import atomic_file
from bulkdel.engine.signals import Interrupted, Signals
from bulkdel.errors import FileFailed, UsageError
from bulkdel.export.file import open_export
from bulkdel.export.preflight import preflight
from bulkdel.export.rows import Parsed, ReadOptions
from bulkdel.format import counted, to_install
from bulkdel.output import result, say
from bulkdel_jobs.commands import SandboxOptions
from bulkdel_jobs.genauth.access_key import KEY_ID, KEY_SECRET
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.sandbox.people import People, give_access
from bulkdel_jobs.sandbox.pool import Pool
from bulkdel_jobs.sandbox.sandbox import Sandbox
from bulkdel_jobs.sandbox.serving import serve_in_thread
from bulkdel_jobs.sandbox.token_issuer import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, SANDBOX_POOL_ID
from bulkdel_jobs.sandbox_switches import Switches

LOOK_S = 0.2
"""A signal ends the sandbox within so many seconds."""

STAYS, VIP = 5, 101
"""One in so many users is not in the export of the CRM; one in so many is a VIP."""

TWICE, BAD = 500, 400
"""One in so many rows of users is followed by the same address in capital letters; by a row without an address."""

NO_ADDRESS = ("n/a", "", "-", "unknown")

Rows = Iterator[Sequence[str]]


def run_sandbox(options: SandboxOptions, switches: Switches) -> int:
    """Serve until a signal comes; return the exit code."""
    with Signals() as signals:
        people = None if options.plain else People()
        pool, public = (
            _pool(options, source, people, any_shape=not switches.check_id_shape)
            for source in (options.users, options.public_accounts)
        )
        if people is not None:
            give_access(pool)
        for group in options.groups:
            pool.access.add_group(group, pool.alive())
        for role in options.roles:
            pool.access.add_role(role, pool.alive(), options.namespace)
        try:
            with (
                serve_in_thread(pool, switches, public=public, port=options.port, seed=options.seed) as sandbox,
                suppress(Interrupted),
            ):
                _write_files(pool, options)
                _announce(sandbox, options)
                # The system may give the signal to the thread that serves: then a pause would not end. And an
                # exception is lost where Python calls back, as when it destroys an object.
                while signals.received is None:
                    time.sleep(LOOK_S)
        except OSError as error:
            raise UsageError(f"--port {options.port}: {error.strerror}") from error
    deleted = counted(sandbox.ledger.deleted, "user", "was", "were")
    say(f"Stopped after {counted(sandbox.ledger.requests, 'request')}; {deleted} deleted.")
    return 0


def _pool(options: SandboxOptions, source: str, people: People | None, *, any_shape: bool) -> Pool:
    """Make up users, or read them the way `bulkdel run` reads an export. source: how many, or the file."""
    if options.id_type not in ID_TYPES:
        raise UsageError(f"--id-type {options.id_type!r}: known are {', '.join(ID_TYPES)}")
    if source.isdecimal():
        return Pool.generated(int(source), people)
    pattern = r"(?s).+" if any_shape and options.id_type == "user_id" else None
    how = ReadOptions(ID_TYPES[options.id_type], ID_TYPES, id_field=options.id_field, id_pattern=pattern)
    with open_export(source) as export:
        ids: list[str] = []

        def take(parsed: Parsed) -> None:
            ids.extend(parsed.ids)

        preflight(export, how, rng=random.Random(0), to=take)  # noqa: S311 - the sample that it draws is not used
        return Pool.from_ids(ids, options.id_type, people=people)


def _write_files(pool: Pool, options: SandboxOptions) -> None:
    """Write the files that the options name. The sandbox listens already: a plan of such a file finds it."""
    if options.write_ids is not None:
        ids = pool.user_ids(options.id_type)
        write_new("--write-ids", options.write_ids, b"".join(orjson.dumps({"id": id_}) + b"\n" for id_ in ids))
    if options.write_csv is not None:
        write_rows("--write-csv", options.write_csv, crm_rows(pool))
    if options.write_vips is not None:
        write_rows("--write-vips", options.write_vips, vip_rows(pool))


def _announce(sandbox: Sandbox, options: SandboxOptions) -> None:
    """Say where it listens and how to use it: to a program on stdout, to a person on stderr."""
    users, url = len(sandbox.pool), sandbox.url
    pool_id = sandbox.switches.pool_id or SANDBOX_POOL_ID
    where = {"url": url, "pool": pool_id, "key_id": SANDBOX_KEY_ID, "key_secret": SANDBOX_KEY_SECRET, "users": users}
    result(orjson.dumps(where).decode())
    export = options.write_csv or options.write_ids or (None if options.users.isdecimal() else options.users)
    words = ["bulkdel", "plan", "delete-users", "EXPORT" if export is None else str(export), "--host", url]
    if options.id_type != "user_id" and options.write_csv is None:
        words += ["--id-type", options.id_type]
    if options.id_field is not None and export == options.users:
        words += ["--id-field", options.id_field]
    say(f"A GenAuth look-alike with {users:,} users listens on {url}. To use it, in another terminal:")
    say(f"  export {KEY_ID}={SANDBOX_KEY_ID} {KEY_SECRET}={SANDBOX_KEY_SECRET}")
    say(f"  {shlex.join(words)}")
    say("The plan shows the command that deletes. (This key opens nothing but sandboxes.)")
    if export is None:
        say("An EXPORT of users that exist here: start the sandbox with --write-csv FILE, or --write-ids FILE.")
    for path, what in (
        (options.write_ids, "the ids of all users"),
        (options.write_csv, "most of the users, as a CRM exports them"),
        (options.write_vips, "VIPs among the users, for --exclude"),
    ):
        if path is not None:
            say(f"{path} is written: {what}.")
    say(f"What it saw and did so far:  curl {url}/sandbox/ledger")
    say("Ctrl-C stops it.")


# --- files ------------------------------------------------------------------------------------------------------------


def crm_rows(pool: Pool) -> Rows:
    """The rows of the CRM: most of the users, some of them twice, some without an address, in the case of the CRM."""
    yield "Name", "E-Mail", "Last order"
    for number in pool.alive():
        if number % STAYS == STAYS - 1:
            continue
        user = pool.user(number)
        name, address = str(user["name"]), str(user["email"])
        ordered = f"{date(2022, 1, 1) + timedelta(days=number * 13 % 1000):%d.%m.%Y}"
        yield name, address.title() if number % 3 == 0 else address, ordered
        if number % TWICE == 1:
            yield name, address.upper(), ordered
        if number % BAD == 2:  # noqa: PLR2004
            yield "", NO_ADDRESS[number // BAD % len(NO_ADDRESS)], ordered


def vip_rows(pool: Pool) -> Rows:
    """The rows of the VIPs. Some of them are not in the export of the CRM."""
    yield "Customer", "E-Mail", "Account manager"
    for number in pool.alive():
        if number % VIP == 0:
            user = pool.user(number)
            yield user["name"], user["email"], "Uwe Lang"


def write_rows(option: str, path: Path, rows: Rows) -> None:
    """Write rows to a new file: a workbook (`.xlsx`), else CSV as Excel writes it, with `;` and a byte order mark.

    The file appears when it is whole. One with the same bytes may be there. option: for messages. Raises UsageError,
    FileFailed.
    """
    if path.suffix not in {".xlsx", ".csv"}:
        raise UsageError(f"{option} {path}: name a file that ends in .csv or .xlsx")
    write_new(option, path, _workbook(rows) if path.suffix == ".xlsx" else _csv(rows))


def write_new(option: str, path: Path, content: bytes) -> None:
    """Write a new file, as `write_rows` does."""
    try:
        with atomic_file(path) as file:
            file.write(content)
    except FileExistsError as error:
        raise UsageError(f"{option} {path}: is there already; name a new file") from error
    except OSError as error:
        raise FileFailed(f"{option} {path}: {error.strerror}") from error


def _csv(rows: Rows) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def _workbook(rows: Rows) -> bytes:
    try:
        import xlsxwriter  # noqa: PLC0415 - an extra
    except ImportError:
        advice = f"{to_install('excel')}, or name a file that ends in .csv"
        raise UsageError(f"a workbook needs the extra excel: {advice}") from None
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        book.set_properties({"created": datetime(2026, 1, 1, tzinfo=UTC)})  # the same rows give the same bytes
        sheet = book.add_worksheet("VIPs")
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    return content.getvalue()

"""The files of other people that an offboarding begins with: the export of a CRM, and a list of VIPs.

Their rows follow from the users of the sandbox, so the same users give the same files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from bulkdel.durable import atomic_file
from bulkdel.errors import FileFailed, UsageError
from bulkdel.format import to_install
from bulkdel_jobs.sandbox.pool import Pool

STAYS, VIP = 5, 101
"""One in so many users is not in the export of the CRM; one in so many is a VIP."""

TWICE, BAD = 500, 400
"""One in so many rows of users is followed by the same address in capital letters; by a row without an address."""

NO_ADDRESS = ("n/a", "", "-", "unknown")

Rows = Iterator[Sequence[str]]


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

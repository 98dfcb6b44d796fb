"""`make bench-tables`: `plan` of a workbook and of Parquet against `plan` of CSV with the same ids.

    python -m tests.bench_tables [ROWS_OF_THE_WORKBOOK ROWS_OF_PARQUET]

CPU seconds of the command and its processes, and the peak memory (RSS) of the largest of them, as the kernel has them.
The ratio is the time of CSV divided by ours. One column more than the id, because hardly any table has one column.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

from tests.harness import environment

BATCH = 100_000


def emails(rows: int) -> Iterator[tuple[str, str]]:
    """The cells of each row."""
    return ((f"kunde{i}@example.com", f"Jürgen {i}") for i in range(rows))


def write_csv(path: Path, rows: int) -> None:
    """CSV."""
    with path.open("w") as file:
        file.write("E-Mail,Name\n")
        file.writelines(f"{mail},{name}\n" for mail, name in emails(rows))


def write_workbook(path: Path, rows: int) -> None:
    """One sheet; each text stands in its cell, so that memory stays flat."""
    book = xlsxwriter.Workbook(str(path), {"constant_memory": True})
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ("E-Mail", "Name"))
    for at, cells in enumerate(emails(rows), 1):
        sheet.write_row(at, 0, cells)
    book.close()


def write_parquet(path: Path, rows: int) -> None:
    """Row groups of 100,000."""
    schema = pa.schema([("E-Mail", pa.string()), ("Name", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BATCH):
            some = range(start, min(start + BATCH, rows))
            columns = [[f"kunde{i}@example.com" for i in some], [f"Jürgen {i}" for i in some]]
            writer.write_table(pa.table(columns, schema=schema))


def measured(export: Path) -> tuple[float, float]:
    """CPU seconds of one `plan`, and the peak memory in MB of the largest of its processes."""
    words = ["plan", "delete-users", str(export), "--id-field", "E-Mail", "--id-type", "email", "--json"]
    pid = subprocess.Popen([sys.executable, "-m", "bulkdel", *words], env=environment({}), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(pid.pid, 0)
    pid.returncode = os.waitstatus_to_exitcode(status)
    if pid.returncode != 0:
        raise RuntimeError(f"{export.name}: exit code {pid.returncode}")
    scale = 1 if sys.platform == "darwin" else 1024
    return used.ru_utime + used.ru_stime, used.ru_maxrss * scale / 1e6


def peak_of_children(export: Path) -> float:
    """The peak memory in MB of any process of one `plan`, its children included."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = ["plan", "delete-users", str(export), "--id-field", "E-Mail", "--id-type", "email", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", script, sys.executable, "-m", "bulkdel", *words],
        env=environment({}),
        capture_output=True,
        check=True,
    )
    return int(done.stdout) * 1024 / 1e6


def main() -> None:
    """Print the table."""
    sizes = [int(word) for word in sys.argv[1:]] or [1_000_000, 10_000_000]
    print(f"{'':<10}{'rows':>12}{'file':>10}{'csv':>9}{'table':>9}{'ratio':>7}{'peak':>9}")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name, ending, rows, write in (
            ("workbook", "xlsx", sizes[0], write_workbook),
            ("parquet", "parquet", sizes[0], write_parquet),
            ("parquet", "parquet", sizes[-1], write_parquet),
        ):
            plain, table = Path(folder) / "e.csv", Path(folder) / f"e.{ending}"
            write_csv(plain, rows)
            write(table, rows)
            of_csv, of_table = measured(plain)[0], measured(table)[0]
            peak, size = peak_of_children(table), table.stat().st_size / 1e6
            for each in Path(folder).iterdir():
                each.unlink()
            line = f"{name:<10}{rows:>12,}{size:>8.0f}MB{of_csv:>8.1f}s{of_table:>8.1f}s{of_csv / of_table:>7.2f}"
            print(f"{line}{peak:>7.0f}MB", flush=True)


if __name__ == "__main__":
    main()

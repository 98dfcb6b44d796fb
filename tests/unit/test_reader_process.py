"""What is read in the other process comes out here as it was, to the last item, and so does what went wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from bulkdel.engine.reader_process import FRAME_ITEMS, Ahead
from bulkdel.core.log_entries import Skipped
from bulkdel.core.chunker import ChunkTask
from bulkdel.core.account_match import Instant
from bulkdel.core.record import Chunk
from bulkdel.core.decision import Request
from bulkdel.errors import Halted, NotAcceptable

def work(number, **more):
    return ChunkTask(Chunk.of([f"ü{number}", "b"], ((number, number + 1), (number + 5, number + 6))), **more)

SOME = [
    work(1, call=Request("POST", "/x", (("a", "b"),), b"{}")),
    Skipped("duplicate", ((1, 2), (4, 9))),
    work(2, in_doubt_since=Instant("2026-01-01T00:00:00.000Z", -3), protected=True),
]

def taken(items, error=None):
    def feed():
        yield from items
        if error is not None:
            raise error
    ahead, got = Ahead(feed(), lambda: None), []
    try:
        for item in ahead:
            got.append(item)
    except Exception as raised:
        return got, type(raised), str(raised).splitlines()[0]
    finally:
        ahead.close()
    return got

class Odd(str):
    pass
"""
"""Run in a process of its own: pytest's has threads, beside which nothing is forked."""


def passes(check: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE + check], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 33, 1_000])
def test_every_item_comes_out_as_it_was(count: int) -> None:
    passes(f"items = [*map(work, range({count})), *SOME]; assert taken(items) == items, taken(items)")


@pytest.mark.parametrize("count", [0, 3, 16, 20])
def test_what_went_wrong_is_raised_here(count: int) -> None:
    """An error with a meaning keeps it; any other is a mistake of this program."""
    passes(
        f"items = [*map(work, range({count}))]\n"
        "whole = items[: len(items) // FRAME_ITEMS * FRAME_ITEMS]\n"
        "for error in (Halted('changed'), NotAcceptable('bad')):\n"
        "    assert taken(items, error) == (whole, type(error), str(error))\n"
        "first = 'while reading the export: KeyError'\n"
        "assert taken(items, KeyError('secret')) == (whole, RuntimeError, first)\n"
    )


def test_what_cannot_be_handed_over_is_said_to_be_just_that() -> None:
    """By a job that makes requests of subclasses of str, say; it is nobody's kill, and no want of memory."""
    passes(
        "got = taken([work(0), work(1, call=Request(Odd('POST'), '/x'))])\n"
        "assert got == ([], RuntimeError, 'while reading the export: ValueError'), got\n"
    )

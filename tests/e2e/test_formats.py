"""50,000 ids in every form an export comes in: the server's own count shows each deleted once, in chunks of 50."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.examples import one_in
from tests.harness import POOL, bulkdel, sandbox, user_ids

N = 20_000
IDS = user_ids(N)
EMAILS = [f"User{i}@example.com" for i in range(N)]
NUMBERS = [str(10_000_000 + i) for i in range(N)]


def objects(ids: list[str]) -> bytes:
    return "".join(json.dumps({"name": "Zoë", "id": id_}) + "\n" for id_ in ids).encode()


def bare(ids: list[str]) -> bytes:
    return "".join(f'"{id_}"\n' for id_ in ids).encode()


def integers(ids: list[str]) -> bytes:
    return "".join(f'{{"id":{id_}}}\n' if i % 2 else f'{{"id":"{id_}"}}\n' for i, id_ in enumerate(ids)).encode()


def quoted_csv(ids: list[str]) -> bytes:
    """Quoted columns with a line feed inside one, a BOM, CRLF."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(["name", "id", "note"])
    writer.writerows([f'O"Hara, {i}', id_, "two\nlines" if i % 1000 == 0 else ""] for i, id_ in enumerate(ids))
    return b"\xef\xbb\xbf" + text.getvalue().encode()


CASES: dict[str, tuple[list[str], str, Callable[[list[str]], bytes]]] = {
    "objects.jsonl": (IDS, "user_id", objects),
    "bare.jsonl": (IDS, "user_id", bare),
    "quoted.csv": (IDS, "user_id", quoted_csv),
    "packed.jsonl.gz": (IDS, "user_id", lambda ids: gzip.compress(objects(ids), 1)),
    "packed.csv.zst": (IDS, "user_id", lambda ids: zstandard.compress(quoted_csv(ids))),
    "emails.csv": (EMAILS, "email", quoted_csv),
    "integers.jsonl": (NUMBERS, "external_id", integers),
}


@pytest.mark.parametrize("name", one_in(8, CASES))
def test_each_id_is_deleted_once(name: str, tmp_path: Path) -> None:
    """Chunks of 50, the right userIdType, every id gone, none sent twice."""
    ids, id_type, write = CASES[name]
    export = tmp_path / name
    export.write_bytes(write(ids))
    with sandbox(ids, id_type) as served:
        ran = bulkdel(
            *("run", "delete-users", export, "--host", served.url, "--id-type", id_type, "--rate", 0, "--json"),
            *("--confirm", N, "--pool", POOL),
        )
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": N}
        assert served.pool.deleted == N
        assert len(served.pool) == 0
        assert served.ledger.chunk_sizes == Counter({50: N // 50})
        assert set(served.ledger.id_types) == {id_type}
        assert served.ledger.sent_times() == {1: N}

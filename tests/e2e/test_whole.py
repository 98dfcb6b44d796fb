"""A whole deletion with everything on: guard rails, backup, results, verification; held against the server."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.e2e.test_backup import check_gone_is_saved, records
from tests.harness import KEYS, bulkdel, case, user_ids, write_objects


def test_ten_thousand_with_everything(tmp_path: Path) -> None:
    """500 unknown ids, 20 protected, 7 poisonous: backup, results and verify agree with the server and each other."""
    ids = user_ids(10_000, seed=21)
    rng = random.Random(21)
    unknown = set(rng.sample(ids, 500))
    users = [id_ for id_ in ids if id_ not in unknown]
    special = rng.sample(users, 27)
    protected, poisonous = set(special[:20]), special[20:]
    gone = set(users) - set(special)
    assert len(gone) == 9_473
    keep = write_objects(tmp_path / "keep.jsonl", sorted(protected))
    backup = tmp_path / "users.backup.jsonl.zst"
    with case(
        tmp_path,
        ids,
        users=[*users, "0123456789abcdef01234567"],
        unknown_ids="refuse",
        poisonous=dict.fromkeys(poisonous, (422, None)),
    ) as it:
        it.ids = 9_980
        ran = it.run("--backup-to", backup, "--exclude", keep, env={**KEYS, "BULKDEL_PROTECT__MAX_IDS": "9980"})
        assert ran.code == 1, ran.err
        assert ran.counts() == {"deleted": 9_473, "absent": 500, "refused": 7, "excluded": 20}
        assert {id_ for id_ in ids if it.served.ledger.effects(id_)} == gone

        assert check_gone_is_saved(it, backup, ids) == gone
        saved = {record["userId"] for record in records(backup)}
        assert not saved & protected
        assert saved == gone | set(poisonous)

        results = bulkdel("results", it.log)
        assert results.code == 0, results.err
        rows = [json.loads(line) for line in results.out.splitlines()]
        assert [(row["position"], row["line"], row["id"]) for row in rows] == [
            (n, n + 1, id_) for n, id_ in enumerate(ids)
        ]
        expected = {
            **dict.fromkeys(gone, "deleted"),
            **dict.fromkeys(unknown, "absent"),
            **dict.fromkeys(protected, "excluded"),
            **dict.fromkeys(poisonous, "refused"),
        }
        assert {row["id"]: row["outcome"] for row in rows} == expected
        assert all(row["statusCode"] == 422 for row in rows if row["outcome"] == "refused")

        verified = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert verified.code == 0, verified.err
        assert verified.summary["gone"] == 9_973

        audit = bulkdel("status", "--audit", it.log)
        assert audit.code == 0, audit.err

        again = write_objects(tmp_path / "x.jsonl", [])
        again.write_text(bulkdel("results", it.log, "--only", "refused").out)
        plan = bulkdel("plan", "delete-users", again, "--host", it.served.url)
        assert plan.code == 0, plan.err
        assert "7 ids" in plan.out

"""Ids that may mean the same account, and look-ups that cannot carry an id: the real command against the sandbox.

The oracle is what the sandbox really deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.sandbox.ids import _FOLD
from tests.harness import POOL, Case, Ran, bulkdel, case, write_objects

pytestmark = pytest.mark.campaign

KEPT = "+8613800000004"
FORMS = ("13800000004", "8613800000004", "008613800000004", "013800000004", "+8613800000004")
OTHERS = [f"139000000{n:02}" for n in range(20)]
PHONES = ("--rate", 0, "--id-type", "phone")


def run(it: Case, ids: int, *more: object) -> Ran:
    """`run`, confirmed for `ids`."""
    return bulkdel(
        *("run", "delete-users", it.export, "--host", it.served.url, "--json", "--confirm", ids, "--pool", POOL),
        *(*it.options, *more),
    )


def plan(it: Case, *more: object) -> str:
    done = bulkdel("plan", "delete-users", it.export, "--host", it.served.url, *it.options, *more)
    assert done.code == 0, done
    return done.out


def effects(it: Case, ids: Sequence[str], id_type: str) -> list[int]:
    return [it.served.ledger.effects(id_, id_type) for id_ in ids]


# ── phones: kept ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kept", FORMS)
def test_a_protected_number_is_kept_however_it_is_written(kept: str, tmp_path: Path) -> None:
    keep = write_objects(tmp_path / "keep.jsonl", [kept, "+8613700000000"])
    export = [*FORMS, *OTHERS]
    with case(tmp_path, export, users=[KEPT, *OTHERS], id_type="phone", options=PHONES) as it:
        told = " ".join(plan(it, "--exclude", keep).split())
        only = "4 of these rows only because they may be the same phone"
        assert f"1 of these ids met in the export, 5 rows left out for them, {only}" in told, told
        done = run(it, len(OTHERS), "--exclude", keep)
        assert (done.code, done.counts()) == (0, {"deleted": len(OTHERS), "excluded": len(FORMS)}), done
        assert effects(it, [KEPT, *OTHERS], "phone") == [0] + [1] * len(OTHERS)
        assert it.served.ledger.sent(KEPT, "phone") == 0


def test_a_number_of_another_country_is_not_kept(tmp_path: Path) -> None:
    """+44 and +86 before the same digits are told apart."""
    keep = write_objects(tmp_path / "keep.jsonl", [KEPT])
    with case(tmp_path, ["+4413800000004"], id_type="phone", options=PHONES) as it:
        assert "none of the ids to keep is in the export" in plan(it, "--exclude", keep)
        assert run(it, 1, "--exclude", keep).counts() == {"deleted": 1}


@pytest.mark.parametrize("how", ["--look-first", "--backup"])
def test_the_record_that_a_look_up_finds_is_held_against_the_ids_to_keep(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes usernames without case: the row `boss` means the user `Boss`, who must stay."""
    monkeypatch.setitem(_FOLD, "username", str.lower)
    keep = write_objects(tmp_path / "keep.jsonl", ["Boss"])
    more = (how, tmp_path / "users.jsonl") if how == "--backup" else (how,)
    names = [f"user{n}" for n in range(60)]
    export, options = [*names[:5], "boss", *names[5:]], ("--rate", 0, "--id-type", "username")
    with case(tmp_path, export, users=["Boss", *names], id_type="username", options=options) as it:
        done = run(it, len(export), "--exclude", keep, *more)
        assert (done.code, done.counts()) == (0, {"deleted": len(names), "excluded": 1}), done
        assert "1 row was kept and counts as excluded" in done.err
        assert effects(it, ["Boss", *names], "username") == [0] + [1] * len(names)
        assert it.served.ledger.sent("Boss", "username") == 0
        # It is final: the same command does not send it either.
        assert run(it, len(export), "--exclude", keep, *more).code == 0
        assert it.served.ledger.sent("Boss", "username") == 0


def test_the_keys_own_user_is_kept_by_phone_too(tmp_path: Path) -> None:
    with case(tmp_path, ["13800000004", *OTHERS], users=[KEPT, *OTHERS], id_type="phone", options=PHONES) as it:
        ordinal = it.served.pool.find("phone", KEPT)
        assert ordinal is not None
        it.served.switches = it.served.switches.changed({"token_user": it.served.pool.user(ordinal).user_id})
        done = run(it, len(OTHERS) + 1)
        assert (done.code, done.counts()) == (0, {"deleted": len(OTHERS), "excluded": 1}), done
        assert it.served.ledger.effects(KEPT, "phone") == 0


# ── phones: sent ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_ids_that_may_be_the_same_are_both_sent_and_never_together(tmp_path: Path) -> None:
    """The sandbox refuses a request that names one user twice."""
    pairs = [form for n in range(10) for form in (f"138000000{n:02}", f"+86138000000{n:02}")]
    options = (*PHONES, "--chunk-size", 7)
    with case(tmp_path, pairs, id_type="phone", options=options, duplicates_in_chunk="refuse", latency_s=0.02) as it:
        done = run(it, len(pairs))
        assert done.code == 0, done
        assert done.summary["duplicate"] == 0
        assert done.summary["deleted"] + done.summary["absent"] == len(pairs)
        assert effects(it, pairs, "phone") == [1] * len(pairs)
        assert [it.served.ledger.sent(id_, "phone") for id_ in pairs] == [2] * len(pairs)
        assert set(it.served.ledger.answers) == {"200"}
        # `verify` asks for them apart as well.
        sizes = it.served.ledger.lookup_sizes.copy()
        it.served.pool.add_ids(["+8613900000000"], "phone")
        assert bulkdel("verify", it.log, "--rate", 0).code == 0
        assert max(it.served.ledger.lookup_sizes - sizes) <= 10

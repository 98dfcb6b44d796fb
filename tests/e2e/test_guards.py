"""Each guard against the loss it prevents: the real command, and the server's own count of what is gone."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bulkdel.errors import UsageError
from bulkdel.safety.protect import host_word
from bulkdel.safety.server_checks import same_host
from bulkdel_jobs.sandbox import DELETE_PATH, LOOKUP_PATH
from tests.examples import one_in
from tests.harness import (
    DELETIONS,
    KEYS,
    POOL,
    Case,
    bulkdel,
    case,
    entries,
    finish,
    kill,
    sandbox,
    start,
    stopped_as_planned,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.recorded import let_pass
from tests.syntax import swap

IDS = user_ids(400, seed=11)


def alive(it: Case, ids: Sequence[str]) -> set[str]:
    return {id_ for id_ in ids if it.served.pool.find_alive("user_id", id_) is not None}


def sent(it: Case, ids: Sequence[str]) -> set[str]:
    return {id_ for id_ in ids if it.served.ledger.sent(id_)}


def config(folder: Path, text: str) -> Path:
    path = folder / "bulkdel.toml"
    path.write_text(text)
    return path


# ── exclude files ────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "exclude files read and forgotten",
    "read_excluded",
    swap("ids.update", "IdSet().update"),
)
def test_excluded_ids_stay(tmp_path: Path) -> None:
    """Two exclude files of different formats; a third of the export is protected."""
    keep = IDS[::3]
    with case(tmp_path, IDS) as it:
        one = write_objects(tmp_path / "keep.jsonl", keep[:50])
        two = tmp_path / "vip.csv"
        two.write_text("name,userId\r\n" + "".join(f"x,{id_}\r\n" for id_ in keep[50:]))
        it.ids -= len(keep)
        ran = it.run("--exclude", one, "--exclude", two)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(IDS) - len(keep), "excluded": len(keep)}
        assert alive(it, IDS) == set(keep)
        assert not sent(it, keep)
        assert f"{50} ids to keep in {one}" in ran.err


def test_excluded_emails_stay_whatever_their_case(tmp_path: Path) -> None:
    emails = [f"User{i}@Example.com" for i in range(60)]
    export = write_objects(tmp_path / "export.jsonl", emails)
    keep = tmp_path / "keep.txt"
    keep.write_text("".join(f"{email.upper()}\n" for email in emails[:7]))
    with sandbox(emails, "email") as served:
        ran = bulkdel(
            *("run", "delete-users", export, "--host", served.url, "--id-type", "email", "--rate", 0, "--json"),
            *("--exclude", keep, "--confirm", 53, "--pool", POOL),
        )
        assert ran.counts() == {"deleted": 53, "excluded": 7}, ran.err
        assert served.ledger.deleted == 53
        assert all(served.pool.find_alive("email", email) is not None for email in emails[:7])


@mutant(
    "a file with the whole name takes the place of an exclude file whose column is named",
    "_local",
    swap("len(files) > 1", "len(files) > 2"),
)
def test_an_exclude_file_is_not_read_in_the_place_of_another(tmp_path: Path) -> None:
    """Another person has made a file whose name is that of the exclude file, with the column and the type."""
    with case(tmp_path, IDS) as it:
        keep, planted = tmp_path / "vip.csv", tmp_path / "vip.csv:userId"
        keep.write_text(f"name,userId\r\nx,{IDS[0]}\r\n")
        planted.write_text("0123456789abcdef01234567\n")
        for ending in ("", ":user_id"):
            refused = it.run("--exclude", f"{keep}:userId{ending}")
            assert refused.code == 2, refused
            assert f"may mean {planted} or {keep}, and both files are there" in refused.err
        assert it.served.ledger.requests == 0
        planted.unlink()
        it.ids -= 1
        assert it.run("--exclude", f"{keep}:userId").counts() == {"deleted": len(IDS) - 1, "excluded": 1}
        assert alive(it, IDS) == {IDS[0]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no ids"),
        ('{"id": "not-an-id"}\n', "not-an-id"),
        ('{"id": "0123456789abcdef01234567"}\n{"x": 1}\n', "line 2"),
        ('{"id": "0123456789abcdef01234567", "userId": "0123456789abcdef01234567"}\n', "userId"),
    ],
)
def test_a_doubtful_exclude_file_stops_everything(text: str, told: str, tmp_path: Path) -> None:
    """Also with --skip-invalid: a row that is skipped there would protect no user."""
    with case(tmp_path, IDS) as it:
        keep = tmp_path / "keep.jsonl"
        keep.write_text(text)
        ran = it.run("--exclude", keep, "--skip-invalid", "10")
        assert (ran.code, told in ran.err, str(keep) in ran.err) == (3, True, True), ran.err
        assert it.served.ledger.requests == 0


@pytest.mark.parametrize("name", one_in(2, ["keep.jsonl.gz", "keep.jsonl.zst", "keep.jsonl", "keep.parquet"]))
def test_an_exclude_file_that_ends_early_is_refused(name: str, tmp_path: Path) -> None:
    """Half of its bytes are there. Before the cut it protects the first half of the export."""
    text = "".join(f'{{"id": "{id_}"}}\n' for id_ in IDS[:200]).encode()
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress, ".parquet": parquet_of}
    whole = pack.get(Path(name).suffix, bytes)(text)
    keep = tmp_path / name
    with case(tmp_path, IDS) as it:
        keep.write_bytes(whole)
        it.ids -= 200
        assert it.run("--exclude", keep, "--limit", 10).code == 0
        shutil.rmtree(it.place)
        keep.write_bytes(whole[: len(whole) // 2 + 3])  # no end of a line
        ran = it.run("--exclude", keep)
        assert (ran.code, it.served.ledger.deleted) == (3, 10), ran.err


def parquet_of(text: bytes) -> bytes:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [json.loads(line)["id"] for line in text.splitlines()]}), out)
    return out.getvalue()


def test_an_exclude_file_is_read_like_the_export_or_as_bare_ids(tmp_path: Path) -> None:
    """--id-field names the export's member; a list of bare ids has none."""
    with case(tmp_path, IDS) as it:
        export = write_objects(tmp_path / "other.jsonl", IDS, "uid")
        bare = tmp_path / "keep.txt"
        bare.write_text("".join(f"{id_}\n" for id_ in IDS[:5]))
        same = write_objects(tmp_path / "same.jsonl", IDS[5:9], "uid")
        ran = bulkdel(
            *("run", "delete-users", export, "--host", it.served.url, "--json", "--rate", 0, "--id-field", "uid"),
            *("--exclude", bare, "--exclude", same, "--confirm", 391, "--pool", POOL),
        )
        assert ran.code == 0, ran.err
        assert alive(it, IDS) == set(IDS[:9])


@mutant(
    "the plan does not say which column of an exclude file is read",
    "read_excluded",
    swap("own.id_field is not None", "own.id_field is None"),
)
def test_the_plan_says_which_column_of_an_exclude_file_takes_the_place_of_the_one_that_was_named(
    tmp_path: Path,
) -> None:
    """Without --id-field the column of both is recognised, and with a column of its own nothing has to be told."""
    with case(tmp_path, IDS) as it:
        keep = tmp_path / "keep.csv"
        keep.write_text(f"login,id\r\nx,{IDS[0]}\r\n")
        told = f"{keep}: has no column of the name that the export has; its column 'id' is read"
        uid = write_objects(tmp_path / "uid.jsonl", IDS, "uid")
        for export, options, column, tells in (
            (uid, ("--id-field", "uid"), "", True),
            (uid, ("--id-field", "uid"), ":id", False),
            (it.export, (), "", False),
        ):
            words = ("plan", "delete-users", export, "--host", it.served.url, *options)
            plan = bulkdel(*words, "--exclude", f"{keep}{column}")
            assert (plan.code, told in " ".join(plan.out.split())) == (0, tells), plan
            assert "1 of 1 ids to keep are in the export" in plan.out


def test_the_plan_names_no_column_of_an_exclude_file_that_has_none(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        keep = tmp_path / "keep.txt"
        keep.write_text(f"{IDS[0]}\n")
        uid = write_objects(tmp_path / "uid.jsonl", IDS, "uid")
        words = ("plan", "delete-users", uid, "--host", it.served.url, "--id-field", "uid", "--exclude", keep)
        plan = bulkdel(*words)
        assert (plan.code, "its column" in plan.out) == (0, False), plan
        assert "1 of 1 ids to keep are in the export" in plan.out


def test_a_resume_keeps_what_was_excluded_and_takes_more(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        keep = write_objects(tmp_path / "keep.jsonl", IDS[300:320])
        more = write_objects(tmp_path / "more.jsonl", IDS[350:360])
        it.ids = 380
        assert it.run("--exclude", keep, "--limit", 100).code == 0
        before = it.served.ledger.deleted
        assert before == 100

        write_objects(keep, [*IDS[310:320], IDS[390]])
        changed = it.run("--exclude", keep)
        assert (changed.code, "379" in changed.err) == (2, True), changed.err
        write_objects(keep, IDS[300:320])

        stale = it.run("--exclude", keep, "--exclude", more)
        assert stale.code == 2, stale.err
        assert "370" in stale.err
        assert it.served.ledger.deleted == before

        it.ids = 370
        unasked = it.args[:-6] + it.args[-2:]
        assert "--confirm" not in unasked
        again = bulkdel(*unasked, "--exclude", keep, "--exclude", more)
        assert (again.code, "exclude files were added" in again.err) == (2, True), again.err

        done = it.run("--exclude", more, "--exclude", keep)
        assert done.code == 0, done.err
        assert done.counts() == {"deleted": 370, "excluded": 30}
        assert alive(it, IDS) == set(IDS[300:320] + IDS[350:360])
        repeated = it.run("--exclude", more, "--exclude", keep)
        assert repeated.counts() == done.counts()


@pytest.mark.parametrize(
    ("effect", "lag_s"),
    one_in(3, [(True, 0.0), (True, 3.0), (False, 0.0)]),
    ids=["had-effect", "and-look-ups-lag", "had-none"],
)
def test_excluded_after_it_was_sent(effect: bool, lag_s: float, tmp_path: Path) -> None:
    """Killed with requests on the wire, then their ids are protected: gone is deleted, still there stays for good.

    A look-up that lags still shows what is gone.
    """
    fault: dict[str, Any] = {"latency_after_s": 30.0} if effect else {"share_drop_before": 1.0}
    with case(
        tmp_path, IDS[:100], users=IDS, options=("--rate", 0, "--concurrency", 2), fault_paths=DELETIONS, **fault
    ) as it:
        process = it.start()
        wait_until(lambda: it.served.ledger.by_path[DELETE_PATH] >= 2, process)
        kill(process)
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == 100
        there = alive(it, IDS[:100])
        it.switch(latency_after_s=0.0, share_drop_before=0.0, lag_s=lag_s)
        keep = write_objects(tmp_path / "keep.jsonl", IDS[:10])
        it.ids = 90
        ran = it.run("--exclude", keep)
        kept = len(set(IDS[:10]) & there)
        if kept:  # look-ups may lag behind a deletion without a response
            assert (ran.code, ran.counts()) == (4, {"deleted": 90, "remaining": 10}), ran.err
            let_pass(it.log, 11)
            ran = it.run("--exclude", keep)
        assert ran.code == 0, ran.err
        assert alive(it, IDS[:100]) == set(IDS[:10]) & there
        assert ran.counts() == {"deleted": 100 - kept, **({"excluded": kept} if kept else {})}


def test_excluded_and_created_again(tmp_path: Path) -> None:
    """A deleted user is not counted as kept, also with `--in-doubt resend`."""
    names = [f"name{number}" for number in range(20)]
    options = ("--rate", 0, "--id-type", "username", "--in-doubt", "resend")
    with case(tmp_path, names, id_type="username", options=options, fault_paths=DELETIONS, latency_after_s=30.0) as it:
        process = it.start()
        it.wait_until_deleted(20)
        kill(process)
        it.served.pool.add_ids(names[:5], "username", created_at=it.served.created_at)
        it.switch(latency_after_s=0.0)
        it.ids = 15
        ran = it.run("--exclude", write_objects(tmp_path / "keep.jsonl", names[:5]))
        assert ran.code == 1, ran.err
        assert ran.counts() == {"deleted": 15, "unknown": 5}
        assert it.served.pool.deleted == 20


# ── limits and hosts ─────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "a largest number of ids that is none gives way to the environment",
    "stricter",
    swap("{**other, **one}", "{**one, **other}"),
)
@mutant(
    "a run may have more ids than the config allows",
    "check_max",
    swap("ids > most", "ids > 2 * most"),
)
def test_an_export_that_is_too_large_is_not_begun(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        large = {**KEYS, "BULKDEL_PROTECT__MAX_IDS": "400"}
        ran = it.run(env={**KEYS, "BULKDEL_PROTECT__MAX_IDS": "399"})
        assert ran.code == 3, ran.err
        assert "asks to delete 400 ids, and [protect] max_ids of the config allows 399" in ran.err
        assert it.served.ledger.requests == 0
        assert not it.log.exists()
        assert it.run("--config", config(tmp_path, "[protect]\nmax_ids = 399\n"), env=large).code == 3, "the smaller"
        wrong = it.run("--config", config(tmp_path, "[protect]\nmax_ids = '9'\n"), env=large)
        assert (wrong.code, "max_ids: has to be a whole number" in wrong.err) == (2, True), wrong
        assert it.run(env={**KEYS, "BULKDEL_PROTECT__MAX_IDS": ""}).code == 2
        assert it.served.ledger.deleted == 0
        assert it.run(env=large).code == 0


@mutant(
    "a protected pool not checked",
    "check_pool",
    swap("protects_pool(config, plan.pool)", "protects_pool(config, plan.run.name)"),
)
def test_a_protected_pool_is_not_touched(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        ran = it.run("--config", config(tmp_path, f'[protect]\npools = ["{POOL}"]\n'))
        assert ran.code == 3, ran.err
        assert it.served.ledger.deleted == 0
        assert not it.log.exists()
        plan = bulkdel("plan", *it.args[1:4], it.served.url, "--config", tmp_path / "bulkdel.toml")
        assert plan.code == 3


@pytest.mark.parametrize(
    "text",
    [
        "[protect]\npool = ['x']\n",
        "[protect]\npools = 'x'\n",
        "[protect]\nhosts = [1]\n",
        *(f"[protect]\nmax_ids = {value}\n" for value in ("'5000'", "-1", "1.5", "true", "nan", "[100]")),
        "[protect]\npools = [' ']\n",
        "[protect]\nhosts = ['https://']\n",
        "[protect]\npools = ['x',\n",
        *("[protect]\nhosts = ['127.0.0.*']\n", "[protect]\nhosts = ['127.0.0.0/8']\n"),
        *(
            "[protect]\nhosts = ['127.0.0.1, localhost']\n",
            "[protect]\npools = ['P*']\n",
            *("[protect]\npools = ['P Q']\n", "[protect]\npools = ['prod-?']\n", "[protect]\npools = ['a|b']\n"),
        ),
    ],
)
def test_a_protection_that_is_not_understood_stops(text: str, tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        assert it.run("--config", config(tmp_path, text)).code == 2
        assert it.served.ledger.requests == 0


def test_a_protected_host_wants_its_word(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:60]) as it:
        word = it.served.url.removeprefix("http://")
        options = ("--config", config(tmp_path, f'[protect]\nhosts = ["{it.served.url}/"]\n'))
        for more in ((), ("--confirm-host", "elsewhere")):
            ran = it.run(*options, *more)
            assert ran.code == 2, ran.err
            assert (f"--confirm-host {word}" in ran.err.splitlines()[-1]) is (not more), (
                "another word is looked at first"
            )
            assert it.served.ledger.deleted == 0
        ran = it.run(*options, "--confirm-host", word)
        assert ran.code == 0, ran.err
        assert entries(it.log)[0]["confirmed"]["host"] == word


@mutant(
    "another host than the typed one is sent to as no config protects it",
    "confirm",
    swap("plan.host_word if host is None else bare_name(plan.target.host)", "plan.host_word"),
)
def test_a_host_that_is_typed_has_to_be_right_also_where_nothing_asks_for_it(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:60]) as it:
        ran = it.run("--confirm-host", "staging.example")
        assert (ran.code, it.served.ledger.deleted) == (2, 0), ran
        word = it.served.url.removeprefix("http://")
        assert f"on the host {word}" in ran.err, ran
        assert it.run("--confirm-host", word).code == 0


@mutant(
    "a host that is protected since the run began is not asked for",
    "confirmation_due",
    swap("plan.host_word not in {None, log.confirmed_host}", "plan.host_word is log.confirmed_host is not None"),
)
def test_a_host_that_is_protected_since_wants_its_word(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:60]) as it:
        word = it.served.url.removeprefix("http://")
        assert it.run("--limit", 10).code == 0
        protected = ("--config", config(tmp_path, f'[protect]\nhosts = ["{word}"]\n'))
        again = [word for word in it.args if word not in {"--confirm", 60, "--pool", POOL}]
        ran = bulkdel(*again, "--limit", 10, *protected)
        assert (ran.code, f"the config protects {word}" in ran.err, it.served.ledger.deleted) == (2, True, 10), ran
        confirmed = ("--confirm", 60, "--pool", POOL, "--confirm-host", word)
        assert bulkdel(*again, "--limit", 10, *protected, *confirmed).code == 0
        assert bulkdel(*again, "--limit", 10, *protected).code == 0, "it was confirmed"
        assert it.served.ledger.deleted == 30


@pytest.mark.parametrize(("typed", "code"), [("word", 0), ("nonsense", 2)])
def test_a_protected_host_wants_its_word_typed(typed: str, code: int, tmp_path: Path) -> None:
    with case(tmp_path, IDS[:60]) as it:
        word = it.served.url.removeprefix("http://")
        path = config(tmp_path, f'[protect]\nhosts = ["{word}"]\n')
        ours, theirs = pty.openpty()
        words = ("run", "delete-users", it.export, "--host", it.served.url, "--config", path, "--rate", 0)
        process = start(*words, stdin=theirs)
        os.close(theirs)
        os.write(ours, f"60\n{word if typed == 'word' else typed}\n".encode())
        ran = finish(process)
        os.close(ours)
        assert ran.code == code, ran.err
        assert it.served.ledger.deleted == (60 if code == 0 else 0)


@pytest.mark.parametrize("id_type", ["user_id", "email"])
def test_the_keys_own_user_stays(id_type: str, tmp_path: Path) -> None:
    """The token names it by its user id; the export may know it by another."""
    ids = IDS[:60] if id_type == "user_id" else [f"u{i}@example.com" for i in range(60)]
    with case(tmp_path, ids, id_type=id_type) as it:
        ordinal = it.served.pool.find_alive(id_type, ids[17])
        assert ordinal is not None
        it.switch(token_user=it.served.pool.user(ordinal)["userId"])
        ran = it.run("--id-type", id_type)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 59, "excluded": 1}
        assert it.served.pool.find_alive(id_type, ids[17]) == ordinal
        assert it.served.ledger.deleted == 59
        assert "the key's own user" in ran.err


@mutant(
    "a token that names its user by what is no text protects no user",
    "_users_in",
    swap("user is not None", "user is not None and not claims"),
)
@pytest.mark.parametrize("wrap", [lambda user: [user], lambda user: {"id": user}])
def test_an_own_user_that_is_no_text_halts(wrap: Callable[[str], Any], tmp_path: Path) -> None:
    with case(tmp_path, IDS[:60]) as it:
        switches = replace(it.served.switches)
        object.__setattr__(switches, "token_user", wrap(IDS[17]))  # the switch itself takes only text
        it.served.switches = switches
        ran = it.run()
        assert (ran.code, it.served.ledger.deleted) == (4, 0), ran.err
        assert "the key's own user cannot be protected" in ran.err


@mutant(
    "a user of the key is called protected by an id that the run does not compare",
    "with_sample_check",
    swap("bool(owner)", "bool(auth.users)"),
)
@mutant(
    "the run goes on although the look-up of the own user of the key failed",
    "_ids_of_owner",
    swap("await owner_of(lookup, user, WorkerStatus())", "await owner_of(lookup, user, WorkerStatus()) or []"),
)
@pytest.mark.parametrize(("refusal", "code"), [(None, 0), ("400", 4)])
def test_a_user_of_the_key_without_a_known_email_is_not_called_protected(
    refusal: str | None, code: int, tmp_path: Path
) -> None:
    """An honest "no such user" is said in the plan. A refusal says nothing of the user, so nothing is sent."""
    with case(tmp_path, [f"u{i}@example.com" for i in range(20)], id_type="email") as it:
        it.switch(token_user="f" * 24)
        it.served.script(refusal, path=LOOKUP_PATH)
        ran = it.run("--id-type", "email")
        assert (ran.code, it.served.ledger.deleted) == (code, 0 if refusal else 20), ran.err
        assert ("the look-up of the key's own user failed" in ran.err) is (refusal is not None)
        assert ("no look-up shows an email of the key's own user" in ran.err) is (refusal is None)
        assert "the key's own user, should it be in the export" not in ran.err


# ── time and number ──────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "time window ignored",
    "watch_time",
    swap(
        'drain.begin(Stop(f"it is {at[1]} (--not-after)", planned=True))', "await asyncio.sleep(at[0] if drain else 0)"
    ),
)
def test_not_after_stops_and_goes_on_later(tmp_path: Path) -> None:
    with stopped_as_planned(tmp_path, IDS, "%Y-%m-%dT%H:%M:%S+00:00") as (it, at, ran):
        assert ran.code == 6, ran.err
        assert ran.summary["status"] == "stopped"
        assert f"it is {at:%Y-%m-%d %H:%M}" in ran.err
        assert 0 < it.served.ledger.deleted < len(IDS)
        assert it.served.ledger.deleted == ran.summary["deleted"]
        it.options[:] = ["--rate", 0]
        assert it.run("--not-after", f"{datetime.now().astimezone() + timedelta(hours=12):%H:%M}").code == 0
        assert it.served.ledger.deleted == len(IDS)


def test_a_time_that_has_passed_or_is_none(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        for text in ("2020-01-01T00:00Z", "25:00", "tomorrow"):
            ran = it.run("--not-after", text)
            assert (ran.code, "--not-after" in ran.err) == (2, True)
        assert it.served.ledger.requests == 0


def test_a_canary_says_how_to_verify_and_go_on(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        ran = it.run("--limit", 50)
        assert ran.code == 0
        assert f"bulkdel verify {it.place}" in ran.err
        assert ran.err.splitlines()[-1].strip().startswith("bulkdel run delete-users")
        assert "--limit" not in ran.err.splitlines()[-1]
        assert it.served.ledger.deleted == 50


# ── looking first ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("unknown", ["accept", "refuse", "partial"])
def test_looked_up_first_absent_is_seen(unknown: str, tmp_path: Path) -> None:
    """Whatever the API says about unknown ids: without the look, `accept` would count them as deleted."""
    with case(tmp_path, IDS, users=IDS[100:], unknown_ids=unknown) as it:
        ran = it.run("--look-first")
        assert ran.counts() == {"deleted": 300, "absent": 100}, ran.err
        assert it.served.ledger.deleted == 300
        assert not sent(it, IDS[:100])


def test_looked_up_first_by_a_blind_key_nothing_is_sent(tmp_path: Path) -> None:
    """No user is found, and none could be: the pool is empty, so an empty answer says nothing."""
    with case(tmp_path, IDS, users=[]) as it:
        ran = it.run("--look-first", "--allow-absent")
        assert ran.code == 4, ran.err
        assert ran.counts() == {"remaining": 400}
        assert not sent(it, IDS)


def test_look_ups_that_go_blind_on_the_way_are_not_believed(tmp_path: Path) -> None:
    """From some moment on no user is found, but all are listed: no user that exists may be called absent."""
    with case(tmp_path, IDS, options=("--rate", 0, "--chunk-size", 5, "--concurrency", 2), latency_s=0.2) as it:
        process = it.start("--look-first")
        it.wait_until_deleted(20)
        it.switch(blind=True, latency_s=0.0)
        ran = finish(process)
        assert ran.code == 4, ran.err
        deleted = it.served.ledger.deleted
        assert ran.counts() == {"deleted": deleted, "remaining": len(IDS) - deleted}
        it.switch(blind=False)
        assert it.run("--look-first").counts() == {"deleted": len(IDS)}


@mutant(
    "look-ups that find no account now and then are believed in the end",
    "AccountLookup.find_proven",
    swap("again.empty and self.control.has_account and self._takes_several(again.empty)", "len(unsure) > len(ids)"),
)
def test_look_ups_that_are_blind_now_and_then_are_not_believed(tmp_path: Path) -> None:
    """As behind a balancer, of whose two servers one finds no user."""
    options = ("--rate", 0, "--chunk-size", 5, "--concurrency", 4, "--look-first", "--allow-absent")
    users, gone = IDS[:300], IDS[300:]
    faults: dict[str, Any] = {"share_blind": 0.5, "fault_paths": frozenset({LOOKUP_PATH})}
    with case(tmp_path, IDS, users=[*users, *user_ids(5, seed=99)], options=options, **faults) as it:
        for _ in range(2):
            assert it.run().code in {0, 4}
        told = [json.loads(line) for line in bulkdel("results", it.place, "--only", "absent").out.splitlines()]
        assert {each["id"] for each in told} <= {*gone}
        assert len(told) > len(gone) / 2
        it.switch(share_blind=0.0)
        assert it.run().counts() == {"deleted": len(users), "absent": len(gone)}


@mutant(
    "an answer that was cut short is taken for whole",
    "AccountReader._complete",
    swap("PAGE_MIN", "len(group)"),
    case="50",
)
@pytest.mark.parametrize("first", [30, 50])
def test_look_ups_that_hold_few_accounts_are_asked_again(first: int, tmp_path: Path) -> None:
    """A page of 30, say: an id that is not on it is not gone. Also where pages become short while the run is down."""
    with case(tmp_path, IDS, users=IDS[:-20], look_up_max=first, options=("--rate", 0, "--look-first")) as it:
        assert it.run("--limit", 50).counts() == {"deleted": 50, "remaining": len(IDS) - 50}
        it.switch(look_up_max=10)
        assert it.run().counts() == {"deleted": len(IDS) - 20, "absent": 20}
        assert it.served.ledger.deleted == len(IDS) - 20


def test_a_limit_that_is_none_is_confirmed_again(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        assert it.run("--limit", 50).code == 0
        unconfirmed = it.args[:6] + it.args[-2:]
        assert "--confirm" not in unconfirmed
        assert bulkdel(*unconfirmed, "--limit", 50).code == 0
        for more in (("--limit", 301), ("--limit", 10**9), ()):
            ran = bulkdel(*unconfirmed, *more)
            assert (ran.code, it.served.ledger.deleted) == (2, 100), ran.err
        assert bulkdel(*unconfirmed, "--limit", 100).code == 0
        assert it.served.ledger.deleted == 200


@mutant(
    "a host is not protected that the config names with the usual port",
    "host_word",
    swap("host_in(host)", "host_in(host)._replace(port=host_in(host).named_port)"),
)
@pytest.mark.parametrize(
    ("listed", "host", "word"),
    [
        ("api.genauth.ai", "https://api.genauth.ai", "api.genauth.ai"),
        ("https://API.genauth.ai/", "https://api.genauth.ai", "api.genauth.ai"),
        ("api.genauth.ai", "https://api.genauth.ai./base", "api.genauth.ai"),
        ("api.genauth.ai", "https://api.genauth.ai:8443/x", "api.genauth.ai:8443"),
        ("api.genauth.ai:8443", "https://api.genauth.ai:8443", "api.genauth.ai:8443"),
        ("api.genauth.ai:8443", "https://api.genauth.ai", None),
        ("genauth.ai", "https://api.genauth.ai", None),
        ("api.genauth.ai:443", "https://api.genauth.ai", "api.genauth.ai"),
        ("https://api.genauth.ai:443/x", "https://api.genauth.ai:443/a://b", "api.genauth.ai:443"),
        ("münchen.example", "https://xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("xn--mnchen-3ya.example", "https://MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("[::1]", "http://[::1]:8443", "[::1]:8443"),
        ("[::1]:8444", "http://[::1]:8443", None),
        ("10.0.0.1", "https://10.1", "10.0.0.1"),
        ("10.0.0.1", "https://0x0a000001", "10.0.0.1"),
        ("10.1", "https://[::ffff:10.0.0.1]", "10.0.0.1"),
    ],
)
def test_which_host_is_protected(listed: str, host: str, word: str | None) -> None:
    assert host_word({"protect": {"hosts": [listed]}}, host) == word


def test_a_protected_host_that_names_none_is_refused() -> None:
    with pytest.raises(UsageError, match="names no host"):
        host_word({"protect": {"hosts": ["https:///x"]}}, "https://api.genauth.ai")


@mutant(
    "a restore takes any host of a log for the typed one",
    "same_host",
    swap("(name, port) == (other_name, other_port)", "(name, port) != (other_name, other_port)"),
)
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://api.genauth.ai/", "https://API.genauth.ai.:443", True),
        ("https://api.genauth.ai", "https://evil.example/x://api.genauth.ai", False),
        ("https://api.genauth.ai", "https://api.genauth.ai:8443", False),
        ("https://api.genauth.ai", "https://[", False),
    ],
)
def test_which_hosts_are_one(one: str, other: str, same: bool) -> None:
    assert same_host(one, other) == same

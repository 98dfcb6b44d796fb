"""Ids that may mean the same account, and look-ups that cannot carry an id: the real command against the sandbox.

The oracle is what the sandbox really deleted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox.users import FOLDS
from tests.examples import one_in
from tests.harness import DELETIONS, POOL, Case, Ran, bulkdel, case, sandbox, write_objects
from tests.mutants import mutant
from tests.syntax import swap

KEPT = "+8613800000004"
FORMS = ("13800000004", "8613800000004", "013800000004", "008613800000004", "+8613800000004")
OTHERS = [f"139000000{n:02}" for n in range(20)]
PHONES = ("--rate", 0, "--id-type", "phone")
NAMES_OF = {"username": "", "external_id": "", "identity": f"{'a' * 24}:", "sync_relation": "wechat:"}
"""The id types whose text a user or a customer chooses, and what stands before it."""


def run(it: Case, ids: int, *more: object) -> Ran:
    """`run`, confirmed for `ids`."""
    return bulkdel(
        *("run", "delete-users", it.export, "--host", it.served.url, "--json", "--confirm", ids, "--pool", POOL),
        *(*it.options, *more),
    )


# ── phones: kept ──────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "a protected phone number compared as it is written",
    "IdSet.meets",
    swap(
        "self._has(whole) or whole in self._shortened or any(map(self._has, shortened))",
        "self._has(whole) or whole in shortened",
    ),
    case="13800000004",
)
@pytest.mark.parametrize("kept", [FORMS[0], FORMS[4]])
def test_a_protected_number_is_kept_however_it_is_written(kept: str, tmp_path: Path) -> None:
    keep = write_objects(tmp_path / "keep.jsonl", [kept, "+8613700000000"])
    export = [*FORMS, *OTHERS]
    with case(tmp_path, export, users=[KEPT, *OTHERS], id_type="phone", options=PHONES) as it:
        done = run(it, len(OTHERS), "--exclude", keep)
        told = " ".join(done.err.split())
        only = "4 of them only because they may be the same phone"
        assert f"1 of 2 ids to keep may be in the export, so 5 rows are left out, {only}" in told, told
        assert (done.code, done.counts()) == (0, {"deleted": len(OTHERS), "excluded": len(FORMS)}), done
        assert it.effects([KEPT, *OTHERS], "phone") == [0] + [1] * len(OTHERS)
        assert it.served.ledger.sent(KEPT, "phone") == 0


def test_a_protected_address_is_kept_however_its_accent_is_written(tmp_path: Path) -> None:
    kept, other = "j\u00e9r@example.org", "ann@example.org"
    keep = write_objects(tmp_path / "keep.jsonl", ["Je\u0301r@example.org"])
    with case(tmp_path, [kept, other], id_type="email", options=["--rate", 0, "--id-type", "email"]) as it:
        done = run(it, 1, "--exclude", keep)
        assert (done.code, done.counts()) == (0, {"deleted": 1, "excluded": 1}), done
        assert it.effects([kept, other], "email") == [0, 1]


@pytest.mark.parametrize(
    ("number", "kept", "more"),
    [
        ("+2250712345678", "0712345678", ()),  # Ivory Coast: the zero belongs to the number
        ("+3780549123456", "0549123456", ()),  # San Marino: the same
        ("+3530861234567", "861234567", ()),  # a trunk prefix that was left behind the country code
        ("0712345678", "+2250712345678", ()),
        ("+86 138-0000-0004", "13800000004", ("--id-pattern", "[+0-9 -]+")),
    ],
)
def test_a_protected_number_is_kept_whatever_stands_behind_its_country_code(
    number: str, kept: str, more: Sequence[str], tmp_path: Path
) -> None:
    keep = write_objects(tmp_path / "keep.jsonl", [kept])
    with case(tmp_path, [number, *OTHERS], id_type="phone", options=PHONES) as it:
        done = run(it, len(OTHERS), "--exclude", keep, *more)
        assert (done.code, done.counts()) == (0, {"deleted": len(OTHERS), "excluded": 1}), done
        assert it.served.ledger.sent(number, "phone") == 0


def test_a_number_of_another_country_is_not_kept(tmp_path: Path) -> None:
    """+44 and +86 before the same digits are told apart."""
    keep = write_objects(tmp_path / "keep.jsonl", [KEPT])
    with case(tmp_path, ["+4413800000004"], id_type="phone", options=PHONES) as it:
        done = run(it, 1, "--exclude", keep)
        assert "none of the ids to keep is in the export" in done.err
        assert (done.counts(), it.served.ledger.effects("+4413800000004", "phone")) == ({"deleted": 1}, 1), done


@mutant(
    "a looked-up record not held against the ids to keep",
    "IdStrategy._presences",
    swap("Presence.OLD", "Presence.UNDATED"),
    case="--look-first",
)
@pytest.mark.parametrize("how", one_in(2, ["--look-first", "--backup-to"]))
def test_the_record_that_a_look_up_finds_is_held_against_the_ids_to_keep(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes usernames without their dots: the row `bo.ss` means the user `boss`, which must stay."""
    monkeypatch.setitem(FOLDS, "username", lambda name: name.replace(".", ""))
    keep = write_objects(tmp_path / "keep.jsonl", ["boss"])
    more = (how, tmp_path / "users.jsonl") if how == "--backup-to" else (how,)
    names = [f"user{n}" for n in range(60)]
    export, options = [*names[:5], "bo.ss", *names[5:]], ("--rate", 0, "--id-type", "username")
    with case(tmp_path, export, users=["boss", *names], id_type="username", options=options) as it:
        done = run(it, len(export), "--exclude", keep, *more)
        assert (done.code, done.counts()) == (0, {"deleted": len(names), "excluded": 1}), done
        assert "1 row was kept and counts as excluded" in done.err
        assert it.effects(["boss", *names], "username") == [0] + [1] * len(names)
        assert it.served.ledger.sent("boss", "username") == 0
        # It is final: the same command does not send it either.
        assert run(it, len(export), "--exclude", keep, *more).code == 0
        assert it.served.ledger.sent("boss", "username") == 0


@mutant(
    "names compared byte by byte",
    "_plain",
    swap("text.lower() if text.isascii() else _without_form(text)", "text if text.isascii() else text.lower()"),
)
@mutant(
    "an accent makes another name",
    "_without_marks",
    swap('"Mn"', '"Me"'),
)
@mutant(
    "a trunk zero makes another number",
    "without_trunk_zero",
    swap('digits[cut : cut + 1] == "0"', 'digits[cut : cut + 1] == "1"'),
)
def test_a_protected_name_is_kept_however_a_loose_server_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes names without case and accents, in any Unicode form and width, with digits of any script, and
    phone numbers in any form. None of its protected users is sent.
    """

    def loose(name: str) -> str:
        plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
        plain = "".join(str(unicodedata.decimal(char, char)) for char in plain)
        return plain.casefold().lstrip("+0").replace("86013", "8613")

    monkeypatch.setitem(FOLDS, "username", loose)
    pairs = {"alice1": "Alice1", "j\u00e9r": "je\u0301r", "bob": "\uff22ob", "stra\u00dfe": "STRASSE"}
    pairs |= {"Jos\u00e9": "Jose", "clerk\u0661": "clerk1"}
    pairs |= {"0086013800000004": "+8613800000004", "8613800000005": "+86013800000005"}
    names = [f"user{n}" for n in range(20)]
    keep = write_objects(tmp_path / "keep.jsonl", list(pairs.values()))
    options = ("--rate", 0, "--id-type", "username")
    with case(tmp_path, [*pairs, *names], id_type="username", options=options) as it:
        done = run(it, len(names), "--exclude", keep)
        assert "8 of them only because they may be the same username" in " ".join(done.err.split())
        assert (done.code, done.counts()) == (0, {"deleted": len(names), "excluded": len(pairs)}), done
        assert it.effects([*pairs, *names], "username") == [0] * len(pairs) + [1] * len(names)


@mutant(
    "names that a server may take for one share a request",
    "surely_apart",
    swap("all_folded(ids)", "ids"),
    case="username",
)
@pytest.mark.parametrize("kind", NAMES_OF)
def test_two_names_that_a_loose_server_takes_for_one_are_kept_and_never_share_a_request(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that compares without case, in any Unicode form, and refuses a request that names one user twice."""
    monkeypatch.setitem(FOLDS, kind, lambda name: unicodedata.normalize("NFC", name).casefold())
    kept, *others = [f"{NAMES_OF[kind]}{name}" for name in ("alice1", *(f"j\u00e9r{n}" for n in range(10)))]
    again = [NAMES_OF[kind] + unicodedata.normalize("NFD", id_.removeprefix(NAMES_OF[kind]).upper()) for id_ in others]
    keep = write_objects(tmp_path / "keep.jsonl", [f"{NAMES_OF[kind]}Alice1"])
    export, options = [kept, *others, *again], ("--rate", 0, "--id-type", kind, "--exclude", keep)
    with case(tmp_path, export, users=[kept, *others], id_type=kind, options=options) as it:
        it.switch(duplicates_in_chunk="refuse")
        done = run(it, 20)
        assert (done.code, done.summary["excluded"], done.summary["duplicate"]) == (0, 1, 0), done
        assert it.effects([kept, *others], kind) == [0] + [1] * 10
        assert it.served.ledger.sent(kept, kind) == 0
        assert [it.served.ledger.sent(id_, kind) for id_ in others] == [2] * 10
        assert set(it.served.ledger.answers) == {"200"}


@mutant(
    "a sample asks for two spellings of one name in one look-up",
    "_sampled",
    swap("cut_apart(sample, IDS_AT_ONCE, plan.id_type, str)", "[sample]"),
)
def test_a_small_export_with_two_spellings_of_one_name_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up of both would return one account: fewer than it asks for, and a second one would find that again."""
    monkeypatch.setitem(FOLDS, "username", str.casefold)
    names, options = ["n0", "n1", "n2", "N1", "n5"], ("--rate", 0, "--id-type", "username")
    with case(tmp_path, names, users=["n0", "n1", "n2", "n5"], id_type="username", options=options) as it:
        done = run(it, len(names))
        assert (done.code, it.effects(names, "username")) == (0, [1] * len(names)), done


@mutant(
    "minus zero is another name than zero",
    "folded",
    swap("str(int(number[1]))", "number[1]"),
)
def test_minus_zero_is_kept_as_zero(tmp_path: Path) -> None:
    """A server may read the text as a number. The number -0 in an export is no id."""
    names = ["-0", *(f"user{n}" for n in range(20))]
    keep = write_objects(tmp_path / "keep.jsonl", ["0"])
    with case(tmp_path, names, id_type="username", options=("--rate", 0, "--id-type", "username")) as it:
        done = run(it, 20, "--exclude", keep)
        assert (done.code, done.counts()) == (0, {"deleted": 20, "excluded": 1}), done
        assert (it.served.ledger.sent("-0", "username"), it.effects(names, "username")) == (0, [0] + [1] * 20)
        requests = it.served.ledger.requests
        it.export.write_text('{"id":-0}\n')
        refused = run(it, 1, "--run", tmp_path / "other")
        assert (refused.code, it.served.ledger.requests) == (3, requests), refused
        assert "line 1: " in refused.err


def test_the_keys_own_user_is_kept_by_phone_too(tmp_path: Path) -> None:
    with case(tmp_path, ["13800000004", *OTHERS], users=[KEPT, *OTHERS], id_type="phone", options=PHONES) as it:
        ordinal = it.served.pool.find("phone", KEPT)
        assert ordinal is not None
        it.switch(token_user=it.served.pool.user(ordinal)["userId"])
        done = run(it, len(OTHERS) + 1)
        assert (done.code, done.counts()) == (0, {"deleted": len(OTHERS), "excluded": 1}), done
        assert it.served.ledger.effects(KEPT, "phone") == 0


# ── phones: sent ──────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "two ids that may be the same in one request",
    "_cut",
    swap("some.ids", "some.ids[:1]"),
)
def test_two_ids_that_may_be_the_same_are_both_sent_and_never_together(tmp_path: Path) -> None:
    """The sandbox refuses a request that names one user twice."""
    pairs = [form for n in range(10) for form in (f"138000000{n:02}", f"+86138000000{n:02}")]
    options = (*PHONES, "--chunk-size", 7)
    with case(tmp_path, pairs, id_type="phone", options=options, duplicates_in_chunk="refuse", latency_s=0.02) as it:
        done = run(it, len(pairs))
        assert done.code == 0, done
        assert done.summary["duplicate"] == 0
        assert done.summary["deleted"] + done.summary["absent"] == len(pairs)
        assert it.effects(pairs, "phone") == [1] * len(pairs)
        assert [it.served.ledger.sent(id_, "phone") for id_ in pairs] == [2] * len(pairs)
        assert set(it.served.ledger.answers) == {"200"}
        # `verify` asks for them apart as well.
        sizes = it.served.ledger.lookup_sizes.copy()
        it.served.pool.add_ids(["+8613900000000"], "phone")
        assert bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0).code == 0
        assert max(it.served.ledger.lookup_sizes - sizes) <= 10


# ── ids with a comma, and a server that splits them in a look-up ──────────────────────────────────────────────────────

NAMES = ("--rate", 0, "--id-type", "username", "--allow-absent")
COMMA = [f"doe,j{n}" for n in range(20)]
PLAIN = [f"user{n}" for n in range(20)]
CONTROL, BYSTANDER = "keep,me", "bystander"
SIZES = [1, 20]
"""Alone in its look-up, and among others: a server may split either."""


def names(folder: Path, ids: Sequence[str], users: Sequence[str], *more: object, **switches: Any) -> Any:
    return case(folder, ids, users=users, id_type="username", options=(*NAMES, *more), **switches)


@mutant(
    "an id with a comma that was not found is gone",
    "perhaps_split",
    swap("asked", "asked[:0]"),
    case="--look-first-1",
)
@pytest.mark.parametrize(("how", "size"), one_in(3, [("--look-first", 1), ("--look-first", 20), ("--backup-to", 20)]))
def test_existing_users_with_a_comma_are_not_called_absent(how: str, size: int, tmp_path: Path) -> None:
    ids = COMMA[:size]
    more = ("--backup-to", tmp_path / "users.jsonl") if how == "--backup-to" else (how,)
    with names(tmp_path, ids, [*ids, CONTROL, BYSTANDER], split_commas=True) as it:
        done = run(it, size, *more)
        assert (done.code, done.counts()) == (4, {"remaining": size}), done
        assert "have a comma" in done.err
        assert ("Leave out --look-first" in done.err) is (how == "--look-first"), done
        assert it.effects(ids, "username") == [0] * size
        # The way out that was named: a deletion's body splits nothing. With a backup: a server that does not split.
        it.switch(split_commas=how != "--backup-to")
        done = run(it, size, *(more if how == "--backup-to" else ()))
        assert (done.code, done.counts()) == (0, {"deleted": size}), done
        assert it.effects(ids, "username") == [1] * size


@pytest.mark.parametrize("size", SIZES)
def test_with_a_control_absent_is_absent_and_there_is_deleted(size: int, tmp_path: Path) -> None:
    with names(tmp_path, COMMA[:size], [CONTROL, BYSTANDER]) as it:
        assert run(it, size, "--look-first").counts() == {"absent": size}
    folder = tmp_path / "there"
    folder.mkdir()
    with names(folder, COMMA[:size], [*COMMA[: size // 2], BYSTANDER]) as it:
        there = size // 2
        done = run(it, size, "--look-first")
        # Of several, those that are there are control enough. A single one that is not there has none.
        expected = {"deleted": there, "absent": size - there} if there else {"remaining": size}
        assert (done.code, done.counts()) == (0 if there else 4, expected), done
        assert it.effects(COMMA[:there], "username") == [1] * there


def test_the_sample_does_not_say_that_they_do_not_exist(tmp_path: Path) -> None:
    with names(tmp_path, [*COMMA, *PLAIN], [*COMMA, *PLAIN], split_commas=True) as it:
        it.options.remove("--allow-absent")
        done = bulkdel("plan", "delete-users", it.export, "--host", it.served.url, *it.options)
        assert (
            "20 of 40 looked up exist, 20 with a comma, a capital letter, a plus or another character that a query has "
            "to encode are not proven absent" in done.out
        ), done
        it.switch(blind=True)
        done = run(it, 40)
        assert done.code == 4, done
        assert "20 others are not proven absent" in done.err


@mutant(
    "verify believes an empty answer about a comma",
    "VerifySession._look_up",
    swap("row.id in looked.unproven", "row.id in looked.unproven and not row.id"),
    case="1",
)
@pytest.mark.parametrize("size", SIZES)
def test_verify_could_not_tell(size: int, tmp_path: Path) -> None:
    """The sandbox lies about them: the run says deleted, and all of them are still there."""
    ids = [*COMMA[:size], *PLAIN]
    chunk = ("--chunk-size", 1) if size == 1 else ()
    with names(tmp_path, ids, [*ids, CONTROL, BYSTANDER], *chunk, liars=frozenset(COMMA), split_commas=True) as it:
        assert run(it, len(ids)).counts() == {"deleted": len(ids)}
        done = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert (done.code, done.found()) == (4, (len(PLAIN), 0, size)), done
        assert f"Could not tell {size} id{'s' * (size > 1)}. Their ids have a comma" in done.err
        # A server that does not split says the truth.
        it.switch(split_commas=False)
        done = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert (done.code, done.found()) == (1, (len(PLAIN), size, 0)), done


@pytest.mark.parametrize("size", SIZES)
def test_verify_takes_a_control_with_a_comma(size: int, tmp_path: Path) -> None:
    ids = COMMA[:size]
    with names(tmp_path, ids, [*ids, BYSTANDER]) as it:
        assert run(it, size).counts() == {"deleted": size}
        done = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert (done.code, done.found()) == (4, (0, 0, size)), done
        # The way out that was named.
        it.served.pool.add_ids([CONTROL], "username")
        done = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert (done.code, done.found()) == (0, (size, 0, 0)), done


@pytest.mark.parametrize(
    ("fault", "split"),
    [("drop_before", True), ("unsuccessful", True), pytest.param("unsuccessful", False, marks=pytest.mark.soak)],
)
def test_what_no_answer_settled_is_not_called_deleted(fault: str, split: bool, tmp_path: Path) -> None:
    """Every deletion is lost, or not true, before it had effect; plain ids and ids with a comma share a request."""
    ids = [*COMMA[:1], *PLAIN[:1]]
    share = {f"share_{fault}": 1.0, "fault_paths": DELETIONS}
    with names(tmp_path, ids, [*ids, CONTROL, BYSTANDER], "--patience", "60s", split_commas=split, **share) as it:
        done = run(it, len(ids))
        counts = done.counts()
        assert "deleted" not in counts, done
        assert "absent" not in counts, done
        assert it.effects(ids, "username") == [0] * len(ids)
        if split:
            assert counts["remaining"] >= 1
            assert "have a comma" in done.err
            assert "--in-doubt resend" in done.err
        it.switch(**{f"share_{fault}": 0.0})
        done = run(it, len(ids), "--in-doubt", "resend")
        if counts.get("remaining", 0) == len(ids):
            assert (done.code, done.counts()) == (0, {"deleted": len(ids)}), done
        if split:
            assert it.effects(COMMA[:1], "username") == [1]


@pytest.mark.parametrize("split", [True, False])
def test_an_unknown_id_among_ids_with_a_comma(split: bool, tmp_path: Path) -> None:
    """The API refuses a request with an unknown id. What a look-up cannot tell, it tells of each id alone."""
    ids = [*COMMA[:6], *PLAIN[:6]]
    there = [*ids[1:11]]  # the first with a comma and the last without are unknown
    with names(tmp_path, ids, [*there, BYSTANDER], unknown_ids="refuse", split_commas=split) as it:
        done = run(it, len(ids))
        assert (done.code, done.counts()) == (0, {"deleted": 10, "absent": 2}), done
        assert it.effects(there, "username") == [1] * 10


@mutant(
    "a part of an id taken for the id",
    "AccountReader.find",
    swap("account.certain or not splits(id_)", "True"),
)
def test_a_part_of_an_id_is_not_taken_for_it(tmp_path: Path) -> None:
    """`doe,j0` falls apart into `doe` and `j0`, which exist: neither is taken for the one that was meant."""
    with names(tmp_path, COMMA[:2], ["doe", "j0", BYSTANDER], split_commas=True) as it:
        done = run(it, 2, "--look-first")
        assert (done.code, done.counts()) == (4, {"remaining": 2}), done
        assert it.served.ledger.deleted == 0


@mutant(
    "a line that is more than an id is kept without a word",
    "is_unusual",
    swap("_UNUSUAL.search(id_) is not None", "_UNUSUAL.match(id_) is not None"),
)
def test_lines_that_are_more_than_an_id_are_told(tmp_path: Path) -> None:
    """Each is taken whole, and keeps nobody whose id is only a part of it."""
    names = [f"user{number}" for number in range(10)]
    keep, export = tmp_path / "keep.txt", write_objects(tmp_path / "users.jsonl", names)
    keep.write_text("user0\nuser1 # the chair\nuser2 user3\n'user4'\n- user5\nuser6|six\n")
    with sandbox(names, "username") as served:
        words = ("plan", "delete-users", export, "--id-type", "username", "--host", served.url, "--exclude", keep)
        plan = bulkdel(*words)
        told = f"{keep}: 5 lines with a space, a comma, a quote, a comment or a mark of a list; each is taken whole"
        assert (plan.code, told in " ".join(plan.out.split())) == (0, True), plan
        export.write_text("".join(f"{name}\n" for name in names))
        keep.write_text("user0\nuser1,user2\nuser3;user4\n")
        plan = bulkdel(*words, "--format", "lines")
        assert (plan.code, f"{keep}: 2 lines with a" in " ".join(plan.out.split())) == (0, True), plan

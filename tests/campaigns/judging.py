"""How the end of a campaign is judged: every row against the server's own count, and the commands that read the log."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import zstandard

from bulkdel.cli.app import run_app
from bulkdel_jobs.sandbox.users import fold
from tests.campaigns.drawing import Drawn, Row
from tests.campaigns.playing import RESULTS, RUN, Play
from tests.harness import COUNTS, Ran, check_second_reader, finish, start
from tests.second_reader import Refused


def read(*words: object) -> tuple[int, str]:
    """Run a command that only reads, in this process: its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_app(list(map(str, words)))
    return code, out.getvalue()


def judge(it: Play, last: Ran) -> Counter[str]:
    """Hold every row against the server. Returns how many rows ended how."""
    code, _ = read("results", it.log, "--out", it.folder / RESULTS)
    told = it.results()
    outcomes = Counter(row["outcome"] for row in told)
    wrong: list[str] = []
    if code != 0 or [row["position"] for row in told] != list(range(len(it.drawn.rows))):
        it.fail(f"results: exit {code}, {len(told)} rows of {len(it.drawn.rows)}", last)
    if any(outcomes[name] != last.summary[name] for name in COUNTS):
        wrong.append(f"results say {outcomes}, the summary {last.summary}")
    code, text = read("status", it.log, "--audit", "--json")
    if code != 0:
        wrong.append(f"the audit failed: {text}")
    code, text = read("status", it.log, "--json")
    if any(outcomes[name] != json.loads(text)[name] for name in COUNTS):
        wrong.append(f"results say {outcomes}, status {text}")
    try:
        check_second_reader(it.log, json.loads(text))
    except (AssertionError, Refused) as error:
        wrong.append(f"the second reader does not agree: {error}")
    wrong += untrue(it, told)
    wrong += unmeant(it)
    wrong += uncopied(it)
    if wrong:
        it.fail("\n".join([f"{len(wrong)} wrong:", *wrong[:20]]), last)
    return outcomes


def untrue(it: Play, told: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows whose outcome is not what the server and the drawn input say."""
    drawn, ours, spellings = it.drawn, it.ours(), it.drawn.spellings()
    again, seen, wrong = set(it.again.values()), set[str](), list[str]()
    for row, said in zip(drawn.rows, told, strict=True):
        outcome, may_be = said["outcome"], {"invalid"}
        if row.user is not None:
            repeated = drawn.key(row.id) in seen
            seen.add(drawn.key(row.id))
            may_be = true_outcomes(it, row, ours, again, repeated=repeated, alias=spellings[row.user] > 1)
            if said.get("reason") == "unproven" and drawn.lasting["unknown_ids"] == "partial" and not drawn.look_first:
                may_be.add("absent")  # docs/guide.md: this server has deleted it, and answered that it is unknown
        if outcome not in may_be or (row.user is not None and said["id"] != row.id):
            account = None if row.user is None else it.first.get(row.user)
            wrong.append(f"{said}, of user {row.user} ({account}, {account in ours}), may be {may_be}")
    return wrong


def true_outcomes(it: Play, row: Row, ours: set[int], again: set[int], *, repeated: bool, alias: bool) -> set[str]:
    """What may truly be said of one row. alias: its user stands in the export in another spelling as well."""
    assert row.user is not None
    drawn, account = it.drawn, it.first.get(row.user)
    deleted = account in ours
    gone = account is None or not it.pool.is_alive(account)
    kept = row.user in it.kept
    if repeated:
        return {"duplicate", "excluded"} if kept else {"duplicate"}
    found = set[str]()
    if kept and (not deleted or alias):
        found.add("excluded")
    refused = {fold(drawn.id_type, id_) for id_ in drawn.lasting["poisonous"]}  # as the server compares them
    poisonous = fold(drawn.id_type, row.id) in refused
    if not deleted and poisonous:
        found.add("refused")  # perhaps before it was excluded
    if kept and not it.dead_when_kept[row.user]:
        # Sent before it was excluded, and gone since: nothing says by which run. Or there, perhaps another one.
        doubtful = drawn.reusable and (row.user in again or drawn.clocks_apart)
        return found | ({"deleted", "absent"} if gone and not deleted else set()) | ({"unknown"} if doubtful else set())
    if gone and (deleted or drawn.maybe_applied or it.cut_short or drawn.lasting["unknown_ids"] == "accept"):
        found.add("deleted")
    if gone and account in it.others and drawn.maybe_outrun:
        found.add("deleted")
    if gone and (not deleted or alias):
        found.add("absent")
    if (not deleted or alias) and (poisonous or unsuccessful(drawn)):
        found.add("refused")
    if alias and gone and drawn.maybe_late:
        found.add("refused")  # a request with the other spelling has deleted the user, and a look-up finds it still
    there = not gone or account in it.others  # it may have been there when it was looked up
    if drawn.reusable and (row.user in again or (drawn.clocks_apart and (alias or there))):
        found.add("unknown")
    return found


def unsuccessful(drawn: Drawn) -> bool:
    """Whether the server said of single ids that they were not deleted."""
    return any(session.switches.get("share_unsuccessful") for session in drawn.sessions)


def unmeant(it: Play) -> list[str]:
    """Accounts that were deleted and must not have been."""
    wrong: list[str] = []
    users = {at: user for user, at in it.first.items()}
    asked = {row.user for row in it.drawn.rows if row.user is not None}
    for at in sorted(it.ours()):
        user = users.get(at)
        if user is None:
            if not it.resent:
                wrong.append(f"account {at} of user {it.again.get(at)}, created again, was deleted")
        elif user not in asked:
            wrong.append(f"account {at} of user {user} was deleted, which is not in the export")
        elif user in it.kept and not it.dead_when_kept[user]:
            wrong.append(f"account {at} of user {user} was deleted, which is excluded")
    return wrong


def uncopied(it: Play) -> list[str]:
    """Accounts that were deleted and are not in the backup."""
    if "--backup-to" not in it.drawn.options:
        return []
    name = it.drawn.options[it.drawn.options.index("--backup-to") + 1]
    data = (it.folder / name).read_bytes() if (it.folder / name).exists() else b""
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    elif name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).readall()
    copied = {json.loads(line)["userId"] for line in data.splitlines()}
    return [
        f"account {at} was deleted without a copy"
        for at in sorted(it.ours())
        if it.pool.user(at)["userId"] not in copied
    ]


def verify(it: Play, outcomes: Mapping[str, int]) -> None:
    """`verify` never says "gone" of a user that is there."""
    with start("verify", RUN, "--rate", 0, "--json", "--host", it.served.url, cwd=it.folder) as process:
        ran = finish(process)
    claimed = [
        row for row, said in zip(it.drawn.rows, it.results(), strict=True) if said["outcome"] in ("deleted", "absent")
    ]
    there = sum(it.pool.find_alive(it.drawn.id_type, row.id) is not None for row in claimed)
    summary = ran.summary
    right = summary["claimed"] == len(claimed) and summary["gone"] - summary["recreated"] <= len(claimed) - there
    right &= summary["gone"] + summary["still_there"] + summary["could_not_tell"] == len(claimed)
    right &= ran.code == (0 if summary["gone"] == len(claimed) else 4 if summary["could_not_tell"] else 1)
    right &= bool(there) or summary["still_there"] == 0
    if not right:
        it.fail(f"verify: {len(claimed)} claimed, {there} there; {dict(outcomes)}", ran)

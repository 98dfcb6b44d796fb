"""Commands that come with the jobs: `bulkdel sandbox` and `bulkdel demo`, found by the entry point `bulkdel.commands`.

Owns their options and words. What the sandbox does is in `jobs.sandbox`, what the demo shows in `jobs.demo`; the engine
has never heard of either.
"""

from __future__ import annotations

import asyncio
import random
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from jobs.genauth.credentials import KEY_ID, KEY_SECRET
from jobs.genauth.id_types import ID_TYPES
from jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, SANDBOX_POOL_ID, Pool, Sandbox, Switches, serve
from jobs.sandbox.faults import Duplicates, Effect, FaultStyle, UnknownIds
from runner.errors import FileFailed, UsageError
from runner.loops import OnSignal, run_loop_draining
from runner.shutdown import Signals
from runner.source import ReadOptions, open_export, preflight, read_rows
from runner.telling import result, say

SERVING = Group("Who is there, and where", sort_key=1)
OPEN = Group("What the documentation of the API leaves open", sort_key=2)
CERTAIN = Group("What goes wrong every time", sort_key=3)
CHANCE = Group("What goes wrong by chance: a share of the requests, 0 to 1", sort_key=4)
REST = Group("Everything else", sort_key=5)

USUAL = Switches()

POISON = re.compile(r"(?P<id>.+?)(?:=(?P<status>\d{3})(?::(?P<api>\d+))?)?", re.DOTALL)
POISON_STATUS = 422
"""InvalidOperation: what a business rule that refuses one user answers (genauth-api.md)."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be said about a sandbox. A name that is also one of `Switches` means what it means there."""

    port: Annotated[int, Parameter(group=SERVING, validator=Number(gte=0, lte=65_535))] = 0
    """Port on 127.0.0.1; 0 takes a free one."""

    users: Annotated[str, Parameter(group=SERVING)] = "5000"
    """Who exists: a number of made-up users, or a file of ids as `bulkdel run` reads it (JSON Lines or CSV)."""

    id_type: Annotated[str, Parameter(group=SERVING)] = "user_id"
    """What kind of id --users FILE holds, and --write-ids writes. `bulkdel jobs` lists the kinds."""

    id_field: Annotated[str | None, Parameter(group=SERVING)] = None
    """Where the id stands in --users FILE, as for `bulkdel run`."""

    write_ids: Annotated[Path | None, Parameter(group=SERVING)] = None
    """Write the ids of all users to this new file: an export to practise with."""

    pool_id: Annotated[str | None, Parameter(group=SERVING)] = None
    """Id of the user pool that its tokens are for. Default: a fixed one."""

    look_up_max: Annotated[int | None, Parameter(group=OPEN)] = None
    """A look-up tells of so many users at most. Default: of all that were asked for."""

    token_user: Annotated[str | None, Parameter(group=SERVING)] = None
    """User id that its tokens name as the one they belong to. Default: nobody."""

    unknown_ids: Annotated[UnknownIds, Parameter(group=OPEN)] = USUAL.unknown_ids
    """A request with an id that does not exist: accepted; refused whole; or the known ids go and an error comes."""

    duplicates_in_chunk: Annotated[Duplicates, Parameter(group=OPEN)] = USUAL.duplicates_in_chunk
    """The same id twice in one request."""

    retry_after: Annotated[Literal["none", "seconds", "date"], Parameter(group=OPEN)] = "none"
    """Whether an answer 429 carries Retry-After, and in which form."""

    retry_after_s: Annotated[float, Parameter(name="--retry-after-s", group=OPEN)] = USUAL.retry_after_s
    """What it says, seconds, unless the rate limit knows better."""

    any_id_shape: Annotated[bool, Parameter(group=OPEN, negative="", show_default=False)] = USUAL.any_id_shape
    """Take user ids of any shape, not only 24 lower-case hex digits, as a private deployment might."""

    rate_per_s: Annotated[float | None, Parameter(name="--rate-per-s", group=CERTAIN)] = USUAL.rate_per_s
    """More requests than this in a second lock everyone out with 429. The public cloud has 150. Default: no limit."""

    lockout_s: Annotated[float, Parameter(name="--lockout-s", group=CERTAIN)] = USUAL.lockout_s
    """For how long, seconds."""

    latency_s: Annotated[float, Parameter(name="--latency-s", group=CERTAIN)] = USUAL.latency_s
    """Wait before a request has its effect, seconds."""

    jitter_s: Annotated[float, Parameter(name="--jitter-s", group=CERTAIN)] = USUAL.jitter_s
    """On top of it, a random wait of up to this many seconds."""

    latency_after_s: Annotated[float, Parameter(name="--latency-after-s", group=CERTAIN)] = USUAL.latency_after_s
    """Wait between the effect and the answer, seconds."""

    poisonous: Annotated[tuple[str, ...], Parameter(group=CERTAIN, negative="", show_default=False)] = ()
    """ID, ID=STATUSCODE or ID=STATUSCODE:APICODE: a request with this id is refused whole (422). May be repeated."""

    forbidden: Annotated[bool, Parameter(group=CERTAIN, negative="", show_default=False)] = USUAL.forbidden
    """Answer every deletion with 403: the key has no permission."""

    liars: Annotated[tuple[str, ...], Parameter(name="--liar", group=CERTAIN, negative="", show_default=False)] = ()
    """ID that is reported deleted and stays. May be repeated."""

    blind: Annotated[bool, Parameter(group=CERTAIN, negative="", show_default=False)] = USUAL.blind
    """Let look-ups by id find nobody: a key that may list users, and sees none of them."""

    token_lifetime_s: Annotated[float, Parameter(name="--token-lifetime-s", group=CERTAIN)] = USUAL.token_lifetime_s
    """After this many seconds a token is answered 401."""

    token_announced_s: Annotated[int | None, Parameter(name="--token-announced-s", group=CERTAIN)] = None
    """What the sandbox says instead of that truth, seconds."""

    share_429: Annotated[float, Parameter(name="--share-429", group=CHANCE)] = USUAL.share_429
    """Answered 429, nothing done."""

    share_500: Annotated[float, Parameter(name="--share-500", group=CHANCE)] = USUAL.share_500
    """Answered 500, nothing done."""

    share_502: Annotated[float, Parameter(name="--share-502", group=CHANCE)] = USUAL.share_502
    """Answered 502, nothing done."""

    share_503: Annotated[float, Parameter(name="--share-503", group=CHANCE)] = USUAL.share_503
    """Answered 503, nothing done."""

    share_html: Annotated[float, Parameter(group=CHANCE)] = USUAL.share_html
    """Answered with a web page and HTTP 200, nothing done."""

    share_drop_before: Annotated[float, Parameter(group=CHANCE)] = USUAL.share_drop_before
    """Connection closed, nothing done."""

    share_drop_after: Annotated[float, Parameter(group=CHANCE)] = USUAL.share_drop_after
    """Done, then the connection is closed without an answer."""

    share_500_after: Annotated[float, Parameter(name="--share-500-after", group=CHANCE)] = USUAL.share_500_after
    """Done, and answered 500."""

    share_truncated_after: Annotated[float, Parameter(group=CHANCE)] = USUAL.share_truncated_after
    """Done, and half an answer sent."""

    share_malformed_after: Annotated[float, Parameter(group=CHANCE)] = USUAL.share_malformed_after
    """Done, and answered with a statusCode that is no number."""

    share_unsuccessful: Annotated[float, Parameter(group=CHANCE)] = USUAL.share_unsuccessful
    """A deletion answered `success: false`."""

    unsuccessful_effect: Annotated[Effect, Parameter(group=CHANCE)] = USUAL.unsuccessful_effect
    """What such a deletion did nevertheless."""

    fault_style: Annotated[FaultStyle, Parameter(group=CHANCE)] = USUAL.fault_style
    """Status codes come in a body with HTTP 200 (envelope), or as the real HTTP status."""

    fault_paths: Annotated[
        tuple[str, ...], Parameter(name="--fault-path", group=CHANCE, negative="", show_default=False)
    ] = ()
    """Only requests to this path, such as /api/v3/delete-users-batch. May be repeated. Default: all."""

    seed: Annotated[int, Parameter(group=REST)] = 0
    """Of the chance: the same seed and the same requests give the same faults."""

    switches: Annotated[str | None, Parameter(group=REST)] = None
    """JSON object of switches, as GET /sandbox/switches shows them; it outweighs the options above."""


def sandbox(*, options: Options | None = None) -> int:
    """Serve a look-alike of the GenAuth API to practise on, until Ctrl-C. It deletes, but only its own users.

    Prints one JSON line on stdout (url, pool, key_id, key_secret, users), and on stderr how to point bulkdel at it.
    While it runs, GET /sandbox/ledger tells what it saw and did, and POST /sandbox/switches changes the rules. With the
    options as they are nothing goes wrong.
    """
    options = options or Options()
    with Signals() as signals:
        switches, pool = switches_of(options), _pool(options)
        if options.write_ids is not None:
            _write_ids(options.write_ids, pool, options.id_type)
        served = run_loop_draining(lambda on_signal: _serve(pool, switches, options, on_signal), signals)
    say(f"Stopped after {served.ledger.requests:,} requests; {served.ledger.deleted:,} users were deleted.")
    return 0


def demo(
    *,
    dir: Path | None = None,  # noqa: A002 - the option is called so
    users: Annotated[int, Parameter(validator=Number(gte=1_000, lte=1_000_000))] = 5_000,
    rate: Annotated[float, Parameter(validator=Number(gt=0, lte=10_000))] = 50.0,
) -> int:
    """Show a whole run on a sandbox: plan, run, interrupt, status, resume, and a count against the sandbox's own.

    Needs no credentials and no network. Exits with 0 only if what bulkdel says and what the sandbox saw agree exactly.

    Parameters
    ----------
    dir: Path
        Where export and checkpoint are written: an empty directory, or a new one. Default: a new temporary one.
    users: int
        How many users to delete.
    rate: float
        Requests a second.
    """
    from jobs.demo import show  # noqa: PLC0415 - only this command needs it

    return show(dir, users, rate)


def switches_of(options: Options) -> Switches:
    """Read the switches out of the options. Raises UsageError for what cannot be."""
    changes: dict[str, Any] = {
        **{one.name: getattr(options, one.name) for one in fields(Switches)},
        "retry_after": None if options.retry_after == "none" else options.retry_after,
        "poisonous": dict(map(_poison, options.poisonous)),
    }
    try:
        if options.switches is not None:
            more = orjson.loads(options.switches)
            if not isinstance(more, dict):
                raise UsageError(f"--switches {options.switches}: not a JSON object")
            changes |= more
        return Switches().changed(changes)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--switches {options.switches}: not JSON: {error}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UsageError(f"a switch cannot be so: {error}") from error


def _poison(text: str) -> tuple[str, tuple[int, int | None]]:
    found = POISON.fullmatch(text)
    if found is None:
        raise UsageError("--poisonous needs an id")
    api = found["api"]
    return found["id"], (int(found["status"] or POISON_STATUS), int(api) if api else None)


def _pool(options: Options) -> Pool:
    """Make up the users, or read them the way `bulkdel run` reads an export."""
    if options.id_type not in ID_TYPES:
        raise UsageError(f"--id-type {options.id_type!r}: known are {', '.join(ID_TYPES)}")
    if options.users.isdecimal():
        return Pool.generated(int(options.users))
    pattern = r"(?s).+" if options.any_id_shape else None
    how = ReadOptions(ID_TYPES[options.id_type], ID_TYPES, id_field=options.id_field, id_pattern=pattern)
    with open_export(options.users) as export:
        seen = preflight(export, how, rng=random.Random(0))  # noqa: S311 - the sample that it draws is not used
        batches = read_rows(export, seen.dialect, how, seen.fingerprint)
        return Pool.from_ids((row for batch in batches for row in batch.rows if isinstance(row, str)), options.id_type)


def _ids(pool: Pool, id_type: str) -> Iterator[str]:
    if id_type == "user_id":
        return pool.user_ids()
    return (key for ordinal in pool.alive() for key in pool.user(ordinal).keys(id_type)[:1])


def _write_ids(path: Path, pool: Pool, id_type: str) -> None:
    try:
        with path.open("xb") as file:
            file.writelines(orjson.dumps({"id": id_}) + b"\n" for id_ in _ids(pool, id_type))
    except FileExistsError as error:
        raise UsageError(f"--write-ids {path}: is there already; name a new file") from error
    except OSError as error:
        raise FileFailed(f"--write-ids {path}: {error.strerror}") from error


async def _serve(pool: Pool, switches: Switches, options: Options, on_signal: OnSignal) -> Sandbox:
    stopped = asyncio.Event()
    try:
        async with serve(pool, switches, port=options.port, seed=options.seed) as served:
            on_signal(lambda _: stopped.set())
            _announce(served, options)
            await stopped.wait()
    except OSError as error:
        raise UsageError(f"--port {options.port}: {error.strerror}") from error
    return served


def _announce(served: Sandbox, options: Options) -> None:
    """Say where it is: to a program on stdout, to a person on stderr."""
    users = len(served.pool)
    found = {
        "url": served.url,
        "pool": served.switches.pool_id or SANDBOX_POOL_ID,
        "key_id": SANDBOX_KEY_ID,
        "key_secret": SANDBOX_KEY_SECRET,
        "users": users,
    }
    result(orjson.dumps(found).decode())
    export = options.write_ids or (None if options.users.isdecimal() else options.users)
    words = ["bulkdel", "plan", "delete-users", "EXPORT" if export is None else str(export), "--host", served.url]
    if options.id_type != "user_id":
        words += ["--id-type", options.id_type]
    if options.id_field is not None and options.write_ids is None:
        words += ["--id-field", options.id_field]
    say(f"A GenAuth look-alike with {users:,} users listens on {served.url}. To use it, in another terminal:")
    say(f"  export {KEY_ID}={SANDBOX_KEY_ID} {KEY_SECRET}={SANDBOX_KEY_SECRET}")
    say(f"  {shlex.join(words)}")
    say("The plan shows the command that deletes. (This key opens nothing but sandboxes.)")
    if export is None:
        say("An EXPORT of ids that exist here: start the sandbox with --write-ids FILE.")
    say(f"What it saw and did so far:  curl {served.url}/sandbox/ledger")
    say("Ctrl-C stops it.")

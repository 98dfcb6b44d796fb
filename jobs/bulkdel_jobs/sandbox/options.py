"""What may be said about a sandbox: the options of `bulkdel sandbox`, and the switches that they mean.

`bulkdel --help` imports this, so it imports nothing that takes its time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from bulkdel.errors import UsageError
from bulkdel_jobs.sandbox.faults import Duplicates, Effect, FaultStyle, Switches, UnknownIds

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

    split_commas: Annotated[bool, Parameter(group=OPEN, negative="", show_default=False)] = USUAL.split_commas
    """A look-up splits each id at its commas and looks for the parts, so an id with a comma is never found."""

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

    lag_s: Annotated[float, Parameter(name="--lag-s", group=CERTAIN)] = USUAL.lag_s
    """Look-ups by id learn of a deletion this many seconds later, as from a read replica."""

    date_offset_s: Annotated[float, Parameter(name="--date-offset-s", group=CERTAIN)] = USUAL.date_offset_s
    """Seconds that the clock of the Date header is ahead of this machine's; negative: behind."""

    created_offset_s: Annotated[float, Parameter(name="--created-offset-s", group=CERTAIN)] = USUAL.created_offset_s
    """Seconds that the clock which writes createdAt is ahead of this machine's; negative: behind."""

    no_date: Annotated[bool, Parameter(group=CERTAIN, negative="", show_default=False)] = USUAL.no_date
    """Answer with an empty Date header."""

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

"""The switches of the sandbox: what the API's documentation leaves open, and what goes wrong on purpose.

Each switch is an option of `bulkdel sandbox` too, so each is described where it is defined. `bulkdel --help` loads
this module: it lies outside of `bulkdel_jobs.sandbox`, which loads a web server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter, Token

from bulkdel.errors import UsageError

OPEN = Parameter(group=Group("What the documentation of the API leaves open", sort_key=2))
CERTAIN = Parameter(group=Group("What goes wrong every time", sort_key=3))
CHANCE = Parameter(group=Group("What goes wrong by chance: a share of the requests, 0 to 1", sort_key=4))

_FLAG = Parameter(negative="", show_default=False)

REFUSED_STATUS = 422
"""InvalidOperation: a business rule refuses one user (GenAuth's list of status codes)."""


class SwitchError(UsageError, ValueError):
    """A switch cannot have this value."""


def _refusals(_type: Any, tokens: tuple[Token, ...]) -> dict[str, tuple[int, int | None]]:
    """Read ID, ID=STATUSCODE or ID=STATUSCODE:APICODE, as often as given."""
    refusals: dict[str, tuple[int, int | None]] = {}
    for token in tokens:
        found = re.fullmatch(r"(.+?)(?:=(\d+)(?::(\d+))?)?", token.value, re.DOTALL)
        if found is None:
            raise SwitchError("--poisonous needs an id")
        refusals[found[1]] = int(found[2] or REFUSED_STATUS), int(found[3]) if found[3] else None
    return refusals


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Switches:
    """Everything about the sandbox that can be changed. By default nothing goes wrong."""

    look_up_max: Annotated[int | None, OPEN] = None
    """A look-up returns at most this many users. Default: all that were asked for."""

    split_commas: Annotated[bool, _FLAG, OPEN] = False
    """A look-up splits each id at its commas and looks for the parts, so an id with a comma is never found. Default:
    only a single user id is split, and only in a bare `userIds=`."""

    unknown_ids: Annotated[Literal["accept", "refuse", "partial"] | None, OPEN] = None
    """A request with an id that does not exist: accepted; refused whole (404); or the known ids are changed and the
    response is 404 (partial). Default: what the vendor's tests expect of the call; a deletion of users is accepted."""

    refuse_non_members: Annotated[bool, _FLAG, OPEN] = False
    """Take a user that is not in the group for an unknown id, and refuse the request whole (404) by default. Default:
    nothing is to be done for this user."""

    duplicates_in_chunk: Annotated[Literal["accept", "refuse"], OPEN] = "accept"
    """The same id twice in one request: harmless, or refused with 400."""

    clashes: Annotated[Literal["refuse", "partial", "accept"], OPEN] = "refuse"
    """A request that creates a user with an id that is taken: refused whole (409); or the other users are created and
    the response is 409 (partial); or there are two users with this id then (accept)."""

    unique_identities: Annotated[bool, _FLAG, OPEN] = False
    """An identity that another user has is taken, like an email. Default: two users may have one identity."""

    unknown_references: Annotated[Literal["refuse", "ignore"], OPEN] = "refuse"
    """A request that creates a user with a department or an identity source that does not exist: refused whole (404),
    or the user is created without it (ignore)."""

    assignment_targets: Annotated[bool, _FLAG, OPEN] = False
    """The assignments of a role say which user each is of. Default: they do not, as in the API's model of them."""

    created_max: Annotated[int | None, OPEN] = None
    """A request that creates users lists at most this many of them. Default: all."""

    created_reversed: Annotated[bool, _FLAG, OPEN] = False
    """Created users are listed in the opposite order of the request; the API promises none."""

    fill_defaults: Annotated[bool, _FLAG, OPEN] = False
    """An update that leaves out status or gender sets it to Activated or U. Default: what is left out is kept."""

    resign_again: Annotated[Literal["accept", "refuse"], OPEN] = "accept"
    """A request with a user that has resigned: harmless, or refused whole with 422."""

    resign_keeps_access: Annotated[bool, _FLAG, OPEN] = False
    """A resignation leaves the user in departments, groups and roles. Default: it takes the user out of all."""

    sessions_outlive: Annotated[bool, _FLAG, OPEN] = False
    """A suspension, resignation or deletion ends no session. Default: it ends all sessions of the user."""

    encrypted_passwords: Annotated[Literal["object", "list"], OPEN] = "object"
    """What a look-up of stored passwords returns: one object, as its model says, or a list, as its name says."""

    success_message: Annotated[Literal["documented", "empty"] | None, OPEN] = None
    """The message of a success: the one of the documentation, or none. Default: none with --brand authing, as the
    tests of Authing's SDK expect; the documented one with genauth."""

    brand: Annotated[Literal["authing", "genauth"], OPEN] = "authing"
    """As this brand answers, and only with its calls: GenAuth's own SDKs have none for the departments of a user."""

    retry_after: Annotated[Literal["seconds", "date"] | None, OPEN] = None
    """In which form a 429 carries Retry-After. Default: it has none."""

    retry_after_s: Annotated[float, OPEN] = 1.0
    """What Retry-After says, seconds, unless the rate limit knows better."""

    check_id_shape: Annotated[bool, _FLAG, OPEN] = False
    """Refuse user ids that are not 24 lower-case hex digits with 400. Default: such a user does not exist."""

    pool_id: Annotated[str | None, OPEN] = None
    """Id of the user pool of new tokens. Default: a fixed one."""

    token_user: Annotated[str | None, OPEN] = None
    """Id of the user that new tokens name as their owner. Default: none."""

    rate_per_s: Annotated[float | None, CERTAIN] = None
    """More requests than this in a second lock all clients out with 429; the public cloud has 150. Default: none."""

    lockout_s: Annotated[float, CERTAIN] = 3.0
    """How long such a lock-out lasts, seconds."""

    latency_s: Annotated[float, CERTAIN] = 0.0
    """Wait before a request has its effect, seconds."""

    jitter_s: Annotated[float, CERTAIN] = 0.0
    """Wait a random time of up to this many seconds on top of --latency-s."""

    latency_after_s: Annotated[float, CERTAIN] = 0.0
    """Wait between the effect and the response, seconds; only for the paths of --fault-path."""

    poisonous: Annotated[
        Mapping[str, tuple[int, int | None]],
        _FLAG,
        CERTAIN,
        Parameter(converter=_refusals, accepts_keys=False, n_tokens=-1),
    ] = field(default_factory=dict)
    """ID, ID=STATUSCODE or ID=STATUSCODE:APICODE: a request with this id is refused whole (422). May be repeated."""

    forbidden: Annotated[bool, _FLAG, CERTAIN] = False
    """Answer every request that changes something with 403: the key has no permission."""

    liars: Annotated[frozenset[str], _FLAG, CERTAIN, Parameter(name="--liar")] = frozenset()
    """ID that is reported deleted, changed or created, and stays as it is. May be repeated."""

    omit: Annotated[frozenset[str], _FLAG, CERTAIN] = frozenset()
    """ID that is updated or created in a batch and left out of the list that is returned. May be repeated."""

    blind: Annotated[bool, _FLAG, CERTAIN] = False
    """Look-ups by id find no user, and lists work: a key without the permission to see users."""

    lag_s: Annotated[float, CERTAIN] = 0.0
    """Look-ups by id show a change this many seconds later, as from a read replica. Lists do not lag."""

    date_offset_s: Annotated[float, CERTAIN] = 0.0
    """Seconds that the clock of the Date header is ahead of this machine's; negative: behind."""

    created_offset_s: Annotated[float, CERTAIN] = 0.0
    """Seconds that the clock which writes createdAt is ahead of this machine's; negative: behind."""

    no_date: Annotated[bool, _FLAG, CERTAIN] = False
    """Answer with an empty Date header."""

    token_lifetime_s: Annotated[float, CERTAIN] = 7200.0
    """A token older than this many seconds is answered 401, whenever it was issued."""

    token_announced_s: Annotated[int | None, CERTAIN] = None
    """What `expires_in` says, seconds. Default: the truth, rounded up."""

    share_429: Annotated[float, CHANCE] = 0.0
    """Answered 429, nothing done."""

    share_500: Annotated[float, CHANCE] = 0.0
    """Answered 500, nothing done."""

    share_502: Annotated[float, CHANCE] = 0.0
    """Answered 502, nothing done."""

    share_503: Annotated[float, CHANCE] = 0.0
    """Answered 503, nothing done."""

    share_html: Annotated[float, CHANCE] = 0.0
    """Answered with a web page and HTTP 200, nothing done."""

    share_drop_before: Annotated[float, CHANCE] = 0.0
    """Connection closed, nothing done."""

    share_drop_after: Annotated[float, CHANCE] = 0.0
    """Done, then the connection is closed without a response."""

    share_500_after: Annotated[float, CHANCE] = 0.0
    """Done, and answered 500."""

    share_truncated_after: Annotated[float, CHANCE] = 0.0
    """Done, and half a response sent."""

    share_malformed_after: Annotated[float, CHANCE] = 0.0
    """Done, and answered with a statusCode that is no integer."""

    share_unsuccessful: Annotated[float, CHANCE] = 0.0
    """A change answered `success: false`."""

    share_blind: Annotated[float, CHANCE] = 0.0
    """A look-up by id finds no user, as from one of several servers that is not up to date."""

    unsuccessful_effect: Annotated[Literal["none", "half", "all"], CHANCE] = "none"
    """How many of its ids a request of --share-unsuccessful changes."""

    fault_style: Annotated[Literal["envelope", "http"], CHANCE] = "envelope"
    """Faulty status codes come in an envelope with HTTP 200, or as the real HTTP status (502 and 503 as a web page)."""

    fault_paths: Annotated[frozenset[str], _FLAG, CHANCE, Parameter(name="--fault-path")] = frozenset()
    """Only requests to this path, such as /api/v3/delete-users-batch. May be repeated. Default: all."""

    def __post_init__(self) -> None:
        """Refuse a value that would fail in the middle of a request. Switches may come from JSON."""
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            number = value if isinstance(value, int | float) else 0
            if not _fits(value, hint) or (number < 0 and not name.endswith("_offset_s")):
                raise SwitchError(f"{name} cannot be {value!r}")
        shares = self.shares()
        if sum(shares.values()) > 1 + 1e-9:
            raise SwitchError(f"shares must be between 0 and 1, and 1 at most together: {shares}")

    def strikes(self, path: str) -> bool:
        """Whether requests to `path` meet faults."""
        return not self.fault_paths or path in self.fault_paths

    @property
    def says_nothing(self) -> bool:
        """Whether the message of a success is empty."""
        return (self.success_message or ("empty" if self.brand == "authing" else "documented")) == "empty"

    def shares(self) -> dict[str, float]:
        """Share per fault, of those that are not 0."""
        return {fault: share for fault in FAULTS if (share := getattr(self, f"share_{fault}"))}

    def changed(self, changes: Any) -> Self:
        """Return a copy with `changes`, an object that may come from JSON: lists stand for sets and tuples."""
        try:
            ready: dict[str, Any] = {
                name: frozenset(value) if isinstance(value, list) else value for name, value in changes.items()
            }
            if "poisonous" in ready:
                ready["poisonous"] = {id_: (int(status), api) for id_, (status, api) in ready["poisonous"].items()}
            return replace(self, **ready)
        except (TypeError, ValueError, AttributeError) as error:
            raise SwitchError(f"switches cannot be changed so: {error}") from error


FAULTS = tuple(one.name.removeprefix("share_") for one in fields(Switches) if one.name.startswith("share_"))
"""The faults by chance, in the order of their switches. A fault whose name ends with `_after` follows the effect."""


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type of its switch. A whole number may stand for a float; true is no number."""
    if get_origin(hint) in (UnionType, Union):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else get_origin(hint) or hint)

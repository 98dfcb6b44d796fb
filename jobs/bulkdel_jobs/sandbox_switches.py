"""The switches of the sandbox: what the API's documentation leaves open, and what goes wrong on purpose.

Each switch is an option of `bulkdel sandbox` too, so each is described where it is defined. `bulkdel --help` loads
this module: it lies outside of `bulkdel_jobs.sandbox`, which loads a web server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, Self, get_args

from cyclopts import Group, Parameter, Token

from bulkdel.errors import UsageError

OPEN = Group("What the documentation of the API leaves open", sort_key=2)
CERTAIN = Group("What goes wrong every time", sort_key=3)
CHANCE = Group("What goes wrong by chance: a share of the requests, 0 to 1", sort_key=4)

UnknownIds = Literal["accept", "refuse", "partial"]
Duplicates = Literal["accept", "refuse"]
RetryAfter = Literal["seconds", "date"]
FaultStyle = Literal["envelope", "http"]
Effect = Literal["none", "half", "all"]

_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "unknown_ids": get_args(UnknownIds),
    "duplicates_in_chunk": get_args(Duplicates),
    "retry_after": (None, *get_args(RetryAfter)),
    "fault_style": get_args(FaultStyle),
    "unsuccessful_effect": get_args(Effect),
}

_SIGNED = frozenset({"date_offset_s", "created_offset_s"})
"""Numbers that may be negative."""

REFUSED_STATUS = 422
"""InvalidOperation: the answer of a business rule that refuses one user (genauth-api.md)."""


class SwitchError(UsageError, ValueError):
    """A switch cannot have this value."""


def _refusals(_type: Any, tokens: tuple[Token, ...]) -> dict[str, tuple[int, int | None]]:
    """Read ID, ID=STATUSCODE or ID=STATUSCODE:APICODE, as often as given."""
    refusals: dict[str, tuple[int, int | None]] = {}
    for token in tokens:
        id_, equals, codes = token.value.rpartition("=")
        status, _, api = codes.partition(":")
        if not (equals and status.isdecimal() and (api or "0").isdecimal()):
            id_, status, api = token.value, "", ""
        if not id_:
            raise SwitchError("--poisonous needs an id")
        refusals[id_] = int(status or REFUSED_STATUS), int(api) if api else None
    return refusals


_FLAG = Parameter(negative="", show_default=False)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Switches:
    """Everything about the sandbox that can be changed. By default nothing goes wrong."""

    look_up_max: Annotated[int | None, Parameter(group=OPEN)] = None
    """A look-up returns so many users at most. Default: all that were asked for."""

    split_commas: Annotated[bool, _FLAG, Parameter(group=OPEN)] = False
    """A look-up splits each id at its commas and looks for the parts, so an id with a comma is never found."""

    unknown_ids: Annotated[UnknownIds, Parameter(group=OPEN)] = "accept"
    """A request with an id that does not exist: accepted; refused whole (404, apiCode 2004); or the known ids are
    deleted and the 404 is answered (partial)."""

    duplicates_in_chunk: Annotated[Duplicates, Parameter(group=OPEN)] = "accept"
    """The same id twice in one request: harmless, or refused with 400."""

    retry_after: Annotated[RetryAfter | None, Parameter(group=OPEN)] = None
    """In which form an answer 429 carries Retry-After. Default: it has none."""

    retry_after_s: Annotated[float, Parameter(group=OPEN)] = 1.0
    """What Retry-After says, seconds, unless the rate limit knows better."""

    any_id_shape: Annotated[bool, _FLAG, Parameter(group=OPEN)] = False
    """Take user ids of any shape, as a private deployment might. Default: all but 24 lower-case hex digits get 400."""

    pool_id: Annotated[str | None, Parameter(group=OPEN)] = None
    """Id of the user pool that tokens are for from now on. Default: a fixed one."""

    token_user: Annotated[str | None, Parameter(group=OPEN)] = None
    """User id that tokens from now on name as their owner. Default: none."""

    rate_per_s: Annotated[float | None, Parameter(group=CERTAIN)] = None
    """More requests than this in a second lock all clients out with 429; the public cloud has 150. Default: none."""

    lockout_s: Annotated[float, Parameter(group=CERTAIN)] = 3.0
    """For how long, seconds."""

    latency_s: Annotated[float, Parameter(group=CERTAIN)] = 0.0
    """Wait before a request has its effect, seconds."""

    jitter_s: Annotated[float, Parameter(group=CERTAIN)] = 0.0
    """On top of it, a random wait of up to this many seconds."""

    latency_after_s: Annotated[float, Parameter(group=CERTAIN)] = 0.0
    """Wait between the effect and the answer, seconds; only for the paths of --fault-path."""

    poisonous: Annotated[
        Mapping[str, tuple[int, int | None]],
        _FLAG,
        Parameter(group=CERTAIN, converter=_refusals, accepts_keys=False, n_tokens=-1),
    ] = field(default_factory=dict)
    """ID, ID=STATUSCODE or ID=STATUSCODE:APICODE: a request with this id is refused whole (422). May be repeated."""

    forbidden: Annotated[bool, _FLAG, Parameter(group=CERTAIN)] = False
    """Answer every deletion with 403: the key has no permission."""

    liars: Annotated[frozenset[str], _FLAG, Parameter(name="--liar", group=CERTAIN)] = frozenset()
    """ID that is reported deleted and stays. May be repeated."""

    blind: Annotated[bool, _FLAG, Parameter(group=CERTAIN)] = False
    """Look-ups by id find no user, and lists work: a key without the permission to see users."""

    lag_s: Annotated[float, Parameter(group=CERTAIN)] = 0.0
    """Look-ups by id show a deletion this many seconds later, as from a read replica. Lists do not lag."""

    date_offset_s: Annotated[float, Parameter(group=CERTAIN)] = 0.0
    """Seconds that the clock of the Date header is ahead of this machine's; negative: behind."""

    created_offset_s: Annotated[float, Parameter(group=CERTAIN)] = 0.0
    """Seconds that the clock which writes createdAt is ahead of this machine's; negative: behind."""

    no_date: Annotated[bool, _FLAG, Parameter(group=CERTAIN)] = False
    """Answer with an empty Date header."""

    token_lifetime_s: Annotated[float, Parameter(group=CERTAIN)] = 7200.0
    """A token older than this many seconds is answered 401, also one that was issued before."""

    token_announced_s: Annotated[int | None, Parameter(group=CERTAIN)] = None
    """What `expires_in` says, seconds. Default: the truth, rounded up."""

    share_429: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Answered 429, nothing done."""

    share_500: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Answered 500, nothing done."""

    share_502: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Answered 502, nothing done."""

    share_503: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Answered 503, nothing done."""

    share_html: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Answered with a web page and HTTP 200, nothing done."""

    share_drop_before: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Connection closed, nothing done."""

    share_drop_after: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Done, then the connection is closed without an answer."""

    share_500_after: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Done, and answered 500."""

    share_truncated_after: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Done, and half an answer sent."""

    share_malformed_after: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """Done, and answered with a statusCode that is no integer."""

    share_unsuccessful: Annotated[float, Parameter(group=CHANCE)] = 0.0
    """A deletion answered `success: false`."""

    unsuccessful_effect: Annotated[Effect, Parameter(group=CHANCE)] = "none"
    """How many of its ids such a deletion deleted nevertheless."""

    fault_style: Annotated[FaultStyle, Parameter(group=CHANCE)] = "envelope"
    """Faulty status codes come in an envelope with HTTP 200, or as the real HTTP status (502 and 503 as a web page)."""

    fault_paths: Annotated[frozenset[str], _FLAG, Parameter(name="--fault-path", group=CHANCE)] = frozenset()
    """Only requests to this path, such as /api/v3/delete-users-batch. May be repeated. Default: all."""

    def __post_init__(self) -> None:
        for one in fields(self):
            self._check(one.name, getattr(self, one.name), one.default)
        shares = self.shares()
        if any(share < 0 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
            raise SwitchError(f"shares must be between 0 and 1, and 1 at most together: {shares}")

    @staticmethod
    def _check(name: str, value: Any, default: Any) -> None:
        """Refuse what would only fail in the middle of a request; switches may come from JSON."""
        if name in _CHOICES:
            if value not in _CHOICES[name]:
                raise SwitchError(f"{name} must be one of {_CHOICES[name]}, not {value!r}")
            return
        number = type(value) in (int, float)
        fits = {
            bool: isinstance(value, bool),
            float: number and (value >= 0 or name in _SIGNED or name.startswith("share_")),
            type(None): value is None or isinstance(value, str) or (number and value >= 0),
        }
        if not fits.get(type(default), True):
            raise SwitchError(f"{name} cannot be {value!r}")

    def strikes(self, path: str) -> bool:
        """Whether faults are meant for `path`."""
        return not self.fault_paths or path in self.fault_paths

    def shares(self) -> dict[str, float]:
        """Share per fault, of those that are not 0."""
        named = {one.name.removeprefix("share_"): one.name for one in fields(self) if one.name.startswith("share_")}
        return {fault: share for fault, name in named.items() if (share := getattr(self, name))}

    def changed(self, changes: Any) -> Self:
        """Return a copy with `changes`, an object that may come from JSON: lists stand for sets and tuples."""
        if not isinstance(changes, dict):
            raise SwitchError("switches: not an object")
        try:
            ready = dict(changes)
            if unknown := sorted(ready.keys() - {one.name for one in fields(self)}):
                raise SwitchError(
                    f"no such switch: {', '.join(unknown)}; known are {', '.join(one.name for one in fields(self))}"
                )
            for name in ready.keys() & {"liars", "fault_paths"}:
                ready[name] = frozenset(ready[name])
            if "poisonous" in ready:
                ready["poisonous"] = {id_: (int(codes[0]), codes[1]) for id_, codes in ready["poisonous"].items()}
        except (TypeError, LookupError, AttributeError) as error:
            raise SwitchError(f"a switch cannot be so: {error}") from error
        return replace(self, **ready)

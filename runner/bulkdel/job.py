"""The contract with a job, the search for installed jobs, and the report of a job's exception. Knows no job by name.

A job is one class, registered under the entry-point group `bulkdel.jobs`. Its part in requests and responses is pure:
records in, a `Request` out; a `Response` in, a `Decision` out. Only signing in does I/O, through the transport and the
rate limiter that it is given, so that a token call is counted and paced like any other request.
"""

from __future__ import annotations

import linecache
import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Protocol

from bulkdel.core.absence import IN_QUERY, Misread, marks_in_query, may_be_split
from bulkdel.core.creation_match import Keys
from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.guards import Facts
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords, Reduction
from bulkdel.core.record import Record, Records
from bulkdel.core.redaction import NoDecision
from bulkdel.core.target_state import GONE, TargetState
from bulkdel.errors import BulkdelError, JobFailed, UsageError
from bulkdel.format import did_you_mean

if TYPE_CHECKING:  # `--help` and `status` load jobs too, without the network stack
    from bulkdel.http.rate_limiter import RateLimiter
    from bulkdel.http.transport import Transport

GROUP = "bulkdel.jobs"

CONTRACT = 3
"""The edition of this contract. It grows when a job has to be changed to work with a new version."""

NEVER = float("-inf")
"""`Account.last_seen_at` of an account that never signed in, where the API says so."""

DISTRIBUTION = "bulkdel"
"""Jobs of this distribution are part of the program: an exception of theirs is a bug in the program."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account that a look-up returned, with the members that the engine needs.

    created_at, last_seen_at: epoch seconds; None when the API does not return a time. `last_seen_at` is NEVER for an
    account that never signed in. status: the API's word.
    raw: the whole record, for a backup. also: further records with the same id (two spellings of one address).
    also_facts: the facts that the guards compare, of each of these.
    ids: the ids of this job's id type in all these records, in full (a phone number with its country code).
    certain: whether the id is in the record. If not, the server found the record by a rule of its own.
    reached: whether it is in the job's target state already. None when the record does not say: see
        `LookUps.state_calls`. For a deletion it is False for every account.

    For a job that creates accounts (`LookUps.for_records`):
    made: the id that the API has given it. keys: which of the keys of the row it has.
    never_gone: whether it is the account that was to be deleted, so nothing has to be created.
    alike: whether its other members agree with the row. Another account may have been given the same keys meanwhile.
    shared: the names of the keys that it has in common with the row. lost: the parts of the row that it lacks, in
        words; None where its record does not show them.
    """

    created_at: float | None = None
    last_seen_at: float | None = None
    status: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[Mapping[str, Any], ...] = ()
    also_facts: tuple[Facts, ...] = ()
    certain: bool = True
    ids: tuple[str, ...] = ()
    reached: bool | None = False
    made: str | None = None
    keys: Keys = Keys.ALL
    never_gone: bool = False
    alike: bool = True
    shared: tuple[str, ...] = ()
    lost: str | None = None

    @property
    def records(self) -> tuple[Mapping[str, Any], ...]:
        """Every record that a deletion of the id may delete."""
        return (self.raw, *self.also)

    @property
    def facts(self) -> tuple[Facts, ...]:
        """The facts of every record that the guards compare. Those of a record that the job left out are unknown."""
        own = Facts(self.last_seen_at, self.created_at, self.status)
        return (own, *self.also_facts, *[Facts()] * (len(self.also) - len(self.also_facts)))


_ADDED = {"next_page": "Paged", "state_calls": "HasStates", "for_records": "FindsCreated", "keys_of": "ByKeys"}
"""By a method of look-ups that not all of them have: the class that it comes from."""


class LookUps(ABC):
    """The look-ups of a job, whatever the API is. Holds nothing that could delete.

    `Paged`, `HasStates`, `FindsCreated` and `ByKeys` add what some APIs and jobs have. `NoLookUps` is for an API that
    has none.
    """

    possible = True
    """Whether the API has look-ups."""

    def __init_subclass__(cls) -> None:
        """Raise TypeError for a method that would never be called, because its class is not inherited from."""
        inherited = {base.__name__ for base in cls.__mro__}
        for name, base in _ADDED.items():
            if name in vars(cls) and base not in inherited:
                raise TypeError(f"{cls.__qualname__} has {name}, and does not inherit from bulkdel.job.{base}")

    @abstractmethod
    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        """The requests that look `ids` up, each with its ids, and none longer than the API takes.

        An id that is in none of them is never proven absent.
        """

    @abstractmethod
    def read(self, response: Response) -> Decision:
        """Decide on a response: SETTLED with `data` = list of raw records, or what follows from a failure."""

    @abstractmethod
    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        """Match raw records to ids by the id type's rule: (accounts by id as asked, records that matched none)."""

    @abstractmethod
    def control(self) -> Request:
        """The request that lists some existing accounts: the positive control."""

    @abstractmethod
    def read_control(self, response: Response) -> Decision:
        """Decide on its response: SETTLED with `data` = ids (of the id type) that a look-up must find."""

    @abstractmethod
    def owner(self, user: str) -> Request:
        """The request for the account of the credentials; `user` is one of `Auth.users`."""

    @abstractmethod
    def read_owner(self, response: Response) -> Decision:
        """Decide on its response: SETTLED with `data` = ids (of the id type) that mean that account.

        LOOK_UP says that there is no such account; after any other refusal nothing is sent. A None among the ids stands
        for a record that does not say its ids; then nothing is sent.
        """

    def administrators(self) -> Request | None:
        """The request that lists the administrators of the pool; None when the API has no such call.

        The pool keeps one administrator: the first by id that exists is never sent.
        """
        return None

    def read_administrators(self, response: Response) -> Decision:  # noqa: ARG002
        """Decide on its response: SETTLED with `data` = ids (of the id type) of administrators.

        A None among them stands for an id that cannot be read; then nothing is sent.
        """
        return Decision(NextStep.HALT, reason="the job lists no administrators")

    # What the records say

    @property
    def fields(self) -> Mapping[str, str]:
        """The API's names of the fields that the guards compare, by their names in `Account`.

        `last_seen_at`, `created_at` and `status`. A guard whose field is not among them is refused.
        """
        return MappingProxyType({})

    @property
    def parts(self) -> Sequence[str]:
        """The API's names of the parts that a record has only when it is asked for in full (--backup).

        An API that does not know such a request leaves them out and reports no error.
        """
        return ()

    def lacks_state(self, record: Mapping[str, Any]) -> bool:  # noqa: ARG002 - it has none, or always one, in most jobs
        """Whether the record lacks the member with the state. Then the account is not in the target state."""
        return False

    def ids_of(self, record: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002 - a job without an undo needs none
        """The ids of the id type that a raw record has, in full: by them a restore finds the record in a backup."""
        return ()

    def says_ids(self, record: Mapping[str, Any]) -> bool:  # noqa: ARG002 - the ids of most records are what was asked
        """Whether a raw record lists its ids of the id type; the list may be empty. If not, no guard can compare it."""
        return True

    def texts(self, ids: Sequence[str]) -> Sequence[str]:
        """The texts by which these ids are asked for. They are left out of messages that are printed or kept."""
        return ids

    # How a server may misread an id

    @property
    def misread(self) -> Misread:
        """Why an id may exist although a look-up does not find it."""
        return IN_QUERY

    @property
    def splits_commas(self) -> bool:
        """Whether a server may read an id with a comma as several ids: it may where a query can hold several."""
        return True

    def may_split(self, id_: str) -> bool:
        """Whether a server may take this id in a look-up for several ids, so that an empty response is no proof."""
        return self.splits_commas and may_be_split(id_)

    def marks(self, id_: str) -> frozenset[str]:
        """The characters of an id that a server may read otherwise in a look-up. By default the id is in the query.

        When a look-up does not find such an id, the id may exist all the same, until look-ups find accounts whose ids
        have the same characters.
        """
        return marks_in_query(id_)


class Paged(LookUps):
    """Look-ups of an API that returns its lists in pages."""

    @abstractmethod
    def next_page(self, request: Request, response: Response, found: int) -> Request | None:
        """The request for the next page of a list; None after the last page.

        Called after a SETTLED response to `request` with a list as `data`: a look-up, a control, an owner,
        administrators, a state control. The pages are joined. found: how many items this page and those before it had.

        Raises Halted when the response names a page that cannot be asked for: a list must not seem shorter than it is.
        """


class HasStates(LookUps):
    """Look-ups of an API whose records do not say whether an account is in the target state: another call does."""

    @abstractmethod
    def state_calls(self, account: Account) -> Sequence[Request]:
        """The requests that tell whether an account is in the target state, when its record does not."""

    @abstractmethod
    def read_state(self, response: Response, account: Account) -> Decision:
        """Decide on the response to one of them: SETTLED with `data` = whether it speaks for the target state.

        `data` = `Verdict.ABSENT` says that the account does not exist.
        """

    def state_control(self) -> Request | None:
        """The request that lists accounts which are not in the target state; None when the API has no such call.

        A key that may not see the state may get an empty answer to every state call. So an answer that speaks for the
        target state counts only after a state call has shown a listed account outside of it.
        """
        return None

    def read_state_control(self, response: Response) -> Decision:  # noqa: ARG002
        """Decide on its response: SETTLED with `data` = the accounts (`Account`), for `state_calls`."""
        return Decision(NextStep.HALT, reason="the job lists no accounts by their state")


class FindsCreated(LookUps):
    """Look-ups of a job that creates accounts: its rows are whole records, and each has keys."""

    @abstractmethod
    def for_records(self, records: Records, *, one_key: bool = False) -> ByKeys:
        """The look-ups of these records: their payloads say what to ask for.

        one_key: ask for one key of each record: enough to find the account that was created from it.
        """


class ByKeys(LookUps):
    """Look-ups of some records by their keys. It is asked for the ids of these records only.

    `match` gives each record the account that has one of its keys. It takes the list that a creation returns, too.
    """

    @abstractmethod
    def by_kind(self, ids: Sequence[str]) -> Iterable[tuple[LookUps, Mapping[str, str]]]:
        """The keys by which these records are asked for: the look-ups of each kind, and the key of each record."""

    @abstractmethod
    def keys_of(self, id_: str) -> Collection[str]:
        """Texts of the keys of a record. Two records with a text in common may share a key: they are sent apart."""


def _refuse(*_: object) -> NoReturn:
    raise AssertionError("the API has no look-ups")


_NEVER_CALLED: Any = staticmethod(_refuse)


class NoLookUps(LookUps):
    """The look-ups of an API that has none: nothing is asked, no id is found, and none is proven absent."""

    possible = False
    splits_commas = False

    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:  # noqa: ARG002
        """No request."""
        return []

    read = match = control = read_control = owner = read_owner = _NEVER_CALLED


class GroupOrRole(NamedTuple):
    """A group or a role. namespace: of a role; None for a group."""

    kind: Literal["group", "role"]
    code: str
    namespace: str | None = None


class MembershipPage(NamedTuple):
    """One page of a list that `Memberships` asks for.

    items: see its methods. total: how many items all pages have; None when the API does not say.
    following: the request for the next page; None after the last one.
    left_out: how many more items the page has whose members are not read: groups whose members follow from a rule.
    """

    items: Sequence[Any]
    total: int | None = None
    following: Request | None = None
    left_out: int = 0


class Memberships(Protocol):
    """The requests that read which users are in which groups and have which roles (--backup-memberships). Pure.

    Only direct memberships of users count. Inherited ones, and those of a department, do not.
    restored_by: the job that puts memberships back.
    """

    restored_by: str

    def lists(self) -> Sequence[Request]:
        """The first pages of the lists of groups and of roles, or of what contains them."""

    def read_list(self, request: Request, response: Response) -> Decision:
        """Decide on a page: SETTLED with `data` = `MembershipPage`.

        An item is a `GroupOrRole`, or a `Request` for the first page of a further list: the roles of a namespace.
        """

    def members(self, of: GroupOrRole) -> Sequence[Request]:
        """The first pages of the lists of its members. The first list says which users are members.

        The others add what they know of a membership, such as its end.
        """

    def read_members(self, request: Request, response: Response) -> Decision:
        """Decide on a page: SETTLED with `data` = `MembershipPage`; `data` = None when it does not exist any more.

        An item is an object with `userId` and what the API says of the membership. Where the API names no user,
        `userId` is None: then the item holds for every member of which nothing else is known.
        """

    def row(self, of: GroupOrRole, user: str, facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The row of the export that puts a membership back, for `restored_by`: an object with an `id`.

        user: the new id. facts: as `read_members` has them. Returns None when it is not clear what to put back.
        """


class Action(Protocol):
    """The job's effect on the records of a chunk. Exists only after the confirmation."""

    def calls(self, records: Records) -> Sequence[Request]:
        """Build the requests for one chunk or a part of it, which are sent one after the other; nearly always one.

        Pure: an attempt that is repeated sends the same request.
        """

    def read(self, response: Response) -> Decision:
        """Decide what follows from a response to one of them.

        Of a job that creates accounts, SETTLED has `data` = the list of the created records, and LOOK_UP means that an
        account with one of the keys is there already.
        """


class Auth(Protocol):
    """The credentials of a job, as the engine sees them. They may go stale; the engine never sees a token.

    A generation numbers the credentials. It grows with every refresh, so that a late 401 does not discard newer ones.
    `bulkdel.errors.Halted` from any method means that no further request can succeed.

    The order for a request: pass the rate limiter, then `sign`. If there are no headers, await `ensure` and pass the
    rate limiter *again*: otherwise all requests that waited for the sign-in would leave at once.
    """

    @property
    def pool(self) -> str | None:
        """The user pool or tenant of the credentials; None before `ensure` has returned once."""

    @property
    def users(self) -> Sequence[str]:
        """The accounts that the credentials may belong to, where they name any. They are never sent."""

    @property
    def waiting(self) -> str | None:
        """Why no request can be sent, for the progress; None while there are usable credentials."""

    def hide(self, text: str) -> str:
        """Redact the credentials in a text of the server: it may quote the request, and it is printed."""

    async def ensure(self) -> None:
        """Return when there are usable credentials. One sign-in serves all callers that wait. Raises Halted.

        May be cancelled at any moment: another waiting caller takes over.
        """

    def sign(self, request: Request) -> tuple[Mapping[str, str], int] | None:
        """Headers for `request`, which leaves now, and their generation; None when stale: `ensure`, then again."""

    def rejected(self, generation: int) -> None:
        """The server did not accept the headers of this generation. Raises Halted when fresh ones cannot help."""

    def accepted(self, generation: int) -> None:
        """The server accepted the headers of this generation, independent of the rest of its response."""


SANDBOX = "sandbox"
"""The host that a run with --sandbox pins."""


class Target(Protocol):
    """One API at one address with one set of credentials.

    host: base URL for requests. pinned_host: what the log pins ("sandbox" for the sandbox).
    key: the name of the key for people: its id, masked, or where it comes from. None without credentials.
    pause_s: how long all requests pause after a 429 without Retry-After.
    """

    @property
    def host(self) -> str:
        """Base URL for requests."""

    @property
    def pinned_host(self) -> str:
        """The host that the log pins."""

    @property
    def key(self) -> str | None:
        """The name of the key for people; None without credentials."""

    @property
    def key_hint(self) -> str:
        """How to give credentials, in a few words."""

    @property
    def pause_s(self) -> float:
        """Seconds."""

    def auth(
        self,
        transport: Transport,
        rate_limiter: RateLimiter,
        *,
        pool: str | None,
        patience_s: float,
        clock: Callable[[], float],
    ) -> Auth:
        """Make the sign-in. pool: the one that every token must carry, when it is known already.

        clock: seconds in which this process ran; patience_s is measured by it.
        """

    def look_ups(self, id_type: IdType, *, full: bool = False) -> LookUps:
        """Make the look-ups, or `NoLookUps`. full: with records as complete as the API gives them (--backup)."""

    def action(self, id_type: IdType) -> Action:
        """Make the action."""


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """The settings for the target: --host, the job's table of the config file, the environment.

    parameters: the job's own options, an instance of `Job.parameters`; None for a job without any.
    """

    host: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Any = None


class Job(Protocol):
    """The meaning of one chunk for one API. A job inherits from this class, and says what differs from the defaults.

    contract: the edition of this contract that the job was written for, `CONTRACT`.
    name: as the user types it. summary: one line for `bulkdel jobs`. chunk_max: ids that the API takes at once.
    config_table: name of its table in the config file. words: its words for what it does and for the outcomes.
    id_types: by name, the kinds of ids that it takes. id_type_default: the name of one of them.
    target_state: the state that it brings accounts into.
    parameters: a frozen dataclass. Each field is an option of `plan` and `run`. Its value is pinned in the header.
    undo: the job that undoes it; None when nothing does. fires: the webhooks and mails that a bulk run fires.
    pinned: what its table of the config says of the requests; it must be the same on a resume.
    verdicts: what its table says of the responses. A plan has it, and a resume with other verdicts is confirmed anew.
    takes_records: whether a row of the export has to be a whole record, one JSON object a line (`Record.payload`).
    look_up_requests: how many requests look up one chunk, for the plan.
    in_common: the value that all rows of one request must share; None when any rows may share a request. Rows that
        share it, and stand beside each other in the export, are sent together.
    memberships: the requests that read groups and roles with their members; None when the API has none of its users.
    request: its request in words, and where a user may have written it wrongly; empty when no user writes it.
    code_words: what the codes of a refusal mean, for the report: those of `Detail.code` under `code`, and those of each
        member of `Detail.extra` under its name.
    """

    contract: int
    name: str
    summary: str
    chunk_max: int
    config_table: str
    words: OutcomeWords
    id_types: Mapping[str, IdType]
    id_type_default: str
    target_state: TargetState = GONE
    parameters: type | None = None
    undo: str | None = None
    fires: str = ""
    pinned: Mapping[str, Any] = MappingProxyType({})
    verdicts: Mapping[str, Any] = MappingProxyType({})
    takes_records: bool = False
    look_up_requests: int = 1
    in_common: Callable[[Record], object] | None = None
    memberships: Memberships | None = None
    request: str = ""
    code_words: Mapping[str, Mapping[int, str]] = MappingProxyType({})

    def configured(self, table: Mapping[str, Any]) -> Job:  # noqa: ARG002 - most jobs are the same with any table
        """The job as its table of the config file describes it. Raises UsageError. Called before anything else."""
        return self

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials. Raises UsageError for wrong settings. Missing credentials are no error."""

    def chunk_requests(self, parameters: Any) -> int:  # noqa: ARG002 - one, in most jobs
        """How many requests `Action.calls` makes for a chunk, for the plan. parameters: as in `TargetOptions`."""
        return 1

    def plan_lines(self, parameters: Any) -> Sequence[tuple[str, str]]:  # noqa: ARG002 - none, in most jobs
        """What a user has to know before the confirmation, as lines of the plan: (name, text)."""
        return ()

    def undo_options(self, backup: str | None) -> Sequence[tuple[str, str]]:  # noqa: ARG002 - none, for most undos
        """The job's own options that its undo needs, each with a value that changes the least.

        They stand in the commands that are printed. backup: the path of what --backup of the run has written, for an
        undo that takes ids; None without it.
        """
        return ()

    def reductions(self, record: Record) -> Sequence[Reduction]:  # noqa: ARG002 - of an id nothing can be left out
        """What may be left out of a record that the API refuses, the most likely cause first.

        Each is sent once, in this order, until the API accepts one. Each is made from the whole record.
        """
        return ()

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> AbstractContextManager[Target]:
        """Start a harmless look-alike of the API that holds `ids`, and give it as a target.

        parameters: as in `TargetOptions`.
        """


def installed(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of every installed package in a group. Read once a process, unless the import path changes."""
    return _installed(group, tuple(sys.path))


@cache
def _installed(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001 - the path is the key
    """Opens a file of each package, which takes as long as many a command."""
    return tuple(entry_points(group=group))


def job_names() -> list[str]:
    """Names of every installed job."""
    return sorted({point.name for point in installed(GROUP)})


def load_job(name: str) -> Job:
    """Find an installed job by name. Raises UsageError when there is none, or when it cannot be loaded."""
    for point in (point for point in installed(GROUP) if point.name == name):
        try:
            made = point.load()
        except Exception as error:
            raise UsageError(
                f"the job {name!r} cannot be loaded from {point.value} ({type(error).__name__})"
            ) from error
        if not isinstance(made, type):
            raise UsageError(f"the job {name!r} cannot be loaded: {point.value} is no class")
        job: Job = made()
        if (contract := getattr(job, "contract", 1)) != CONTRACT:
            raise UsageError(
                f"the job {name!r} was written for edition {contract} of the contract with a job, and this version has "
                f"edition {CONTRACT}. docs/adding-a-job.md lists what changed"
            )
        return job
    known = ", ".join(job_names()) or "none; is bulkdel installed?"
    if os.path.lexists(name):
        raise UsageError(f"{name!r} is a file, and not a job. Write the job first, then the export. Jobs: {known}")
    raise UsageError(f"no job {name!r}.{did_you_mean(name, job_names())} Jobs: {known}")


def loadable_jobs() -> Iterator[Job]:
    """Every installed job that can be loaded. The others are left out, so one broken job stops no other."""
    for name in job_names():
        with suppress(UsageError):
            yield load_job(name)


# Exceptions of a job


@contextmanager
def job_faults() -> Iterator[None]:
    """Turn an exception of a job into JobFailed."""
    try:
        yield
    except Exception as error:
        if (failed := job_failed(error)) is None:
            raise
        raise failed from error


def job_failed(error: BaseException) -> JobFailed | None:
    """Make the JobFailed that names the job, the type of `error` and its place; None when no job raised it.

    None also for an expected failure. The innermost line of this program or of a job decides, because a job may fail
    inside a library. The text of the exception is left out, because it may quote an id or a credential.
    """
    if isinstance(error, BulkdelError):
        return None
    jobs: dict[str, list[str]] = {DISTRIBUTION: []}  # names of the jobs by package; none for one of this program
    for point in installed(GROUP):
        names = jobs.setdefault(point.module.partition(".")[0], [])
        if point.dist is None or point.dist.name != DISTRIBUTION:
            names.append(point.name)
    frames = [
        (str(frame.f_globals.get("__name__", "")).partition(".")[0], frame.f_code, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    at_fault = next((package for package, _, _ in reversed(frames) if package in jobs), DISTRIBUTION)
    if isinstance(error, NoDecision):
        at_fault = error.package if error.package in jobs else DISTRIBUTION
    if not jobs[at_fault]:
        return None
    where = "\n".join(
        f"  {code.co_filename}, line {line}, in {code.co_name}: {linecache.getline(code.co_filename, line).strip()}"
        for package, code, line in frames
        if package == at_fault
    )
    if isinstance(error, NoDecision):
        where = f"  {error}"
    return JobFailed(
        f"the job {' or '.join(jobs[at_fault])} failed: {type(error).__qualname__}; report it to its author. Once it "
        f"is fixed, the same command resumes the run.\n{where}"
    )

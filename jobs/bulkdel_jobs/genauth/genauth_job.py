"""What the jobs of GenAuth have in common: a deployment or the sandbox as a target, and the table of the config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.errors import Halted, UsageError
from bulkdel.format import shown
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport, check_host
from bulkdel.job import Action, Job, LookUps, Target, TargetOptions
from bulkdel_jobs.genauth.access_key import KEY_ID, KEY_SECRET, Brand, Credentials, brand_named, find_credentials
from bulkdel_jobs.genauth.endpoints import IDS_MAX
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.genauth.responses import CODE_WORDS
from bulkdel_jobs.genauth.signing_in import tokens_for
from bulkdel_jobs.parts.tokens import PAUSE_S, TokenAuth

if TYPE_CHECKING:  # a real run does not load the web server
    from bulkdel_jobs.sandbox.pool import Pool

CONFIG_TABLE = "genauth"
CONFIG_KEYS = frozenset({"brand", "credentials_file", "lang"})

COLUMNS = {"statusCode": "code", "apiCode": "detail.apiCode", "message": "message", "requestId": "request_id"}
"""The columns of `results` with the details of a response: `bulkdel.core.outcome.OutcomeWords.columns`."""


def outcome_words(done: str, already: str | None = None, **more: Any) -> OutcomeWords:
    """The words of a job whose ids may be absent. more: `verb`, `noun` or `keys`, as in `OutcomeWords`."""
    names = {"done": done, "already": already, "absent": "absent"}
    return OutcomeWords(names={kind: name for kind, name in names.items() if name}, columns=COLUMNS, **more)


class MakeLookUps(Protocol):
    """Makes the look-ups of a job, as `bulkdel.job.Target.look_ups` has it."""

    def __call__(self, id_type: IdType, *, full: bool = False) -> LookUps:
        """Make them."""


class JobCalls(NamedTuple):
    """The part of a target that differs from job to job."""

    action: Callable[[IdType], Action]
    look_ups: MakeLookUps


@dataclass(frozen=True, slots=True)
class GenAuth:
    """One deployment of GenAuth or Authing: `bulkdel.job.Target`."""

    host: str
    pinned_host: str
    brand: Brand
    credentials: Credentials | None
    calls: JobCalls
    lang: str | None = "en-US"
    pause_s: float = PAUSE_S
    key_hint: str = f"set {KEY_ID} and {KEY_SECRET}, or name a credentials_file in the config"

    @property
    def key(self) -> str | None:
        """The key id, masked."""
        return self.credentials.masked if self.credentials else None

    def auth(
        self,
        transport: Transport,
        rate_limiter: RateLimiter,
        *,
        pool: str | None,
        patience_s: float,
        clock: Callable[[], float],
    ) -> TokenAuth:
        """Make the sign-in."""
        if self.credentials is None:
            raise Halted("not signed in: no credentials")
        return tokens_for(
            self.credentials,
            self.brand,
            transport,
            rate_limiter,
            pool=pool,
            lang=self.lang,
            patience_s=patience_s,
            clock=clock,
        )

    def look_ups(self, id_type: IdType, *, full: bool = False) -> LookUps:
        """Make the look-ups of the job."""
        return self.calls.look_ups(id_type, full=full)

    def action(self, id_type: IdType) -> Action:
        """Make the action of the job."""
        return self.calls.action(id_type)


@contextmanager
def sandbox_target(calls: JobCalls, fill: Callable[[Pool], object], *, public: bool = False) -> Iterator[Target]:
    """Start the look-alike on a thread of this process.

    fill: puts into a pool what the job works on. public: it is the pool of the public accounts.
    """
    # A real run does not load the web server.
    from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, People, Pool, serve_in_thread  # noqa: PLC0415

    people = People()
    users, accounts = Pool(people=people), Pool(people=people)
    fill(accounts if public else users)
    credentials = Credentials(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET)
    with serve_in_thread(users, public=accounts) as sandbox:
        yield GenAuth(sandbox.url, "sandbox", brand_named("genauth"), credentials, calls)


class GenAuthJob(Job):
    """`bulkdel.job.Job`. A subclass has `name`, `summary`, `words`, `job_calls`, and what differs from the defaults.

    job_calls: the action and the look-ups; a job whose parameters change them overrides `calls`.
    public: whether its ids are those of public accounts.
    """

    contract = 3
    chunk_max = IDS_MAX
    config_table = CONFIG_TABLE
    id_types: Mapping[str, IdType] = ID_TYPES
    id_type_default = "user_id"
    code_words = CODE_WORDS
    public = False
    job_calls: JobCalls

    def calls(self, parameters: Any) -> JobCalls:  # noqa: ARG002 - many jobs have none
        """Make the action and the look-ups. parameters: as in `TargetOptions`. Raises UsageError, NotAcceptable."""
        return self.job_calls

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Any) -> None:  # noqa: ARG002
        """Put what `ids` mean into the sandbox: by default a user for each."""
        pool.add_ids(ids, id_type.name)

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials. The config's table `[genauth]` may name brand, credentials_file and lang."""
        calls = self.calls(options.parameters)
        for name, value in options.config.items():
            if name not in CONFIG_KEYS or not isinstance(value, str):
                knows = ", ".join(sorted(CONFIG_KEYS))
                raise UsageError(f"config, [genauth] {shown(name)}: knows {knows}, each a string")
        brand = brand_named(options.config.get("brand", "genauth"))
        host = check_host(options.host or brand.host)
        credentials = find_credentials(options.environ, options.config.get("credentials_file"))
        lang = options.config.get("lang", "en-US")
        return GenAuth(host, host, brand, credentials, calls, lang)

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> AbstractContextManager[Target]:
        """Start the look-alike, and fill it."""
        calls = self.calls(parameters)
        return sandbox_target(calls, lambda pool: self.fill(pool, ids, id_type, parameters), public=self.public)

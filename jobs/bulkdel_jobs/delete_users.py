"""The job `delete-users`: GenAuth's (Authing's) V3 call delete-users-batch. Another job starts as a copy of this."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.errors import Halted, UsageError
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport, check_host
from bulkdel.job import Job, Target, TargetOptions
from bulkdel_jobs.genauth.auth import Tokens, tokens_for
from bulkdel_jobs.genauth.credentials import KEY_ID, KEY_SECRET, Brand, Credentials, brand_named, find_credentials
from bulkdel_jobs.genauth.endpoints import IDS_MAX, DeleteUsersBatch, UserLookUps
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.parts.tokens import PAUSE_S

CONFIG_KEYS = frozenset({"brand", "credentials_file", "lang"})


@dataclass(frozen=True, slots=True)
class GenAuth:
    """One deployment of GenAuth or Authing: `bulkdel.job.Target`."""

    host: str
    pinned_host: str
    brand: Brand
    credentials: Credentials | None
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
    ) -> Tokens:
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

    def look_ups(self, id_type: IdType, *, full: bool = False) -> UserLookUps:
        """Make the requests that look users up."""
        return UserLookUps(id_type, full=full)

    def action(self, id_type: IdType) -> DeleteUsersBatch:
        """Make the requests that delete."""
        return DeleteUsersBatch(id_type)


class DeleteUsers(Job):
    """`bulkdel.job.Job`; the entry point names this class."""

    contract = 2
    name = "delete-users"
    summary = "delete users of a GenAuth or Authing user pool (delete-users-batch)"
    chunk_max = IDS_MAX
    config_table = "genauth"
    words = OutcomeWords(
        names={"done": "deleted", "absent": "absent"},
        keys={"done": "deleted", "absent": "absent"},
        columns={"statusCode": "code", "apiCode": "detail.apiCode", "message": "message", "requestId": "request_id"},
    )
    id_types: Mapping[str, IdType] = ID_TYPES
    id_type_default = "user_id"

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials. The config's table `[genauth]` may name brand, credentials_file and lang."""
        for name, value in options.config.items():
            if name not in CONFIG_KEYS or not isinstance(value, str):
                raise UsageError(f"config, [genauth] {name}: knows {', '.join(sorted(CONFIG_KEYS))}, each a string")
        brand = brand_named(options.config.get("brand", "genauth"))
        host = check_host(options.host or brand.host)
        credentials = find_credentials(options.environ, options.config.get("credentials_file"))
        return GenAuth(host, host, brand, credentials, options.config.get("lang", "en-US"))

    @contextmanager
    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> Iterator[Target]:  # noqa: ARG002
        """Start the look-alike on a thread of this process, with a user for each of `ids`."""
        # A real run does not load the web server.
        from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, Pool, serve_in_thread  # noqa: PLC0415

        credentials = Credentials(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET)
        with serve_in_thread(Pool.from_ids(ids, id_type.name)) as sandbox:
            yield GenAuth(sandbox.url, "sandbox", brand_named("genauth"), credentials)

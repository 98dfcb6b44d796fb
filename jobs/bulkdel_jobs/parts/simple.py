"""A job that sends one id a request, with a key in a header. A subclass says where; docs/adding-a-job.md has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulkdel.core.decision import Decision, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.record import Records
from bulkdel.errors import UsageError
from bulkdel.format import shown
from bulkdel.http.transport import check_host
from bulkdel.job import LookUps, NoLookUps, TargetOptions
from bulkdel_jobs.parts.auth import key_in_header
from bulkdel_jobs.parts.look_ups import OneByOneLookUps
from bulkdel_jobs.parts.paths import PATH_ID, PATH_NAME, filled
from bulkdel_jobs.parts.secret import find_secret
from bulkdel_jobs.parts.statuses import Statuses
from bulkdel_jobs.parts.target import ApiTarget, WithoutSandbox, always, pool_of

DELETED = Statuses.of({"settled": [204]})
"""The usual answer to a deletion that worked. An API that answers otherwise has its own table."""


@dataclass(frozen=True, slots=True)
class OneIdARequest:
    """`bulkdel.job.Action` with the id in the path. template: the request, with `{id}` in its path."""

    template: Request
    statuses: Statuses = DELETED

    def calls(self, records: Records) -> list[Request]:
        """See `bulkdel.job.Action`. Raises ValueError unless there is one record."""
        (id_,) = records.ids
        return [filled(self.template, id_)]

    def read(self, response: Response) -> Decision:
        """See `bulkdel.job.Action`."""
        return self.statuses.decide(response)


class OneByOne(WithoutSandbox):
    """A job of one id a request. A subclass sets `name`, `summary`, `config_table`, and:

    base_url: of the API; --host or `host` in the job's table of the config replaces it. path: below it, with `{id}`.
    method: of the request. statuses: what the response means. key_variable: the environment variable with the key;
    `key_file` in the table names a 0600 file in its place. key_header, key_prefix: how it is sent.
    look_up_path, list_path: to look one id up, and to list some accounts; None when the API has no such call.
    list_at, id_field: where the list and the ids are in these responses, names with dots between them.
    """

    contract = 3
    chunk_max = 1
    words = OutcomeWords(names={"done": "deleted", "absent": "absent"}, noun="account")
    id_types: Mapping[str, IdType] = {id_type.name: id_type for id_type in (PATH_ID, PATH_NAME)}
    id_type_default = PATH_ID.name

    base_url: str
    path: str
    key_variable: str
    method: str = "DELETE"
    statuses: Statuses = DELETED
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    look_up_path: str | None = None
    list_path: str | None = None
    list_at: str = ""
    id_field: str = "id"

    def target(self, options: TargetOptions) -> ApiTarget:
        """See `bulkdel.job.Job`."""
        for name, value in options.config.items():
            if name not in {"host", "key_file"} or not isinstance(value, str):
                raise UsageError(f"config, [{self.config_table}] {shown(name)}: knows host and key_file, each a string")
        host = check_host(options.host or options.config.get("host", self.base_url))
        key = find_secret(options.environ, self.key_variable, options.config.get("key_file"))
        auth = None if key is None else key_in_header(pool_of(host), key, self.key_header, self.key_prefix)
        return ApiTarget(
            host=host,
            pinned_host=host,
            key=None if key is None else key.source,
            key_hint=f"set {self.key_variable}, or name a key_file in the config",
            make_auth=None if auth is None else always(auth),
            job_action=OneIdARequest(Request(self.method, self.path), self.statuses),
            job_look_ups=self._look_ups(),
        )

    def _look_ups(self) -> LookUps:
        if self.look_up_path is None or self.list_path is None:
            return NoLookUps()
        one, listing = Request("GET", self.look_up_path), Request("GET", self.list_path)
        return OneByOneLookUps(one=one, listing=listing, id_field=self.id_field, list_at=self.list_at)

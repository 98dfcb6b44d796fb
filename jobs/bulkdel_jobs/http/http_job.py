"""The job `http`: what it does to the ids is described in the table [http] of the config file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from bulkdel.core.absence import PLAIN_IN_PATH
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.target_state import TargetState
from bulkdel.errors import UsageError
from bulkdel.http.transport import check_host
from bulkdel.job import Job, NoLookUps, Target, TargetOptions
from bulkdel_jobs.http.description import DELETE, IDS_MAX, Description, TableAction, describe
from bulkdel_jobs.parts.look_ups import ListLookUps
from bulkdel_jobs.parts.paths import OTHER_WORDS, PATH_ID, PATH_NAME, PLACEHOLDER, SEGMENT, UNUSABLE
from bulkdel_jobs.parts.target import ApiTarget, WithoutSandbox, pool_of

BODY_ID = IdType("body_id", shape_text="never given out again")
BODY_NAME = IdType("body_name", shape_text="may be given out again", reusable=True)

NUMBER_MAX = 2**53 - 1
"""A server that reads JSON numbers as doubles, as JavaScript does, takes a larger one for its neighbour."""


def _up_to(most: int) -> str:
    """A pattern of the whole numbers from 1 to `most`, without leading zeros."""
    digits = str(most)
    lower = [
        f"{digits[:at]}[{0 if at else 1}-{int(digit) - 1}][0-9]{{{len(digits) - at - 1}}}"
        for at, digit in enumerate(digits)
        if int(digit) > (0 if at else 1)
    ]
    return "|".join([f"[1-9][0-9]{{0,{len(digits) - 2}}}", *lower, digits])


BODY_NUMBER = IdType(
    "body_number",
    shape_text="a whole number, never given out again",
    never=re.compile(rf"(?!(?:0|-?(?:{_up_to(NUMBER_MAX)}))\Z).*", re.DOTALL),
    never_text=f"a whole number from -{NUMBER_MAX} to {NUMBER_MAX} without leading zeros, and not -0",
)

IN_PATH = {id_type.name: id_type for id_type in (PATH_ID, PATH_NAME)}
NOT_LOOKED_UP_BY_PATH = {
    name: replace(
        id_type,
        never=re.compile(rf"(?:.*[^{PLAIN_IN_PATH}].*)?|{OTHER_WORDS}", re.DOTALL | re.IGNORECASE),
        never_text="of letters, digits, -, _ and ~, and no word such as me or all, for the path of a request. A server "
        "may read another id there as that of another account, and the table has no look-up by path ([http.look_up]) "
        "that would show it, with the id at its end where the request has it there",
    )
    for name, id_type in IN_PATH.items()
}
"""Ids of a path, where no look-up shows how the server reads them."""

IN_BODY = {id_type.name: id_type for id_type in (BODY_ID, BODY_NAME, BODY_NUMBER)}
LOOKED_UP_BY_PATH = {
    name: replace(id_type, never=id_type.never or UNUSABLE, never_text=id_type.never_text or SEGMENT)
    for name, id_type in IN_BODY.items()
}
"""Ids of a body whose look-ups have them in the path. A whole number can always be a segment."""

PAGE = "docs/http-job.md describes it"

ACCOUNT = "account"
"""What an id means: the table does not say more."""


def _is_last(path: str) -> bool:
    """Whether the id is the last segment."""
    return path.endswith(PLACEHOLDER)


class HttpTarget(ApiTarget):
    """`bulkdel.job.Target`. Its action depends on the id type: an id of `body_number` is a number in the body."""

    def action(self, id_type: IdType) -> TableAction:
        """See `bulkdel.job.Target`."""
        action = cast("TableAction", self.job_action)
        return replace(action, numbers=True) if id_type.name == BODY_NUMBER.name else action


class HttpJob(WithoutSandbox):
    """`bulkdel.job.Job`; the entry point names this class. Without a table it can only be listed."""

    contract = 3
    name = "http"
    summary = "any API, described by the table [http] of the config file; an id in the path or in a JSON body"
    chunk_max = IDS_MAX
    config_table = "http"
    words = OutcomeWords(noun=ACCOUNT)
    id_types: Mapping[str, IdType] = {**IN_PATH, **IN_BODY}
    id_type_default = PATH_ID.name

    def __init__(self, description: Description | None = None) -> None:
        self._description = description
        if description is None:
            return
        verb, done = description.verb, description.done
        already = {} if verb == DELETE else {"already": f"already {done}"}
        self.summary = f"{description.action.request.method} {description.action.request.path}"
        self.request = f"{self.summary} (method, base and path of [http] in the config file)"
        self.chunk_max = description.chunk_size
        self.words = OutcomeWords(names={"done": done, **already, "absent": "absent"}, verb=verb, noun=ACCOUNT)
        looks_up = "" if description.look_ups is None else description.look_ups.one.path
        if description.in_path:
            # A server may cut the last segment of a path, as what looks like the ending of a file, and no other one.
            shows = looks_up.count(PLACEHOLDER) and _is_last(looks_up) == _is_last(description.action.request.path)
            self.id_types = IN_PATH if shows else NOT_LOOKED_UP_BY_PATH
        else:
            self.id_types = LOOKED_UP_BY_PATH if PLACEHOLDER in looks_up else IN_BODY
        self.id_type_default = next(iter(self.id_types))
        if verb != DELETE:
            self.target_state = TargetState(reached=done, not_reached=f"not {done}", absence_reaches=False)
        self.pinned = description.pinned
        self.verdicts = description.verdicts

    def configured(self, table: Mapping[str, Any]) -> Job:
        """See `bulkdel.job.Job`."""
        if not table:
            raise UsageError(f"the job http needs a table [http] in the config file that --config names; {PAGE}")
        return HttpJob(describe(table))

    def plan_lines(self, parameters: Any) -> Sequence[tuple[str, str]]:  # noqa: ARG002 - it has none
        """See `bulkdel.job.Job`. Without [[http.answers]] no body is read."""
        description = self._description
        if description is None or description.action.answers:
            return ()
        settled = [str(status) for status, means in description.action.statuses.named.items() if means == "settled"]
        done = f"{', '.join(settled)} counts as {description.done}, whatever the body says"
        return [("responses", f"the HTTP status alone decides: {done}")]

    def target(self, options: TargetOptions) -> Target:
        """See `bulkdel.job.Job`. The table was read by `configured`."""
        description = self._description
        assert description is not None, "`configured` comes first"
        if (given := options.host or description.host) is None:
            raise UsageError("config, [http] host: is missing, and there is no --host")
        host = check_host(given)
        pool, credentials = pool_of(host, description.base), description.credentials
        found = credentials.find(host, pool, options.environ)
        look_ups = description.look_ups
        if isinstance(look_ups, ListLookUps):
            look_ups = replace(look_ups, host=host)
        return HttpTarget(
            host=host,
            pinned_host=host,
            key=None if found is None else found.source,
            key_hint=credentials.hint,
            make_auth=None if found is None else found.make,
            job_action=description.action,
            job_look_ups=look_ups or NoLookUps(),
            pause_s=description.pause_s,
        )

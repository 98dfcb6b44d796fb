"""GenAuth's batch deletion as a Python call, for programs that have their own loop. Retries nothing, logs nothing.

    async with GenAuthClient(key_id, secret) as client:
        answer = await client.delete_users_batch(["6229ffaxxxxxxxxcade3e3d9"], "user_id")
        print(answer.ok, answer.status_code, answer.message)

One call is one deletion request, never more. The token is fetched before the first one and refreshed ahead of its end.
Every response of the server is returned; an exception means that there is none.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bulkdel.core.decision import Decision, NextStep, NoResponse, Request
from bulkdel.core.record import Records
from bulkdel.core.redaction import decision_on
from bulkdel.errors import Halted
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import HttpTransport, TransportOptions
from bulkdel_jobs.genauth.access_key import Credentials, brand_named
from bulkdel_jobs.genauth.endpoints import DeleteUsersBatch
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.genauth.responses import API_CODE, read_success
from bulkdel_jobs.genauth.signing_in import tokens_for
from bulkdel_jobs.parts.tokens import PAUSE_S

RATE = 50.0
"""Requests a second: a third of the public cloud's limit, which the sign-ins of its users share."""

TIMEOUT_S = 60.0


class NoAnswer(Exception):
    """A deletion ended without a response. Its text says why and names no id."""


class NotSent(NoAnswer):
    """No connection was made: the request never left, nothing was deleted. Calling again is safe."""


class EffectUnknown(NoAnswer):
    """The request left and no readable response came back: all of the users may be deleted, some or none.

    Look them up before concluding anything. Calling again is harmless where an id is never given out twice.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: the users may or may not be deleted; look them up")


@dataclass(frozen=True, slots=True)
class IsSuccess:
    """`data` of the response. success: True only where the server sent exactly `true`."""

    success: bool


@dataclass(frozen=True, slots=True)
class DeleteUsersBatchResponse:
    """The server's response, `IsSuccessRespDto` of the API.

    status_code: of the envelope, 200 for success; the HTTP status (400 and above) of a gateway that sent no envelope.
    message: for people, in English; empty where there is none. api_code: of business errors. request_id: of failures.

    After a status code of 500 or above, and after a 200 without `data.success`, users may be deleted.
    """

    status_code: int
    message: str
    api_code: int | None
    request_id: str | None
    data: IsSuccess

    @property
    def ok(self) -> bool:
        """Whether all the users are gone. Neither an HTTP 200 nor a statusCode 200 says so alone."""
        return self.status_code == 200 and self.data.success  # noqa: PLR2004 - the code of success


class GenAuthClient:
    """One access key at one deployment. Use as an async context manager; any number of calls may run side by side.

    host: base URL of a private deployment; None for the brand's public cloud. brand: "genauth" or "authing".
    rate: requests a second at most, of this client, sign-ins included; 0 is unlimited.
    ca_file: PEM, trusted beside the system's authorities. proxy: `http://…`. timeout_s: for one request as a whole.

    Raises `bulkdel.errors.UsageError` for a brand, host, CA file or proxy that cannot be used.
    """

    def __init__(
        self,
        access_key_id: str,
        access_key_secret: str,
        host: str | None = None,
        brand: str = "genauth",
        *,
        rate: float = RATE,
        ca_file: str | Path | None = None,
        proxy: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        named = brand_named(brand)
        ca_path = None if ca_file is None else Path(ca_file)
        self._transport = HttpTransport(
            TransportOptions(host or named.host, ca_file=ca_path, proxy=proxy, total_s=timeout_s)
        )
        self._rate_limiter = RateLimiter(rate)
        credentials = Credentials(access_key_id, access_key_secret)
        self._tokens = tokens_for(credentials, named, self._transport, self._rate_limiter)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def user_pool_id(self) -> str | None:
        """The user pool that the key deletes from; None before the first call has signed in."""
        return self._tokens.pool

    async def delete_users_batch(
        self, user_ids: Sequence[str], user_id_type: str = "user_id"
    ) -> DeleteUsersBatchResponse:
        """Delete 1 to 50 users. This cannot be undone.

        Sends one deletion and returns its response. Nothing is repeated:
        a 429 is returned, and the next calls wait for as long as it asks (Retry-After, else 3 s);
        a 401 is returned, and the next call signs in again. After a second 401 in a row no call signs in any more, and
        every call returns a 401. A 429 and a 401 have deleted nothing.

        Raises ValueError for no id, more than 50, an empty id, the same id twice, an id that is no string, a string in
        the place of the list, or an unknown type; nothing is sent.
        Raises `bulkdel.errors.Halted` when the sign-in is refused or fails; this call deletes nothing.
        Raises NotSent or EffectUnknown when there is no response.
        A call that is cancelled while it waits for a response may have deleted users.
        """
        if user_id_type not in ID_TYPES:
            raise ValueError(f"no user id type {user_id_type!r}. Types: {', '.join(ID_TYPES)}")
        if isinstance(user_ids, str | bytes) or not all(isinstance(id_, str) for id_ in user_ids):
            raise ValueError("user ids come as a list of strings: a single string would be taken for its letters")
        records = Records(tuple(range(len(user_ids))), tuple(user_ids))
        (request,) = DeleteUsersBatch(ID_TYPES[user_id_type]).calls(records)
        headers, generation = await self._admission(request)
        response = await self._transport.send(request, headers)
        if isinstance(response, NoResponse):
            raise EffectUnknown(response.reason) if response.sent else NotSent(f"{response.reason}: nothing was sent")
        # Only the credentials are redacted: the ids are the caller's own.
        decision = decision_on(response, read_success, self._tokens.hide, time.time())
        if decision.next_step is NextStep.THROTTLED:
            self._rate_limiter.pause(PAUSE_S if decision.after_s is None else decision.after_s)
        elif decision.next_step is NextStep.SIGN_IN:
            with contextlib.suppress(Halted):  # the second 401 in a row: it is returned like the first
                self._tokens.rejected(generation)
        elif decision.next_step is not NextStep.RETRY:
            self._tokens.accepted(generation)
        return _answer(decision)

    async def _admission(self, request: Request) -> tuple[Mapping[str, str], int]:
        """Wait for token and rate limiter. The token is asked for again after the limiter's wait."""
        while True:
            await self._tokens.ensure()
            await self._rate_limiter.acquire()
            if (ready := self._tokens.sign(request)) is not None:
                return ready


def _answer(decision: Decision) -> DeleteUsersBatchResponse:
    detail = decision.detail
    code, api_code = detail.code, dict(detail.extra).get(API_CODE)
    if not isinstance(code, int) or (decision.next_step is NextStep.RETRY and code == 200):  # noqa: PLR2004
        raise EffectUnknown(decision.reason)
    return DeleteUsersBatchResponse(
        status_code=code,
        message=detail.message or "",
        api_code=api_code if isinstance(api_code, int) else None,
        request_id=detail.request_id,
        data=IsSuccess(decision.next_step is NextStep.SETTLED),
    )

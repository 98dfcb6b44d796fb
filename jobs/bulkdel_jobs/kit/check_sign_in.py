"""Checks of a job's credentials: a sign-in that ends, a 401 that ends, and secrets that stay out of every text."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping

from bulkdel.core.decision import Request
from bulkdel.errors import Halted
from bulkdel_jobs.kit.faults import CATALOGUE, PAGE
from bulkdel_jobs.kit.lab import END_S, Lab, Seen, raised, signed
from bulkdel_jobs.kit.wire import Received, reply

SECRET_HEADER = re.compile(r"authorization|cookie|.*(?:key|token|secret|password)", re.IGNORECASE)
SECRET_MIN = 4
REJECTIONS_MAX = 5
"""A 401 to fresh credentials must halt the run after so many of them at the latest."""

ANY = Request("GET", "/")
"""A request to sign, whatever it is."""


async def works(lab: Lab) -> Seen:
    """Sign in at the look-alike."""
    auth = lab.make_auth(lab.to_api)
    try:
        await asyncio.wait_for(auth.ensure(), END_S)
    except Halted as halted:
        return Seen(ok=False, text=raised(halted), advice=f"Give credentials: {lab.target.key_hint}")
    headers = auth.sign(ANY)
    ok = headers is not None and isinstance(auth.pool, str) and bool(auth.pool)
    if headers is not None:
        lab.auth, lab.secrets = auth, secrets_in(headers[0])
    return Seen(
        ok, f"pool {auth.pool}" if ok else "no headers after ensure()" if headers is None else "the pool is not known"
    )


async def hide(lab: Lab) -> Seen:
    """No text of a server shows what the headers carry."""
    assert lab.auth is not None
    hidden = lab.auth.hide
    shown = [secret for secret in lab.secrets if secret in hidden(f"your request had {secret} in it")]
    return Seen(not shown, f"{len(lab.secrets)} secret(s) in the headers, {len(shown)} left by hide()")


async def show(lab: Lab) -> Seen:
    """No text of the job's objects shows what the headers carry."""
    texts = f"{lab.auth!r} {lab.target!r} {lab.target.key}"
    ok = not any(secret in texts for secret in lab.secrets)
    return Seen(
        ok, "no secret in the repr of auth and target" if ok else "a secret in the repr of auth or target, or in key"
    )


async def rejected_for_ever(lab: Lab) -> Seen:
    """A server which never accepts the credentials ends the run."""
    auth = lab.make_auth(lab.to_api)
    try:
        for _ in range(REJECTIONS_MAX):
            headers, generation = await signed(auth, ANY)
            lab.secrets |= secrets_in(headers)
            auth.rejected(generation)
    except Halted as halted:
        ended = raised(halted)
        return Seen(ok=True, text=ended, leak=_leaks(lab, ended))
    return Seen(ok=False, text="it goes on for ever")


async def rejected_late(lab: Lab) -> Seen:
    """A late 401 discards nothing."""
    auth = lab.make_auth(lab.to_api)
    _, first = await signed(auth, ANY)
    try:
        auth.rejected(first)
        _, second = await signed(auth, ANY)
    except Halted:
        return Seen(None, "these credentials are not renewed")
    auth.accepted(second)
    auth.rejected(first)
    kept = auth.sign(ANY) is not None
    return Seen(kept, f"a 401 to older headers {'changes nothing' if kept else 'discards the newer ones'}")


async def fault(lab: Lab, answer: bytes | None) -> Seen | None:
    """Sign in at the server of faults. None for a sign-in that sends no request. answer: None quotes the request."""
    quoted: list[Received] = []

    def quote(received: Received) -> bytes:
        quoted.append(received)
        text = PAGE + repr(received.headers).encode() + received.body
        return reply(400, text) if answer is None else answer

    lab.server.requests.clear()
    lab.server.answer = quote
    auth, ended = lab.make_auth(lab.to_faults), ""
    try:
        await asyncio.wait_for(auth.ensure(), END_S)
    except Halted as halted:
        ended = raised(halted)
    except TimeoutError:
        return Seen(ok=False, text="it does not end", advice="Raise Halted once patience_s is over")
    if not lab.server.requests:
        return None
    leak = bool(ended) and _leaks(lab, ended, *(received.body.decode() for received in quoted))
    return Seen(bool(ended), ended or "signed in with this answer", leak=leak)


ANSWERS = {each.name: answer for each in CATALOGUE if (answer := each.play(None)) is not None} | {"quoted": None}
"""What comes in place of a token, by the name of the check."""


def _leaks(lab: Lab, message: str, *bodies: str) -> bool:
    """Whether a message, which is printed, quotes a header or a body. A word with a digit is no name of a field."""
    words = {word for body in bodies for word in re.findall(r"[\w-]{12,}", body) if any(map(str.isdigit, word))}
    return any(secret in message for secret in {*lab.secrets, *words})


def secrets_in(headers: Mapping[str, str]) -> set[str]:
    """The secrets that signed headers carry. A signature is none."""
    secrets: set[str] = set()
    for name, value in headers.items():
        scheme, _, rest = value.partition(" ")
        if SECRET_HEADER.fullmatch(name) is None or scheme.startswith("AWS4-"):
            continue
        secrets.add(rest or value)
        if scheme.lower() == "basic":
            secrets.add(base64.b64decode(rest).decode(errors="replace").partition(":")[2])
    return {secret for secret in secrets if len(secret) >= SECRET_MIN}

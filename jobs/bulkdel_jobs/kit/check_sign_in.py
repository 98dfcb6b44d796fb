"""Checks of a job's credentials: a sign-in that ends, a 401 that ends, and secrets that stay out of every text."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping

from bulkdel.core.decision import Request
from bulkdel.errors import Halted
from bulkdel.job import Auth
from bulkdel_jobs.kit.faults import CATALOGUE, PAGE
from bulkdel_jobs.kit.lab import END_S, Lab, raised
from bulkdel_jobs.kit.wire import Received, reply

SECRET_HEADER = re.compile(r"authorization|cookie|.*(?:key|token|secret|password)", re.IGNORECASE)
SECRET_MIN = 4
REJECTIONS_MAX = 5
"""A 401 to fresh credentials must halt the run after so many of them at the latest."""


async def check_sign_in(lab: Lab) -> None:
    """Sign in at the look-alike. Sets `lab.auth` and `lab.secrets` where it works."""
    assert lab.api is not None
    with lab.findings.watch("sign-in/works"):
        auth = lab.make_auth(lab.api)
        try:
            await asyncio.wait_for(auth.ensure(), END_S)
        except Halted as halted:
            hint = f"Give credentials: {lab.target.key_hint}"
            lab.findings.add("sign-in/works", ok=False, seen=raised(halted), advice=hint)
            return
        request = Request("GET", "/")
        signed = auth.sign(request)
        ok = signed is not None and isinstance(auth.pool, str) and bool(auth.pool)
        seen = f"pool {auth.pool}" if ok else "no headers after ensure()" if signed is None else "the pool is not known"
        advice = "After ensure() sign() returns headers, and pool is the text that --pool confirms"
        lab.findings.add("sign-in/works", ok=ok, seen=seen, advice=advice)
        if signed is not None:
            lab.auth, lab.secrets = auth, secrets_in(signed[0])


async def check_secrets(lab: Lab) -> None:
    """Check that no text shows what the headers carry."""
    auth = lab.auth
    assert auth is not None
    with lab.findings.watch("secrets/hide"):
        shown = [secret for secret in lab.secrets if secret in auth.hide(f"your request had {secret} in it")]
        seen = f"{len(lab.secrets)} secret(s) in the headers, {len(shown)} left by hide()"
        advice = "hide() must replace every secret and token: a server may quote the request"
        lab.findings.add("secrets/hide", ok=not shown, seen=seen, advice=advice)
    with lab.findings.watch("secrets/repr"):
        texts = f"{auth!r} {lab.target!r} {lab.target.key}"
        ok = not any(secret in texts for secret in lab.secrets)
        seen = "no secret in the repr of auth and target" if ok else "a secret in the repr of auth or target, or in key"
        lab.findings.add("secrets/repr", ok=ok, seen=seen, advice="Mark the field with field(repr=False), mask the key")


async def check_rejections(lab: Lab) -> None:
    """Check that a server which never accepts the credentials ends the run, and that a late 401 discards nothing."""
    assert lab.api is not None
    with lab.findings.watch("sign-in/401-for-ever"):
        auth, ended = lab.make_auth(lab.api), ""
        try:
            for _ in range(REJECTIONS_MAX):
                headers, generation = await _signed(auth)
                lab.secrets |= secrets_in(headers)
                auth.rejected(generation)
        except Halted as halted:
            ended = raised(halted)
        advice = f"rejected() raises Halted when fresh credentials are refused too, {REJECTIONS_MAX} times at most"
        lab.findings.add("sign-in/401-for-ever", ok=bool(ended), seen=ended or "it goes on for ever", advice=advice)
        if ended:
            _check_message(lab, "sign-in/401-for-ever-message", ended)
    with lab.findings.watch("sign-in/late-401"):
        auth = lab.make_auth(lab.api)
        _, first = await _signed(auth)
        try:
            auth.rejected(first)
            _, second = await _signed(auth)
        except Halted:
            lab.findings.skip("sign-in/late-401", "these credentials are not renewed")
            return
        auth.accepted(second)
        auth.rejected(first)
        kept = auth.sign(Request("GET", "/")) is not None
        seen = "a 401 to older headers changes nothing" if kept else "a 401 to older headers discards the newer ones"
        lab.findings.add("sign-in/late-401", ok=kept, seen=seen, advice="Compare the generation in rejected()")


async def check_sign_in_faults(lab: Lab) -> None:
    """Sign in at the server of faults. Only for a sign-in that sends requests, and with credentials to send."""
    if lab.target.key is None:
        lab.findings.skip("sign-in", f"no credentials: {lab.target.key_hint}")
        return
    for fault in CATALOGUE:
        answer = fault.play(None)
        if answer is not None and not await _meets(lab, f"sign-in/{fault.name}", answer):
            return
    await _meets(lab, "sign-in/quoted", None)


async def _meets(lab: Lab, name: str, answer: bytes | None) -> bool:
    """Check one sign-in. answer: None quotes the request. Returns whether the sign-in has sent a request."""
    quoted: list[Received] = []

    def quote(received: Received) -> bytes:
        quoted.append(received)
        text = PAGE + repr(received.headers).encode() + received.body
        return reply(400, text) if answer is None else answer

    lab.server.requests.clear()
    lab.server.answer = quote
    with lab.findings.watch(name):
        auth, ended = lab.make_auth(lab.to_faults), ""
        try:
            await asyncio.wait_for(auth.ensure(), END_S)
        except Halted as halted:
            ended = raised(halted)
        except TimeoutError:
            lab.findings.add(name, ok=False, seen="it does not end", advice="Raise Halted once patience_s is over")
            return True
        if not lab.server.requests:
            return False
        advice = "Raise Halted from ensure() when the answer brings no credentials"
        if lab.findings.add(name, ok=bool(ended), seen=ended or "signed in with this answer", advice=advice):
            _check_message(lab, f"{name}-message", ended, *(received.body.decode() for received in quoted))
    return True


def _check_message(lab: Lab, name: str, message: str, *bodies: str) -> None:
    """A message is printed, so it must not quote a header or a body. Only what is wrong is noted."""
    secrets = {*lab.secrets, *(word for body in bodies for word in re.findall(r"[\w-]{12,}", body) if _random(word))}
    if any(secret in message for secret in secrets):
        advice = "Never put a header, a body or a text of the server into a message as it is"
        lab.findings.add(name, ok=False, seen="a message quotes a secret", advice=advice)


def _random(word: str) -> bool:
    """Whether a word of a sign-in looks like a key and not like the name of a field."""
    return any(letter.isdigit() for letter in word)


async def _signed(auth: Auth) -> tuple[Mapping[str, str], int]:
    """Headers of fresh credentials, and their generation."""
    await asyncio.wait_for(auth.ensure(), END_S)
    signed = auth.sign(Request("GET", "/"))
    assert signed is not None, "no headers after ensure()"
    return signed


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

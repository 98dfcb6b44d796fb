"""Where notices go: the value of --notify, read and checked, and the ways of a notice. Each tries once.

A notice is posted to a URL, given to apprise, or given to a command. No way raises an exception for what a server, a
service or a command does. An address is a secret: that of Slack is a token. So a message names its host at most, or
only its scheme, and no address is in an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import logging
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from yarl import URL

from bulkdel.core.decision import NoResponse, Request
from bulkdel.core.retry import retry_after_s
from bulkdel.errors import UsageError
from bulkdel.format import to_install
from bulkdel.http.transport import HttpTransport, TransportOptions, is_loopback
from bulkdel.notify.message import Notice, json_form, slack_form, teams_form, text_form, variables
from bulkdel.settings import NotifySettings
from bulkdel.threads import in_thread

POST_S = 10.0
"""How long one attempt to post may take."""

LEAVE_S = 10.0
"""How long the end of a run waits for a server or a service."""

APPRISE_S = 10.0
"""How long apprise may take. Its thread is left behind then."""

COMMAND_S = 30.0
"""How long the command of --on-event may take. It is killed then, with all that it has started.

The end of a run waits for it as long.
"""

ANSWER_MAX = 64 * 1024
"""Bytes of the body of an answer. No answer is longer, and none is shown."""

EXTRA = f"needs the extra 'notify': {to_install('notify')}"

KEPT = ("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
KEPT_BEGINNING = "LC_"
"""The variables that the command of --on-event gets besides those of the notice.

No other, because a job reads its credentials from any variable that its author or the config names.
"""

HTTP = ("http", "https")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


class Form(enum.Enum):
    """The form of a body that is posted."""

    JSON = enum.auto()
    SLACK = enum.auto()
    TEAMS = enum.auto()


FORMS = {Form.JSON: json_form, Form.SLACK: slack_form, Form.TEAMS: teams_form}

SLACK = ("hooks.slack.com", "hooks.slack-gov.com")
TEAMS = (".webhook.office.com", ".logic.azure.com", ".powerplatform.com")
"""Hosts of incoming webhooks, and of workflows."""


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """An address to post to. host: with its port, for messages. origin: scheme, host and port. query: not encoded."""

    host: str
    form: Form
    origin: str
    path: str = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppriseAddress:
    """An address that apprise reads. scheme: for messages; any other part may be a secret."""

    scheme: str
    url: str = field(repr=False)


def _form_of(host: str) -> Form:
    """The form that the host of an address takes."""
    if host in SLACK:
        return Form.SLACK
    return Form.TEAMS if host.endswith(TEAMS) else Form.JSON


def address_of(text: str) -> HttpAddress | AppriseAddress:
    """Read one value of --notify. Raises UsageError for one that nothing can be sent to safely."""
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if not (_SCHEME.fullmatch(scheme) and rest and text.isprintable()):  # not shown: it may be a secret
        raise UsageError(
            "--notify is not a URL: give one like https://hooks.example.com/…, or one of apprise like mailto://…"
        )
    if scheme not in HTTP:
        return AppriseAddress(scheme, text)
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        url, port = URL(), None
    if not url.host or port is None:
        raise UsageError(f"--notify {scheme}://…: is not a URL: give one like https://hooks.example.com/…")
    origin = str(url.origin())
    host = origin.removeprefix(f"{scheme}://")
    if url.user is not None or url.password is not None:
        raise UsageError(
            f"--notify {scheme}://…{host}: carries a user name or password, which is not sent. Leave it out"
        )
    if scheme == "http" and not is_loopback(text):
        raise UsageError(
            f"--notify http://{host}/…: is not https, so anyone on the way could read it. Give an https:// URL"
        )
    return HttpAddress(host, _form_of(url.host), origin, url.raw_path, tuple(url.query.items()))


class Attempted(NamedTuple):
    """What came of one attempt. text: for people. again: whether another attempt may help; after_s: how much later."""

    told: bool
    text: str
    again: bool = False
    after_s: float | None = None


class Sender(Protocol):
    """One place that is told."""

    @property
    def name(self) -> str:
        """The option, and of its value what may be shown."""
        ...

    @property
    def leave_s(self) -> float:
        """How long the end of a run waits for it."""
        ...

    async def send(self, notice: Notice) -> Attempted:
        """Try once."""
        ...


class HttpSender:
    """Posts to a URL, through the transport of the runs: no redirect, no cookie, no environment, TLS always checked."""

    def __init__(
        self, address: HttpAddress, *, ca_file: Path | None, proxy: str | None, leave_s: float = LEAVE_S
    ) -> None:
        self.name, self.leave_s = f"--notify {address.host}", leave_s
        self._address = address
        proxy = None if is_loopback(address.origin) else proxy  # the loopback of the proxy is another machine
        options = TransportOptions(address.origin, ca_file, proxy, total_s=POST_S, body_max=ANSWER_MAX)
        self._transport = HttpTransport(options)

    async def send(self, notice: Notice) -> Attempted:
        """See `Sender`."""
        address = self._address
        body = json.dumps(FORMS[address.form](notice)).encode()
        async with self._transport as transport:  # a connection of its own: the next notice may come in hours
            response = await transport.send(Request("POST", address.path, address.query, body), {})
        if isinstance(response, NoResponse):
            return Attempted(told=False, text=response.reason, again=response.setup is None)
        status = response.status
        text = f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return Attempted(told=True, text=text)
        if status < HTTPStatus.BAD_REQUEST:
            return Attempted(told=False, text=f"{text}; redirects are not followed")
        passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
        header = response.retry_after
        after_s = None if header is None else retry_after_s(header, response.date, time.time())
        return Attempted(told=False, text=text, again=passing, after_s=after_s)


class AppriseSender:
    """Gives a notice to apprise, which knows a hundred services. It blocks, so each call has a thread of its own.

    Raises UsageError without the extra, and for an address that apprise cannot read.
    """

    def __init__(self, address: AppriseAddress) -> None:
        self.name, self.leave_s = f"--notify {address.scheme}://…", LEAVE_S
        try:
            import apprise  # noqa: PLC0415 - an extra, and slow to load
        except ImportError:
            raise UsageError(f"{self.name}: {EXTRA}") from None
        for logger in ("apprise", "urllib3", "requests"):  # they name addresses in warnings
            logging.getLogger(logger).addHandler(logging.NullHandler())
            logging.getLogger(logger).propagate = False
        asset = apprise.AppriseAsset(app_id="bulkdel", storage_mode="memory", http_redirects=False)
        self._service = apprise.Apprise(asset=asset)
        if not self._service.add(address.url):
            raise UsageError(f"{self.name}: apprise knows no such service, or the address is incomplete")

    async def send(self, notice: Notice) -> Attempted:
        """See `Sender`."""

        def notify() -> bool:
            return bool(self._service.notify(title=notice.title, body=text_form(notice), body_format="text"))

        try:
            sent = await asyncio.wait_for(in_thread(notify, lambda: None, stop_s=0), APPRISE_S)
        except TimeoutError:
            return Attempted(told=False, text=f"no answer within {APPRISE_S:g} s")
        except Exception as error:  # noqa: BLE001 - of any of a hundred plugins; its text may name the address
            return Attempted(told=False, text=f"apprise failed: {type(error).__name__}")
        return Attempted(told=sent, text="sent" if sent else "the service refused it", again=not sent)


class CommandSender:
    """Runs the command of --on-event, without a shell: the values in its environment, the JSON on its stdin.

    Its output is dropped: stdout belongs to the result of the run. A session of its own keeps it from the Ctrl-C that
    drains the run.

    Raises UsageError for a command that cannot be run.
    """

    def __init__(self, command: str, environ: Mapping[str, str], *, killed_after_s: float = COMMAND_S) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--on-event: cannot be read ({error}): quote it as for a shell") from error
        if not self._words:
            raise UsageError("--on-event is empty: name a program, or leave it out")
        self.name, self.leave_s = f"--on-event {Path(self._words[0]).name}", killed_after_s
        if shutil.which(self._words[0], path=environ.get("PATH")) is None:
            raise UsageError(f"{self.name}: there is no such program, or it may not be executed")
        kept = {name: environ[name] for name in environ if name in KEPT or name.startswith(KEPT_BEGINNING)}
        self._environ = kept

    async def send(self, notice: Notice) -> Attempted:
        """See `Sender`."""
        null = asyncio.subprocess.DEVNULL
        given: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stdout": null, "stderr": null}
        environ = {**self._environ, **variables(notice)}
        try:
            process = await asyncio.create_subprocess_exec(*self._words, **given, env=environ, start_new_session=True)
        except OSError as error:
            return Attempted(told=False, text=f"could not be run: {error.strerror}")
        try:
            await asyncio.wait_for(process.communicate(json.dumps(json_form(notice)).encode()), self.leave_s)
        except TimeoutError:
            return Attempted(told=False, text=f"killed after {self.leave_s:g} s")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        code = process.returncode
        return Attempted(told=code == 0, text=f"exit code {code}")


def senders_of(settings: NotifySettings, environ: Mapping[str, str]) -> list[Sender]:
    """Every place that these settings name. Raises UsageError, before anything is read or sent."""
    senders: list[Sender] = []
    for text in settings.notify or ():
        address = address_of(text)
        if isinstance(address, AppriseAddress):
            senders.append(AppriseSender(address))
        else:
            senders.append(HttpSender(address, ca_file=settings.ca_file, proxy=settings.proxy))
    if settings.on_event is not None:
        senders.append(CommandSender(settings.on_event, environ))
    return senders

"""The ways of a notice, with real servers and commands: what each answers, and that none of them holds a run up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import bulkdel
from bulkdel.commands.notices import Notices
from bulkdel.errors import UsageError
from bulkdel.notify.message import Notice, What, json_form, slack_form, teams_form, text_form
from bulkdel.notify.senders import Attempted, CommandSender, Form, HttpAddress, HttpSender, address_of, senders_of
from bulkdel.notify.sending import ATTEMPTS_MAX, QUEUE_MAX, Notifier, deliver
from bulkdel.settings import NotifySettings
from tests.harness import KEYS, POOL, assert_in_time, case, steady, user_ids, wait_until
from tests.mutants import mutant
from tests.rawserver import DATA, RawServer, always, answer, tls_context
from tests.syntax import negate, swap
from tests.waits import WAIT_MAX_S
from tests.webhook import TOKEN, keeping_command, webhook

NOTICE = Notice(What.TEST, "2026-11-26T07:00:00.000Z", "m", "run", job="delete-users", counts={"deleted": 3})


def http_sender(
    url: str, *, ca_file: Path | None = None, proxy: str | None = None, leave_s: float = 10.0
) -> HttpSender:
    address = address_of(url)
    assert isinstance(address, HttpAddress)
    return HttpSender(address, ca_file=ca_file, proxy=proxy, leave_s=leave_s)


async def test_the_url_gets_the_notice_and_nothing_else() -> None:
    with webhook() as told:
        answered = await http_sender(told.url()).send(NOTICE)
    assert answered == Attempted(told=True, text="200 OK")
    (received,) = told.received
    assert received.target == f"/works/{TOKEN}?sig={TOKEN}%2B"
    assert received.json == json_form(NOTICE)
    assert received.headers["content-type"] == "application/json"
    assert not received.headers.keys() & {"authorization", "cookie", "x-authing-userpool-id", "x-genauth-userpool-id"}


@pytest.mark.parametrize(("form", "body"), [(Form.SLACK, slack_form), (Form.TEAMS, teams_form)])
async def test_the_form_of_the_address_is_sent(form: Form, body: object) -> None:
    with webhook() as told:
        address = address_of(told.url())
        assert isinstance(address, HttpAddress)
        await HttpSender(replace(address, form=form), ca_file=None, proxy=None).send(NOTICE)
    assert callable(body)
    assert told.received[0].json == body(NOTICE)


@pytest.mark.parametrize(
    ("does", "text", "attempts"),
    [
        ("fails", "500 Internal Server Error", ATTEMPTS_MAX),
        ("refuses", "404 Not Found", 1),
        ("redirects", "307 Temporary Redirect; redirects are not followed", 1),
    ],
)
async def test_what_may_pass_is_tried_again(does: str, text: str, attempts: int) -> None:
    with webhook() as told:
        answered = await deliver(http_sender(told.url(does)), NOTICE)
    assert (answered.told, answered.text) == (False, text)
    assert [each.path[0] for each in told.received] == [does] * attempts  # the redirect leads elsewhere


async def test_a_port_that_refuses() -> None:
    answered = await http_sender("http://localhost:1/x").send(NOTICE)
    assert answered == Attempted(told=False, text="no connection: Connection refused", again=True)


async def test_certificates_are_checked() -> None:
    async with RawServer(always(answer()), tls=tls_context()).running() as server:
        url = f"{server.url}/{TOKEN}"
        refused = await deliver(http_sender(url), NOTICE)
        accepted = await http_sender(url, ca_file=DATA / "localhost.crt").send(NOTICE)
    assert (refused.told, refused.text) == (False, "certificate not accepted: self-signed certificate")
    assert accepted.told
    assert len(server.requests) == 1


async def test_the_proxy_is_used_but_for_this_machine() -> None:
    async with RawServer(always(answer(status=403))).running() as proxy, RawServer(always(answer())).running() as near:
        far = await http_sender("https://hooks.example.com/x", proxy=proxy.url).send(NOTICE)
        assert (await http_sender(f"{near.url}/x", proxy=proxy.url).send(NOTICE)).told
    assert far.text == "no connection: the proxy answered 403"
    assert [(each.method, each.target) for each in proxy.requests] == [("CONNECT", "hooks.example.com:443")]


old_module_of_apprise = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@old_module_of_apprise
async def test_apprise_takes_the_rest() -> None:
    with webhook() as told:
        (sender,) = senders_of(NotifySettings(notify=[f"json://localhost:{told.port}/works/{TOKEN}"]), {})
        answered = await sender.send(NOTICE)
        (refused,) = senders_of(NotifySettings(notify=[f"json://localhost:{told.port}/refuses/{TOKEN}"]), {})
        assert await refused.send(NOTICE) == Attempted(told=False, text="the service refused it", again=True)
    assert answered == Attempted(told=True, text="sent")
    received = told.received[0].json
    assert (received["title"], received["message"]) == (NOTICE.title, text_form(NOTICE))
    assert sender.name == "--notify json://…"


def test_without_the_extra_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(
        UsageError, match=r"--notify mailto://…: needs the extra 'notify': pip install '\.\[notify\]' in the clone"
    ):
        senders_of(NotifySettings(notify=["mailto://u:p@example.com"]), {})


@old_module_of_apprise
@pytest.mark.parametrize("url", ["nosuch://s3cret", "slack://s3cret"])
def test_an_address_that_apprise_cannot_read(url: str) -> None:
    with pytest.raises(UsageError, match="apprise knows no such service") as raised:
        senders_of(NotifySettings(notify=[url]), {})
    assert "s3cret" not in str(raised.value)


@mutant(
    "the command of an event gets the credentials of the job",
    "CommandSender.__init__",
    negate("name.startswith(KEPT_BEGINNING)"),
)
async def test_the_command_gets_the_values_and_no_credentials(tmp_path: Path) -> None:
    command, kept = keeping_command(tmp_path)
    given = {**os.environ, "GENAUTH_ACCESS_KEY_SECRET": TOKEN, "MY_KEY": TOKEN, "BULKDEL_NOTIFY": TOKEN}
    assert await CommandSender(command, given).send(NOTICE) == Attempted(told=True, text="exit code 0")
    text = kept.read_text()
    assert '"BULKDEL_EVENT": "test"' in text
    assert '"BULKDEL_EVENT_COUNT_DELETED": "3"' in text
    assert '"PATH"' in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "exit code -9"),
        ("yes | head -c 3000000; yes | head -c 3000000 >&2; exit 4", "exit code 4"),  # nothing reads its output
        ("exec <&-; exit 0", "exit code 0"),  # it does not read its stdin
    ],
)
async def test_what_a_command_does_is_an_answer(script: str, text: str) -> None:
    answered = await CommandSender(f"sh -c {shlex.quote(script)}", os.environ).send(NOTICE)
    assert answered == Attempted(told=text.endswith(" 0"), text=text)


async def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """Each of its processes holds the writing end of a pipe; the pipe ends with the last of them."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 3>{pipe}; echo started >&3; sleep 1000 & sleep 1000"
    answered = await CommandSender(f"sh -c {shlex.quote(script)}", os.environ, killed_after_s=0.3).send(NOTICE)
    assert answered == Attempted(told=False, text="killed after 0.3 s")
    assert os.read(reading, 100) == b"started\n"

    def ended() -> bool:
        with contextlib.suppress(BlockingIOError):  # one of them still lives
            return os.read(reading, 1) == b""
        return False

    wait_until(ended)
    os.close(reading)


async def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("no program")
    file.chmod(0o700)
    answered = await CommandSender(str(file), os.environ).send(NOTICE)
    assert answered == Attempted(told=False, text="could not be run: Exec format error")


@pytest.mark.parametrize(
    ("command", "why"),
    [("", "is empty"), ("no-such-program x", "there is no such program"), ("echo 'x", "No closing quotation")],
)
def test_a_command_that_cannot_be_run_is_refused(command: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"--on-event.*{why}"):
        CommandSender(command, os.environ)


def told_by(senders: Sequence[HttpSender | CommandSender], count: int = 1) -> tuple[list[str], float]:
    """Post notices to these places and leave. Returns the warnings, and how long the leaving took."""
    warnings: list[str] = []
    notifier = Notifier(senders, warnings.append)
    with notifier.running():
        for _ in range(count):
            notifier.post(NOTICE)
        began = time.monotonic()
    return warnings, time.monotonic() - began


@mutant(
    "the end waits for a server that hangs",
    "Notifier._end",
    swap("sender.leave_s", "sender.leave_s * 5"),
)
def test_a_place_that_hangs_holds_up_neither_the_end_nor_another_place(tmp_path: Path) -> None:
    def scenario(_folder: Path) -> None:
        with webhook() as told:
            hanging, other = http_sender(told.url("hangs"), leave_s=0.4), http_sender(told.url())
            warnings, took_s = told_by([hanging, other])
        assert told.events() == ["test"]
        assert warnings == [f"--notify localhost:{told.port}: was not told of test, because it took too long"]
        assert_in_time(took_s < 1.0, took_s)

    steady(scenario, tmp_path)


def test_notices_keep_their_order_and_the_queue_its_bound() -> None:
    with webhook() as told:
        warnings, _ = told_by([http_sender(told.url(), leave_s=WAIT_MAX_S)], QUEUE_MAX + 50)
    assert QUEUE_MAX <= len(told.received) < QUEUE_MAX + 50
    dropped = QUEUE_MAX + 50 - len(told.received)
    assert warnings == [f"{dropped} notifications were dropped, because {QUEUE_MAX} were waiting"]


def test_a_warning_names_no_address() -> None:
    with webhook() as told:
        warnings, _ = told_by([http_sender(told.url("refuses")), CommandSender("sh -c 'exit 3'", os.environ)])
    assert sorted(warnings) == [
        f"--notify localhost:{told.port}: was not told of test: 404 Not Found",
        "--on-event sh: was not told of test: exit code 3",
    ]


def test_without_a_place_there_is_no_thread() -> None:
    before = threading.active_count()
    notifier = Notifier([], print)
    with notifier.running(), Notices(notifier, NOTICE).watching(lambda: None, print):
        notifier.post(NOTICE)
        assert threading.active_count() == before


@mutant(
    "a long outage is told again and again",
    "Outage.take",
    swap("long == self._told", "not long and not self._told"),
)
async def test_a_long_outage_of_a_real_run_is_told_once_and_its_end(tmp_path: Path) -> None:
    """The server fails for a while in the middle of a run, which is then asked to stop.

    A machine that stands still for as long makes an outage of its own. Each is told once, and its end before the next.
    """
    with webhook() as told, case(tmp_path, user_ids(400), latency_s=0.01) as it:
        notifier = Notifier([http_sender(told.url())], print)
        notices = Notices(notifier, Notice(What.TEST, "now", "m", "run"))
        url = it.served.url
        opened = bulkdel.open_run(
            "delete-users", it.export, host=url, environ=KEYS, rate=0, concurrency=1, chunk_size=5
        )
        with notifier.running():
            async with opened as run:
                notices.planned(await run.run_plan())
                await run.confirm(ids=400, pool=POOL)
                with notices.watching(run.snapshot, print, outage_s=0.3, look_s=0.02):
                    run.start()
                    await asyncio.to_thread(wait_until, lambda: it.served.pool.deleted >= 50)
                    it.switch(share_503=1.0)
                    await asyncio.to_thread(wait_until, lambda: bool(told.received))
                    it.switch(share_503=0.0)
                    await asyncio.to_thread(wait_until, lambda: len(told.received) > 1)
                    run.stop()
                    ended = await run.finished()
                notices.ended(ended)
    *outages, last = told.events()
    assert last == "stop"
    assert outages == (["outage", "outage-over"] * len(outages))[: len(outages)]
    outage, over, stop = (told.received[at].json for at in (0, 1, -1))
    assert outage["silent_s"] >= 0.3
    assert (outage["log_sha256"], stop["log_sha256"]) == (None, ended.log_sha256)
    assert "gets no useful response for" in outage["text"]
    assert over["silent_s"] is None
    assert outage["counts"]["deleted"] + outage["counts"]["remaining"] == 400
    assert (stop["status"], stop["cause"], stop["exit_code"]) == ("stopped", "asked", 6)
    assert stop["counts"]["deleted"] == it.served.pool.deleted

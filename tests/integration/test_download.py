"""An export that lies elsewhere, from a server that breaks: read on or refused, never of two versions.

The oracle is what the server holds, and what it was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bulkdel.core.address import Address, address_of
from bulkdel.errors import BulkdelError, Drained, FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.export.download import Fetching, fetch
from bulkdel.store.far_object import Reach
from tests.mutants import mutant
from tests.objectserver import SECRET, Fault, ObjectServer, object_server
from tests.rawserver import DATA
from tests.syntax import drop, swap

ONE = bytes(range(256)) * 4_000
OTHER = ONE[::-1]
PATH = "/bucket/users.jsonl"
SILENCE_S = 2.0


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Place:
    """An object on a server, and the folder in which its copy has no name."""

    served: ObjectServer
    address: Address
    folder: Path
    fetching: Fetching

    def read(self) -> str:
        """Fetch it. Returns the SHA-256 of its bytes: pytest takes minutes to compare megabytes."""
        export, source = fetch(self.address, self.folder, self.fetching)
        with export:
            data = export.read_at(0, export.size + 1)
            assert (self.files, export.state) == ([], ())
        assert source.address == self.address.shown
        return sha256_of(data)

    def refused(self, kind: type[BulkdelError]) -> str:
        """Fetch it, which is refused. Returns the message."""
        with pytest.raises(kind) as caught:
            self.read()
        assert "secret" not in str(caught.value)
        assert SECRET not in str(caught.value)
        return str(caught.value)

    @property
    def files(self) -> list[str]:
        """What lies in the folder."""
        return sorted(path.name for path in self.folder.iterdir())

    def becomes(self, data: bytes) -> Fault:
        """The object is another one from the next request on."""
        return Fault(change=lambda: self.served.objects.update({PATH: data}))


def place(served: ObjectServer, folder: Path, *, bucket: bool = False) -> Place:
    served.put(PATH, ONE)
    address = address_of(f"s3:/{PATH}" if bucket else f"{served.url}{PATH}?signature=secret")
    assert address is not None
    reach = Reach(None if bucket else DATA / "localhost.crt", None, SILENCE_S)
    return Place(served, address, folder, Fetching(reach, 60, lambda _: None, lambda _: 0.01))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Place]:
    with object_server(tls="localhost") as served:
        yield place(served, tmp_path)


@pytest.fixture(params=["https", "s3"])
def both(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    bucket = request.param == "s3"
    with object_server(tls="" if bucket else "localhost") as served:
        for name, value in s3_variables(served).items():
            monkeypatch.setenv(name, value)
        yield place(served, tmp_path, bucket=bucket)


def s3_variables(served: ObjectServer) -> Mapping[str, str]:
    # A proxy of the environment is not used.
    return {**served.environ, "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}


@mutant(
    "what was read of an object before a failure is read again",
    "_Download._rest",
    swap("version is not None and not version.resumable", "version is not None"),
)
def test_drops_and_failures_are_read_over(both: Place) -> None:
    """Each time the rest is asked for, of the same version."""
    both.served.meets(
        Fault(status=503), Fault(after=100_000), Fault(after=0), Fault(after=200_000, stall=True), Fault(after=1)
    )
    assert both.read() == sha256_of(ONE)
    asked = [each for each in both.served.asked if each.headers.get("range")]
    starts = [int(each.headers["range"][len("bytes=") : -1]) for each in asked]
    assert starts[:4] == [100_000, 100_000, 300_000, 300_001]
    assert len({each.headers["if-match"] for each in asked}) == 1


@mutant(
    "the rest of another version is put behind the beginning of an object",
    "WebObject.open",
    swap("version.differs(found)", "version.size != found.size"),
)
@pytest.mark.parametrize("if_match", [True, False])
def test_nothing_of_two_versions_is_put_together(both: Place, *, if_match: bool) -> None:
    """Also where the server does not know If-Match. The same command begins anew."""
    both.served.switch(if_match=if_match)
    both.served.meets(Fault(after=100_000), both.becomes(OTHER))
    assert "changed while it was read" in both.refused(NotAcceptable)
    assert both.files == []
    assert both.read() == sha256_of(OTHER)


def test_without_an_etag_it_begins_anew(web: Place) -> None:
    web.served.switch(etags=False)
    web.served.meets(Fault(after=100_000), Fault(after=50))
    assert web.read() == sha256_of(ONE)
    assert web.served.starts()[:3] == ["", "", ""]


def test_without_ranges_it_begins_anew(web: Place) -> None:
    web.served.switch(ranges=False)
    web.served.meets(Fault(after=100_000))
    assert web.read() == sha256_of(ONE)


@pytest.mark.parametrize("length", [-10, 10])
def test_a_length_that_is_a_lie(web: Place, length: int) -> None:
    web.served.meets(Fault(length=length))
    assert "changed while it was read" in web.refused(NotAcceptable)
    assert web.files == []


@mutant(
    "the end of an object is not asked for again",
    "_Download._rest",
    drop("await self._check_end(self._version)"),
)
def test_a_file_that_is_written_to_while_it_is_read(web: Place) -> None:
    """The whole response has come when the other version is there."""
    web.served.meets(Fault(), web.becomes(ONE + b"x"))
    assert "changed while it was read" in web.refused(NotAcceptable)


def test_an_address_that_expires_while_it_is_read(web: Place) -> None:
    web.served.meets(Fault(), Fault(status=403))
    assert web.read() == sha256_of(ONE)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=403), "may not be read"),
        (Fault(status=404), "no such object"),
        (Fault(status=400), "answered 400"),
        (Fault(status=302, location="https://evil.example/x?secret"), "redirect to evil.example"),
    ],
)
def test_answers_that_stay(web: Place, fault: Fault, says: str) -> None:
    web.served.meets(fault)
    assert says in web.refused(NotAcceptable)
    assert len(web.served.asked) == 1
    assert web.files == []


def test_a_store_that_says_no(both: Place) -> None:
    both.served.meets(Fault(status=403))
    assert "may not" in both.refused(NotAcceptable)
    del both.served.objects[PATH]
    assert "no such object" in both.refused(NotAcceptable)


def test_patience(both: Place) -> None:
    """Each further byte begins it anew."""
    both.fetching = replace(both.fetching, patience_s=0.0)
    both.served.meets(Fault(after=100_000))
    assert "Nothing came for" in both.refused(Halted)
    assert both.files == []


def test_a_report_that_stops_it(web: Place) -> None:
    def stop(text: str) -> None:
        if ": 100" in text:
            raise Drained("stopped")

    web.fetching = replace(web.fetching, on_progress=stop)
    web.served.meets(Fault(after=100_000, stall=True))
    assert "stopped" in web.refused(Drained)
    assert web.files == []


def test_an_object_without_any_version(web: Place) -> None:
    web.served.switch(etags=False, dates=False)
    assert web.read() == sha256_of(ONE)


def test_before_the_first_byte_there_are_few_attempts(web: Place) -> None:
    web.served.meets(*[Fault(status=503)] * 9)
    assert "it answered 503" in web.refused(Halted)
    assert len(web.served.asked) == 4
    assert web.files == []


def test_no_room(web: Place) -> None:
    web.served.meets(Fault(length=10**18))
    assert "Make room" in web.refused(FileFailed)
    assert web.files == []


def test_a_server_that_compresses_what_it_sends(web: Place) -> None:
    """What follows the last byte belongs to the object itself, so the object seems to have changed."""
    web.served.switch(zips=True)
    said = web.refused(NotAcceptable)
    assert "Content-Encoding: gzip" in said
    assert "changed" not in said
    assert web.files == []


@pytest.mark.parametrize(
    ("reach", "says"),
    [
        (Reach(), "certificate is not accepted"),
        (Reach(Path("none.pem")), "--ca-file"),
        (Reach(Path(__file__)), "no PEM certificate"),
        (Reach(DATA / "localhost.crt", "ftp://p"), "--proxy is not"),
        (Reach(DATA / "localhost.crt", "http://127.0.0.1:9"), "Connect"),
    ],
)
def test_what_cannot_be_reached(web: Place, reach: Reach, says: str) -> None:
    web.fetching = replace(web.fetching, reach=reach)
    with pytest.raises((UsageError, NotAcceptable, Halted), match=says):
        web.read()
    assert web.served.asked == []

"""A server of objects that breaks and lies where a test says: enough of S3 for obstore, and files by https.

It knows PUT with `If-None-Match: *`, GET with Range and If-Match, the list of a folder and uploads in pieces, and
nothing else. What it holds is the oracle: `objects`. It keeps every request.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import random
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeVar

from tests.rawserver import DATA
from tests.restserver import Answer, Api, Asked, Cut, served

PRIVATE_CA = DATA / "store-ca.crt"
"""The certificate authority of the certificate `store`, which no system trusts."""

SECRET = "wJalrXUtnFEMIexampleSECRET"

ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
LIST = "<ListBucketResult><IsTruncated>false</IsTruncated>{names}</ListBucketResult>"
LISTED = "<Contents><Key>{}</Key><LastModified>2026-11-26T08:00:00Z</LastModified><Size>1</Size></Contents>"
UPLOAD = "<{tag}><Bucket>bucket</Bucket><Key>k</Key><UploadId>1</UploadId><ETag>e</ETag></{tag}>"
DATE = "Thu, 26 Nov 2026 08:00:00 GMT"

P99_SIGMAS = 2.326
"""Standard deviations above the mean of a normal distribution that one value in a hundred exceeds."""


class Lie(Enum):
    """What a PUT is answered beside the truth."""

    LOST = "it has its effect, and the answer is lost"
    CUT = "it has no effect, and no answer"
    EXISTS = "it has its effect, and is answered 412: as a proxy that has repeated it"
    CONFLICT = "it has no effect, and is answered 409: another attempt is under way"
    BUSY = "it has no effect, and is answered 503"
    BROKEN = "it has its effect, and is answered 500"


@dataclass(frozen=True)
class Fault:
    """What is wrong with the answer to one GET.

    after: bytes of the body that come; then the connection is closed, or with `stall` nothing more comes. status: in
    the place of the object, with this location. length: added to the Content-Length. late: it comes after `slow_s`.
    change: called before the request is looked at.
    """

    after: int | None = None
    stall: bool = False
    status: int | None = None
    location: str = ""
    length: int = 0
    late: bool = False
    change: Callable[[], None] = lambda: None


DENIED = Fault(status=403)
PASSING = (Fault(status=503), Fault(after=1), Fault(late=True))
"""A read that is repeated succeeds after them."""


@dataclass(frozen=True)
class Switches:
    """What the server does from now on.

    shares: of the PUTs, by lie. get_shares: of the GETs, by fault. put_s: seconds that a PUT takes, the median. p99_s:
    that one in a hundred takes or more; 0: all take about `put_s`. slow: share of those that take `slow_s` longer.
    down: every request is answered 503.

    fences, ranges, if_match: whether `If-None-Match`, `Range`, `If-Match` are obeyed. etags, dates: whether an object
    has one. lists: whether a list is answered, and not 403. zips: whether a whole object is compressed while it is
    sent; a part is that of the object itself.
    """

    shares: Mapping[Lie, float] = field(default_factory=dict)
    get_shares: Mapping[Fault, float] = field(default_factory=dict)
    put_s: float = 0.0
    p99_s: float = 0.0
    slow: float = 0.0
    slow_s: float = 2.0
    down: bool = False
    fences: bool = True
    ranges: bool = True
    if_match: bool = True
    etags: bool = True
    dates: bool = True
    lists: bool = True
    zips: bool = False


Some = TypeVar("Some", Lie, Fault)


@dataclass
class ObjectServer(Api):
    """The objects by path, and what was asked. switches: may be replaced at any time. faults: of the next GETs.

    pieces: of uploads that have not ended. lies, get_lies: drawn so far. written: how often each object was given
    bytes; more than once only without a fence.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    written: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=random.Random)
    switches: Switches = field(default_factory=Switches)
    faults: deque[Fault] = field(default_factory=deque)
    pieces: defaultdict[str, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    lies: Counter[Lie] = field(default_factory=Counter)
    get_lies: Counter[Fault] = field(default_factory=Counter)

    def switch(self, **changes: Any) -> None:
        """Change what the server does."""
        self.switches = replace(self.switches, **changes)

    def put(self, path: str, data: bytes) -> str:
        """Put an object there. Returns its address."""
        self.objects[path] = data
        return f"{self.url}{path}"

    def meets(self, *faults: Fault) -> None:
        """The next GETs."""
        self.faults.extend(faults)

    def starts(self) -> list[str]:
        """The ranges that were asked for, in order; "" for the whole."""
        return [asked.headers.get("range", "") for asked in self.asked]

    @property
    def puts(self) -> Counter[str]:
        """How often each path was written to."""
        return Counter(path_of(asked) for asked in self.asked if asked.method == "PUT")

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which obstore finds the server. There is a secret in them that no output may have."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "eu-central-1",
        }

    def lines(self, run: str, after: int = 0) -> list[bytes]:
        """The lines of the log of a run with a number above `after`, up to the first that is missing."""
        found, number = [], after + 1
        while (line := self.objects.get(f"{run}/log/{number:012d}")) is not None:
            found.append(line)
            number += 1
        return found

    def answered(self, asked: Asked) -> Answer:
        """Answer a request; those that take their time do not wait for each other."""
        with self.turn:
            self.asked.append(asked)
        match asked.method:
            case "GET":
                return self._got(asked)
            case "PUT":
                return self._put(asked)
        return self._uploaded(asked)

    def _got(self, asked: Asked) -> Answer:
        switches, path = self.switches, path_of(asked)
        with self.turn:
            queued = self.faults.popleft() if self.faults else None
            fault = queued or self._drawn(switches.get_shares, self.get_lies) or Fault()
        fault.change()
        if fault.late:
            time.sleep(switches.slow_s)
        data = self.objects.get(path)
        if switches.down:
            return failed(503)
        if fault.status is not None:
            return fault.status, b"", {"location": fault.location} if fault.location else {}
        if "prefix" in asked.query:
            return self._list(asked)
        if data is None:
            return None if fault.after is not None else failed(404, "NoSuchKey")
        return sent(asked, switches, data, fault)

    def _list(self, asked: Asked) -> Answer:
        """A page of names below `prefix` behind `start-after`."""
        bucket, prefix = path_of(asked).rstrip("/") + "/", asked.query["prefix"][0]
        after = asked.query.get("start-after", [""])[0]
        names = [path.removeprefix(bucket) for path in sorted(self.objects) if path.startswith(bucket + prefix)]
        shown = [name for name in names if name > after][:1_000]
        if not self.switches.lists:
            return failed(403, "AccessDenied")
        return 200, LIST.format(names="".join(map(LISTED.format, shown))).encode()

    def _put(self, asked: Asked) -> Answer:
        switches, path = self.switches, path_of(asked)
        with self.turn:
            lie, slow = self._drawn(switches.shares, self.lies), self.chance.random() < switches.slow
        time.sleep(self._duration_s(switches))
        if switches.down or lie is Lie.BUSY:
            return failed(503, "SlowDown")
        if lie is Lie.CUT:
            return None
        if "partNumber" in asked.query:
            with self.turn:
                self.pieces[path][int(asked.query["partNumber"][0])] = asked.body
            return done()
        if lie is Lie.CONFLICT:
            return failed(409, "ConditionalRequestConflict")
        with self.turn:
            created = path not in self.objects or not switches.fences or "if-none-match" not in asked.headers
            if created:
                self.objects[path] = asked.body
                self.written[path] += 1
        if slow:  # the effect is there, the answer is late
            time.sleep(switches.slow_s)
        if lie is Lie.LOST:
            return None
        if lie is Lie.BROKEN:
            return failed(500, "InternalError")
        return done() if created and lie is not Lie.EXISTS else failed(412, "PreconditionFailed")

    def _uploaded(self, asked: Asked) -> Answer:
        """The begin and the end of an upload in pieces."""
        if "uploads" in asked.query:
            return done(UPLOAD.format(tag="InitiateMultipartUploadResult"))
        with self.turn:
            pieces = sorted(self.pieces.pop(path_of(asked)).items())
            self.objects[path_of(asked)] = b"".join(piece for _, piece in pieces)
        return done(UPLOAD.format(tag="CompleteMultipartUploadResult"))

    def _drawn(self, shares: Mapping[Some, float], told: Counter[Some]) -> Some | None:
        """Draw whether one request goes wrong, and count it: as the one that is furthest behind its share."""
        if self.chance.random() >= sum(shares.values()):
            return None
        wrong = min(filter(shares.get, shares), key=lambda each: told[each] / shares[each])
        told[wrong] += 1
        return wrong

    def _duration_s(self, switches: Switches) -> float:
        """How long a PUT takes: by a log-normal distribution where `p99_s` is given."""
        if not switches.p99_s:
            return switches.put_s * self.chance.uniform(0.85, 1.15)
        sigma = math.log(switches.p99_s / switches.put_s) / P99_SIGMAS
        return switches.put_s * self.chance.lognormvariate(0, sigma)


def path_of(asked: Asked) -> str:
    return "/" + "/".join(asked.path)


def failed(status: int, code: str = "SlowDown") -> Answer:
    return status, ERROR.format(code=code).encode()


def done(text: str = "") -> Answer:
    return 200, text.encode(), {"etag": '"e"'}


def sent(asked: Asked, switches: Switches, data: bytes, fault: Fault) -> Answer:
    """The object, or the part of it that was asked for, as far as `fault` lets it come."""
    etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    fields = {"etag": etag} if switches.etags else {}
    fields |= {"last-modified": DATE} if switches.dates else {}
    if switches.if_match and asked.headers.get("if-match") not in {None, etag}:
        return failed(412, "PreconditionFailed")
    start, wanted = 0, re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
    if wanted is not None and switches.ranges:
        start = int(wanted[1])
        if start >= len(data):
            return 416, b"<Error/>", {"content-range": f"bytes */{len(data)}"}
        fields["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    if switches.zips and not start:
        fields["content-encoding"], data = "gzip", gzip.compress(data)
    body = data[start:]
    fields["content-length"] = str(len(body) + fault.length)
    cut = len(body) if fault.after is None and fault.length else fault.after
    return 206 if start else 200, body if cut is None else Cut(body, cut, fault.stall), fields


def object_server(*, tls: str = "", seed: int = 0) -> AbstractContextManager[ObjectServer]:
    """Serve while the block runs. tls: by https, with the certificate of this name in data/."""
    return served(ObjectServer(chance=random.Random(seed)), tls=tls)


def another_way(to: ObjectServer) -> AbstractContextManager[ObjectServer]:
    """Serve the same objects at another address. So a process can be cut off from them while another one is not."""
    return served(ObjectServer(objects=to.objects, written=to.written, turn=to.turn))

"""Makes the decision on a response, and takes ids and secrets out of its texts. Owns how an id is recognised in a text.

Every text that is printed or written about a response has passed `decision_on`: in the log, on the terminal, in the
reason of a halt.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from bulkdel.core.decision import Decision, NoResponse, Response, decision_on_no_response
from bulkdel.core.outcome import Detail
from bulkdel.core.retry import retry_after_s

TEXT_MAX = 1_000  # characters of a text that are kept: a server may send any length, and a line of the log has a bound
READ_MAX = 10_000  # a text with more characters is not searched but dropped: a search would hold up other requests

# From 4 bytes in UTF-8 an id is redacted as a word, from 8 bytes also inside words (`%2C6319a15…`). A shorter one ("1",
# "404") would replace codes, counts and parts of words, and alone it is no personal data.
WORD_MIN, ANYWHERE_MIN = 4, 8

ESCAPED_MAX = 3  # times that a text is searched for escapes in escapes: JSON in JSON
MARKS = frozenset("%\\&")  # an escape begins with one of these
BACKSLASH = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class NoDecision(TypeError):
    """A job read a response into something else than a Decision. package: of the job's function."""

    def __init__(self, read: Callable[..., Any], found: object) -> None:
        super().__init__(f"{read.__qualname__} returned {type(found).__name__} in the place of a Decision")
        self.package = read.__module__.partition(".")[0]


def decision_on(
    response: Response | NoResponse,
    read: Callable[[Response], Decision],
    redact: Callable[[str], str],
    now: float,
) -> Decision:
    """Decide what follows from a response, or from its absence. `now`: epoch seconds.

    Every text of the server is redacted, then truncated: a truncated secret would not be found. `after_s` is the pause
    that the server asked for.
    """
    if isinstance(response, NoResponse):
        return decision_on_no_response(response)
    decision = read(response)
    if not isinstance(decision, Decision):
        raise NoDecision(read, decision)
    if response.retry_after is not None:
        decision = decision._replace(after_s=retry_after_s(response.retry_after, response.date, now))
    detail, reason = decision.detail, decision.reason
    values = (detail.code, detail.message, detail.request_id, *(value for _, value in detail.extra), reason)
    texts = "\n".join(value for value in values if isinstance(value, str) and value)
    if len(texts) <= TEXT_MAX and redacted(texts, redact) == texts:  # nearly every response: all are searched at once
        return decision

    def clean(text: str, length_max: int = TEXT_MAX) -> str:
        return f"[{len(text):,} characters]" if len(text) > READ_MAX else redacted(text, redact)[:length_max]

    cleaned = Detail(
        code=clean(detail.code) if isinstance(detail.code, str) else detail.code,
        message=clean(detail.message) if detail.message else detail.message,
        request_id=clean(detail.request_id) if detail.request_id else detail.request_id,
        extra=tuple((name, clean(value) if isinstance(value, str) else value) for name, value in detail.extra),
    )
    if reason:
        # The reason may quote the detail with escaped characters, in which a secret is not found.
        reason = clean(reason.replace(str(detail), str(cleaned)), 3 * TEXT_MAX)
    return decision._replace(detail=cleaned, reason=reason)


def redacted(text: str, redact: Callable[[str], str]) -> str:
    """Redact a text as it is, and with its escapes undone: a server may quote a query, a JSON body or a page.

    The escapes are left as they are unless one of them hides something. Half of a surrogate pair becomes a `?`: no file
    can hold it.
    """
    text = redact(text)
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    for decoders in DECODERS:
        plain = text
        for decode in decoders:
            if MARKS.isdisjoint(plain):
                break
            decoded = decode(plain)
            if decoded != plain:
                plain = redact(decoded)
                if plain != decoded:
                    text = "".join(char if char.isprintable() else " " for char in plain)
    return text


def _without_backslashes(text: str) -> str:
    plain = BACKSLASH.sub(lambda found: chr(int(found[1], 16)) if found[1] else CONTROLS.get(found[2], found[2]), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # two halves make one character


# First each by itself: the id in a page or a query may have a backslash of its own.
DECODERS = ((html.unescape,), (unquote,), (_without_backslashes, unquote, html.unescape) * ESCAPED_MAX)


class IdRedactor:
    """Replaces the ids of one request in a text by `[id]`, in upper or lower case; see WORD_MIN for short ones."""

    def __init__(self, ids: Sequence[str] = ()) -> None:
        self._ids = ids
        self._shortest = min(map(len, ids), default=0)

    def __call__(self, text: str) -> str:
        """Return the text without the ids."""
        lower = text.lower()
        if not self._ids or len(lower) < self._shortest - 1:  # nearly every text of a response is shorter than an id
            return text
        forms = {id_.removeprefix("+") for id_ in self._ids}  # a phone number may be quoted without its plus
        # The longest first: one id may be the beginning of another.
        for form in sorted([form for form in forms if form.lower() in lower], key=len, reverse=True):
            length = len(form.encode(errors="surrogatepass"))  # JSON can have half of a surrogate pair
            if length >= WORD_MIN:
                pattern = re.escape(form)
                if length < ANYWHERE_MIN:
                    pattern = f"(?<![0-9A-Za-z]){pattern}(?![0-9A-Za-z])"
                text = re.sub(pattern, "[id]", text, flags=re.IGNORECASE)
        return text


ADDRESS = re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+")
"""A pattern of e-mail addresses. A refusal may name the account that has a key."""


class RecordRedactor(IdRedactor):
    """Replaces the texts of whole records, and every e-mail address."""

    def __call__(self, text: str) -> str:
        """Return the text without the texts of the records and without addresses."""
        return ADDRESS.sub("[id]", super().__call__(text))

"""What a server or a job said, without the ids and secrets that it may quote. Owns how an id is recognised in a text.

Everything that is said or written about an answer has passed `cleared`: the log, the terminal, the reason of a halt.
The text of an exception that a job raised has passed `without_data`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from urllib.parse import quote

from bulkdel.core.decision import Decision

TEXT_MAX = 1_000
"""Characters of a server's text that are kept: a line of the log has a bound, and a hostile server has none."""

READ_MAX = 10_000
"""Characters of a server's text that are searched. Nobody reads more, and the search must not hold up the others."""

WORD_MIN, ANYWHERE_MIN = 4, 8
"""Bytes of an id, in UTF-8, from which on it is hidden as a whole word, and within others.

A shorter one ("1", "404") would blot out codes, counts and words, and is no personal data without the table that it is
a key of. A longer one stands nowhere by accident, and may well follow a letter: `%2C6319a15…`.
"""

_RUN = re.compile(r"[^\W_]+")

_TOKEN = re.compile(r"""(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)"[^"\n]*"(?!\w)|[^\s'"()\[\]{}<>,;=]+""")
"""A quoted text, or a word."""

_PLAIN = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*[.:!?]*")
"""A word of prose."""

_REPEATED = re.compile(r"""(['"]?\[hidden]['"]?)(?:,? \1)+""")


def cleared(decision: Decision, hide: Callable[[str], str]) -> Decision:
    """Pass all that the server said through `hide`, and cut it short: in this order, half a secret is one too."""
    detail = decision.detail
    if not (detail.message or detail.request_id or decision.reason):
        return decision
    said = detail._replace(message=_told(detail.message, hide), request_id=_told(detail.request_id, hide))
    # A reason may quote the detail in its wording, which escapes characters: what is no longer itself is not found.
    reason = _told(decision.reason.replace(str(detail), str(said)), hide, 3 * TEXT_MAX)
    return decision._replace(detail=said, reason=reason or "")


def _told(text: str | None, hide: Callable[[str], str], length_max: int = TEXT_MAX) -> str | None:
    if not text:
        return text
    if len(text) > READ_MAX:
        return f"[{len(text):,} characters]"
    return hide(text)[:length_max]


def spellings(text: str) -> set[str]:
    """How a text may stand in an answer that quotes it: as it is, from a query, from a body."""
    return {text, quote(text, safe=""), json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}


def longest_run(text: str) -> int:
    """How many letters and digits stand together at most. An id that begins with more of them is not in `text`."""
    return max(map(len, _RUN.findall(text)), default=0)


def without_ids(text: str, ids: Collection[str], mark: str = "[id]") -> str:
    """Put `mark` in the place of every one of `ids`, in whatever case; see WORD_MIN for short ones."""
    # This is on the way of every answer, and nearly none quotes an id: first whether there is anything to do at all.
    joined = "\n".join(ids)
    # A phone's plus is left out: the server may leave it out, too.
    spelled: Collection[str] = ids if "+" not in joined else [id_.removeprefix("+") for id_ in ids]
    if "%" in text or "\\" in text:  # without, no other spelling is in it
        spelled = {form for id_ in spelled for form in spellings(id_)}
    folded = text.lower()
    low = spelled is ids and joined.islower()
    if not any(map(folded.__contains__, spelled if low else map(str.lower, spelled))):
        return text
    # The longest first: one id may be the beginning of another.
    for form in sorted([form for form in spelled if form.lower() in folded], key=len, reverse=True):
        length = len(form.encode())
        if length >= WORD_MIN:
            pattern = re.escape(form)
            if length < ANYWHERE_MIN:
                pattern = f"(?<![0-9A-Za-z]){pattern}(?![0-9A-Za-z])"
            text = re.sub(pattern, mark, text, flags=re.IGNORECASE)
    return text


def without_data(text: str, source: str) -> str:
    """Put `[hidden]` in the place of what may be data: what is quoted, and words that are not of letters alone.

    For the text of an exception that a job raised: it may quote an id of any chunk, or what the server said. What
    stands in `source`, the job's own code, is no data: the name of a field, say. Texts shorter than WORD_MIN stay.
    """
    if len(text) > READ_MAX:
        return f"[{len(text):,} characters]"
    return _REPEATED.sub(r"\1, …", _TOKEN.sub(lambda token: _without_data(token[0], source), text))[:TEXT_MAX]


def _without_data(token: str, source: str) -> str:
    quote_ = token[0] if token[0] in "'\"" else ""
    inner = token.strip(quote_) if quote_ else token.rstrip(".:!?")
    if len(inner.encode()) < WORD_MIN or inner in source or (not quote_ and _PLAIN.fullmatch(token)):
        return token
    return f"{quote_}[hidden]{quote_ or token[len(inner) :]}"

"""An id as one segment of a path. Owns how it is encoded, and which ids cannot be a segment.

Some servers and proxies decode a path before they resolve its dots and double slashes. For them `..%2FGroups%2F1` below
`/Users/` is `/Groups/1`, and `1%2F` is `1`. A proxy and a server may decode it one after the other. So an id that
changes when a path is resolved is refused, and one that would change when it is decoded once more.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from bulkdel.core.decision import Request
from bulkdel.core.id_type import IdType

PLACEHOLDER = "{id}"

_SLASH, _DOT = r"(?:[/\\]|%(?:25)*(?:2f|5c))", r"(?:\.|%(?:25)*2e)"

UNUSABLE = re.compile(rf"(?:.*{_SLASH})?{_DOT}{{0,2}}(?:{_SLASH}.*)?", re.DOTALL | re.IGNORECASE)
"""An id of which a part between slashes (or backslashes) is empty, `.` or `..`, each as it is or encoded."""

SEGMENT = "one segment of a path: not empty, and without an empty part, `.` or `..` between slashes"

OTHER_WORDS = "me|self|current|all|_all"
"""A pattern of the words that an API may read as the key's own account, or as all accounts."""

_NEVER = re.compile(f"{UNUSABLE.pattern}|{OTHER_WORDS}", UNUSABLE.flags)
_NEVER_TEXT = f"{SEGMENT}; and none of the words that an API may read otherwise: {OTHER_WORDS.replace('|', ', ')}"

PATH_ID = IdType("path_id", shape_text="never given out again", never=_NEVER, never_text=_NEVER_TEXT)
PATH_NAME = IdType(
    "path_name", shape_text="may be given out again", never=_NEVER, never_text=_NEVER_TEXT, reusable=True
)
"""The ids of a job that has them in the path."""

_TEMPLATE = re.compile(r"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*)+")


def segment(id_: str) -> str:
    """Encode an id as one segment of a path: everything but letters, digits and `-._~`, in UTF-8.

    Raises ValueError for an id that cannot be a segment.
    """
    if UNUSABLE.fullmatch(id_):
        raise ValueError(f"an id is {SEGMENT}")
    return quote(id_, safe="")


def check_path(path: str) -> None:
    """Check the template of a path. Raises ValueError, with the reason for the user.

    It is percent-encoded, and `{id}` stands at most once, as a whole segment.
    """
    places = path.count(PLACEHOLDER)
    if "?" in path or "#" in path:
        raise ValueError("a path has no query and no fragment; give the query apart")
    if not _TEMPLATE.fullmatch(path.replace(PLACEHOLDER, "id")):
        raise ValueError("a path begins with / and is percent-encoded")
    if any(UNUSABLE.fullmatch(unquote(part)) and part for part in path.split("/")):
        raise ValueError("a path has no segment `.` or `..`")
    if places > 1 or (places and PLACEHOLDER not in path.split("/")):
        raise ValueError(f"{PLACEHOLDER} stands once in a path, as a whole segment")


def filled(template: Request, id_: str) -> Request:
    """The request for one id: its template with the id in the path."""
    return template._replace(path=template.path.replace(PLACEHOLDER, segment(id_)))

"""A gateway between the program and a server. It hands each request on, and may change the `userIds` of its query."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import parse_qsl, urlencode

from bulkdel_jobs.genauth.endpoints import LIST_PATH
from bulkdel_jobs.sandbox import LOOKUP_PATH
from tests.restserver import Answer, Api, Asked

AS_JSON = {"content-type": "application/json"}


def unchanged(id_: str) -> str:
    """It is read as it was sent."""
    return id_


def small(id_: str) -> str:
    """Capital letters are small ones."""
    return id_.lower()


def without_dots(id_: str) -> str:
    """A dot is left out."""
    return id_.replace(".", "")


def blank(id_: str) -> str:
    """A plus is a blank."""
    return id_.replace("+", " ")


def latin(id_: str) -> str:
    """What Latin-1 does not have is a question mark."""
    return id_.encode("latin-1", "replace").decode("latin-1")


def gbk(id_: str) -> str:
    """What GBK does not have is a question mark."""
    return id_.encode("gbk", "replace").decode("gbk")


def of_china(id_: str) -> str:
    """A phone number whose plus got lost is one of China."""
    digits = id_.removeprefix("+")
    return id_ if digits == id_ else f"+{digits if digits.startswith('86') else f'86{digits}'}"


@dataclass
class Gateway(Api):
    """The gateway before the server `to`. reads: what it makes of an id in a query.

    blind: it says that there is no user, to each look-up and each list. lists: whether the key may list users.
    """

    to: str = ""
    reads: Callable[[str], str] = unchanged
    blind: bool = False
    lists: bool = True

    def answer(self, asked: Asked) -> Answer:
        path, mark, query = asked.target.partition("?")
        if path == LIST_PATH and not self.lists:
            return 200, json.dumps({"statusCode": 403, "message": "Permission denied"}).encode(), AS_JSON
        if self.blind and path in {LIST_PATH, LOOKUP_PATH}:
            none = [] if path == LOOKUP_PATH else {"totalCount": 0, "list": []}
            return 200, json.dumps({"statusCode": 200, "message": "", "data": none}).encode(), AS_JSON
        pairs = parse_qsl(query, keep_blank_values=True)
        read = urlencode([(name, self.reads(value) if name == "userIds" else value) for name, value in pairs])
        headers = {name: value for name, value in asked.headers.items() if name not in {"host", "accept-encoding"}}
        with contextlib.closing(HTTPConnection(self.to.removeprefix("http://"))) as there:
            there.request(asked.method, f"{path}{mark}{read}", asked.body or None, headers)
            try:
                response = there.getresponse()
            except ConnectionError:
                return None
            return response.status, response.read(), AS_JSON

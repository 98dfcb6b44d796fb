"""No secret is in the repr of a value of the program: a notebook, a log and a failed assertion print it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import bulkdel
import bulkdel_jobs
from bulkdel.core.address import address_of
from bulkdel.core.decision import Request
from tests.mutants import mutant
from tests.syntax import swap

MAY_HOLD_SECRETS = {"environ", "config", "secret", "secrets", "key_id", "notify", "proxy", "on_event", "slow_while"}
"""Names of fields that have texts of the user, or a table of them."""

NAMES_ALONE = set[str]()
"""These have the names of secrets and of a file."""


def dataclasses() -> Iterator[type]:
    for package in (bulkdel, bulkdel_jobs):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__") or ".on_ray.engine" in found.name:
                continue
            module = importlib.import_module(found.name)
            for each in vars(module).values():
                if isinstance(each, type) and is_dataclass(each) and each.__module__ == found.name:
                    yield each


def test_no_field_that_may_hold_a_secret_is_in_a_repr() -> None:
    shown = {
        f"{each.__name__}.{one.name}"
        for each in dataclasses()
        if each.__dataclass_params__.repr  # type: ignore[attr-defined]
        for one in fields(each)
        if one.name in MAY_HOLD_SECRETS and one.repr and re.search(r"\bstr\b", str(one.type))
    }
    assert shown == NAMES_ALONE


@mutant(
    "the repr of a request has its body",
    "Request.__repr__",
    swap('f"{type(self).__name__}({self.method})"', 'f"{type(self).__name__}({self.method}, {self.body!r})"'),
)
@mutant(
    "the repr of an address has its signature",
    "Address.query",
    swap('field(default="", repr=False)', 'field(default="")'),
)
def test_an_address_and_a_request_show_no_secret() -> None:
    signed = address_of("https://objects.example.com/users.jsonl?signature=canary")
    request = Request("POST", "/token?user=canary", query=(("key", "canary"),), body=b"secret=canary")
    assert (repr(signed).count("users.jsonl"), "canary" in repr(signed), "canary" in repr(request)) == (1, False, False)

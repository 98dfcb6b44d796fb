"""No secret is in the repr of a value of the program: a notebook, a log and a failed assertion print it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import bulkdel
import bulkdel_jobs

MAY_HOLD_SECRETS = {"environ", "config", "secret", "secrets", "key_id", "notify", "proxy", "on_event", "slow_while"}
"""Names of fields that have texts of the user, or a table of them."""

NAMES_ALONE = {"GoingOn.secrets", "Contents.config", "Manifest.config"}
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

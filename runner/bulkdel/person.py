"""The person at this process: the user of the operating system, and the machine. A log names them for each session."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bulkdel.format import printable


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the operating system on a machine."""

    user: str
    machine: str

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self | None:
        """The person that the facts of a session name; None when they name none."""
        user, machine = facts.get("user"), facts.get("machine")
        return cls(user, machine) if isinstance(user, str) and isinstance(machine, str) else None

    def __str__(self) -> str:
        return f"{printable(self.user)} on {printable(self.machine)}"


def this_person() -> Person:
    """The person at this process.

    The name is that of the user id, and not what LOGNAME says: another user is asked for a confirmation of its own. In
    a container the user may have no name; then it is the number.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return Person(user, os.uname().nodename)

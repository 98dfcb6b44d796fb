"""Joining the engine that runs the processes of a run or batch. It comes first: after a fault nothing was read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from bulkdel.core.address import holds_secret
from bulkdel.core.option import field_of, variable_of
from bulkdel.core.shards import LOCAL
from bulkdel.errors import UsageError
from bulkdel.fleet.local import LocalProcesses
from bulkdel.fleet.placing import Engine
from bulkdel.format import to_install
from bulkdel.job import installed
from bulkdel.safety.run_plan import RunArguments

GROUP = "bulkdel.engines"
"""The entry points of the engines besides this machine. Each is a context manager that joins one, and gives it."""


@contextmanager
def engine_on(name: str, environ: Mapping[str, str]) -> Iterator[Engine]:
    """The engine of this name, until the block ends. environ: of this process.

    Raises UsageError when it cannot be used.
    """
    if name == LOCAL:
        yield LocalProcesses(environ)
        return
    point = next((point for point in installed(GROUP) if point.name == name), None)
    if point is None:
        raise UsageError(f"no engine {name!r} is installed. Install bulkdel again")
    try:
        joined = point.load()
    except ModuleNotFoundError:  # an extra installs it
        raise UsageError(f"{name.capitalize()} is not installed. Install it: {to_install(name)}") from None
    with joined() as engine:
        yield engine


def engine_of_run(arguments: RunArguments) -> AbstractContextManager[Engine]:
    """The engine of the shards of a run. Raises UsageError when it cannot be used."""
    settings = arguments.settings
    if settings.on != LOCAL:
        settings.check(arguments.job.chunk_max)
        _check_words(arguments)
    return engine_on(settings.on, arguments.environ)


def _check_words(arguments: RunArguments) -> None:
    """Refuse a secret on the command line: Ray keeps the line, and anything that reaches the cluster can read it."""
    settings = arguments.settings
    secrets = {"--notify": [*(settings.notify or ())], "--proxy": [settings.proxy or ""]}
    secrets["--exclude"] = [str(name) for name in settings.exclude or ()]
    for option, values in secrets.items():
        for value in values:
            if (option == "--notify" or holds_secret(value)) and any(value in word for word in sys.argv):
                name = variable_of(field_of(option))
                raise UsageError(f"{option}: is a secret, and Ray keeps the command line. Set {name} instead")
    if holds_secret(arguments.export):
        raise UsageError(
            "EXPORT: its address holds a secret, and Ray keeps the command line. Copy it to a store or a folder that "
            "every node reaches, and name it there; or pipe it (`-`)"
        )

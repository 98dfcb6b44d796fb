"""Joining the engine that runs the processes of a run or batch. It comes first: after a fault nothing was read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bulkdel.core.address import holds_secret
from bulkdel.core.option import field_of, variable_of
from bulkdel.core.shards import LOCAL
from bulkdel.errors import UsageError
from bulkdel.fleet.local import LocalProcesses
from bulkdel.fleet.placing import Engine
from bulkdel.safety.run_plan import RunArguments


@contextmanager
def joined_engine(arguments: RunArguments) -> Iterator[None]:
    """Join the engine of the shards until the block ends. Raises UsageError when it cannot be used."""
    if arguments.settings.on == LOCAL:
        yield
        return
    arguments.settings.check(arguments.job.chunk_max)
    _check_words(arguments)
    from bulkdel.fleet.on_ray.cluster import joined  # noqa: PLC0415 - only then is it needed

    with joined():
        yield


@contextmanager
def engine_on(name: str, environ: Mapping[str, str]) -> Iterator[Engine]:
    """The engine of this name, for a batch, until the block ends. environ: of this process.

    Raises UsageError when it cannot be used.
    """
    if name == LOCAL:
        yield LocalProcesses(environ)
        return
    from bulkdel.fleet.on_ray.cluster import joined  # noqa: PLC0415 - only then is it needed

    with joined():
        from bulkdel.fleet.on_ray.engine import RayNodes  # noqa: PLC0415 - an extra installs what it needs

        yield RayNodes()


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

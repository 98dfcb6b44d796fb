"""The bytes that the shards read: the export itself, or a decompressed copy of it, which can be entered in the middle.

A shard on this machine has a descriptor of them. One on another machine opens them itself, where the order says: at the
path, which a shared folder has; at the address, as the version that the run has read; or in the store of the log, where
the run has put a copy of what no other machine can reach. It compares each block with the hashes of the order, so it
does not matter what is there.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkdel.core.address import address_of
from bulkdel.durable import write_all
from bulkdel.errors import Drained, FileFailed, NotAcceptable
from bulkdel.export import Fingerprint
from bulkdel.export.compression import decompressed
from bulkdel.export.download import Fetching
from bulkdel.export.elsewhere import FarExport, StoredExport
from bulkdel.export.file import Export, checked_blocks, fingerprint, open_export
from bulkdel.export.stored_copy import FOLDER, put_blocks
from bulkdel.safety.run_plan import RunPlan
from bulkdel.settings import SPOOLED
from bulkdel.store.far_object import Version
from bulkdel.store_path import StorePath, beside

PLAIN = "plain"
"""Below the store of the log: the decompressed copy."""


@dataclass(frozen=True, slots=True)
class PlainExport:
    """What the shards read. descriptor: here. fingerprint: its hashes. elsewhere: see `Order.export`."""

    descriptor: int
    fingerprint: Fingerprint
    elsewhere: Mapping[str, Any] | None = None


def plain_export(plan: RunPlan, stack: ExitStack, stopped: threading.Event) -> PlainExport:
    """The bytes for processes on this machine. Blocks; raises Drained soon after `stopped` was set.

    A compressed export is decompressed once, to a file without a name.
    """
    export = plan.export.file
    if plan.export.dialect.compression == "none":
        return PlainExport(export.descriptor, plan.export.fingerprint)
    folder = beside(plan.checkpoint, "").absolute().parent
    try:
        copy = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - the stack closes it
        for block in _decompressed(plan):
            if stopped.is_set():  # before the file is closed
                raise Drained
            write_all(copy.fileno(), block)
    except OSError as error:
        raise FileFailed(
            f"{folder}: {error.strerror}. The export is decompressed there for the shards. Nothing was sent. Make "
            "room, then run the same command again."
        ) from error
    plain = stack.enter_context(Export(os.dup(copy.fileno()), export.path))
    return PlainExport(copy.fileno(), fingerprint(plain))


def export_for_all_machines(plan: RunPlan, stack: ExitStack, stopped: threading.Event) -> PlainExport:
    """The bytes for processes on any machine. Blocks. Raises FileFailed when they cannot be put into the store.

    Only what other machines cannot read is put there: a compressed export, and one that lies at a secret address. The
    copy of a pipe is there already.
    """
    found, store, address = plain_export(plan, stack, stopped), plan.checkpoint, address_of(plan.arguments.export)
    assert isinstance(store, StorePath), "it was checked"
    compressed, file = plan.export.dialect.compression != "none", plan.export.file
    source = plan.export.source
    if not compressed and address is not None and not address.query and source is not None:
        where: dict[str, Any] = {"address": address.text, "version": source.version.to_json()}
    elif not compressed and source is None and (file.spooled is not None or file.is_file(beside(store, SPOOLED))):
        where = {"folder": FOLDER}  # the copy of a pipe, which was put there before the log began
    elif not compressed and address is None and source is None:
        where = {"path": str(Path(plan.arguments.export).resolve())}
    else:
        plain = Export(os.dup(found.descriptor), file.path)
        stack.enter_context(plain)
        put_blocks(checked_blocks(plain, found.fingerprint), store / PLAIN, plan.arguments.settings.patience)
        where = {"folder": PLAIN}
    return PlainExport(found.descriptor, found.fingerprint, where)


def open_elsewhere(where: Mapping[str, Any], read: Fingerprint, store: Path, fetching: Fetching) -> Export:
    """Open what an order names. read: the hashes of its bytes. store: the log of the run.

    Raises NotAcceptable when it is not there.
    """
    match where:
        case {"path": path}:
            try:
                return open_export(path)
            except NotAcceptable as error:
                raise NotAcceptable(
                    f"{error} It has to be at this path on every node: put it into a folder that they share, or into a "
                    "store, and name it there."
                ) from error
        case {"address": text, "version": version}:
            address = address_of(text)
            assert address is not None, "the run has read it there"
            return FarExport(address, Version.from_json(version), read.size, fetching)
        case {"folder": folder}:
            assert isinstance(store, StorePath), "it was checked"
            return StoredExport(store / folder, read.size, fetching.patience_s)
        case _:
            raise AssertionError(where)


def _decompressed(plan: RunPlan) -> Iterator[bytes]:
    export = plan.export.file
    blocks = checked_blocks(export, plan.export.fingerprint)
    return decompressed(blocks, plan.export.dialect.compression, export.path, export.block_size)

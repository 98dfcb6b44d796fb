"""Opening an export, pipes, and knowing the bytes again."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.export.file import Fingerprint, fingerprint, open_export
from bulkdel.export.preflight import preflight
from bulkdel.export.sniff import recognise
from tests.harness import descriptors_of
from tests.sourcefiles import look, options, write

ROWS = "".join(f'{{"id":"user-{number}"}}\n' for number in range(1000)).encode()


def refused(path: str, folder: Path | None = None) -> str:
    with pytest.raises(NotAcceptable) as caught:
        open_export(path, folder=folder)
    return str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert f"{tmp_path}/dir: a directory" in refused(f"{tmp_path}/dir")
    assert f"a link to {tmp_path}/nothing, which does not exist" in refused(f"{tmp_path}/dangling")
    assert "No such file" in refused(f"{tmp_path}/nothing")
    assert "symbolic links" in refused(f"{tmp_path}/loop")
    assert "a terminal or another device" in refused("/dev/null")


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert "a device or a socket" in refused("s")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission_a_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x", ROWS)
    path.chmod(0)
    assert "Permission denied" in refused(str(path))


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "x", ROWS)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert look(tmp_path / "link").counts["ids"] == 1000


def test_the_descriptor_is_not_inherited_and_closes_once(tmp_path: Path) -> None:
    export = open_export(str(write(tmp_path / "x", ROWS)))
    assert export.size == len(ROWS)
    (fd,) = descriptors_of(tmp_path / "x")
    assert not os.get_inheritable(fd)
    export.close()
    export.close()
    with pytest.raises(OSError, match="descriptor"):
        export.read_at(0, 1)


def fed(path: Path, data: bytes) -> threading.Thread:
    """A named pipe with a writer behind it."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    return writer


def test_a_named_pipe_is_copied_first(tmp_path: Path) -> None:
    writer = fed(tmp_path / "fifo", ROWS)
    with open_export(str(tmp_path / "fifo"), folder=tmp_path) as export:
        assert export.state == ()
        assert export.path == str(tmp_path / "fifo")
        seen = preflight(export, options(), rng=random.Random(1))
        assert seen.counts["ids"] == 1000
        assert export.read_at(0, export.size) == ROWS
        assert stat.S_IMODE(os.fstat(export.descriptor).st_mode) == 0o600
    writer.join()
    assert [each.name for each in tmp_path.iterdir()] == ["fifo"]


def test_a_pipe_needs_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="Name a file"):
        open_export(str(tmp_path / "fifo"))
    with pytest.raises(UsageError, match="Name a file"), stdin(ROWS):
        open_export("-")


class stdin:  # noqa: N801 - reads like what it does
    """Standard input of this process, for a while. None: closed."""

    def __init__(self, data: bytes | None, device: str = "") -> None:
        self._data = data
        self._device = device

    def __enter__(self) -> None:
        self._kept = os.dup(0)
        if self._device:
            read = os.open(self._device, os.O_RDONLY)
        else:
            read, write_to = os.pipe()
            assert len(self._data or b"") < 65536  # fits into the pipe, so that no writer is needed
            os.write(write_to, self._data or b"")
            os.close(write_to)
        os.dup2(read, 0)
        os.close(read)
        if self._data is None and not self._device:
            os.close(0)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 0)
        os.close(self._kept)


def test_standard_input_from_a_pipe_or_a_file(tmp_path: Path) -> None:
    with stdin(ROWS), open_export("-", folder=tmp_path) as export:
        assert recognise(export, options()).id_field == "id"
    with stdin(b"", str(write(tmp_path / "x", ROWS))), open_export("-", folder=tmp_path) as export:
        assert export.size == len(ROWS)


def test_standard_input_that_is_none(tmp_path: Path) -> None:
    with stdin(b"", "/dev/null"):
        assert "device. Name a file." in refused("-", tmp_path)
    with stdin(None):
        assert "Bad file descriptor" in refused("-", tmp_path)
    with stdin(b"", str(tmp_path)):
        assert "a directory" in refused("-", tmp_path)


FULL = """
import resource, signal, sys
from pathlib import Path
sys.dont_write_bytecode = True
sys.path[:0] = sys.argv[2:]
from bulkdel.errors import BulkdelError
from bulkdel.export.file import open_export
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    open_export("-", folder=Path(sys.argv[1]))
except BulkdelError as error:
    sys.stderr.write(str(error))
    sys.exit(error.exit_code)
"""


def test_a_copy_for_which_there_is_no_room(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path, *sys.path], input=ROWS, capture_output=True, check=False
    )
    assert (done.returncode, list(tmp_path.iterdir())) == (5, [])
    assert f"{tmp_path}: File too large. standard input is a pipe and is copied there first" in done.stderr.decode()


@pytest.mark.parametrize("block_size", [1, 7, 1000, 1 << 20])
def test_the_fingerprint_is_that_of_the_bytes(tmp_path: Path, block_size: int) -> None:
    path = write(tmp_path / "x", ROWS)
    told: list[tuple[int, int]] = []
    with open_export(str(path), block_size=block_size) as export:
        found = fingerprint(export, lambda done, size: told.append((done, size)))
        count = -(-len(ROWS) // block_size)
        assert found == Fingerprint(hashlib.sha256(ROWS).hexdigest(), len(ROWS))
        assert len(told) == count
        assert told[-1] == (len(ROWS), len(ROWS))
        assert preflight(export, options(), rng=random.Random(1)).fingerprint == found


def test_a_replaced_file_stays_the_one_that_was_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "x", ROWS)
    with open_export(str(path)) as export:
        write(tmp_path / "y", b'"z"\n').replace(path)
        assert preflight(export, options(), rng=random.Random(1)).rows == 1000


@pytest.mark.parametrize(("change", "how"), [(-1, "shorter"), (5, "longer"), (-900, "shorter")])
def test_a_file_that_is_being_written_is_refused(tmp_path: Path, change: int, how: str) -> None:
    path = write(tmp_path / "x", ROWS)
    with open_export(str(path), block_size=1000) as export:
        os.truncate(path, len(ROWS) + change)
        with pytest.raises(NotAcceptable, match=f"got {how} while it was read"):
            fingerprint(export)


def test_a_read_error_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x", ROWS)
    with open_export(str(path)) as export:
        export.close()
        with pytest.raises(NotAcceptable, match="byte 0: Bad file descriptor"):
            fingerprint(export)


def test_the_same_file_is_known_by_its_inode(tmp_path: Path) -> None:
    path = write(tmp_path / "x", ROWS)
    os.link(path, tmp_path / "y")
    with open_export(str(path)) as export:
        assert export.is_file(tmp_path / "y")
        assert not export.is_file(tmp_path / "z")
        assert not export.is_file(write(tmp_path / "z", ROWS))

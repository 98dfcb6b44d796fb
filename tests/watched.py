"""Commands under the eyes of the interpreter: every file opened, process started and address connected to is recorded.

The oracle is an audit hook (PEP 578) in one process, which has loaded the program and runs one command after the other.
What may not happen is recorded and does not happen: a process is not started, an address is not asked. Libraries in
Rust and C++ raise no such event; `tests/e2e/test_watched.py` has them under strace.

    with watching(addresses=[("127.0.0.1", port)]) as watched:
        done = watched.run("show", plan, cwd=folder, within=folder)
        assert done.beyond == [], done
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.forked import context
from tests.harness import environment

STARTS = frozenset(
    {
        *("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty"),
        *("pty.spawn", "os.startfile", "webbrowser.open"),
    }
)
"""A process."""

ASKS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"})
"""An address."""

READS = frozenset({"os.listdir", "os.scandir", "os.listxattr", "os.getxattr"})
CHANGES = frozenset(
    {
        *("os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"),
        *("os.chown", "os.utime", "os.mkfifo", "os.mknod", "os.setxattr", "os.removexattr", "shutil.rmtree"),
        *("sqlite3.connect", "socket.bind", "os.chdir"),
    }
)
"""A file or a folder. Their first arguments are paths."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

OF_PYTHON = tuple(
    {
        *(os.path.realpath(place) for place in (sys.prefix, sys.base_prefix, os.__file__.rpartition(os.sep)[0])),
        *("/usr/lib", "/usr/share", "/usr/local/lib", "/lib", "/etc/ssl", "/proc", "/sys", "/dev/null", "/dev/urandom"),
        *("/etc/localtime", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/mime.types", "/etc/passwd"),
        str(Path(__file__).resolve().parent.parent),
    }
)
"""What the interpreter, its packages and this program read of the machine."""


@dataclass(frozen=True)
class Event:
    """What happened. name: of the audit event. what: of it, in words. writes: whether a file is changed."""

    name: str
    what: str
    writes: bool = False


@dataclass(frozen=True)
class Done:
    """One command that has ended. beyond: what it did beyond what it may."""

    code: int
    out: str
    err: str
    beyond: Sequence[Event] = field(repr=True)


class Watched:
    """The process. addresses: host and port of each address that may be asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(
        self,
        *words: object,
        cwd: Path,
        within: Path,
        named: Collection[Path] = (),
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command to its end.

        within: the folder of its files. named: further files and folders that it may read.
        """
        whole = environment(env)
        self._connection.send(
            ([str(word) for word in words], whole, str(cwd), str(within), [str(path) for path in named])
        )
        return Done(*self._connection.recv())


@contextmanager
def watching(addresses: Collection[tuple[str, int]] = ()) -> Iterator[Watched]:
    """Start the process, and end it."""
    ours, theirs = context().Pipe()
    process = context().Process(target=_serve, args=(theirs, list(addresses)))
    process.start()
    theirs.close()
    try:
        yield Watched(ours)
    finally:
        ours.close()
        process.join()


class _Hook:
    """The audit hook, on while a command runs."""

    def __init__(self, addresses: Collection[tuple[str, int]]) -> None:
        self._addresses = frozenset(addresses)
        self._hosts = frozenset(host for host, _ in addresses)
        self._within = ""
        self._named: tuple[str, ...] = ()
        self._own = threading.local()
        self.on = False
        self.beyond: list[Event] = []

    def begin(self, within: str, named: Sequence[str]) -> None:
        """Begin to record. Both are as in `Watched.run`."""
        self._within, self._named = os.path.realpath(within), tuple(map(os.path.realpath, named))
        self.beyond, self.on = [], True

    def __call__(self, name: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or getattr(self._own, "busy", False):
            return
        self._own.busy = True  # what the hook does raises events too
        try:
            refused = self._see(name, arguments)
        finally:
            self._own.busy = False
        if refused:
            raise PermissionError(13, "refused by the audit hook of the test")

    def _see(self, name: str, arguments: tuple[Any, ...]) -> bool:
        """Note what is beyond; whether it must not happen."""
        if name in STARTS:
            self.beyond.append(Event(name, repr(arguments)))
            return True
        if name in ASKS:
            return self._see_address(name, arguments)
        if name == "socket.bind" and isinstance(arguments[1], tuple):
            self.beyond.append(Event(name, repr(arguments[1])))
            return True
        if name == "open":
            path, _, flags = arguments
            return self._see_path(name, path, writes=bool((flags or 0) & WRITING))
        if name in READS:
            return self._see_path(name, arguments[0], writes=False)
        if name in CHANGES:
            paths = arguments[:2] if name in {"os.rename", "os.link", "os.symlink"} else arguments[:1]
            if name == "socket.bind":
                paths = arguments[1:2]
            refused = [self._see_path(name, path, writes=True) for path in paths]
            return any(refused)
        return False

    def _see_address(self, name: str, arguments: tuple[Any, ...]) -> bool:
        if name in {"socket.getaddrinfo", "socket.gethostbyname"}:
            host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
            fits = host in self._hosts
        else:
            address = arguments[1] if name != "socket.sendmsg" else arguments[-1]
            if not address or isinstance(address, str | bytes):  # the socket of a run on this machine
                return bool(address) and self._see_path(name, address, writes=True)
            fits = tuple(address[:2]) in self._addresses
        if not fits:
            self.beyond.append(Event(name, repr(arguments[1:2] if name != "socket.getaddrinfo" else arguments[:2])))
        return not fits

    def _see_path(self, name: str, path: Any, *, writes: bool) -> bool:
        """The event of a name that is opened with `dir_fd` has no folder: it is taken as one in the working folder."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False  # a descriptor
        real = os.path.realpath(os.fsdecode(path))
        own = (self._within, os.path.realpath(os.environ["XDG_STATE_HOME"]))  # with the key of this user
        allowed = own if writes else (*own, *self._named, *OF_PYTHON)
        if real == os.devnull or any(real == place or real.startswith(f"{place}{os.sep}") for place in allowed):
            return False
        self.beyond.append(Event(name, real, writes))
        return writes


def _serve(connection: Connection, addresses: Collection[tuple[str, int]]) -> None:
    """Run each command that is named. In the process."""
    from bulkdel.cli.app import run_app

    hook = _Hook(addresses)
    sys.addaudithook(hook)
    sys.stdin = Path(os.devnull).open()  # noqa: SIM115
    while True:
        try:
            words, env, cwd, within, named = connection.recv()
        except EOFError:
            return
        os.environ.clear()
        os.environ.update(env)
        os.chdir(cwd)
        tempfile.tempdir = within
        out, err = io.StringIO(), io.StringIO()
        sys.stdout, sys.stderr = out, err
        hook.begin(within, named)
        try:
            code = run_app(words)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            hook.on = False
        connection.send((code, out.getvalue(), err.getvalue(), hook.beyond))

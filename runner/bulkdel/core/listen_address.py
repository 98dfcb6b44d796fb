"""The address of `--listen`, and whether only this machine can reach it. Opens nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

HOST_AND_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
PORT_MAX = 65_535
UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the live page listens.

    host: an IP address; empty for a Unix socket. port: 0 is any free port. path: of the Unix socket; else empty.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or ip_address(self.host).is_loopback

    @property
    def shown(self) -> str:
        """As a browser takes it, or curl for a Unix socket."""
        return f"{UNIX}{self.path}" if self.path else f"http://{self.authority}/"

    @property
    def authority(self) -> str:
        """Host and port, as in a URL."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def listen_address(text: str) -> ListenAddress:
    """Read the address. Raises ValueError, with a text that says what to write."""
    if text.startswith(UNIX):
        if not (path := text.removeprefix(UNIX)):
            raise ValueError("the path is missing. Write unix:/run/bulkdel.sock")
        return ListenAddress(path=path)
    if (match := HOST_AND_PORT.fullmatch(text)) is None or int(match["port"]) > PORT_MAX:
        raise ValueError("write 127.0.0.1:9400, [::1]:9400, localhost:9400 or unix:/run/bulkdel.sock")
    host = match["six"] or match["host"]
    if host.lower() == "localhost":
        host = "127.0.0.1"
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(f"{host} is no IP address. Write the address of a network card, or 0.0.0.0 for all") from None
    return ListenAddress(str(address), int(match["port"]))

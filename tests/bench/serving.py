"""The server that is measured against, in a process of its own: nginx where there is one, else the stub."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.stub import BODIES, text_of
from tests.rawserver import DATA

CA_FILE = DATA / "localhost.crt"
"""The certificate of the TLS server, self-signed."""

NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  client_body_buffer_size 128k;
  {temporary}
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {data}/localhost.crt;
    ssl_certificate_key {data}/localhost.key;
    {locations}
  }}
}}
"""
"""A body that fits its buffer is read and thrown away; whatever nginx may want to write is written in its folder."""

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True, slots=True)
class Served:
    """A running server. name: what it is. tls_url: the same answers over TLS; None for the stub."""

    name: str
    url: str
    tls_url: str | None = None


def nginx_config(port: int, tls_port: int) -> str:
    """The whole configuration: each answer of the stub, as nginx says it."""
    locations = [
        f"location {f'~ {end.decode()}$' if end else '/'} {{ return 200 '{text_of(body)}'; }}"
        for end, body in BODIES.items()
    ]
    temporary = [f"{name}_temp_path {name};" for name in TEMPORARY]
    return NGINX.format(
        port=port,
        tls_port=tls_port,
        data=DATA.absolute(),
        locations="\n    ".join(locations),
        temporary="\n  ".join(temporary),
    )


@contextmanager
def serving(folder: Path, *, stub: bool = False) -> Iterator[Served]:
    """Run a server. stub: even where there is an nginx."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/usr/bin:/usr/local/bin")
    if program is None or stub:
        process = subprocess.Popen([sys.executable, "-m", "tests.bench.stub"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        served = Served("stub", f"http://127.0.0.1:{port}")
    else:
        with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
            port, tls_port = free.getsockname()[1], other.getsockname()[1]
        config = folder / "nginx.conf"
        config.write_text(nginx_config(port, tls_port))
        process = subprocess.Popen([program, "-p", str(folder), "-c", str(config)])
        served = Served("nginx", f"http://127.0.0.1:{port}", f"https://localhost:{tls_port}")
    try:
        _wait_for(port)
        yield served
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"no server came up on port {port}")

"""Runs the command where every name server is silent. Needs a mount and a network namespace of its own: `unshare`.

python -m tests.silent_names FOLDER ARGUMENTS OF BULKDEL…

While it sends its last notifications it gets a SIGTERM. stderr ends with the seconds that it took to end then. The exit
code is LATE where it has ended before that was seen.
"""

from __future__ import annotations

import fcntl
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

SIOCSIFFLAGS, UP_AND_RUNNING = 0x8914, 0x41
SENDING = b"sending notifications"
LATE = 75
ATTEMPT_S = 30
"""A look-up takes twice as long."""


def main(folder: str, *words: str) -> int:
    names = Path(folder, "resolv.conf")
    names.write_text(f"nameserver 127.0.0.1\noptions timeout:{ATTEMPT_S} attempts:2\n")
    subprocess.run(["mount", "--bind", names, "/etc/resolv.conf"], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        fcntl.ioctl(silent, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", UP_AND_RUNNING))
        silent.bind(("127.0.0.1", 53))
        process = subprocess.Popen([sys.executable, "-m", "bulkdel", *words], stderr=subprocess.PIPE)
        assert process.stderr is not None
        said = process.stderr.readline()  # from now on it knows SIGUSR1
        while said and SENDING not in said:
            time.sleep(0.02)
            process.send_signal(signal.SIGUSR1)
            said = process.stderr.readline()
        if not said:
            return process.wait() or LATE
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest = process.communicate()[1]
        sys.stderr.write(f"{rest.decode()}{time.monotonic() - began:.3f}\n")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Files with a secret: reading one neither waits for a pipe nor goes on without an end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bulkdel.errors import UsageError
from bulkdel.live.page.sign_in import read_token
from bulkdel.secret_file import SECRET_MAX, read_secret
from tests.harness import bulkdel

TOKEN = "a-token-of-the-page-0123456789"


def test_a_pipe_without_a_writer_is_empty(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe", 0o600)
    assert read_secret(path) == ""
    with pytest.raises(UsageError, match="no token of 16"):
        read_token(path, "it")
    ran = bulkdel("notify", "test", env={"BULKDEL_NOTIFY_FILE": str(path)})
    assert (ran.code, "is empty" in ran.err) == (2, True), ran


def test_a_pipe_of_a_shell_is_read_to_its_end() -> None:
    """As with `BULKDEL_LISTEN__CONTROL=<(pass show token)`."""
    ours, theirs = os.pipe()
    try:
        os.write(theirs, TOKEN.encode())
        os.close(theirs)
        assert read_token(Path(f"/dev/fd/{ours}"), "it") == TOKEN
    finally:
        os.close(ours)


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is longer than 65,536 bytes"):
        read_secret(Path("/dev/zero"))
    (tmp_path / "long").write_text("x" * SECRET_MAX)
    assert len(read_secret(tmp_path / "long")) == SECRET_MAX
    ran = bulkdel("notify", "test", env={"BULKDEL_NOTIFY_FILE": "/dev/zero"})
    assert (ran.code, "/dev/zero: is longer than 65,536 bytes" in ran.err) == (2, True), ran

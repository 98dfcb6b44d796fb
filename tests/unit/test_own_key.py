"""The key of this user on this machine: where it is, when it is not used, and what its MAC binds."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from bulkdel.core.log_entries import BatchConfirmed, Session, from_json, to_json
from bulkdel.core.mac import mac_holds, with_mac
from bulkdel.own_key import KEY_BYTES, folder_of, make_key, read_key


def test_it_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path / "a" / "state"), "HOME": "/nowhere"}
    assert read_key(env) is None
    assert not (tmp_path / "a").exists(), "what only looks makes nothing"
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(make_key, [env] * 16))
    (key,) = made
    assert key is not None
    assert (len(key), make_key(env), read_key(env)) == (KEY_BYTES, key, key)
    folder = tmp_path / "a" / "state" / "bulkdel"
    assert [each.name for each in folder.iterdir()] == ["key"]
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder / "key")] == [0o700, 0o600]
    assert make_key({"HOME": str(tmp_path)}) not in {None, key}
    assert (tmp_path / ".local/state/bulkdel/key").is_file()


@pytest.mark.parametrize("env", [{}, {"HOME": ""}, {"HOME": "here"}, {"XDG_STATE_HOME": "state"}])
def test_without_a_folder_of_ones_own_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (folder_of(env), read_key(env), make_key(env)) == (None, None, None)
    assert list(tmp_path.iterdir()) == []


def _linked(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to(path.with_name("real"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


SPOILT: dict[str, Callable[[Path], object]] = {
    "a key that others read": lambda folder: (folder / "key").chmod(0o644),
    "a key that a group reads": lambda folder: (folder / "key").chmod(0o640),
    "a link to a key": lambda folder: _linked(folder / "key"),
    "a pipe": lambda folder: _pipe(folder / "key"),
    "a short key": lambda folder: (folder / "key").write_bytes(bytes(KEY_BYTES - 1)),
    "a long key": lambda folder: (folder / "key").write_bytes(bytes(KEY_BYTES + 1)),
    "an empty key": lambda folder: (folder / "key").write_bytes(b""),
    "a folder that others read": lambda folder: folder.chmod(0o755),
    "a link to a folder": _linked,
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_not_of_this_user_alone_is_not_used(tmp_path: Path, name: str) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    assert make_key(env) is not None
    SPOILT[name](tmp_path / "bulkdel")
    assert (read_key(env), make_key(env)) == (None, None)


def test_where_none_can_be_made_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert make_key({"XDG_STATE_HOME": str(tmp_path / "file")}) is None
    (tmp_path / "bulkdel").write_text("")
    assert make_key({"XDG_STATE_HOME": str(tmp_path)}) is None


def test_the_mac_of_an_entry_is_that_of_the_entry_as_it_is_read() -> None:
    """A reader escapes line feeds; the members of an entry are in any order."""
    key = bytes(KEY_BYTES)
    run = {**dict.fromkeys(("job", "host", "pool", "sha256", "digest", "spec"), "x"), "ids": 5, "rows": 6}
    run["id_reusable"] = True
    note = {"note": "a\nb", "options": {"b": (1, 2), "a": 1.5}, "limit": None}
    start = with_mac(Session("start", "2026-01-01T00:00Z", "ab", note), key)
    confirmed = with_mac(BatchConfirmed("2026-01-01T00:00Z", 5, "d", "typed", "me", {"a": run}), key)
    for entry in (start, confirmed):
        read = from_json(orjson.loads(orjson.dumps(dict(reversed(to_json(entry).items())))))
        assert isinstance(read, Session | BatchConfirmed)
        assert mac_holds(read, key)
        assert not mac_holds(read, bytes([1] * KEY_BYTES))
    assert with_mac(start, None) is start
    assert not mac_holds(None, key)

"""A file that appears under its name only when all of it is on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bulkdel.durable import atomic_file


def write(to: Path, data: bytes) -> None:
    with atomic_file(to) as file:
        file.write(data)


def test_a_new_file_is_its_owners_alone_and_complete(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with atomic_file(tmp_path / "a") as file:
            file.write(b"one")
            file.flush()
            assert not (tmp_path / "a").exists()
            file.write(b", two")
    finally:
        os.umask(old)
    assert (tmp_path / "a").read_bytes() == b"one, two"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_bytes_are_on_disk_before_the_name_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def watched(name: str) -> None:
        real = getattr(os, name)

        def call(*given: object) -> None:
            done.append(name)
            real(*given)

        monkeypatch.setattr(os, name, call)

    for name in ("fdatasync", "link", "fsync"):
        watched(name)
    write(tmp_path / "a", b"x")
    assert done == ["fdatasync", "link", "fsync"]  # the last one is the folder's


def test_an_error_on_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_file(tmp_path / "a") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """Also when it appears only while the new one is written; a broken symbolic link counts as well."""
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write(tmp_path / "a", b"new")
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(FileExistsError):
        write(tmp_path / "link", b"new")

    def late() -> None:
        with atomic_file(tmp_path / "b") as file:
            file.write(b"new")
            (tmp_path / "b").write_bytes(b"other")

    with pytest.raises(FileExistsError):
        late()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "b").read_bytes() == b"other"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "link"]


def test_the_same_bytes_may_be_there_already(tmp_path: Path) -> None:
    write(tmp_path / "a", b"same")
    write(tmp_path / "a", b"same")
    assert (tmp_path / "a").read_bytes() == b"same"
    with atomic_file(
        tmp_path / "a", may_replace=lambda new, old: new.read_bytes().startswith(old.read_bytes())
    ) as file:
        file.write(b"same and more")
    assert (tmp_path / "a").read_bytes() == b"same and more"


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "a", b"one")
    assert (tmp_path / "a").read_bytes() == b"one"
    with pytest.raises(FileExistsError):
        write(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

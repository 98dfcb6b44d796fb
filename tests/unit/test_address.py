"""An address: its parts, the name of the object, and what of it is never shown."""

from __future__ import annotations

import pytest

from bulkdel.core.address import address_of, holds_secret, shown_address, split_names
from bulkdel.errors import UsageError
from bulkdel.store_path import is_store_url, store_path


@pytest.mark.parametrize(
    ("text", "parts", "name"),
    [
        ("s3://bucket/a/b.csv", ("s3", "bucket", "a/b.csv", ""), "b.csv"),
        ("S3://bucket/a?b#c.csv", ("s3", "bucket", "a?b#c.csv", ""), "a?b#c.csv"),
        ("gs://bucket/", ("gs", "bucket", "", ""), "export"),
        ("https://h:8443/a%20b/c%2Fd.gz?sig=1&x#y", ("https", "h:8443", "a%20b/c%2Fd.gz", "?sig=1&x"), "d.gz"),
        ("https://h/..", ("https", "h", "..", ""), ".."),
        ("https://h/a%0Ab%00", ("https", "h", "a%0Ab%00", ""), "a_b_"),
        ("https://h", ("https", "h", "", ""), "export"),
    ],
)
def test_parts(text: str, parts: tuple[str, ...], name: str) -> None:
    address = address_of(text)
    assert address is not None
    assert (address.scheme, address.place, address.key, address.query) == parts
    assert address.name == name


def test_a_path_is_no_address() -> None:
    assert address_of("users.csv") is None
    assert shown_address("./a?b") == "./a?b"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://user:secret@h/a", True),
        ("https://h/a?X-Amz-Signature=secret", True),
        ("https://h", False),
        ("s3://b/a", False),
        ("./a@b?c", False),
    ],
)
def test_a_password_and_a_query_are_secrets(text: str, secret: bool) -> None:
    assert holds_secret(text) is secret


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@h/a?X-Amz-Signature=secret", "https://[hidden]@h/a?[hidden]"),
        ("https://h/a", "https://h/a"),
        ("s3://b/a?b", "s3://b/a?b"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert shown_address(text) == shown


@pytest.mark.parametrize("text", ["s3://b/k\n", "https://h h/x"])
def test_what_no_address_has(text: str) -> None:
    address = address_of(text)
    assert address is not None
    assert address.fault is not None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a:b", ["a", "b"]),
        ("s3://b/k:a", ["s3://b/k", "a"]),
        ("a:https://h:8443/x?y:1:s3://b/k", ["a", "https://h:8443/x?y", "1", "s3://b/k"]),
        ("", [""]),
        (":a", ["", "a"]),
        ("2020:1", ["2020", "1"]),
    ],
)
def test_names_in_one_text(text: str, names: list[str]) -> None:
    assert split_names(text, ":") == names


def test_another_separator() -> None:
    assert split_names("s3://b/k;c", ";") == ["s3://b/k", "c"]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/run", "s3://bucket/run"),
        ("S3://bucket/run/", "s3://bucket/run"),
        ("file:///shared/run", "file:///shared/run"),
        ("file://host/run", None),  # a directory has no host
        ("s3:///run", None),
        ("s3://bucket", None),
        ("s3://bucket:80/run", None),
        ("s3://bucket/a/../run", None),
        ("s3://bucket/run?version=1", None),
        ("https://host/run", None),
        ("run", None),
    ],
)
def test_the_url_of_a_store_is_an_address_with_nothing_odd_in_it(text: str, url: str | None) -> None:
    if url is not None:
        assert (is_store_url(text), str(store_path(text))) == (True, url)
    else:
        with pytest.raises(UsageError, match="is not the URL of a store"):
            store_path(text)

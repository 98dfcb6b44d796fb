"""The address of `--listen`."""

from __future__ import annotations

import pytest

from bulkdel.core.listen_address import ListenAddress, listen_address


@pytest.mark.parametrize(
    ("text", "address", "loopback", "shown"),
    [
        ("127.0.0.1:9400", ListenAddress("127.0.0.1", 9400), True, "http://127.0.0.1:9400/"),
        ("localhost:9400", ListenAddress("127.0.0.1", 9400), True, "http://127.0.0.1:9400/"),
        ("127.7.0.1:0", ListenAddress("127.7.0.1", 0), True, "http://127.7.0.1:0/"),
        ("[::1]:9400", ListenAddress("::1", 9400), True, "http://[::1]:9400/"),
        ("[0:0:0:0:0:0:0:1]:1", ListenAddress("::1", 1), True, "http://[::1]:1/"),
        ("0.0.0.0:65535", ListenAddress("0.0.0.0", 65535), False, "http://0.0.0.0:65535/"),
        ("[::]:80", ListenAddress("::", 80), False, "http://[::]:80/"),
        ("10.1.2.3:9400", ListenAddress("10.1.2.3", 9400), False, "http://10.1.2.3:9400/"),
        ("unix:/run/b.sock", ListenAddress(path="/run/b.sock"), True, "unix:/run/b.sock"),
    ],
)
def test_what_it_means(text: str, address: ListenAddress, *, loopback: bool, shown: str) -> None:
    found = listen_address(text)
    assert (found, found.loopback, found.shown) == (address, loopback, shown)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9400", "write 127.0.0.1:9400"),
        (":9400", "write 127.0.0.1:9400"),
        ("127.0.0.1", "write 127.0.0.1:9400"),
        ("::1:9400", "write 127.0.0.1:9400"),
        ("127.0.0.1:65536", "write 127.0.0.1:9400"),
        ("127.0.0.1:-1", "write 127.0.0.1:9400"),
        ("http://127.0.0.1:9400", "write 127.0.0.1:9400"),
        ("example.com:9400", "example.com is no IP address"),
        ("127.1:9400", "127.1 is no IP address"),
        ("unix:", "the path is missing"),
    ],
)
def test_what_it_cannot_be(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        listen_address(text)

"""A local GenAuth look-alike, to practise on and to test against: it deletes for real, but only its own users."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.sandbox.faults import Switches
    from jobs.sandbox.ledger import Ledger
    from jobs.sandbox.server import (
        CREATE_PATH,
        DELETE_PATH,
        LIST_PATH,
        LOOKUP_PATH,
        SANDBOX_KEY_ID,
        SANDBOX_KEY_SECRET,
        SANDBOX_POOL_ID,
        TOKEN_PATH,
        Sandbox,
    )
    from jobs.sandbox.serving import run_server, serve, serve_in_thread
    from jobs.sandbox.users import Pool

__all__ = [
    "CREATE_PATH",
    "DELETE_PATH",
    "LIST_PATH",
    "LOOKUP_PATH",
    "SANDBOX_KEY_ID",
    "SANDBOX_KEY_SECRET",
    "SANDBOX_POOL_ID",
    "TOKEN_PATH",
    "Ledger",
    "Pool",
    "Sandbox",
    "Switches",
    "run_server",
    "serve",
    "serve_in_thread",
]

_ELSEWHERE = {
    "Ledger": "ledger",
    "Pool": "users",
    "Switches": "faults",
    "run_server": "serving",
    "serve": "serving",
    "serve_in_thread": "serving",
}
"""Which part a name comes from; the rest is the server's."""


def __getattr__(name: str) -> Any:
    """Find a name when it is asked for: `bulkdel --help` shows the switches, and needs no web server for that."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'server')}"), name)

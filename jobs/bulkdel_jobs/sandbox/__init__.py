"""A local GenAuth look-alike, to practise on and to test against: it deletes for real, but only its own users."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.faults import Switches
    from bulkdel_jobs.sandbox.run import run_server, serve, serve_in_thread
    from bulkdel_jobs.sandbox.server import (
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
    from bulkdel_jobs.sandbox.stats import Ledger
    from bulkdel_jobs.sandbox.user_pool import Pool

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
    "Ledger": "stats",
    "Pool": "user_pool",
    "Switches": "faults",
    "run_server": "run",
    "serve": "run",
    "serve_in_thread": "run",
}
"""Which part a name comes from; the rest is the server's."""


def __getattr__(name: str) -> Any:
    """Find a name when it is asked for: `bulkdel --help` shows the switches, and needs no web server for that."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'server')}"), name)

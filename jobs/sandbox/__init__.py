"""A local GenAuth look-alike, to practise on and to test against: it deletes for real, but only its own users."""

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

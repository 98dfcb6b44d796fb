"""A local look-alike of GenAuth, to practise on and to test against: it deletes for real, but only its own users."""

from bulkdel_jobs.sandbox.run import serve, serve_in_thread
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
from bulkdel_jobs.sandbox_switches import Switches

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
    "serve",
    "serve_in_thread",
]

"""A local look-alike of GenAuth, to practise on and to test against: it deletes for real, but only its own users."""

from bulkdel_jobs.sandbox.api import CREATE_PATH, DELETE_PATH, LIST_PATH, LOOKUP_PATH, TOKEN_PATH
from bulkdel_jobs.sandbox.people import People
from bulkdel_jobs.sandbox.pool import Pool
from bulkdel_jobs.sandbox.sandbox import Sandbox
from bulkdel_jobs.sandbox.serving import serve, serve_in_thread
from bulkdel_jobs.sandbox.token_issuer import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, SANDBOX_POOL_ID
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
    "People",
    "Pool",
    "Sandbox",
    "Switches",
    "serve",
    "serve_in_thread",
]

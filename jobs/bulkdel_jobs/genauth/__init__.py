"""GenAuth's (Authing's) V3 management API: credentials, token, envelope, id types, users, codes."""

from bulkdel_jobs.genauth.deletion import GenAuthClient

__all__ = ["GenAuthClient"]

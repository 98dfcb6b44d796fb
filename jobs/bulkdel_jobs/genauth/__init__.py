"""GenAuth's (Authing's) V3 management API: credentials, envelope, id types, token, users. Knows no chunk and no log."""

from bulkdel_jobs.genauth.client import GenAuthClient

__all__ = ["GenAuthClient"]

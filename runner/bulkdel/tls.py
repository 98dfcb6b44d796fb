"""The trust store for the certificates of servers. The check cannot be switched off."""

from __future__ import annotations

import ssl
from pathlib import Path

from bulkdel.errors import UsageError


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """The system's trust store and the certificates of `ca_file`. HTTP/1.1 is asked for.

    No key of a session is written to the file of SSLKEYLOGFILE. Raises UsageError for a file that cannot be used.
    """
    context = ssl.create_default_context()
    context.keylog_filename = None  # type: ignore[assignment]  # the type lacks what the documentation has
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror if not isinstance(error, ssl.SSLError) else "no PEM certificate in it"
            raise UsageError(f"--ca-file {ca_file}: {reason}") from error
    return context

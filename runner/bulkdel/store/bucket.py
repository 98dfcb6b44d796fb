"""An object store as obstore opens it: credentials, and how it is reached. Nothing of a credential is in a message."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from bulkdel.errors import UsageError

TEXT_MAX = 200
"""Characters of the store's own words in a message."""

_QUERY = re.compile(r"(?<=\w)\?\S*")

ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
"""obstore reads these variables only while it is given no options of the client."""

NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there. Without --proxy, obstore would use one that the environment names."""

ANY_HOST = "*,0.0.0.0/0,::/0"
"""The hosts that are reached without the proxy: all of them."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
OF_CREDENTIALS = ("AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_METADATA_ENDPOINT")
"""The variables that say where a store is which speaks like S3, and where credentials come from."""

INSTANCE = ("169.254.0.0/16", "fd00:ec2::/32", "sts.amazonaws.com")
"""Where a machine and a container of Amazon get credentials, besides the service of their region."""

FOUND_BY_OBSTORE = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
"""With one of these, botocore is not asked."""

FRESH = timedelta(minutes=5)
"""How long credentials are used before botocore is asked again. It renews them itself well before they end."""


def open_bucket(
    url: str, limits: Mapping[str, timedelta], *, ca_file: Path | None = None, proxy: str | None = None
) -> Any:
    """Open the store at this URL. Sends nothing; a request is made once.

    limits: timeout, connect_timeout and read_timeout. Raises UsageError for a URL or an option that cannot be used, and
    when obstore is not installed.
    """
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - it costs time, and an extra installs it
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError:
        raise UsageError(f"{url}: needs obstore. Install it with: pip install 'bulkdel[remote]'") from None
    try:
        pem = None if ca_file is None else ca_file.read_bytes()
    except OSError as error:
        raise UsageError(f"--ca-file {ca_file}: {error.strerror}") from error
    scheme = url.partition("://")[0]
    client: Any = {
        **limits,
        "allow_http": os.environ.get(ALLOW_HTTP[scheme], "").lower() in {"1", "true"},
        **({"proxy_url": proxy} if proxy is not None else _only(_hosts(scheme, os.environ))),
        **({} if pem is None else {"root_certificate": pem}),
    }
    once = cast("Any", {"max_retries": 0, "retry_timeout": limits["connect_timeout"]})
    try:
        return from_url(url, client_options=client, retry_config=once, **(_by_botocore() if scheme == "s3" else {}))
    except (BaseError, ValueError) as error:
        raise UsageError(f"{url}: cannot be used: {words_of(error)}") from None


def _only(hosts: str) -> dict[str, str]:
    return {"proxy_url": NOWHERE, "proxy_excludes": hosts}


def _hosts(scheme: str, environ: Mapping[str, str]) -> str:
    """The hosts that obstore may reach. It follows redirects, and sends a session token of S3 to any host.

    A store of one's own has one host, and no reason to send a request to another. Amazon sends it to another region.
    """
    own = [environ[name] for name in ENDPOINTS if environ.get(name)]
    if scheme != "s3" or not own:
        return ANY_HOST
    named = [urlsplit(url).hostname for url in (*own, *(environ.get(name, "") for name in OF_CREDENTIALS))]
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return ",".join([*filter(None, named), *INSTANCE, f"sts.{region}.amazonaws.com"])


def words_of(error: Exception) -> str:
    """The store's own words in one line, without a query, which may be signed."""
    text = str(error).partition("Debug source")[0]
    return " ".join(_QUERY.sub("", text).split())[:TEXT_MAX].rstrip(".:")


def _by_botocore() -> dict[str, Any]:
    """Credentials and region from profiles and SSO, where botocore is installed and finds some."""
    if any(name in os.environ for name in FOUND_BY_OBSTORE):
        return {}
    try:
        from botocore.session import Session  # noqa: PLC0415 - an extra installs it
    except ImportError:
        return {}
    session = Session()
    credentials, region = session.get_credentials(), session.get_config_variable("region")
    if credentials is None:
        return {}

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + FRESH,
        }

    return {"credential_provider": provide, **({} if region is None else {"region": region})}

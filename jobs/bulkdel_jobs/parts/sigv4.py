"""AWS signatures (SigV4) through botocore: the extra `aws`. Each request is signed as it leaves.

The keys come from the environment. botocore's own search for credentials is not used: it reads files and asks the
network.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from bulkdel.core.decision import Request
from bulkdel.errors import UsageError
from bulkdel.format import to_install
from bulkdel_jobs.parts.auth import FixedAuth
from bulkdel_jobs.parts.secret import Secret, find_secret

KEY_ID, KEY_SECRET, SESSION_TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"


@dataclass(frozen=True, slots=True)
class AwsKey:
    """An access key of AWS. session_token: of temporary credentials."""

    key_id: str = field(repr=False)
    secret: Secret
    session_token: Secret | None = None


def aws_key(environ: Mapping[str, str]) -> AwsKey | None:
    """Read the key from the usual variables; None without one. Raises UsageError for half a key."""
    key_id, secret = find_secret(environ, KEY_ID, None), find_secret(environ, KEY_SECRET, None)
    if key_id is None and secret is None:
        return None
    if key_id is None or secret is None:
        raise UsageError(f"the environment has one of {KEY_ID} and {KEY_SECRET}, and not the other")
    return AwsKey(key_id.value, secret, find_secret(environ, SESSION_TOKEN, None))


@dataclass(frozen=True, slots=True, kw_only=True)
class SigV4(FixedAuth):
    """Signs every request to one service in one region: `bulkdel.job.Auth`. host: base URL of the requests."""

    host: str
    key: AwsKey = field(repr=False)
    region: str
    service: str

    def sign(self, request: Request) -> tuple[Mapping[str, str], int]:
        """See `bulkdel.job.Auth`. Host, path, query, content type and body are part of the signature."""
        from botocore.auth import S3SigV4Auth, SigV4Auth  # noqa: PLC0415 - an extra
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415

        body = request.body or b""
        headers = dict(request.headers)
        if self.service == "s3" and body:
            headers["content-md5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        query = f"?{urlencode(request.query, quote_via=quote, safe='')}" if request.query else ""  # as it is sent
        signed = AWSRequest(request.method, f"{self.host}{request.path}{query}", headers, body)
        token = self.key.session_token
        credentials = Credentials(self.key.key_id, self.key.secret.value, token.value if token else None)
        (S3SigV4Auth if self.service == "s3" else SigV4Auth)(credentials, self.service, self.region).add_auth(signed)
        return dict(signed.headers.items()), 1


def sigv4(host: str, pool: str, key: AwsKey, *, region: str, service: str) -> SigV4:
    """Make the credentials. Raises UsageError when botocore is not installed."""
    try:
        import botocore.auth  # noqa: F401, PLC0415
    except ImportError:
        raise UsageError(f"AWS signatures need botocore: {to_install('aws')}") from None
    secrets = (key.secret.value, *([key.session_token.value] if key.session_token else []))
    return SigV4(
        host=host, pool=pool, key=key, region=region, service=service, secrets=secrets, check=f"check {KEY_ID}"
    )

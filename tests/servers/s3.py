"""S3, as moto simulates it: in memory, so that a server that was killed starts with nothing but its buckets."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .base import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = Path(__file__).parents[2] / ".servers" / "bin" / "moto_server"

# Not looked at by the server, which answers nobody without one.
_SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


class S3(Server):
    name = "s3"
    install = "make servers"

    def __init__(self) -> None:
        super().__init__()
        self._buckets: set[str] = set()

    @classmethod
    def found(cls) -> bool:
        return PROGRAM.exists()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, name: str) -> str:
        bucket = self.bucket(name)
        options = {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key_id": "test",
            "secret_access_key": "test",
            "virtual_hosted_style_request": "false",
            "allow_http": "true",
        }
        return f"s3://{bucket}/logins?{urlencode(options)}"

    def bucket(self, name: str, *, versions: bool = False) -> str:
        """Make a bucket, unless it is there."""
        bucket = bucket_name(name)
        self._buckets.add(bucket)
        self.ask("PUT", f"/{bucket}")
        if versions:
            self.ask(
                "PUT", f"/{bucket}?versioning", b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            )
        return bucket

    def ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(
            self.endpoint + path, data, {"Authorization": _SIGNED, "Content-Type": "application/xml"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def command(self) -> Sequence[str | Path]:
        return (PROGRAM, "-H", "127.0.0.1", "-p", str(self.port))

    def ready(self) -> bool:
        return bool(self.ask("GET", "/moto-api/data.json"))

    def opened(self) -> None:
        for bucket in self._buckets:
            self.ask("PUT", f"/{bucket}")


def bucket_name(name: str) -> str:
    """Return a name that a bucket may have."""
    return "b-" + "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())[-58:].strip("-")

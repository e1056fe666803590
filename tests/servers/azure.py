"""Azure's blobs, as Azurite simulates them: what it was told in its last seconds is lost when it is killed."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .base import Server
from .s3 import bucket_name

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = Path(__file__).parents[1] / "interop" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"

# Azurite's only account, and its key, which Microsoft publishes.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_VERSION = "2021-12-02"


class Azure(Server):
    name = "azure"
    install = "PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop"

    def __init__(self) -> None:
        super().__init__()
        self._containers: set[str] = set()

    @classmethod
    def found(cls) -> bool:
        return PROGRAM.exists() and shutil.which("node") is not None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def url(self, name: str) -> str:
        container = bucket_name(name)
        self._containers.add(container)
        self._make(container)
        options = {"endpoint": self.endpoint, "account_name": ACCOUNT, "account_key": KEY, "allow_http": "true"}
        return f"az://{container}/logins?{urlencode(options)}"

    def command(self) -> Sequence[str | Path]:
        address = ("--blobHost", "127.0.0.1", "--blobPort", str(self.port))
        return ("node", PROGRAM, *address, "--location", self.data, "--silent", "--disableTelemetry", "--skipApiVersionCheck")

    def ready(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=5)
        except urllib.error.HTTPError:
            return True  # it wants a signature
        return True

    def opened(self) -> None:
        for container in self._containers:
            self._make(container)

    def _make(self, container: str) -> None:
        now = email.utils.formatdate(usegmt=True)
        signed = (
            "PUT" + 12 * "\n" + f"x-ms-date:{now}\nx-ms-version:{_VERSION}\n/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
        )
        digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
        headers = {
            "x-ms-date": now,
            "x-ms-version": _VERSION,
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
        }
        url = f"{self.endpoint}/{container}?restype=container"
        try:
            urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="PUT"), timeout=60).close()
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 409:  # it is there
                    raise

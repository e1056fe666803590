"""Google Cloud Storage, as fake-gcs-server simulates it, behind the front that it needs."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .base import Server
from .s3 import bucket_name

if TYPE_CHECKING:
    from collections.abc import Sequence

_SERVERS = Path(__file__).parents[2] / ".servers"
_FRONT = Path(__file__).with_name("gcs_front.py")


class GCS(Server):
    name = "gcs"
    install = "make servers"

    def __init__(self) -> None:
        super().__init__()
        self._behind = self.free_port()

    @classmethod
    def found(cls) -> bool:
        return _program() is not None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, name: str) -> str:
        bucket = bucket_name(name)
        made = json.dumps({"name": bucket}).encode()
        request = urllib.request.Request(
            f"{self.endpoint}/storage/v1/b?project=test", made, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 409:  # it is there
                    raise
        key = {
            "gcs_base_url": self.endpoint,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        return f"gs://{bucket}/logins?{urlencode({'service_account_key': json.dumps(key), 'allow_http': 'true'})}"

    def command(self) -> Sequence[str | Path]:
        program = _program()
        assert program is not None
        return (sys.executable, _FRONT, str(self.port), str(self._behind), program, self.data)

    def ready(self) -> bool:
        with urllib.request.urlopen(f"{self.endpoint}/_internal/healthcheck", timeout=5) as answer:
            return bool(answer.status == 200)


def _program() -> Path | None:
    return next(_SERVERS.glob("lib/python3*/site-packages/**/fake-gcs-server-linux-amd64"), None)

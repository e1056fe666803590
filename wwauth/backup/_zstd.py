"""zstd, and a zipfile that writes it: in the standard library from Python 3.14 on, and in its official backport before."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from zipfile import ZipFile as ZstdZipFile

    from compression import zstd
else:
    from backports import zstd
    from backports.zstd.zipfile import ZipFile as ZstdZipFile

__all__ = ["ZstdZipFile", "zstd"]

"""Addresses, as messages may show them."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_query(url: str) -> str:
    """Return an address for messages: a user's name and password, and what follows `?` or `#`, may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path

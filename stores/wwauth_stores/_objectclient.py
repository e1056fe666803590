"""Stores of obstore: from a URL and options, and what is to be known of one."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from wwauth.errors import ConfigurationError

from ._bucket import Bucket
from ._driver import check_timeout, is_loopback
from ._folderbucket import FolderBucket
from .urls import folder_of_file_url, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

_CLASSES = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore", "file": "LocalStore", "memory": "MemoryStore"}
_SCHEMES = {name: scheme for scheme, name in _CLASSES.items()}

# What obstore takes as options of the HTTP client, apart from those of the service.
_CLIENT_OPTIONS = {
    "allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type", "default_headers", "http1_only",
    "http2_only", "http2_keep_alive_interval", "http2_keep_alive_timeout", "http2_keep_alive_while_idle",
    "http2_max_frame_size", "pool_idle_timeout", "pool_max_idle_per_host", "proxy_ca_certificate", "proxy_excludes",
    "proxy_url", "randomize_addresses", "read_timeout", "root_certificate", "user_agent",
}  # fmt: skip

# Each step has a time limit of the store's; obstore's own, for a whole answer, would end a long download.
_LONGEST_ANSWER = "6h"
_RETRIES = 4


def open_client(obstore: Any, url: str, options: dict[str, Any], own: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
    """
    Make obstore's store for a URL; return it, the prefix in the URL, and `own`, to which what the URL says is added.

    `ConfigurationError` shows the names of options, never what they say.
    """
    shown = redact_url(url)
    parts, options, own = _split(url, shown, options, own)
    if parts.scheme == "file":
        if options:
            raise ConfigurationError(f"invalid store URL {shown!r}: a folder has no options ({', '.join(options)})")
        folder = Path(folder_of_file_url(url.partition("?")[0])).absolute()
        try:
            return obstore.store.LocalStore(folder, mkdir=True), "", own
        except OSError as error:
            raise ConfigurationError(f"invalid store URL {shown!r}: {error.strerror or error}") from error
    if parts.scheme == "memory":
        if options or parts.netloc or parts.path not in {"", "/"}:
            raise ConfigurationError(f"invalid store URL {shown!r}: memory:// stands alone")
        return obstore.store.MemoryStore(), "", own
    try:
        prefix = clean_prefix(unquote(parts.path))
    except ConfigurationError as error:
        raise ConfigurationError(f"invalid store URL {shown!r}: {error}") from None
    if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc:
        raise ConfigurationError(
            f"invalid store URL {shown!r}: the bucket alone stands after the slashes; host and credentials are options"
        )
    _check_http(shown, options)
    client = {"timeout": _LONGEST_ANSWER, **options.pop("client_options", {})}
    client |= {name: options.pop(name) for name in list(options) if name in _CLIENT_OPTIONS}
    retries = options.pop("retry_config", {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=own["timeout"])})
    names = ", ".join([*options, *client])
    try:
        made = getattr(obstore.store, _CLASSES[parts.scheme])(
            unquote(parts.netloc), client_options=client, retry_config=retries, **options
        )
    except (obstore.exceptions.BaseError, ValueError, TypeError, OSError) as error:
        # Its text may repeat what an option says, such as a key.
        raise ConfigurationError(
            f"invalid store URL {shown!r}: obstore does not take all of these options, or misses some: {names} "
            f"({type(error).__name__})"
        ) from None
    return made, prefix, own


def name_of(obstore: Any, client: Any, prefix: str) -> tuple[str, bool]:
    """
    Return what a store is called, without anything secret, and whether its data leaves this machine.

    Raises:
        ConfigurationError: It is none that archives can be kept in, or the prefix is none.
    """
    kinds = tuple(getattr(obstore.store, name) for name in _SCHEMES)
    if not isinstance(client, kinds):
        raise ConfigurationError(
            f"invalid obstore_store of type {type(client).__name__}: give an obstore {', '.join(_SCHEMES)}"
        )
    scheme = next(scheme for name, scheme in _SCHEMES.items() if isinstance(client, getattr(obstore.store, name)))
    path = clean_prefix(prefix)
    if scheme == "memory":
        return f"memory://{path}".rstrip("/"), False
    if scheme == "file":
        return (Path(client.prefix or "/") / path).absolute().as_uri(), False
    before = str(client.prefix or "")
    config = dict(client.config)
    bucket = config.get("bucket") or config.get("bucket_name") or config.get("container_name") or config.get("container") or "?"
    place = "/".join(part for part in (str(bucket), before.strip("/"), path.rstrip("/")) if part)
    return f"{scheme}://{place}", not is_loopback(_host(config))


def bucket_of(
    obstore: Any, client: Any, *, prefix: str, place: str, step: Callable[[str], AbstractAsyncContextManager[None]], plain: bool
) -> Bucket:
    """Return the objects under a prefix; `plain`: in the layout of wwebjs-aws-s3."""
    kind = Bucket
    if isinstance(client, obstore.store.LocalStore):
        if plain:
            raise ConfigurationError("a folder in the layout of wwebjs-aws-s3 is what FileSystemStore keeps: use that")
        kind = FolderBucket
    return kind(obstore, client, prefix=clean_prefix(prefix), place=place, step=step)


def clean_prefix(prefix: str) -> str:
    """Return a prefix with a slash at its end, or an empty one; `ConfigurationError` when it is none."""
    text = prefix.strip("/") if isinstance(prefix, str) else None
    if text == "":
        return ""
    if text is None or not text.isprintable() or "\\" in text or {"", ".", ".."} & set(text.split("/")):
        raise ConfigurationError(f"invalid prefix {prefix!r}: use names with slashes between them, such as 'whatsapp/logins'")
    return text + "/"


def _split(url: str, shown: str, options: dict[str, Any], own: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    try:
        parts = urlsplit(url)
        asked = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise ConfigurationError(f"invalid store URL {shown!r}: its options are written ?name=value&name=value") from None
    if parts.scheme not in _CLASSES or parts.fragment or not url.isprintable():
        raise ConfigurationError(
            f"invalid store URL {shown!r}: an ObjectStore's begins with {', '.join(f'{scheme}:' for scheme in _CLASSES)}, and "
            f"has no fragment"
        )
    merged = {**asked, **options}
    own = {name: merged.pop(name, value) for name, value in own.items()}
    if isinstance(own["timeout"], str):
        with suppress(ValueError):
            own["timeout"] = float(own["timeout"])
    check_timeout(own["timeout"])
    return parts, merged, own


def _check_http(shown: str, options: dict[str, Any]) -> None:
    plain = any(name.endswith("endpoint") and str(value).startswith("http://") for name, value in options.items())
    if plain and "allow_http" not in options and not any(name.endswith("ALLOW_HTTP") for name in os.environ):
        raise ConfigurationError(
            f"invalid store URL {shown!r}: its endpoint is not encrypted; add allow_http=true if that is meant"
        )


def _host(config: dict[str, Any]) -> str | None:
    """Return the host that a store speaks to, where its options name one."""
    endpoint = config.get("endpoint") or config.get("endpoint_url") or config.get("base_url")
    if not endpoint and "service_account_key" in config:
        try:
            endpoint = json.loads(config["service_account_key"]).get("gcs_base_url")
        except (ValueError, AttributeError):
            endpoint = None
    return urlsplit(str(endpoint)).hostname if endpoint else None

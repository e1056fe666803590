"""The proxy that launch options name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_ARGUMENT = "--proxy-server="


def proxy_of(launch_options: Mapping[str, Any]) -> dict[str, str] | None:
    """
    Return the proxy in the form of Playwright's `proxy`, which can carry a password; None when there is none.

    A `--proxy-server` in `args` cannot carry one. As with Chromium itself, the last one wins, over `proxy`, too.
    """
    proxy: dict[str, str] = dict(launch_options.get("proxy") or {})
    for arg in launch_options.get("args") or []:
        if str(arg).startswith(_ARGUMENT):
            proxy["server"] = arg.removeprefix(_ARGUMENT)
    return proxy if proxy.get("server") else None


def without_proxy(args: list[str]) -> list[str]:
    """Return the arguments without `--proxy-server`, for a launch that gets its proxy as `proxy`."""
    return [arg for arg in args if not str(arg).startswith(_ARGUMENT)]


def refusal(proxy: Mapping[str, str] | None) -> str | None:
    """Say why `proxy_authentication` is of no use with this proxy; None when it is."""
    if proxy is None:
        return (
            "it needs a proxy: name it in launch_options, as {'proxy': {'server': 'http://host:port'}} or "
            "{'args': ['--proxy-server=http://host:port']}"
        )
    server = proxy["server"]
    if server.partition("://")[0].startswith("socks"):
        return "Chromium sends no password to a SOCKS proxy: use an http:// one, or a local one that adds the password"
    if "=" in server or ";" in server or "," in server:
        return "it is for one proxy, and --proxy-server names several: use 'http://host:port'"
    return None

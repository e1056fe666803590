"""What users pass to a `Client`, checked once, at construction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ._proxy import proxy_of, refusal
from ._urls import without_query
from .errors import ConfigurationError

__all__ = ["ClientOptions", "PairWithPhoneNumber", "ProxyAuthentication", "WebVersionCache"]

# Longer is a mistake (or an overflow of a timer: whatsapp-web.js's clamps to 1 ms), and infinity is not a bound.
_MAX_MS = 2**31 - 1

# Their values may hold a password, which no message shows.
_SECRET = {"launch_options", "proxy_authentication"}

# What follows the digits and dots is in the names of the well-known archives, such as 2.3000.1014590669-alpha. It becomes a
# file's name and a part of an address.
_VERSION = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20}){1,5}(?:-(?:alpha|beta))?")

_PLACEHOLDER = "{version}"

Milliseconds = Annotated[float, Field(strict=True, ge=0, le=_MAX_MS, allow_inf_nan=False)]
PositiveMilliseconds = Annotated[float, Field(strict=True, gt=0, le=_MAX_MS, allow_inf_nan=False)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    @classmethod
    def checked(cls, **values: object) -> Self:
        """
        Build the options; the caller's objects are copied, never kept.

        Raises:
            ConfigurationError: Names each wrong option, its value and what is allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            raise ConfigurationError("; ".join(map(_sentence, exc.errors()))) from None


class PairWithPhoneNumber(_Options):
    """
    Link by a code typed into the phone, in place of a QR code.

    Attributes:
        phone_number: International form, digits only: 12025550108 for a number of the US.
        show_notification: Let the phone show a notification.
        interval_ms: How often a new code is made; WhatsApp's own interval is three minutes.
    """

    phone_number: str
    show_notification: bool = True
    interval_ms: PositiveMilliseconds = 180_000

    @field_validator("phone_number")
    @classmethod
    def _digits(cls, value: str) -> str:
        # E.164 without the plus sign.
        if not (value.isascii() and value.isdigit()) or not 6 <= len(value) <= 15:
            raise ValueError("use the international form, 6 to 15 digits only, such as '12025550108'")
        return value


class ProxyAuthentication(_Options):
    """Username and password for the proxy named in `launch_options`."""

    username: str
    password: str = Field(repr=False)


class WebVersionCache(_Options):
    """
    Where the documents of other builds of WhatsApp Web come from.

    Attributes:
        type: "none": nowhere. "local": `<path>/<version>.html`; a live page is recorded there under the version that it tells.
            "remote": `remote_path`.
        path: The folder of "local", made absolute when the client is made; whatsapp-web.js's own can be used.
        remote_path: An http(s) address with `{version}` in it; `remotePath` is accepted, too.
        strict: When the version that is asked for cannot be had, raise; else a warning says so, and the live page is used.
    """

    type: Literal["none", "local", "remote"] = "none"
    path: Path = Field(default=Path("./.wwebjs_cache/"), validate_default=True)
    remote_path: str | None = None
    strict: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="before")
    @classmethod
    def _guide_spelling(cls, values: object) -> object:
        if not isinstance(values, Mapping) or "remotePath" not in values or "remote_path" in values:
            return values
        return {"remote_path" if name == "remotePath" else name: value for name, value in values.items()}

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.absolute()

    @field_validator("remote_path")
    @classmethod
    def _with_placeholder(cls, value: str | None) -> str | None:
        if value is not None and (not is_address(value, {"http", "https"}) or _PLACEHOLDER not in value):
            raise ValueError(f"use an http(s) address with {_PLACEHOLDER} in it, such as https://host/html/{_PLACEHOLDER}.html")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "remote" and self.remote_path is None:
            raise ValueError(f"type 'remote' needs remote_path: an http(s) address with {_PLACEHOLDER} in it")
        return self

    def address_of(self, version: str) -> str:
        """Return where `remote_path` has this version."""
        return str(self.remote_path).replace(_PLACEHOLDER, version)

    def file_of(self, version: str) -> Path:
        """Return the name that this version has in `path`."""
        return self.path / f"{version}.html"


class ClientOptions(_Options):
    """The options of a `Client`; see there for what each does."""

    web_url: str
    launch_options: dict[str, Any] = Field(repr=False)
    cdp_url: str | None = Field(repr=False)
    auth_timeout_ms: PositiveMilliseconds
    ready_timeout_ms: PositiveMilliseconds
    qr_max_retries: Annotated[int, Field(strict=True, ge=0)]
    takeover_on_conflict: bool
    takeover_timeout_ms: Milliseconds
    user_agent: str | None
    bypass_csp: bool
    proxy_authentication: ProxyAuthentication | None
    device_name: str | None
    browser_name: str | None
    eval_on_new_doc: str | None
    web_version: str | None
    web_version_cache: WebVersionCache
    pair_with_phone_number: PairWithPhoneNumber | None
    relaunch_on_logout: bool
    restart_on_crash: Annotated[int, Field(strict=True, ge=0)]
    diagnostics: bool | Path
    handle_signals: bool

    @field_validator("web_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not is_address(value, {"http", "https"}):
            raise ValueError("use an http:// or https:// address, such as https://web.whatsapp.com/")
        return value

    @field_validator("cdp_url")
    @classmethod
    def _devtools(cls, value: str | None) -> str | None:
        if value is not None and not is_address(value, {"http", "https", "ws", "wss"}):
            raise ValueError("use the address of a browser's DevTools, such as http://127.0.0.1:9222 or ws://host/path")
        return value

    @field_validator("web_version")
    @classmethod
    def _version(cls, value: str | None) -> str | None:
        if value is not None and not is_version(value):
            raise ValueError("use the digits and dots of a version, such as '2.3000.1017054665', with -alpha or -beta at most")
        return value

    @field_validator("launch_options", mode="before")
    @classmethod
    def _copied(cls, value: object) -> object:
        # Copied down to the lists that the launch adds to: the caller's own objects stay as they are.
        if not isinstance(value, Mapping):
            return value
        return {
            key: list(item) if key in {"args", "ignore_default_args"} and isinstance(item, list | tuple) else item
            for key, item in value.items()
        }

    @model_validator(mode="after")
    def _proxy_takes_a_password(self) -> Self:
        if self.proxy_authentication is None:
            return self
        if self.cdp_url is not None:
            raise ValueError(
                "proxy_authentication has no effect with cdp_url: a browser that runs already has its proxy, and its password"
            )
        if (reason := refusal(proxy_of(self.launch_options))) is not None:
            raise ValueError(f"proxy_authentication cannot be used: {reason}")
        return self


def is_version(value: str) -> bool:
    """Tell whether this is the version of a build of WhatsApp Web, and thus fit to be a file's name."""
    return _VERSION.fullmatch(value) is not None


def is_address(value: str, schemes: set[str]) -> bool:
    """Tell whether this is an address with a host and one of these schemes."""
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an IPv6 address that is none
        return False


def _sentence(error: Mapping[str, Any]) -> str:
    reason = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return reason
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{name} is missing: {reason}"
    return f"invalid {name} {_shown(error['loc'][0], error['input'])}: {reason}"


def _shown(option: object, value: object) -> str:
    if option in _SECRET or isinstance(value, Mapping):
        return "…"
    if isinstance(value, str) and "://" in value:
        try:
            return repr(without_query(value))
        except ValueError:
            return "…"
    return repr(value)

"""What users pass to a `Client`, checked once, at construction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import ConfigurationError

__all__ = ["ClientOptions", "PairWithPhoneNumber", "ProxyAuthentication"]

# Longer is a mistake (or an overflow of a timer: whatsapp-web.js's clamps to 1 ms), and infinity is not a bound.
_MAX_MS = 2**31 - 1

# Their values may hold a password, which no message shows.
_SECRET = {"launch_options", "proxy_authentication"}

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
            raise ConfigurationError("; ".join(_sentence(error, values) for error in exc.errors())) from None


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


class ClientOptions(_Options):
    """The options of a `Client`; see there for what each does."""

    web_url: str
    launch_options: dict[str, Any] = Field(repr=False)
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
    pair_with_phone_number: PairWithPhoneNumber | None
    relaunch_on_logout: bool
    restart_on_crash: Annotated[int, Field(strict=True, ge=0)]
    diagnostics: bool | Path
    handle_signals: bool

    @field_validator("web_url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("use an http:// or https:// address, such as https://web.whatsapp.com/")
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


def _sentence(error: Mapping[str, Any], values: Mapping[str, object]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    value: object = values
    for part in error["loc"]:
        value = value.get(part, "nothing") if isinstance(value, dict) else value
    shown = "…" if error["loc"][0] in _SECRET else repr(value)
    return f"invalid {name} {shown}: {error['msg'].removeprefix('Value error, ')}"

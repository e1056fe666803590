"""The login is four texts, of an account without multi-device."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from ..abc import AuthenticationNeeded, AuthStrategy
from ..errors import AuthenticationFailed, BrowserClosed, ConfigurationError

if TYPE_CHECKING:
    from playwright.async_api import Frame, Page

    from ..client import Client

__all__ = ["LegacySessionAuth"]

_DEPRECATED = (
    "LegacySessionAuth is deprecated: WhatsApp has ended the accounts without multi-device that it is for. Use LocalAuth, or "
    "RemoteAuth where the disk does not stay"
)

_REFUSED = "the session was refused: it is not valid any more, or never was; link the device anew"

_MULTI_DEVICE = (
    "LegacySessionAuth cannot keep the login of a multi-device account: use LocalAuth or RemoteAuth, and remove the device "
    "that was just linked in the phone's list of linked devices"
)

# Runs in every document, also in those of frames and of other sites. whatsapp-web.js tells its own navigation by the referrer
# alone, which a reload keeps; so the kind of the navigation counts, too, and a tab is given the session once.
_INJECT = """([address, session]) => {
  if (window.top !== window || location.origin !== new URL(address).origin) return;
  if (document.referrer !== 'https://whatsapp.com/') return;
  if (performance.getEntriesByType('navigation')[0]?.type !== 'navigate') return;
  if (sessionStorage.getItem('wwauth-session') !== null) return;
  sessionStorage.setItem('wwauth-session', 'given');
  localStorage.clear();
  for (const [name, value] of Object.entries(session)) localStorage.setItem(name, value);
  localStorage.setItem('remember-me', 'true');
}"""

# A build without that module, and a page that is just being loaded anew, leave it to the keys.
_READ = """(names) => {
  let multiDevice = false;
  try {
    multiDevice = window.require('WAWebMDBackend').isMDBackend() === true;
  } catch {}
  return [multiDevice, Object.fromEntries(names.map((name) => [name, localStorage.getItem(name)]))];
}"""

# How often a page that is being loaded anew is asked again, and after how many seconds.
_ATTEMPTS = 50
_PAUSE = 0.1

_Secret = Annotated[SecretStr, Field(strict=True, min_length=1)]


class _Session(BaseModel):
    """The four values, each as the page keeps it in localStorage; no repr and no error shows them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    WABrowserId: _Secret
    WASecretBundle: _Secret
    WAToken1: _Secret
    WAToken2: _Secret

    @classmethod
    def checked(cls, session: object) -> Self:
        names = ", ".join(cls.model_fields)
        if not isinstance(session, Mapping):
            raise ConfigurationError(f"invalid session of type {type(session).__name__}: use a dict with {names}, or None")
        try:
            return cls.model_validate(dict(session))
        except ValidationError as exc:
            wrong = "; ".join(_sentence(error["type"], error["loc"][0]) for error in exc.errors(include_input=False))
            raise ConfigurationError(
                f"invalid session: {wrong}. Use the payload of `authenticated` unchanged, the non-empty texts {names}"
            ) from None

    def values(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in self}


class LegacySessionAuth(AuthStrategy):
    """
    Hand the login to the program, and take it back: four texts, for accounts without multi-device.

    The payload of `authenticated` is a plain dict that `json.dump` takes; what `json.load` gives back is the `session` for the
    next start. It is as good as the password. The browser's profile is a throw-away one.

    A session is put into the page's localStorage at the client's own first navigation alone, as whatsapp-web.js does, which had
    this strategy until 1.24. When WhatsApp refuses it, `auth_failure` is emitted, the browser is closed, and the session is
    dropped: the next start shows a QR code. What `authenticated` gave is used again where the same client starts again, as it
    does with `restart_on_crash`.

    The login of a multi-device account, as all are today, cannot be kept so: `error(AuthenticationFailed)` says that, and the
    client ends with `disconnected('STRATEGY_FAILED')`.

    Deprecated: use `LocalAuth` or `RemoteAuth`.

    Args:
        session: What `authenticated` gave: `WABrowserId`, `WASecretBundle`, `WAToken1`, `WAToken2`; None: begin with a QR code.
        restart_on_auth_fail: After `auth_failure`, start again with a QR code.

    Raises:
        ConfigurationError: The session is wrong; the message names the key, never its value.
    """

    def __init__(self, *, session: Mapping[str, str] | None = None, restart_on_auth_fail: bool = False) -> None:
        warnings.warn(_DEPRECATED, DeprecationWarning, stacklevel=2)
        if not isinstance(restart_on_auth_fail, bool):
            raise ConfigurationError(f"invalid restart_on_auth_fail {restart_on_auth_fail!r}: use True or False")
        self._session = None if session is None else _Session.checked(session)
        self._restart_on_auth_fail = restart_on_auth_fail
        self._has_navigated = False

    def setup(self, client: Client) -> None:
        """Bind this strategy to its client; refuse to overwrite the login of a browser that is not ours."""
        if self._session is not None and client.options.cdp_url is not None:
            raise ConfigurationError(
                "LegacySessionAuth(session=…) replaces the login that the browser at cdp_url may keep: leave out one of them"
            )
        super().setup(client)

    async def before_browser_initialized(self) -> None:
        """Begin a launch, in which the session is injected once."""
        self._has_navigated = False

    async def after_browser_initialized(self) -> None:
        """Have the session in localStorage before the page's own scripts look for it."""
        # The page that replaces a crashed one finds there what the crashed one left.
        if self._has_navigated:
            return
        page = self.client.page
        page.on("framenavigated", lambda frame: self._navigated(page, frame))
        if self._session is None:
            return
        values = json.dumps([self.client.options.web_url, self._session.values()])
        await page.add_init_script(f"({_INJECT})({values})")

    async def on_authentication_needed(self) -> AuthenticationNeeded:
        """Drop the session that was refused; without one, let a QR code follow."""
        if self._session is None:
            return AuthenticationNeeded()
        self._session = None
        return AuthenticationNeeded(failed=True, restart=self._restart_on_auth_fail, failure_event_payload=_REFUSED)

    async def get_auth_event_payload(self) -> dict[str, str]:
        """
        Return the session, as a dict of four texts.

        Raises:
            AuthenticationFailed: The account is multi-device, or the page has no such session.
            BrowserClosed: The page went away meanwhile.
        """
        multi_device, values = await self._read()
        if multi_device:
            raise AuthenticationFailed(_MULTI_DEVICE)
        missing = [name for name, value in values.items() if not value]
        if missing:
            raise AuthenticationFailed(f"the page has no {', '.join(missing)} in localStorage: {_MULTI_DEVICE}")
        session = _Session.checked(values)
        if self.client.options.cdp_url is None:
            self._session = session
        return session.values()

    async def logout(self) -> None:
        """Drop the session: the device is linked no more."""
        self._session = None

    async def _read(self) -> tuple[bool, dict[str, str | None]]:
        from playwright.async_api import Error  # noqa: PLC0415 - 0.3 s that only a launch needs

        for left in reversed(range(_ATTEMPTS)):
            page = self.client.page
            try:
                multi_device, values = await page.evaluate(_READ, list(_Session.model_fields))
            except Error as exc:
                if page.is_closed() or left == 0:
                    raise BrowserClosed("the page went away while the session was read") from exc
                await asyncio.sleep(_PAUSE)
            else:
                break
        return multi_device, values

    def _navigated(self, page: Page, frame: Frame) -> None:
        # Not where an error page is shown, since the network is not there yet.
        if frame == page.main_frame and frame.url.startswith("http"):
            self._has_navigated = True


def _sentence(kind: str, key: object) -> str:
    if kind in {"extra_forbidden", "invalid_key"}:
        return f"{key!r} is none of its keys"
    what = {"missing": "is missing", "too_short": "is empty"}.get(kind, "is not a text")
    return f"{key} {what}"

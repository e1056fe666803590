"""The phone over HTTP, for programs in any language."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import ControlRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from .simulator import Simulator

__all__ = ["control_routes"]

_MS = 1000


def control_routes(simulator: Simulator) -> list[Route]:
    """Return `/control/…`: `GET /control/state`, all else POST with its values in the query."""
    phone = simulator.phone
    commands: dict[str, Callable[[_Query], Awaitable[object]]] = {
        "scan": lambda query: phone.scan(query.text("qr")),
        "enter-code": lambda query: phone.enter_code(query.text("code")),
        "logout": lambda query: phone.unlink(query.optional("device")),
        "message": lambda query: phone.send_messages(
            query.number("n", 1), query.number("size", 1_000), query.optional("device")
        ),
        "drop": lambda query: phone.drop(query.number("ms") / _MS),
        "conflict": lambda query: phone.conflict(query.optional("device")),
        "push-state": lambda query: phone.push_state(query.text("state"), query.optional("device")),
        "rotate-qr": lambda _query: phone.rotate_qr(),
        "forget": lambda _query: phone.forget(),
        "config": lambda query: _configure(simulator, query),
    }

    async def state(request: Request) -> Response:
        query = _Query(request)
        try:
            if query.optional("check") in {"1", "true"}:
                await simulator.check()
            query.nothing_else()
        except ControlRefused as exc:
            return _refusal(exc)
        return _Json(simulator.state())

    def endpoint(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            try:
                _refuse_browsers(request)
                query = _Query(request)
                answer = await commands[name](query)
                query.nothing_else()
            except ControlRefused as exc:
                return _refusal(exc)
            return _Json({"ok": True} if answer is None else {"ok": True, _ANSWERS.get(name, "value"): answer})

        return run

    return [
        Route("/control/state", state, methods=["GET"]),
        *(Route(f"/control/{name}", endpoint(name), methods=["POST"]) for name in commands),
        Route("/control/{name}", _unknown(commands), methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
    ]


_ANSWERS = {"scan": "device", "enter-code": "device", "message": "stored", "config": "config"}


async def _configure(simulator: Simulator, query: _Query) -> dict[str, Any]:
    return simulator.configure(**query.everything()).model_dump()


def _unknown(commands: dict[str, Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        if name in commands:
            return _refusal(ControlRefused(f"/control/{name} is asked for with POST, not {request.method}", status=405))
        names = ", ".join(sorted([*commands, "state"]))
        return _refusal(ControlRefused(f"there is no /control/{name}: use one of {names}", status=404))

    return answer


def _refuse_browsers(request: Request) -> None:
    # Browsers name the origin of each POST that a page makes, other programs do not: no page can work the phone by accident.
    if origin := request.headers.get("origin"):
        raise ControlRefused(
            f"a page of {origin!r} may not control the phone: ask from a program outside the browser", status=403
        )


def _refusal(exc: ControlRefused) -> Response:
    return _Json({"ok": False, "error": str(exc)}, status_code=exc.status)


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, indent=1).encode()


class _Query:
    """The values of a request; what nobody asked for is an error, since it is most often a slip of the pen."""

    def __init__(self, request: Request) -> None:
        self._path = request.url.path
        self._values = dict(request.query_params)
        self._used: set[str] = set()

    def optional(self, name: str) -> str | None:
        self._used.add(name)
        return self._values.get(name)

    def text(self, name: str) -> str:
        if (value := self.optional(name)) is None:
            raise ControlRefused(f"{self._path} needs {name!r}: add ?{name}=…, percent-encoded")
        self.nothing_else()
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self.optional(name)
        if value is None and default is not None:
            return default
        if value is None or not value.isascii() or not value.isdecimal():
            raise ControlRefused(f"invalid {name} {value!r}: a whole number in ?{name}=…")
        return int(value)

    def everything(self) -> dict[str, str]:
        self._used.update(self._values)
        return self._values

    def nothing_else(self) -> None:
        if unknown := sorted(self._values.keys() - self._used - {"device"}):
            raise ControlRefused(f"{self._path} does not know {unknown[0]!r}: leave it out")

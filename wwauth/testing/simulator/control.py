"""The phone over HTTP, for programs in any language."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import ControlRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from .phone import Phone
    from .simulator import Simulator

    _Command = tuple[set[str] | None, Callable[["_Query"], Awaitable[object]], str | None]
    """The values it takes (None: any), what it does, and the name of its answer."""

__all__ = ["control_routes"]

_MS = 1000


def control_routes(simulator: Simulator) -> list[Route]:
    """Return `/control/…`: `GET /control/state`, all else POST with its values in the query."""
    commands = _commands(simulator)

    async def state(request: Request) -> Response:
        try:
            query = _Query(request, {"check"})
            if query.optional("check") in {"1", "true"}:
                await simulator.check()
        except ControlRefused as exc:
            return _refusal(exc)
        except TimeoutError:
            return _refusal(ControlRefused("a page did not answer: is its browser still open, and not frozen?", status=504))
        return _Json(simulator.state())

    def endpoint(name: str) -> Callable[[Request], Awaitable[Response]]:
        known, command, answer_name = commands[name]

        async def run(request: Request) -> Response:
            try:
                _refuse_browsers(request)
                answer = await command(_Query(request, known))
            except ControlRefused as exc:
                return _refusal(exc)
            return _Json({"ok": True, answer_name: answer} if answer_name else {"ok": True})

        return run

    return [
        Route("/control/state", state, methods=["GET"]),
        *(Route(f"/control/{name}", endpoint(name), methods=["POST"]) for name in commands),
        Route("/control/{name}", _other(commands), methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
    ]


def _commands(simulator: Simulator) -> dict[str, _Command]:
    phone = simulator.phone

    async def config(query: _Query) -> dict[str, Any]:
        return simulator.configure(**query.values).model_dump()

    return {
        "scan": ({"qr"}, lambda query: phone.scan(query.text("qr")), "device"),
        "enter-code": ({"code"}, lambda query: phone.enter_code(query.text("code")), "device"),
        "logout": ({"device"}, lambda query: phone.unlink(query.optional("device")), None),
        "message": ({"n", "size", "device"}, partial(_message, phone), "stored"),
        "drop": ({"ms"}, lambda query: phone.drop(query.number("ms") / _MS), None),
        "conflict": ({"device"}, lambda query: phone.conflict(query.optional("device")), None),
        "ghost": ({"device", "gone", "connections"}, partial(_ghost, phone), None),
        "push-state": (
            {"state", "device"},
            lambda query: phone.push_state(query.text("state"), query.optional("device")),
            None,
        ),
        "rotate-qr": (set(), lambda _query: phone.rotate_qr(), None),
        "forget": (set(), lambda _query: phone.forget(), None),
        "config": (None, config, "config"),
    }


async def _message(phone: Phone, query: _Query) -> int:
    return await phone.send_messages(query.number("n", 1), query.number("size", 1_000), query.optional("device"))


async def _ghost(phone: Phone, query: _Query) -> None:
    gone = query.optional("gone") in {"1", "true"}
    await phone.ghost(query.optional("device"), gone=gone, connections=query.number("connections", 0))


def _other(commands: dict[str, _Command]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        method = "GET" if name == "state" else "POST"
        if name in {*commands, "state"}:
            refusal = ControlRefused(f"/control/{name} is asked for with {method}, not {request.method}", status=405)
            return _refusal(refusal, {"allow": method})
        names = ", ".join(sorted([*commands, "state"]))
        return _refusal(ControlRefused(f"there is no /control/{name}: use one of {names}", status=404))

    return answer


def _refuse_browsers(request: Request) -> None:
    # Browsers name the origin of each POST that a page makes, other programs do not: no page can work the phone by accident.
    if origin := request.headers.get("origin"):
        raise ControlRefused(
            f"a page of {origin!r} may not control the phone: ask from a program outside the browser", status=403
        )


def _refusal(exc: ControlRefused, headers: dict[str, str] | None = None) -> Response:
    return _Json({"ok": False, "error": str(exc)}, exc.status, headers)


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, indent=1).encode()


class _Query:
    """The values of a request; one that nobody asks for is an error, since it is most often a slip of the pen."""

    def __init__(self, request: Request, known: set[str] | None) -> None:
        self._path = request.url.path
        self.values = dict(request.query_params)
        if known is not None and (unknown := sorted(self.values.keys() - known)):
            names = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise ControlRefused(f"{self._path} does not know {unknown[0]!r}: {names}")

    def optional(self, name: str) -> str | None:
        return self.values.get(name)

    def text(self, name: str) -> str:
        if (value := self.values.get(name)) is None:
            raise ControlRefused(f"{self._path} needs {name!r}: add ?{name}=…, percent-encoded")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if value is None or not value.isascii() or not value.isdecimal():
            raise ControlRefused(f"invalid {name} {value!r}: {self._path} needs a whole number in ?{name}=…")
        return int(value)

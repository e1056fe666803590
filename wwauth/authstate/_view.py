"""What all typed views have in common: how bytes and integers are read, and what a repr shows."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from .bufferjson import UNDEFINED, BufferJSON


def _to_bytes(value: object) -> object:
    """Return the bytes that a field holds in any of the forms they have had; pydantic refuses the rest."""
    if isinstance(value, str):
        try:
            return a2b_base64(value, strict_mode=True)
        except ValueError:
            raise ValueError("it is neither bytes nor base64") from None
    if isinstance(value, dict):
        return BufferJSON.object_hook(value)
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _to_int(value: object) -> object:
    """Return the integer that a Long stands for; pydantic reads decimal text, and refuses the rest."""
    if isinstance(value, bool):
        raise ValueError("it is no number")  # noqa: TRY004 - pydantic collects ValueErrors
    if isinstance(value, Mapping) and type(value.get("low")) is int and type(value.get("high")) is int:
        whole = value["high"] * 2**32 + (value["low"] & 0xFFFFFFFF)
        return whole & 0xFFFFFFFFFFFFFFFF if value.get("unsigned") else whole
    return value


Bytes = Annotated[bytes, BeforeValidator(_to_bytes)]
Int = Annotated[int, BeforeValidator(_to_int)]


class View(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_undefined(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: item for key, item in value.items() if item is not UNDEFINED}
        return value

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.repr and value is not None:
                yield name, _Shown(value)


class _Shown:
    """What a repr tells of a value: of bytes and of what is in a container, how much it is."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        if isinstance(self._value, bytes):
            return f"<{len(self._value)} bytes>"
        if isinstance(self._value, dict | tuple):
            return f"<{len(self._value)} entries>"
        return repr(self._value)

"""
Typed views of credentials and records: attributes instead of keys, bytes and integers whatever Baileys wrote them as.

A view is a frozen copy for reading; what is stored is the value that it was made from, which it leaves alone. Fields are
Baileys' in snake_case, fields that it does not know are there under their own names, and a field that may be missing is None.
What protobuf wrote as base64 text is bytes, what it wrote as text or as a Long (`{"low", "high", "unsigned"}`) is an int. No
repr shows bytes or secret texts.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, overload

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from ..errors import CredsCorrupted, SessionCorrupted
from .bufferjson import UNDEFINED, BufferJSON
from .creds import check_creds

__all__ = [
    "Account",
    "AccountSettings",
    "AppStateSyncKey",
    "AppStateSyncVersion",
    "Contact",
    "Creds",
    "KeyPair",
    "SenderKeyState",
    "Session",
    "SessionEntry",
    "SignedKeyPair",
    "TcToken",
    "typed",
    "typed_creds",
]


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


def _to_states(value: object) -> object:
    """Return the list in a sender key's bytes, which are JSON themselves."""
    if isinstance(value, bytes | bytearray | memoryview):
        return BufferJSON.loads(value)
    return value


_Bytes = Annotated[bytes, BeforeValidator(_to_bytes)]
_Int = Annotated[int, BeforeValidator(_to_int)]


class _View(BaseModel):
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


class KeyPair(_View):
    """An X25519 key pair: a record of type "pre-key", and three of a login's own. Each key has 32 bytes."""

    private: _Bytes
    public: _Bytes


class SignedKeyPair(_View):
    """The signed pre-key. The signature, 64 bytes, is the identity key's, over 0x05 and the public key."""

    key_pair: KeyPair
    signature: _Bytes
    key_id: _Int
    timestamp_s: _Int | None = None


class Account(_View):
    """What the phone signed when this device was linked."""

    details: _Bytes | None = None
    account_signature_key: _Bytes | None = None
    account_signature: _Bytes | None = None
    device_signature: _Bytes | None = None


class Contact(_View):
    """Whose login it is: `id` is "user:device@s.whatsapp.net", `lid` the same under WhatsApp's other kind of address."""

    id: str
    lid: str | None = None
    name: str | None = None
    notify: str | None = None
    verified_name: str | None = None


class SignalAddress(_View):
    """Who owns an identity key."""

    name: str
    device_id: _Int


class SignalIdentity(_View):
    """An identity key, 33 bytes with 0x05 before them, and whose it is."""

    identifier: SignalAddress
    identifier_key: _Bytes


class DisappearingMode(_View):
    """How long messages of new chats last, in seconds, and since when (a Unix time in seconds)."""

    ephemeral_expiration: _Int | None = None
    ephemeral_setting_timestamp: _Int | None = None


class AccountSettings(_View):
    """What the account is set to."""

    unarchive_chats: bool | None = None
    default_disappearing_mode: DisappearingMode | None = None


class MessageKey(_View):
    """Which message."""

    remote_jid: str | None = None
    from_me: bool | None = None
    id: str | None = None
    participant: str | None = None


class ProcessedHistoryMessage(_View):
    """A history notification that was worked through; the time is a Unix time in seconds."""

    key: MessageKey
    message_timestamp: _Int | None = None


class Creds(_View):
    """The credentials."""

    noise_key: KeyPair
    pairing_ephemeral_key_pair: KeyPair | None = None
    signed_identity_key: KeyPair
    signed_pre_key: SignedKeyPair
    registration_id: _Int
    adv_secret_key: _Bytes
    processed_history_messages: tuple[ProcessedHistoryMessage, ...] = ()
    next_pre_key_id: _Int | None = None
    first_unuploaded_pre_key_id: _Int | None = None
    account_sync_counter: _Int | None = None
    account_settings: AccountSettings | None = None
    registered: bool | None = None
    pairing_code: str | None = Field(default=None, repr=False)
    last_prop_hash: str | None = None
    routing_info: _Bytes | None = None
    additional_data: Any = Field(default=None, repr=False)
    account: Account | None = None
    me: Contact | None = None
    signal_identities: tuple[SignalIdentity, ...] = ()
    platform: str | None = None
    my_app_state_key_id: str | None = None
    last_account_sync_timestamp: _Int | None = None

    @property
    def is_linked(self) -> bool:
        """Whether a phone has linked this login (`registered` tells nothing: only pairing by code sets it)."""
        return self.me is not None and self.account is not None


class RatchetKeyPair(_View):
    """The ratchet's key pair: public 33 bytes with 0x05 before them, private 32."""

    pub_key: _Bytes
    priv_key: _Bytes


class Ratchet(_View):
    """Where the double ratchet stands."""

    ephemeral_key_pair: RatchetKeyPair
    last_remote_ephemeral_key: _Bytes
    previous_counter: _Int
    root_key: _Bytes


class IndexInfo(_View):
    """What tells entries apart; times are Unix times in milliseconds, and `closed` is -1 for the open entry."""

    base_key: _Bytes
    base_key_type: _Int
    closed: _Int
    used: _Int | None = None
    created: _Int | None = None
    remote_identity_key: _Bytes


class ChainKey(_View):
    """Where a chain stands; a receiving chain that is closed has no key."""

    counter: _Int
    key: _Bytes | None = None


class Chain(_View):
    """A chain, and the keys of messages that were skipped, by their numbers."""

    chain_key: ChainKey
    chain_type: _Int
    message_keys: dict[int, _Bytes] = Field(default_factory=dict)


class PendingPreKey(_View):
    """With which keys the other side is to build the session that is not confirmed yet."""

    signed_key_id: _Int
    base_key: _Bytes
    pre_key_id: _Int | None = None


class SessionEntry(_View):
    """One session with a device; its chains by their ratchet keys."""

    registration_id: _Int | None = None
    current_ratchet: Ratchet
    index_info: IndexInfo
    chains: dict[_Bytes, Chain] = Field(alias="_chains")
    pending_pre_key: PendingPreKey | None = None

    @property
    def is_open(self) -> bool:
        """Whether this is the entry in use."""
        return self.index_info.closed == -1


class Session(_View):
    """A record of type "session": all sessions with one device, by their base keys."""

    sessions: dict[_Bytes, SessionEntry] = Field(alias="_sessions")
    version: str | None = None

    @property
    def open_entry(self) -> SessionEntry | None:
        """The session in use, if there is one."""
        return next((entry for entry in self.sessions.values() if entry.is_open), None)


class SenderChainKey(_View):
    """A group's chain: where it stands, and the 32 bytes that the next key comes from."""

    iteration: _Int
    seed: _Bytes


class SenderSigningKey(_View):
    """Who signs: public 33 bytes with 0x05 before them; private 32, or empty where somebody else does."""

    public: _Bytes
    private: _Bytes = b""


class SenderKeyState(_View):
    """One state of a record of type "sender-key", which is a tuple of at most five."""

    sender_key_id: _Int
    sender_chain_key: SenderChainKey
    sender_signing_key: SenderSigningKey
    sender_message_keys: tuple[SenderChainKey, ...] = ()


class Fingerprint(_View):
    """Which devices an app state sync key is for."""

    raw_id: _Int | None = None
    current_index: _Int | None = None
    device_indexes: tuple[_Int, ...] = ()


class AppStateSyncKey(_View):
    """A record of type "app-state-sync-key"; the time is a Unix time in milliseconds."""

    key_data: _Bytes | None = None
    fingerprint: Fingerprint | None = None
    timestamp: _Int | None = None


class IndexValue(_View):
    """What an app state entry's value hashes to."""

    value_mac: _Bytes


class AppStateSyncVersion(_View):
    """A record of type "app-state-sync-version": the hash, 128 bytes, of a collection, and its entries by index MAC."""

    version: _Int
    hash: _Bytes
    index_value_map: dict[_Bytes, IndexValue] = Field(default_factory=dict)


class TcToken(_View):
    """A record of type "tctoken"; times are Unix times in seconds."""

    token: _Bytes
    timestamp: _Int | None = None
    sender_timestamp: _Int | None = None

    @property
    def jids(self) -> tuple[str, ...]:
        """Whom there are tokens for: in the record "__index" alone, whose token is a list of them."""
        try:
            found = json.loads(self.token)
        except ValueError:
            return ()
        return tuple(jid for jid in found if isinstance(jid, str)) if isinstance(found, list) else ()


_KINDS: dict[str, Any] = {
    "pre-key": KeyPair,
    "session": Session,
    "sender-key": Annotated[tuple[SenderKeyState, ...], BeforeValidator(_to_states)],
    "sender-key-memory": dict[str, bool],
    "app-state-sync-key": AppStateSyncKey,
    "app-state-sync-version": AppStateSyncVersion,
    "lid-mapping": str,
    "device-list": tuple[str, ...],
    "tctoken": TcToken,
    "identity-key": _Bytes,
}


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(_KINDS[kind])


@overload
def typed(type: Literal["pre-key"], value: object) -> KeyPair: ...
@overload
def typed(type: Literal["session"], value: object) -> Session: ...
@overload
def typed(type: Literal["sender-key"], value: object) -> tuple[SenderKeyState, ...]: ...
@overload
def typed(type: Literal["sender-key-memory"], value: object) -> dict[str, bool]: ...
@overload
def typed(type: Literal["app-state-sync-key"], value: object) -> AppStateSyncKey: ...
@overload
def typed(type: Literal["app-state-sync-version"], value: object) -> AppStateSyncVersion: ...
@overload
def typed(type: Literal["lid-mapping"], value: object) -> str: ...
@overload
def typed(type: Literal["device-list"], value: object) -> tuple[str, ...]: ...
@overload
def typed(type: Literal["tctoken"], value: object) -> TcToken: ...
@overload
def typed(type: Literal["identity-key"], value: object) -> bytes: ...
@overload
def typed(type: str, value: object) -> Any: ...
def typed(type: str, value: object) -> Any:  # noqa: A002 - Baileys' word
    """
    Return the typed view of a record's value, as `keys.get` gives it; of a type that this version does not know, the value.

    Raises:
        SessionCorrupted: A field is missing or has another type; the message names it, and never a value.
    """
    if type not in _KINDS:
        return value
    try:
        return _adapter(type).validate_python(value)
    except ValidationError as error:
        raise SessionCorrupted(f"this record of type {type!r} is damaged: {_why(error)}; restore a backup of it") from None


def typed_creds(creds: object) -> Creds:
    """
    Return the typed view of credentials.

    Raises:
        CredsCorrupted: They are no identity (`check_creds`), or another field has another type; the message names it, and
        never a value.
    """
    check_creds(creds)
    try:
        return Creds.model_validate(creds)
    except ValidationError as error:
        raise CredsCorrupted(f"these credentials are damaged: {_why(error)}; restore a backup of them") from None


def _why(error: ValidationError) -> str:
    """Tell the first of the errors: its place, and what pydantic says, which has no value in it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{place}: {what}" if place else what

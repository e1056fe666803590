"""
Typed views of credentials and records: attributes instead of keys, bytes and integers whatever Baileys wrote them as.

A view is a frozen copy for reading; what is stored is the value that it was made from, which it leaves alone. Fields are
Baileys' in snake_case, fields that it does not know are there under their own names, and a field that may be missing is None.
What protobuf wrote as base64 text is bytes, what it wrote as text or as a Long (`{"low", "high", "unsigned"}`) is an int. No
repr shows bytes or secret texts.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Literal, overload

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from ..errors import CredsCorrupted, SessionCorrupted
from ._session_views import SenderKeyState, Session, SessionEntry
from ._view import Bytes, Int, View
from .bufferjson import BufferJSON
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


def _to_states(value: object) -> object:
    """Return the list in a sender key's bytes, which are JSON themselves."""
    if isinstance(value, bytes | bytearray | memoryview):
        return BufferJSON.loads(value)
    return value


class KeyPair(View):
    """An X25519 key pair: a record of type "pre-key", and three of a login's own. Each key has 32 bytes."""

    private: Bytes
    public: Bytes


class SignedKeyPair(View):
    """The signed pre-key. The signature, 64 bytes, is the identity key's, over 0x05 and the public key."""

    key_pair: KeyPair
    signature: Bytes
    key_id: Int
    timestamp_s: Int | None = None


class Account(View):
    """What the phone signed when this device was linked."""

    details: Bytes | None = None
    account_signature_key: Bytes | None = None
    account_signature: Bytes | None = None
    device_signature: Bytes | None = None


class Contact(View):
    """Whose login it is: `id` is "user:device@s.whatsapp.net", `lid` the same under WhatsApp's other kind of address."""

    id: str
    lid: str | None = None
    name: str | None = None
    notify: str | None = None
    verified_name: str | None = None


class SignalAddress(View):
    """Who owns an identity key."""

    name: str
    device_id: Int


class SignalIdentity(View):
    """An identity key, 33 bytes with 0x05 before them, and whose it is."""

    identifier: SignalAddress
    identifier_key: Bytes


class DisappearingMode(View):
    """How long messages of new chats last, in seconds, and since when (a Unix time in seconds)."""

    ephemeral_expiration: Int | None = None
    ephemeral_setting_timestamp: Int | None = None


class AccountSettings(View):
    """What the account is set to."""

    unarchive_chats: bool | None = None
    default_disappearing_mode: DisappearingMode | None = None


class MessageKey(View):
    """Which message."""

    remote_jid: str | None = None
    from_me: bool | None = None
    id: str | None = None
    participant: str | None = None


class ProcessedHistoryMessage(View):
    """A history notification that was worked through; the time is a Unix time in seconds."""

    key: MessageKey
    message_timestamp: Int | None = None


class Creds(View):
    """The credentials."""

    noise_key: KeyPair
    pairing_ephemeral_key_pair: KeyPair | None = None
    signed_identity_key: KeyPair
    signed_pre_key: SignedKeyPair
    registration_id: Int
    adv_secret_key: Bytes
    processed_history_messages: tuple[ProcessedHistoryMessage, ...] = ()
    next_pre_key_id: Int | None = None
    first_unuploaded_pre_key_id: Int | None = None
    account_sync_counter: Int | None = None
    account_settings: AccountSettings | None = None
    registered: bool | None = None
    pairing_code: str | None = Field(default=None, repr=False)
    last_prop_hash: str | None = None
    routing_info: Bytes | None = None
    additional_data: Any = Field(default=None, repr=False)
    account: Account | None = None
    me: Contact | None = None
    signal_identities: tuple[SignalIdentity, ...] = ()
    platform: str | None = None
    my_app_state_key_id: str | None = None
    last_account_sync_timestamp: Int | None = None

    @property
    def is_linked(self) -> bool:
        """Whether a phone has linked this login (`registered` tells nothing: only pairing by code sets it)."""
        return self.me is not None and self.account is not None


class Fingerprint(View):
    """Which devices an app state sync key is for."""

    raw_id: Int | None = None
    current_index: Int | None = None
    device_indexes: tuple[Int, ...] = ()


class AppStateSyncKey(View):
    """A record of type "app-state-sync-key"; the time is a Unix time in milliseconds."""

    key_data: Bytes | None = None
    fingerprint: Fingerprint | None = None
    timestamp: Int | None = None


class IndexValue(View):
    """What an app state entry's value hashes to."""

    value_mac: Bytes


class AppStateSyncVersion(View):
    """A record of type "app-state-sync-version": the hash, 128 bytes, of a collection, and its entries by index MAC."""

    version: Int
    hash: Bytes
    index_value_map: dict[Bytes, IndexValue] = Field(default_factory=dict)


class TcToken(View):
    """A record of type "tctoken"; times are Unix times in seconds."""

    token: Bytes
    timestamp: Int | None = None
    sender_timestamp: Int | None = None

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
    "identity-key": Bytes,
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
        why = _why(error)
    # Out here, since pydantic's exception has the value among its attributes.
    raise SessionCorrupted(f"this record of type {type!r} is damaged: {why}; restore a backup of it")


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
        why = _why(error)
    raise CredsCorrupted(f"these credentials are damaged: {why}; restore a backup of them")


def _why(error: ValidationError) -> str:
    """Tell the first of the errors: its place, and what pydantic says, which has no value in it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{place}: {what}" if place else what

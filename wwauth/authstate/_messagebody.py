"""The content of a message as it is kept: protobuf bytes as they are, a mapping with all of its bytes as bytes."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigurationError
from .bufferjson import UNDEFINED, BufferJSON

if TYPE_CHECKING:
    from collections.abc import Iterator

Form = Literal["protobuf", "json"]

SECRET_BYTES = 32

# The fields of proto.Message that hold bytes wherever they occur, and are text only where protobuf's toJSON made them so.
_BYTES_NAMES = """
    acAuthTokens aiConversationContext artworkEncSha256 artworkMediaKey artworkSha256 attachmentFileEncSha256
    attachmentFileSha256 attachmentJpegThumbnail attachmentMediaKey axolotlSenderKeyDistributionMessage botMessageSecret
    callKey certificateChain conversionData ctwaPayload encIv encKey encPayload ephemeralSharedSecret fileEncSha256
    fileSha256 firstFrameSidecar firstScanSidecar initialHistBootstrapInlinePayload jpegThumbnail keyData keyId
    masterKey mediaKey messageSecret midQualityFileEncSha256 midQualityFileSha256 paddingBytes pngThumbnail
    recipientKeyHash scansSidecar senderKeyHash streamingSidecar thumbnail thumbnailEncSha256 thumbnailSha256 waveform
    webMessageInfoBytes
"""
_BYTES = frozenset(_BYTES_NAMES.split())
# Where some of the same names are text.
_TEXTS = "botMetadata"

# Fields by their numbers in WhatsApp's protobuf schema: Message.messageContextInfo, its messageSecret, and what wraps
# another Message: deviceSentMessage (its field 2), and those of the kind FutureProofMessage (their field 1).
_CONTEXT, _SECRET = 35, 3
_WRAPPERS = {31: 2, 37: 1, 40: 1, 53: 1, 55: 1, 59: 1, 93: 1}
_DEEPEST = 8

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def packed(message: object) -> tuple[Form, bytes, bytes | None] | None:
    """
    Return a message's form, its bytes as they are kept and its secret; None: there is nothing in it.

    `message` is an encoded proto.Message, an object that encodes itself (`SerializeToString`), or a mapping.

    Raises:
        ConfigurationError: It is none of these, or has something in it that has no JSON form.
    """
    if callable(encode := getattr(message, "SerializeToString", None)):
        message = encode()
    if isinstance(message, bytes | bytearray | memoryview):
        encoded = bytes(message)
        return ("protobuf", encoded, _secret_in(encoded, _DEEPEST)) if encoded else None
    if isinstance(message, Mapping):
        content = _with_bytes(message)
        if all(value is None or value is UNDEFINED for value in content.values()):
            return None
        return "json", BufferJSON.dumps(content).encode(), _secret_of(content, _DEEPEST)
    if message is None:
        return None
    raise ConfigurationError(
        f"a message of type {type(message).__name__} cannot be stored: give an encoded proto.Message as bytes, or a mapping"
    )


def unpacked(form: Form, body: bytes) -> Any:
    """Return what was packed: the same bytes, or a new `dict`."""
    return body if form == "protobuf" else BufferJSON.loads(body)


def secret_bytes(value: object) -> bytes | None:
    """Return a message secret, which may be base64 text or one of the JSON forms of bytes; None: it is none."""
    if isinstance(value, str):
        value = _decoded(value)
    elif isinstance(value, Mapping):
        value = BufferJSON.object_hook(dict(value))
    secret = bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""
    return secret if len(secret) == SECRET_BYTES else None


def _with_bytes(value: Any, *, texts: bool = False) -> Any:
    """Return a copy in which the fields that hold bytes do so."""
    if isinstance(value, Mapping):
        return {
            key: _decoded(item)
            if isinstance(item, str) and key in _BYTES and not texts
            else _with_bytes(item, texts=texts or key == _TEXTS)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_with_bytes(item, texts=texts) for item in value]
    return value


def _decoded(text: str) -> str | bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        return text


def _secret_of(message: Mapping[str, Any], depth: int) -> bytes | None:
    """Return the secret of a message, or of the one that it wraps."""
    context = message.get("messageContextInfo")
    if isinstance(context, Mapping) and (secret := secret_bytes(context.get("messageSecret"))):
        return secret
    for wrapper in message.values() if depth else ():
        inner = wrapper.get("message") if isinstance(wrapper, Mapping) else None
        if isinstance(inner, Mapping) and (secret := _secret_of(inner, depth - 1)):
            return secret
    return None


def _secret_in(message: bytes, depth: int) -> bytes | None:
    """Return the secret of an encoded message, or of the one that it wraps."""
    fields = dict(_fields(message))
    secret = dict(_fields(fields.get(_CONTEXT, b""))).get(_SECRET)
    if secret is not None and len(secret) == SECRET_BYTES:
        return secret
    for wrapper, inner in _WRAPPERS.items() if depth else ():
        wrapped = dict(_fields(fields.get(wrapper, b""))).get(inner, b"")
        if wrapped and (found := _secret_in(wrapped, depth - 1)):
            return found
    return None


def _fields(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the numbers and the contents of the fields that have a length; what is no protobuf ends it."""
    at = 0
    while at < len(encoded):
        tag, at = _varint(encoded, at)
        kind = tag & 7
        if kind == _LENGTH:
            length, at = _varint(encoded, at)
            if at + length > len(encoded):
                return
            yield tag >> 3, encoded[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _varint(encoded, at)
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        else:
            return


def _varint(encoded: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends; what is longer than 64 bits is none, and ends everything."""
    value = 0
    for shift in range(0, 64, 7):
        if at == len(encoded):
            break
        byte = encoded[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 0, len(encoded)

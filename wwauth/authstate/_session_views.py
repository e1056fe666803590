"""Typed views of what libsignal keeps: sessions with devices, and groups' sender keys."""

from __future__ import annotations

from pydantic import Field

from ._view import Bytes, Int, View


class RatchetKeyPair(View):
    """The ratchet's key pair: public 33 bytes with 0x05 before them, private 32."""

    pub_key: Bytes
    priv_key: Bytes


class Ratchet(View):
    """Where the double ratchet stands."""

    ephemeral_key_pair: RatchetKeyPair
    last_remote_ephemeral_key: Bytes
    previous_counter: Int
    root_key: Bytes


class IndexInfo(View):
    """What tells entries apart; times are Unix times in milliseconds, and `closed` is -1 for the open entry."""

    base_key: Bytes
    base_key_type: Int
    closed: Int
    used: Int | None = None
    created: Int | None = None
    remote_identity_key: Bytes


class ChainKey(View):
    """Where a chain stands; a receiving chain that is closed has no key."""

    counter: Int
    key: Bytes | None = None


class Chain(View):
    """A chain, and the keys of messages that were skipped, by their numbers."""

    chain_key: ChainKey
    chain_type: Int
    message_keys: dict[int, Bytes] = Field(default_factory=dict)


class PendingPreKey(View):
    """With which keys the other side is to build the session that is not confirmed yet."""

    signed_key_id: Int
    base_key: Bytes
    pre_key_id: Int | None = None


class SessionEntry(View):
    """One session with a device; its chains by their ratchet keys."""

    registration_id: Int | None = None
    current_ratchet: Ratchet
    index_info: IndexInfo
    chains: dict[Bytes, Chain] = Field(alias="_chains")
    pending_pre_key: PendingPreKey | None = None

    @property
    def is_open(self) -> bool:
        """Whether this is the entry in use."""
        return self.index_info.closed == -1


class Session(View):
    """A record of type "session": all sessions with one device, by their base keys."""

    sessions: dict[Bytes, SessionEntry] = Field(alias="_sessions")
    version: str | None = None

    @property
    def open_entry(self) -> SessionEntry | None:
        """The session in use, if there is one."""
        return next((entry for entry in self.sessions.values() if entry.is_open), None)


class SenderChainKey(View):
    """A group's chain: where it stands, and the 32 bytes that the next key comes from."""

    iteration: Int
    seed: Bytes


class SenderSigningKey(View):
    """Who signs: public 33 bytes with 0x05 before them; private 32, or empty where somebody else does."""

    public: Bytes
    private: Bytes = b""


class SenderKeyState(View):
    """One state of a record of type "sender-key", which is a tuple of at most five."""

    sender_key_id: Int
    sender_chain_key: SenderChainKey
    sender_signing_key: SenderSigningKey
    sender_message_keys: tuple[SenderChainKey, ...] = ()

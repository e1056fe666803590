"""
Baileys' session management in Python: the credentials and signal keys of a socket login, which are never lost.

`use_multi_file_auth_state(folder)` and its siblings for databases give `(state, save_creds)`; docs/authstate.md follows
Baileys' guide section by section. What needs a database driver is loaded with its first use.
"""

from __future__ import annotations

from ..abc import CREDS, AuthStateStore, RecordName
from .bufferjson import UNDEFINED, BufferJSON, NotBufferJSON
from .creds import AuthenticationCreds, init_auth_creds
from .databases import use_mongo_auth_state, use_redis_auth_state, use_sql_auth_state
from .disconnect import DisconnectReason, ReconnectPolicy, reconnect_policy
from .folder import FolderAuthStateStore, use_multi_file_auth_state
from .in_memory_store import InMemoryStore, make_in_memory_store
from .keys import SignalKeyStore, add_transaction_capability, make_cacheable_signal_key_store
from .memory import MemoryAuthStateStore
from .messages import MessageStore
from .models import typed, typed_creds
from .state import AuthenticationState, use_auth_state

__all__ = [
    "CREDS",
    "UNDEFINED",
    "AuthStateStore",
    "AuthenticationCreds",
    "AuthenticationState",
    "BufferJSON",
    "DisconnectReason",
    "FolderAuthStateStore",
    "InMemoryStore",
    "MemoryAuthStateStore",
    "MessageStore",
    "NotBufferJSON",
    "ReconnectPolicy",
    "RecordName",
    "SignalKeyStore",
    "add_transaction_capability",
    "init_auth_creds",
    "make_cacheable_signal_key_store",
    "make_in_memory_store",
    "reconnect_policy",
    "typed",
    "typed_creds",
    "use_auth_state",
    "use_mongo_auth_state",
    "use_multi_file_auth_state",
    "use_redis_auth_state",
    "use_sql_auth_state",
]

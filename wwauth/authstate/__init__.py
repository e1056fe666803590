"""
Baileys' session management in Python: the credentials and signal keys of a socket login, which are never lost.

`use_multi_file_auth_state(folder)` and its siblings for databases give `(state, save_creds)`; docs/authstate.md follows
Baileys' guide section by section. What needs a database driver is loaded with its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy
from ..abc import CREDS, AuthStateStore, RecordName
from .bufferjson import UNDEFINED, BufferJSON, NotBufferJSON
from .creds import AuthenticationCreds, init_auth_creds
from .databases import use_mongo_auth_state, use_redis_auth_state, use_sql_auth_state
from .disconnect import DisconnectReason, ReconnectPolicy, reconnect_policy
from .encrypted import EncryptedAuthState, new_key, rekey
from .folder import FolderAuthStateStore, use_multi_file_auth_state
from .in_memory_store import InMemoryStore, make_in_memory_store
from .keys import SignalKeyStore, add_transaction_capability, make_cacheable_signal_key_store
from .memory import MemoryAuthStateStore
from .messages import MessageStore
from .prune import PrunePolicy, prune
from .state import AuthenticationState, use_auth_state
from .targets import open_auth_state_store
from .transfer import export_auth_state, import_auth_state
from .verify import verify

if TYPE_CHECKING:
    from .backup import AuthStateBackup
    from .models import typed, typed_creds

__all__ = [
    "CREDS",
    "UNDEFINED",
    "AuthStateBackup",
    "AuthStateStore",
    "AuthenticationCreds",
    "AuthenticationState",
    "BufferJSON",
    "DisconnectReason",
    "EncryptedAuthState",
    "FolderAuthStateStore",
    "InMemoryStore",
    "MemoryAuthStateStore",
    "MessageStore",
    "NotBufferJSON",
    "PrunePolicy",
    "ReconnectPolicy",
    "RecordName",
    "SignalKeyStore",
    "add_transaction_capability",
    "export_auth_state",
    "import_auth_state",
    "init_auth_creds",
    "make_cacheable_signal_key_store",
    "make_in_memory_store",
    "new_key",
    "open_auth_state_store",
    "prune",
    "reconnect_policy",
    "rekey",
    "typed",
    "typed_creds",
    "use_auth_state",
    "use_mongo_auth_state",
    "use_multi_file_auth_state",
    "use_redis_auth_state",
    "use_sql_auth_state",
    "verify",
]


# The engine of backups and pydantic are for those who use them.
__getattr__, __dir__ = lazy(__name__, {"AuthStateBackup": ".backup", "typed": ".models", "typed_creds": ".models"})

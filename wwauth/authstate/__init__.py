"""Baileys' session management in Python: credentials and signal keys that are never lost."""
from .bufferjson import BufferJSON as BufferJSON, UNDEFINED as UNDEFINED
from .creds import init_auth_creds as init_auth_creds, AuthenticationCreds as AuthenticationCreds
from .folder import use_multi_file_auth_state as use_multi_file_auth_state, FolderAuthStateStore as FolderAuthStateStore
from .state import use_auth_state as use_auth_state, AuthenticationState as AuthenticationState
from .keys import make_cacheable_signal_key_store as make_cacheable_signal_key_store, add_transaction_capability as add_transaction_capability
async def use_sql_auth_state(url, *, session="default"):
    from wwauth_stores.authstate.sqlite import SQLiteAuthStateStore
    from .state import open_state
    return await open_state(SQLiteAuthStateStore(url.removeprefix("sqlite:///")), session, owned=True)

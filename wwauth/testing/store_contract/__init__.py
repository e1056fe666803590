"""
What every store promises, as tests: each is a sentence of `wwauth.abc.Store`.

Subclass `StoreContract` in a test module of yours and give it one fixture::

    class TestMyStore(StoreContract):
        @pytest_asyncio.fixture
        async def store(self):
            store = MyStore(...)
            yield store
            await store.close()

        async def reopen(self, store):
            return MyStore(...)  # the same data

It needs pytest and pytest-asyncio, in either of its modes. What a store does not declare in its `features` is left out, and so
is what needs a hook that the subclass does not have: `reopen`, `open_elsewhere`, `unreachable`, `connections`. A skip names it.
What cannot apply to a store is an override that skips and says why.
"""

from __future__ import annotations

from wwauth.errors import MissingDependency

try:
    import pytest
    import pytest_asyncio  # noqa: F401 - runs the tests
except ImportError as error:
    raise MissingDependency("StoreContract needs pytest: pip install pytest pytest-asyncio") from error

# Before they are imported, so that an assertion that fails shows what it compared.
pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("_archives", "_atomic", "_base", "_ends", "_leases", "_names"))
)

from ._archives import Archives  # noqa: E402 - as said
from ._atomic import AllOrNothing  # noqa: E402
from ._ends import Ends  # noqa: E402
from ._leases import Leases  # noqa: E402
from ._names import Names  # noqa: E402

__all__ = ["StoreContract"]


class StoreContract(Archives, AllOrNothing, Names, Leases, Ends):
    """
    The tests of a store; the module's docstring says how to use them.

    Attributes:
        largest: The size of the largest archive that is sent there and back, in bytes. Logins have up to a few hundred
            megabytes: `largest = 64 * 1024 * 1024` is worth its seconds.
        kills: How many processes are killed while they save.
    """

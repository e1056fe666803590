"""Files in MongoDB, in GridFS's collections and fields, so that its tools read them; written and read in bounded memory."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo.errors import BulkWriteError, DuplicateKeyError

from wwauth.errors import StoreError

from ._local import CHUNK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    Step = Callable[[str], AbstractAsyncContextManager[None]]

# What is under way at a time. The drivers' own GridFS gathers up to 48 MB, a server's longest message.
_BATCH = 4 * CHUNK

# The server's code for an `_id` that is there. All are new here: when a connection breaks the driver asks again, and finds
# what it wrote the first time.
_THERE = 11000

# No document of MongoDB is larger.
_LARGEST_CHUNK = 16 * CHUNK


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as its document tells it; `sha256` is None where another program wrote it."""

    id: Any
    size: int
    chunk_size: int
    uploaded: datetime
    sha256: str | None


class Torn(Exception):
    """
    A file is not whole: it was deleted while it was read, or is damaged; the message says what is wrong with it.

    Attributes:
        file: Its id.
    """

    def __init__(self, message: str, file: object) -> None:
        super().__init__(message)
        self.file = file


class Bucket:
    """
    The collections `<name>.files` and `<name>.chunks`.

    A file's document is written after its chunks and deleted before them, as GridFS wants it. Nothing here is atomic
    beyond one document.

    Args:
        database: The database, with the concerns and options that all of this is to be done with.
        name: The bucket's.
        step: `DriverStore._step`: each call of the driver is one.
    """

    def __init__(self, database: Any, name: str, step: Step) -> None:
        self._files = database[f"{name}.files"]
        self._chunks = database[f"{name}.chunks"]
        self._step = step
        self._prepared = False

    async def prepare(self, doing: str) -> None:
        """Make the collections and their indexes, once; those that GridFS makes."""
        if self._prepared:
            return
        async with self._step(doing):
            await self._files.create_index([("filename", 1), ("uploadDate", 1)])
        async with self._step(doing):
            await self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
        self._prepared = True

    async def write_chunks(
        self, file: ObjectId, data: AsyncIterator[bytes], doing: str, written: Callable[[], Awaitable[object]]
    ) -> tuple[int, str]:
        """
        Store the chunks of a file, all of `CHUNK` bytes but the last, and return their size and SHA-256.

        `written` is awaited after each batch; its exceptions come through.
        """
        digest, size, number = hashlib.sha256(), 0, 0
        batch: list[dict[str, object]] = []
        async for chunk in data:
            if size % CHUNK:
                raise StoreError(f"cannot {doing}: the archive could not be read in parts of {CHUNK} bytes")
            digest.update(chunk)
            size += len(chunk)
            batch.append({"_id": ObjectId(), "files_id": file, "n": number, "data": chunk})
            number += 1
            if len(batch) * CHUNK >= _BATCH:
                await self._insert(batch, doing)
                batch = []
                await written()
        if batch:
            await self._insert(batch, doing)
        return size, digest.hexdigest()

    async def publish(self, file: ObjectId, filename: str, size: int, sha256: str, uploaded: datetime, doing: str) -> None:
        """Write the document of a file whose chunks are all there: from now on, readers of GridFS see it."""
        document = {
            "_id": file,
            "length": size,
            "chunkSize": CHUNK,
            "uploadDate": uploaded,
            "filename": filename,
            "metadata": {"sha256": sha256},
        }
        async with self._step(doing):
            with suppress(DuplicateKeyError):
                await self._files.insert_one(document)

    async def ids(self, filename: str, doing: str) -> list[Any]:
        """Return the ids of the files of this name, newest first."""
        async with self._step(doing):
            return [document["_id"] async for document in self._newest_first(filename)]

    async def newest(self, filename: str, doing: str) -> StoredFile | None:
        """Return the newest file of this name; `Torn`: its document cannot be understood."""
        async with self._step(doing):
            found = [document async for document in self._newest_first(filename).limit(1)]
        return _stored_file(found[0], found[0].get("_id")) if found else None

    async def get(self, file: ObjectId, doing: str) -> StoredFile:
        """Return one file; `Torn`: it is not there, or its document cannot be understood."""
        async with self._step(doing):
            document = await self._files.find_one({"_id": file})
        return _stored_file(document or {}, file)

    async def read(self, file: StoredFile, write: Callable[[bytes], Awaitable[object]], doing: str) -> None:
        """
        Hand a file's bytes to `write`, in order.

        Raises:
            Torn: A chunk is missing or is not what was saved.
        """
        digest, number, rest = hashlib.sha256(), 0, file.size
        while rest:
            batch = await self._read_batch(file, number, doing)
            if not batch:
                raise Torn(f"chunk {number} is missing", file.id)
            for document in batch:
                data = document.get("data")
                if document["n"] != number:
                    raise Torn(f"chunk {number} is missing", file.id)
                if not isinstance(data, bytes) or len(data) != min(file.chunk_size, rest):
                    raise Torn(f"chunk {number} is not of the right length", file.id)
                digest.update(data)
                rest -= len(data)
                number += 1
                await write(data)
        if file.sha256 is not None and digest.hexdigest() != file.sha256:
            raise Torn("its SHA-256 is another one", file.id)

    async def remove(self, files: Iterable[ObjectId], doing: str) -> None:
        """Delete files, whole or in parts; what is not there is no error."""
        which = list(files)
        async with self._step(doing):
            await self._files.delete_many({"_id": {"$in": which}})
        for file in which:
            async with self._step(doing):
                await self._chunks.delete_many({"files_id": file})

    async def orphans(self, doing: str) -> list[ObjectId]:
        """Return what chunks are there without a file's document: of saves that are under way, and of those that crashed."""
        async with self._step(doing):
            owners = await self._chunks.distinct("files_id")
        async with self._step(doing):
            known = await self._files.distinct("_id")
        return [owner for owner in owners if isinstance(owner, ObjectId) and owner not in set(known)]

    def _newest_first(self, filename: str) -> Any:
        # As GridFS tells revisions apart; of two from the same millisecond, always the same one.
        return self._files.find({"filename": filename}).sort([("uploadDate", -1), ("_id", -1)])

    async def _insert(self, batch: list[dict[str, object]], doing: str) -> None:
        async with self._step(doing):
            try:
                await self._chunks.insert_many(batch, ordered=False)
            except BulkWriteError as error:
                details = error.details
                if details["writeConcernErrors"] or any(each["code"] != _THERE for each in details["writeErrors"]):
                    raise

    async def _read_batch(self, file: StoredFile, number: int, doing: str) -> list[Any]:
        # A query for each batch: no cursor stays open on the server, and the driver asks again when a connection breaks.
        most = max(1, _BATCH // file.chunk_size)
        wanted = {"files_id": file.id, "n": {"$gte": number}}
        async with self._step(doing):
            cursor = self._chunks.find(wanted, {"_id": 0, "n": 1, "data": 1}).sort("n", 1).limit(most)
            return [document async for document in cursor]


def _stored_file(document: Mapping[str, Any], file: Any) -> StoredFile:
    """Read a file's document, which any program may have written: JavaScript stores whole numbers as floating ones, too."""
    try:
        size, chunk_size = int(document["length"]), int(document["chunkSize"])
        uploaded = document["uploadDate"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Torn("its document is missing, or lacks a length, a chunk size or a date", file) from error
    if size < 0 or not 0 < chunk_size <= _LARGEST_CHUNK or not isinstance(uploaded, datetime):
        raise Torn(f"its document tells of {size} bytes in chunks of {chunk_size}", file)
    metadata = document.get("metadata")
    sha256 = metadata.get("sha256") if isinstance(metadata, dict) else None
    return StoredFile(file, size, chunk_size, uploaded, sha256 if isinstance(sha256, str) else None)

"""The statements about archives, made once for each store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, select, update

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Select

    from ._sqlflavor import Flavor
    from ._sqlschema import Schema


class Statements:
    """
    The statements for the tables of one schema.

    Their parameters are the `name` of a session, the `key` of a content, the `number` of a chunk and its `bytes`; of an archive
    the `count` of its chunks, its `length` in bytes and its `digest`.
    """

    def __init__(self, schema: Schema, flavor: Flavor) -> None:
        archives, chunks = schema.archives, schema.chunks
        self._archives = archives
        here = archives.c.session == bindparam("name")
        written = {
            "content": bindparam("key"),
            "chunks": bindparam("count"),
            "size": bindparam("length"),
            "sha256": bindparam("digest"),
            "modified": flavor.now,
        }
        empty = {"content": None, "chunks": 0, "size": 0, "sha256": "", "modified": flavor.now}

        self.archive = select(archives).where(here, archives.c.content.is_not(None))
        self.locked = select(archives.c.content).where(here).with_for_update()
        self.add_archive = insert(archives).values(session=bindparam("name"), revision=1, **written)
        self.switch = update(archives).where(here).values(revision=archives.c.revision + 1, **written)
        self.empty = update(archives).where(here).values(**empty)
        self.forget = delete(archives).where(here)

        content = chunks.c.content == bindparam("key")
        self.chunk = select(chunks.c.data).where(content, chunks.c.n == bindparam("number"))
        self.add_chunk = insert(chunks).values(content=bindparam("key"), n=bindparam("number"), data=flavor.data("bytes"))
        self.drop_chunks = delete(chunks).where(content)

    def listing(self, prefix: str) -> Select[Any]:
        """Select what lies under names that begin with `prefix`, which consists of a name's characters, in their order."""
        columns = self._archives.c
        rows = select(columns.session, columns.size, columns.modified, columns.revision).where(columns.content.is_not(None))
        if prefix:
            # All characters of names are ASCII, and compared by their bytes: what follows the prefix begins with one greater.
            after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
            rows = rows.where(columns.session >= prefix, columns.session < after)
        return rows.order_by(columns.session)

"""One shard of a dataset as a part of another: its records that are wanted, under keys of the other dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from shards import layout
from shards.dataset import KINDS, Dataset, resolve
from shards.derived import derived_schema, with_derived
from shards.expression import Expression
from shards.index import DamagedShardError, TarSample, parse_idx
from shards.ledger import LedgerRow, Reason, read_ledger
from shards.manifest import ShardEntry
from shards.reader import read_records


@dataclass(frozen=True)
class Part:
    """A shard of a source, and what is wanted of it.

    ``prefix`` stands before its keys, with a slash, where other sources have the same ones; ``where`` is the condition
    on its records, None for all.
    """

    source: Dataset
    entry: ShardEntry
    prefix: str = ""
    where: Expression | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all its records are wanted."""
        return self.where is None or bool(self._mask.all())

    @property
    def count(self) -> int:
        """How many records are wanted."""
        return self.entry.clips if self.where is None else int(self._mask.sum())

    def places(self) -> dict[str, str]:
        """Return the whole paths or URLs of its files, by kind."""
        store, links = self.source.store, self.entry.links
        names = zip(KINDS, layout.shard_files(self.entry.stem), strict=True)
        return {kind: resolve(store, links.get(kind, name)) for kind, name in names}

    def records(self) -> pa.Table:
        """Return the wanted records, under their keys in the other dataset.

        Raises:
            StoreError: they cannot be read.
            DamagedShardError: they are damaged.
        """
        table = self._table.filter(pa.array(self._mask))
        keys = pa.array([self.key(key) for key in table["key"].to_pylist()], pa.string())
        return table.set_column(table.schema.get_field_index("key"), table.schema.field("key"), keys)

    def samples(self) -> list[TarSample]:
        """Return the wanted samples as DALI's index lists them, under the tar's own names."""
        name = layout.idx_name(self.entry.stem)
        found = parse_idx(self.source.store.read(name), name=f"{self.source.store.url}/{name}")
        if len(found) != len(self._mask):
            raise DamagedShardError(f"{self.source.store.url}/{name}", "its samples are not those of the records", 0)
        return [sample for sample, wanted in zip(found, self._mask, strict=True) if wanted]

    def ledger(self) -> list[LedgerRow]:
        """Return what became of the shard's rows: a clip that is not wanted is filtered by the condition."""
        wanted = set(self._table["key"].filter(pa.array(self._mask)).to_pylist())
        text = "" if self.where is None else self.where.text
        rows: list[LedgerRow] = []
        for row in read_ledger(self.source.store, self.entry.stem):
            if row.status != "success":
                rows.append(row)
            elif row.key in wanted:
                rows.append(replace(row, key=self.key(str(row.key))))
            else:
                message = f"not selected by {text!r}"
                rows.append(replace(row, key=None, status="filtered", reason=Reason.FILTER_EXPRESSION, message=message))
        return rows

    def key(self, key: str) -> str:
        """Return a sample's key in the other dataset."""
        return f"{self.prefix}/{key}" if self.prefix else key

    @cached_property
    def _table(self) -> pa.Table:
        name = layout.parquet_name(self.entry.stem)
        return read_records(self.source.store.read(name), name=f"{self.source.store.url}/{name}")

    @cached_property
    def _mask(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        if self.where is None:
            return np.ones(self._table.num_rows, dtype=np.bool_)
        self.where.check(
            derived_schema(self._table.schema)
        )  # an error names all values, not those alone that are asked
        table = with_derived(self._table, self.where.names)
        return np.asarray(self.where.mask(table).to_numpy(zero_copy_only=False), dtype=np.bool_)

"""Facts as Parquet that anything reads: one folder a kind and day, hive style, and a page that says what it is.

Writes whole or not at all: everything goes to a folder beside the target, is read back, and takes the target's name
last. The journal's own segments are another thing (``journal/stores``); these files are for others, without salts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import duckdb
import orjson

from antiphon.journal.stores.log import LogDamage
from antiphon.journal.stores.typed_views import quote_text

from .answers import HistoryError
from .history import History
from .offline import check_journal

MANIFEST = "_antiphon.json"
"""What says where an export is from; engines pass over names that begin with an underscore."""

COLUMNS = "fact_id, version, author, authority, chain, seq, at_ms, at_time, hlc, namespace, payload, is_erased, hidden"
"""The columns of every file, the same for all kinds; ``kind`` and ``date`` are in the path."""


class ExportProgress(NamedTuple):
    """How far an export is."""

    kind: str
    fact_count: int
    fact_total: int


class ExportReport(NamedTuple):
    """What was written, and read back again."""

    folder: Path
    fact_count: int
    kind_count: int
    file_count: int
    byte_count: int
    damages: tuple[LogDamage, ...] = ()
    """What of the journal's log cannot be read, and so is in no file."""


def export_parquet(
    journal: Path, target: Path, *, on_progress: Callable[[ExportProgress], None] = lambda _: None
) -> ExportReport:
    """Write every fact of *journal* to ``target/kind=…/date=…/facts_0.parquet``; ~20 µs a fact, reading included.

    Days are those of the stamp, in UTC; facts whose stamp is outside the years 1 to 9999 are under
    ``date=__HIVE_DEFAULT_PARTITION__``. Hidden and erased facts are there, told by their columns. Raises
    ``HistoryError`` when *target* is there already and not empty, or when what was read back is not what was written,
    and what ``open_history`` raises.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HistoryError(f"{target} is there already; name a folder that is not, or an empty one")
    check_journal(journal)
    target.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)).resolve()
    try:
        draft = workspace / "facts"
        with History(journal, output=workspace) as history:
            history.refresh()
            _write(history, draft, on_progress)
            report = _read_back(history, draft, target)._replace(damages=history.damages)
            (draft / MANIFEST).write_bytes(orjson.dumps(_manifest(history, report), option=orjson.OPT_INDENT_2) + b"\n")
        draft.replace(target)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    return report


def _write(history: History, draft: Path, on_progress: Callable[[ExportProgress], None]) -> None:
    draft.mkdir()
    kinds = [kind for kind in history.kinds() if kind.fact_count]
    total, done = sum(kind.fact_count for kind in kinds), 0
    for kind in kinds:
        on_progress(ExportProgress(kind.kind, done, total))
        history.write_out(
            f"COPY (SELECT kind, strftime(at_time, '%Y-%m-%d') AS date, {COLUMNS} FROM main.history "
            f"WHERE kind = {quote_text(kind.kind)} ORDER BY at_ms, hlc, fact_id) TO {quote_text(str(draft))} "
            "(FORMAT parquet, COMPRESSION zstd, PARTITION_BY (kind, date), OVERWRITE_OR_IGNORE, "
            "FILENAME_PATTERN 'facts_{i}')"
        )
        done += kind.fact_count
        on_progress(ExportProgress(kind.kind, done, total))


def _read_back(history: History, draft: Path, target: Path) -> ExportReport:
    files = sorted(draft.rglob("*.parquet"))
    written = (0, None)
    if files:
        # A stranger's DuckDB, with nothing of ours but the files.
        with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as stranger:
            written = stranger.execute(
                "SELECT count(*), bit_xor(hash(fact_id, kind, payload)) FROM "
                f"read_parquet({quote_text(str(draft / '**' / '*.parquet'))}, hive_partitioning = true, "
                "hive_types = {'kind': VARCHAR, 'date': VARCHAR})"
            ).fetchall()[0]
    held = history.sql("SELECT count(*), bit_xor(hash(fact_id, kind, payload)) FROM history").fetchall()[0]
    if written != held:
        counts = f"{written[0]} facts were read back of {held[0]} written"
        raise HistoryError(f"{counts}, or others; nothing was kept: check the disk and try again")
    kinds = {path.parent.parent.name for path in files}
    return ExportReport(target, int(str(held[0])), len(kinds), len(files), sum(path.stat().st_size for path in files))


def _manifest(history: History, report: ExportReport) -> dict[str, object]:
    return {
        "format": "antiphon facts, hive partitions kind and date",
        "columns": COLUMNS.split(", "),
        "facts": report.fact_count,
        "fingerprint": history.fingerprint,
    }


__all__ = ["COLUMNS", "MANIFEST", "ExportProgress", "ExportReport", "export_parquet"]

"""Commands that check: ``verify`` one journal, ``doctor`` two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import JournalOption, JsonOption, clean, counted, show_time, write, write_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (verify, doctor):
        app.command()(command)


def verify(journal: JournalOption, as_json: JsonOption = False) -> None:
    """Read the whole log again and check every hash, link, frame and seal; exit code 1 names each damaged place.

    JSON: one object: sound, facts, runs, frames, files, strays, fingerprint, damages [{file, offset, length, reason}].
    """
    from antiphon.app.offline import open_offline, verify_log

    offline = open_offline(journal)
    found = verify_log(offline)
    if as_json:
        write_json(
            {
                "sound": not found.damages,
                "facts": found.fact_count,
                "runs": found.run_count,
                "frames": found.frame_count,
                "files": found.file_count,
                "strays": found.stray_count,
                "fingerprint": offline.index.fingerprint(),
                "damages": [
                    {"file": each.file_number, "offset": each.offset, "length": each.length, "reason": each.reason}
                    for each in found.damages
                ],
            }
        )
    else:
        for each in found.damages:
            write(
                f"log file {each.file_number}, bytes {each.offset}..{each.offset + each.length}: {clean(each.reason)}"
            )
        verdict = "damaged; sync with a peer that holds these facts" if found.damages else "sound"
        write(
            f"{counted(found.fact_count, 'fact')} under {counted(found.run_count, 'seal')} "
            f"in {counted(found.frame_count, 'frame')} of {counted(found.file_count, 'file')}: {verdict}"
        )
    if found.damages:
        raise typer.Exit(1)


def doctor(
    first: Annotated[Path, typer.Argument(metavar="A", help="A journal's folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one's.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two journals; exit code 1 when they differ, with the first fact (by time) that only one of them holds.

    JSON: one object: equal, fingerprints [a, b], facts [a, b], namespaces (that differ), missing [in a, in b], forked
    (chains), first_difference {held_by, fact_id, kind, at_ms, author, namespace, chain, seq} or null.
    """
    from antiphon.app.offline import compare_journals, open_offline

    found = compare_journals(open_offline(first), open_offline(second))
    folders = (first, second)
    if as_json:
        record = found.first.record if found.first else None
        write_json(
            {
                "equal": found.is_equal,
                "fingerprints": found.fingerprints,
                "facts": found.fact_counts,
                "namespaces": found.namespaces,
                "missing": found.missing,
                "forked": found.forked,
                "first_difference": record
                and {
                    "held_by": str(folders[found.first.holder if found.first else 0]),
                    "fact_id": record.fact_id.hex(),
                    "kind": record.kind,
                    "at_ms": record.at,
                    "author": record.chain.label,
                    "namespace": record.chain.namespace,
                    "chain": record.chain.text,
                    "seq": record.seq,
                },
            }
        )
    else:
        for folder, fingerprint, count, missing in zip(
            folders, found.fingerprints, found.fact_counts, found.missing, strict=True
        ):
            write(f"{folder}: {counted(count, 'fact')}, lacks {missing:,}, fingerprint {fingerprint}")
        for chain in found.forked:
            write(f"chain {chain} is told in two ways: its writer forked it, or a disk was rolled back")
        if found.first is not None:
            record = found.first.record
            write(
                f"first difference: {record.kind} of {show_time(record.at)} by {clean(record.chain.label)} "
                f"({record.fact_id.hex()[:12]}, "
                f"number {record.seq} of chain {record.chain.text[:8]}), only in {folders[found.first.holder]}"
            )
        write("equal" if found.is_equal else "they differ; antiphon sync makes them equal")
    if not found.is_equal:
        raise typer.Exit(1)

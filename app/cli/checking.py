"""Commands that check: ``verify`` one journal, ``doctor`` two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import JournalOption, JsonOption, bar_of, clean, counted, show_time, write, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from antiphon.app.offline import ChainDifference, Comparison, Difference
    from antiphon.app.troubles import Troubles

_CHAINS_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (verify, doctor):
        app.command()(command)


def verify(journal: JournalOption, as_json: JsonOption = False) -> None:
    """Read the whole log again and check every hash, link, frame and seal; exit code 1 names each damaged place.

    Also named: facts that are missing, chains with two stories (whose, and from which number on), where chains were
    collapsed, and what was kept of bytes that were refused.

    JSON: one object: sound, facts, runs, frames, files, strays, fingerprint, damages [{file, offset, length, reason}],
    holes [{chain, namespace, author, authority, from_seq, to_seq}], forks [{…, from_seq}], void, evidence [{at_ms,
    peer, chain, first_seq, reason, is_sender_at_fault, size, digest, first_bytes}], bases [{…, to_seq}].
    """
    from antiphon.app.offline import open_offline, verify_log
    from antiphon.app.troubles import find_troubles

    offline = open_offline(journal)
    with bar_of("files") as show:
        found = verify_log(
            offline, on_progress=lambda number, done, total: show(f"verifying log file {number}", done, total)
        )
    troubles = find_troubles(offline)
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
            | troubles.describe()
        )
    else:
        for each in found.damages:
            write(
                f"log file {each.file_number}, bytes {each.offset}..{each.offset + each.length}: {clean(each.reason)}"
            )
        for line in troubles.lines():
            write(clean(line))
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
    """Compare two journals, say how they differ and what would help; exit code 1 when they differ.

    Chains are compared by how far each journal has them; facts are told apart where those differ, the first (by time)
    that only one holds is named, and so are holes and damage.

    JSON: one object: equal, fingerprints [a, b], facts [a, b], namespaces (that differ), missing [in a, in b], forked
    (chains), chains [{chain, namespace, author, last_seq [a, b], forked_at}], damages [a, b], strays [a, b], troubles
    [a, b] (as verify tells them), advice [text], first_difference {held_by, fact_id, kind, at_ms, author, namespace,
    chain, seq} or null.
    """
    from antiphon.app.offline import compare_journals, open_offline
    from antiphon.app.troubles import find_troubles

    folders, journals = (first, second), (open_offline(first), open_offline(second))
    found = compare_journals(*journals)
    troubles = [find_troubles(each) for each in journals]
    if as_json:
        write_json(_comparison_json(folders, found, troubles))
    else:
        _tell_comparison(folders, found, troubles)
    if not found.is_equal:
        raise typer.Exit(1)


def _comparison_json(folders: tuple[Path, Path], found: Comparison, troubles: Sequence[Troubles]) -> dict[str, object]:
    return {
        "equal": found.is_equal,
        "fingerprints": found.fingerprints,
        "facts": found.fact_counts,
        "namespaces": found.namespaces,
        "missing": found.missing,
        "forked": found.forked,
        "chains": [
            {
                "chain": each.info.text,
                "namespace": each.info.namespace,
                "author": each.info.label,
                "last_seq": each.last_seqs,
                "forked_at": each.forked_at,
            }
            for each in found.chains
        ],
        "damages": found.damage_counts,
        "strays": found.stray_counts,
        "troubles": [each.describe() for each in troubles],
        "advice": advise(found, folders),
        "first_difference": found.first and _difference_json(found.first, folders),
    }


def _difference_json(first: Difference, folders: tuple[Path, Path]) -> dict[str, object]:
    record = first.record
    return {
        "held_by": str(folders[first.holder]),
        "fact_id": record.fact_id.hex(),
        "kind": record.kind,
        "at_ms": record.at,
        "author": record.chain.label,
        "namespace": record.chain.namespace,
        "chain": record.chain.text,
        "seq": record.seq,
    }


def _tell_comparison(folders: tuple[Path, Path], found: Comparison, troubles: Sequence[Troubles]) -> None:
    for folder, fingerprint, count, missing in zip(
        folders, found.fingerprints, found.fact_counts, found.missing, strict=True
    ):
        write(f"{folder}: {counted(count, 'fact')}, lacks {missing:,}, fingerprint {fingerprint}")
    for each in found.chains[:_CHAINS_SHOWN]:
        write(
            f"  chain {each.info.text[:8]} of {clean(each.info.label or each.info.authority[:8])} "
            f"in {clean(each.info.namespace)}: {_compare_heads(each)}"
        )
    if len(found.chains) > _CHAINS_SHOWN:
        write(f"  and {len(found.chains) - _CHAINS_SHOWN:,} more chains (--json lists all)")
    if found.first is not None:
        record = found.first.record
        write(
            f"first difference: {record.kind} of {show_time(record.at)} by {clean(record.chain.label)} "
            f"({record.fact_id.hex()[:12]}, "
            f"number {record.seq} of chain {record.chain.text[:8]}), only in {folders[found.first.holder]}"
        )
    for folder, each_troubles in zip(folders, troubles, strict=True):
        for line in each_troubles.lines():
            write(f"{folder}: {clean(line)}")
    write("equal" if found.is_equal else "they differ")
    for line in advise(found, folders):
        write(f"- {line}")


def _compare_heads(each: ChainDifference) -> str:
    if each.forked_at is not None:
        return f"two stories from number {each.forked_at} on (A up to {each.last_seqs[0]}, B up to {each.last_seqs[1]})"
    first, second = (f"up to {last}" if last else "nothing of it" for last in each.last_seqs)
    return f"A has {first}, B has {second}"


def advise(found: Comparison, folders: tuple[Path, Path]) -> list[str]:
    """What would help, most urgent first."""
    lines = []
    for folder, damages, strays in zip(folders, found.damage_counts, found.stray_counts, strict=True):
        if damages:
            lines.append(
                f"{folder} has {counted(damages, 'place')} that cannot be read: antiphon verify --journal {folder} "
                "names them, and syncing with a peer that holds the facts brings them again"
            )
        if strays:
            lines.append(f"{folder} holds {counted(strays, 'fact')} behind a hole or twice, which are no members there")
    lines += [
        f"chain {chain} was written on two ways, as after a restored backup: both journals keep what they have; open "
        "the one that was restored, and it begins a new chain"
        for chain in found.forked
    ]
    if not found.is_equal:
        lines.append(
            f"antiphon serve --journal {folders[0]}, and antiphon sync ADDRESS --journal {folders[1]}, "
            "give each what it lacks"
        )
    return lines

"""Each fault of the atlas bites, and only where it is told to."""

import errno
from pathlib import Path
from random import Random

import pytest

from antiphon.testing.simulation.disk import SECTOR_SIZES, DiskFaults, Platter, VirtualDisk, frames_of
from antiphon.testing.simulation.loop import Killed, Process, run_virtual

BIG = bytes(range(256)) * 64


def platter_in(folder: Path, seed: int = 1, **faults: float) -> Platter:
    (folder / "log").mkdir(exist_ok=True)
    return Platter(folder, Random(seed), DiskFaults(**faults))


def write(disk: VirtualDisk, path: Path, data: bytes, *, is_synced: bool) -> None:
    descriptor = disk.open_append(path)
    disk.write(descriptor, data)
    if is_synced:
        disk.sync(descriptor)
        disk.sync_folder(path.parent)
    disk.close(descriptor)


def after_power_loss(folder: Path, seed: int, *, is_synced: bool) -> bytes | None:
    platter = platter_in(folder, seed)
    path = folder / "log" / f"{seed:08d}.ndjson"
    write(VirtualDisk(platter), path, BIG, is_synced=is_synced)
    platter.lose_power()
    return path.read_bytes() if path.exists() else None


def test_what_was_synced_survives_every_power_loss(tmp_path: Path) -> None:
    assert {after_power_loss(tmp_path, seed, is_synced=True) for seed in range(50)} == {BIG}


def test_what_was_not_synced_is_lost_torn_or_scattered_and_its_name_may_go(tmp_path: Path) -> None:
    images = [after_power_loss(tmp_path, seed, is_synced=False) for seed in range(200)]
    kept = [image for image in images if image is not None]
    assert None in images
    assert b"" in kept
    assert any(image and BIG.startswith(image) and len(image) < len(BIG) for image in kept), "no torn tail"
    holes = [image for image in kept if not BIG.startswith(image)]
    assert holes, "no reordered sectors"
    for image in holes:
        sector = min(SECTOR_SIZES)
        parts = [image[at : at + sector] for at in range(0, len(image), sector)]
        assert all(part in (BIG[at * sector :][: len(part)], bytes(len(part))) for at, part in enumerate(parts))


def test_a_removal_that_was_not_synced_may_be_taken_back(tmp_path: Path) -> None:
    fates = set()
    for seed in range(20):
        platter = platter_in(tmp_path, seed)
        disk, path = VirtualDisk(platter), tmp_path / "log" / f"{seed:08d}.ndjson"
        write(disk, path, BIG, is_synced=True)
        disk.remove(path)
        platter.lose_power()
        fates.add(path.exists())
    assert fates == {True, False}


def test_a_renaming_that_was_not_synced_may_be_taken_back(tmp_path: Path) -> None:
    for is_synced, expected in ((False, {True, False}), (True, {True})):
        fates = set()
        for seed in range(20):
            platter = platter_in(tmp_path, seed)
            disk, staged = VirtualDisk(platter), tmp_path / "log" / f"staged-{is_synced}-{seed}"
            staged.write_bytes(BIG)
            target = staged.with_suffix(".done")
            disk.rename(staged, target)
            if is_synced:
                disk.sync_folder(staged.parent)
            platter.lose_power()
            fates.add(target.exists())
        assert fates == expected


@pytest.mark.parametrize(
    ("fault", "number"), [("write_error", errno.EIO), ("full", errno.ENOSPC), ("sync_error", errno.EIO)]
)
def test_a_call_fails_when_it_is_told_to(tmp_path: Path, fault: str, number: int) -> None:
    platter = platter_in(tmp_path)
    disk = VirtualDisk(platter)
    descriptor = disk.open_append(tmp_path / "log" / "00000001.ndjson")
    setattr(platter.faults, fault, 1.0)
    calls = {"sync_error": lambda: disk.sync(descriptor)}
    with pytest.raises(OSError) as raised:
        calls.get(fault, lambda: disk.write(descriptor, BIG))()
    assert raised.value.errno == number
    disk.close(descriptor)


def test_a_process_dies_inside_a_write_and_leaves_a_part_of_it(tmp_path: Path) -> None:
    sizes = set()
    for seed in range(20):
        platter = platter_in(tmp_path, seed)
        path = tmp_path / "log" / f"{seed:08d}.ndjson"

        async def live(platter: Platter = platter, path: Path = path) -> bool:
            process = Process("ada")
            disk = VirtualDisk(platter, process)
            descriptor = disk.open_append(path)
            disk.die_after(0)
            with pytest.raises(Killed):
                disk.write(descriptor, BIG)
            with pytest.raises(Killed):
                disk.sync(descriptor)
            disk.release()
            return process.is_dead

        assert run_virtual(live())
        sizes.add(path.stat().st_size)
    assert len(sizes) > 10
    assert max(sizes) <= len(BIG)


def test_an_image_brings_back_what_was(tmp_path: Path) -> None:
    platter = platter_in(tmp_path)
    (tmp_path / "LOCK").write_text("{}")
    path = tmp_path / "log" / "00000001.ndjson"
    write(VirtualDisk(platter), path, b"old", is_synced=True)
    image, inode = platter.take_image(), (tmp_path / "LOCK").stat().st_ino
    path.write_bytes(b"new")
    (tmp_path / "log" / "00000002.ndjson").write_bytes(b"newer")
    platter.put_back(image, in_place=True)
    assert path.read_bytes() == b"old"
    assert not (tmp_path / "log" / "00000002.ndjson").exists()
    assert (tmp_path / "LOCK").stat().st_ino == inode


def test_rot_changes_one_place_and_tells_which_frames_it_touched(tmp_path: Path) -> None:
    frame = b'{"h":1}\n{"frame":{}}\n'
    whole = b'{"header":0}\n' + frame * 400
    kinds = set()
    for seed in range(60):
        platter = platter_in(tmp_path, seed)
        path = tmp_path / "log" / "00000001.ndjson"
        path.write_bytes(whole)
        rot = platter.rot()
        assert rot is not None
        kinds.add(rot.kind)
        data = path.read_bytes()
        changed = [at for at, (old, new) in enumerate(zip(whole, data, strict=True)) if old != new]
        assert all(rot.start <= at < rot.end for at in changed)
        assert rot.frames[0] <= rot.start
        assert rot.frames[1] >= rot.end
    assert kinds == {"flip", "zero", "misdirect"}


def test_the_frames_around_a_place_end_with_closing_lines() -> None:
    data = b'{"header":0}\n{"h":1}\n{"frame":{"a":1}}\n{"h":2}\n{"frame":{"b":2}}\ntail'
    first, second = data.index(b'{"h":1}'), data.index(b'{"h":2}')
    assert frames_of(data, first + 2, first + 3) == (first, second)
    assert frames_of(data, second + 2, second + 3) == (second, data.index(b"tail"))
    assert frames_of(data, 3, 4) == (0, len(data))

"""A manifest notices every change of every file, and trusts nothing that is not on the disk."""

import hashlib
import json
import os
import shutil
from contextlib import closing
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import pytest

from train.checkpoint import manifest
from train.checkpoint.checkpointer import Checkpointer
from train.checkpoint.manifest import MANIFEST, Fault, check
from train.config import CheckpointConfig

EACH_STEP = CheckpointConfig(every_steps=1, keep_latest=9)
KEY, OTHER_KEY = b"k" * 32, b"o" * 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real checkpoint."""
    return saved(tmp_path_factory.mktemp("checkpoints"))


def saved(path: Path, key: bytes | None = None) -> Path:
    state = {"w": jnp.arange(512.0), "half": jnp.ones((3,), jnp.bfloat16), "step": jnp.int32(1)}
    with closing(Checkpointer(path, EACH_STEP, key=key)) as checkpointer:
        checkpointer.save(1, state, {"examples_seen": 8})
    return path / "1"


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def test_every_damage_to_every_file_is_noticed(checkpoint: Path, tmp_path: Path) -> None:
    names = [*manifest.file_names(checkpoint), MANIFEST]
    assert len(names) > 10 and check(checkpoint) == []
    copy = tmp_path / "1"
    for name in names:
        size = (checkpoint / name).stat().st_size
        bits = [0, 4 * size + 3, 8 * size - 1]
        damages = [partial(flip, bit=bit) for bit in bits]
        damages += [partial(os.truncate, length=length) for length in (size // 2, 0)]
        damages += [Path.unlink, partial(Path.write_bytes, data=bytes(size))]
        for damage in damages:
            shutil.copytree(checkpoint, copy)
            damage(copy / name)
            assert [fault.file for fault in check(copy)] == [name]
            shutil.rmtree(copy)


def test_arrays_that_were_never_merged_are_no_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    """Orbax merges nothing, and says nothing, where its pattern does not match the path itself."""
    path = tmp_path / "q[1]"
    with pytest.raises(ValueError, match=r"saving step 1 failed: state/manifest\.ocdbt: missing"):
        saved(path)
    assert not (path / "1").exists()
    copy = tmp_path / "1"
    shutil.copytree(checkpoint, copy)
    entries = manifest.read(copy)
    index = "state/manifest.ocdbt"
    text = (copy / MANIFEST).read_text()
    (copy / index).unlink()
    body = {name: value for name, value in json.loads(text).items() if name != "sha256"}
    body["files"].pop(index)
    body["bytes"] -= entries.files[index].size
    seal = hashlib.sha256((json.dumps(body, indent=1) + "\n").encode()).hexdigest()
    (copy / MANIFEST).write_text(json.dumps(body | {"sha256": seal}, indent=1) + "\n")
    for share in ((0, 1), (1, 2)):
        assert check(copy, share=share) == [Fault(index, "missing, so no array can be read")]


def test_every_bit_of_the_manifest_itself_counts(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    copy.mkdir()
    text = (checkpoint / MANIFEST).read_bytes()
    for bit in range(0, 8 * len(text), 67):
        (copy / MANIFEST).write_bytes(text)
        flip(copy / MANIFEST, bit)
        with pytest.raises(ValueError, match=r"damaged|unreadable"):
            manifest.read(copy)
    twice = text.replace(b'"step": 1,', b'"step": 2,\n "step": 1,')
    for altered in (text + b"\n", text.rstrip(), twice):
        (copy / MANIFEST).write_bytes(altered)
        with pytest.raises(ValueError, match="damaged"):
            manifest.read(copy)


def test_what_is_wrong_is_reported(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(checkpoint, copy)
    (copy / "state" / "_METADATA").unlink()
    (copy / "state" / "_METADATA").symlink_to(checkpoint / "state" / "_METADATA")
    (copy / "state" / "commit_success.txt").unlink()
    (copy / "state" / "new").write_text("")
    (copy / "meta.json").write_text("{}")
    size = (checkpoint / "meta.json").stat().st_size
    expected = [
        Fault("meta.json", f"2 bytes in place of {size}"),
        Fault("state/_METADATA", "no plain file"),
        Fault("state/commit_success.txt", "missing"),
        Fault("state/new", "not in the manifest"),
    ]
    assert check(copy) == expected
    assert check(copy, sizes_only=True) == expected
    halves = [check(copy, share=(index, 2)) for index in range(2)]
    assert all(halves) and sorted(halves[0] + halves[1]) == expected


def test_sizes_only_reads_no_bytes(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(checkpoint, copy)
    flip(copy / "meta.json", 100)
    assert check(copy, sizes_only=True) == []
    assert check(copy) == [Fault("meta.json", "checksum differs")]


def test_another_steps_checkpoint_in_its_place_is_noticed(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "2")
    assert check(tmp_path / "2") == [Fault(MANIFEST, "of step 1, not 2")]


def test_a_key_refuses_what_was_not_signed_with_it(checkpoint: Path, tmp_path: Path) -> None:
    signed = saved(tmp_path, KEY)
    assert check(signed, key=KEY) == []
    assert check(signed) == []
    assert check(signed, key=OTHER_KEY) == [Fault(MANIFEST, "signed with another key")]
    assert check(checkpoint, key=KEY) == [Fault(MANIFEST, "not signed, but a key is given")]
    entries = json.loads((signed / MANIFEST).read_text())
    assert KEY.decode() not in (signed / MANIFEST).read_text()
    forged = manifest.read(checkpoint)
    manifest.write(signed, forged)
    unsigned = json.loads((signed / MANIFEST).read_text())
    text = json.dumps(unsigned | {"hmac": entries["hmac"]}, indent=1) + "\n"
    (signed / MANIFEST).write_text(text)
    assert check(signed, key=KEY)[0] == Fault(MANIFEST, "signed with another key")


def test_nothing_is_trusted_or_deleted_before_all_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut may take: bytes of files and names in folders that were not flushed."""
    flushed: set[int] = set()
    renamed: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    def checked(path: Path, target: Path) -> Path:
        if path.suffix == ".saving":
            below = [path, *path.rglob("*")]
            assert [p for p in below if p.stat().st_ino not in flushed] == []
            assert len(below) > 15
            flushed.discard(path.parent.stat().st_ino)
        if target.suffix == ".deleting":
            assert path.parent.stat().st_ino in flushed
        renamed.append(target.name)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(Path, "rename", checked)
    config = CheckpointConfig(every_steps=1, keep_latest=1)
    with closing(Checkpointer(tmp_path / "run" / "checkpoints", config)) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, {"w": jnp.ones((8,))}, {})
    assert renamed == ["1", "2", "1.deleting"]
    created = [tmp_path / "run" / "checkpoints", tmp_path / "run"]
    assert {path.stat().st_ino for path in created} <= flushed

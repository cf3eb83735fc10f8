"""The key comes from a file that only its owner reads, and signs what a run writes."""

from pathlib import Path

import pytest

from launch.run.signing import VARIABLE, signing_key


def key_file(path: Path, data: bytes, mode: int = 0o600) -> dict[str, str]:
    path.write_bytes(data)
    path.chmod(mode)
    return {VARIABLE: str(path)}


def test_the_key_is_what_the_file_holds(tmp_path: Path) -> None:
    assert signing_key({}) is None
    assert signing_key(key_file(tmp_path / "key", b"k" * 64 + b"\n", 0o440)) == b"k" * 64


@pytest.mark.parametrize(
    ("data", "mode", "words"),
    [(b"k" * 31, 0o600, "must hold 32 bytes"), (b"k" * 32, 0o644, "mode is 644; try: chmod 600")],
    ids=["short", "open"],
)
def test_a_poor_key_is_refused(tmp_path: Path, data: bytes, mode: int, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        signing_key(key_file(tmp_path / "key", data, mode))
    assert "kkk" not in str(refusal.value)


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must name a readable file"):
        signing_key({VARIABLE: str(tmp_path / "none")})

import pytest

from launch import cli
from launch.plan.memory import NAME, OLD, MemoryFit, share_of
from launch.plan.topology import parse

GPUS = parse("h100x8")


@pytest.mark.parametrize(
    ("new", "old", "share"),
    [("", "", 0.75), ("0.9", "", 0.9), ("", "0.5", 0.5), ("1", "", 1.0), ("0.8", "", 0.8)],
)
def test_share_of_a_gpu_is_read_as_jax_reads_it(
    new: str, old: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, new)
    monkeypatch.setenv(OLD, old)
    assert share_of(GPUS) == share
    assert share_of(parse("v5p-8")) == 1


@pytest.mark.parametrize("name", [NAME, OLD])
@pytest.mark.parametrize("text", ["abc", "0", "-0.5", "1.5", "nan", " "])
def test_what_is_no_share_is_refused(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OLD, "")
    monkeypatch.setenv(NAME, "")
    monkeypatch.setenv(name, text)
    with pytest.raises(ValueError, match=rf"{name}={text} must .*try {NAME}=0.75"):
        share_of(GPUS)


def test_both_names_are_refused_before_the_compiler_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(NAME, "0.9")
    monkeypatch.setenv(OLD, "0.8")
    assert cli.main("plan tiny --on h100x8 --mesh.fsdp 8 --train.batch-size 8".split()) == 1
    assert f"{OLD}=0.8 must not be set with {NAME}=0.9" in capsys.readouterr().err


def test_the_share_that_is_advised_leaves_room_for_cuda() -> None:
    for peak, share in ((800, "0.82"), (945, "0.95")):
        fit = MemoryFit("fits if a process may take more", peak, True, 1000, 0.75, (), 0)
        assert fit.variable == f"{NAME}={share}"

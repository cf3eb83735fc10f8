"""Tables of other trainers: what is read, and what is wrong with one."""

import json
import shlex
from pathlib import Path

import pytest

from launch.ladder.read import columns_of, read_runs
from launch.ladder.runs import ScalingRun
from tests.advice import followed

COLUMNS = {"params": "N", "tokens": "D", "loss": "loss"}
NOTHING: frozenset[int] = frozenset()


def test_csv_and_json_lines_give_the_same_runs(tmp_path: Path) -> None:
    table, lines = tmp_path / "runs.csv", tmp_path / "runs.jsonl"
    table.write_bytes(b"\xef\xbb\xbfN,name,D,loss\r\n 1e8 ,a,2e9,3.5\r\n2e8,b,3e9,3.25\r\n")
    rows = [{"N": 1e8, "D": 2_000_000_000, "loss": "3.5"}, {"N": 2e8, "D": 3e9, "loss": 3.25}]
    lines.write_text("\n" + "\n".join(map(json.dumps, rows)))
    runs = read_runs(table, COLUMNS, NOTHING)
    assert [run.name for run in runs] == ["line 2", "line 3"]
    assert runs[0][1:] == (1e8, 2e9, 1.2e18, 3.5, float("inf"))
    assert read_runs(lines, COLUMNS, NOTHING) == runs


def test_tokens_follow_from_flops_and_lines_are_left_out(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text("Model Size,Training FLOP,loss\n1e8,6e17,3.5\n2e8,bad,nan\n")
    columns = columns_of("params = Model Size, flops=Training FLOP,loss=loss")
    (run,) = read_runs(table, columns, frozenset({3}))
    assert run.tokens == pytest.approx(1e9) and run.flops == 6e17


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("params=N,loss=loss", "both tokens and flops are missing"),
        ("tokens=D", "loss and params missing"),
        ("params=N,tokens=D,loss=loss,seed=s", "'seed' is none of these"),
        ("params=N,tokens=,loss=loss", "'tokens' is none of these"),
        ("N D loss", "'N D loss' is none of these"),
        ("params=N,tokens=N,loss=loss", "one is named twice"),
        ("params=N,tokens=D,loss=a,loss=b", "one is named twice"),
    ],
)
def test_columns_that_name_no_runs(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"columns='{text}' must .* but {reason}; try params=N"):
        columns_of(text)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "hold runs, .* but there is none"),
        ("a.csv", b"N,D,loss\n", "hold runs, .* but there is none"),
        (
            "a.csv",
            b"n_params,D,loss\n1,2,3\n",
            "'N' must be a column .* 'n_params', 'D', 'loss'; try",
        ),
        ("a.csv", b"N;D;loss\n1;2;3\n", "'N' must be a column of .* line 2 has only 'N;D;loss'"),
        ("a.csv", b"N,D,loss\n1,2,low\n", "loss='low' in line 2 of .* must be a number"),
        ("a.csv", b"N,D,loss\n1,2\n", "loss=None in line 2 of .* must be a number"),
        ("a.csv", b"N,D,D,loss\n1,2,2,3\n", "column 'D' stands in its header twice"),
        ("a.csv", b"N,D,loss\n1,\x00,3\n", "must be a (readable CSV|number)"),
        ("a.csv", bytes(range(128, 256)), "must be a readable CSV"),
        ("a.jsonl", b'{"N": 1}\n[1, 2]\n', "line 2 holds no object: .1, 2"),
        ("a.jsonl", b"N,D,loss\n", "JSON lines named .jsonl"),
        ("a.jsonl", b'{"N": 1, "D": 2, "loss": null}\n', "loss=None in line 1"),
    ],
)
def test_files_without_runs(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_runs(tmp_path / name, COLUMNS, NOTHING)


@pytest.mark.parametrize(
    ("header", "flag"),
    [
        ("parameters,tokens,loss", "params=parameters,tokens=tokens,loss=loss"),
        ("Params,Train Tokens,final_loss", "'params=Params,tokens=Train Tokens,loss=final_loss'"),
        ("n_params,FLOPs,loss", "params=n_params,flops=FLOPs,loss=loss"),
    ],
)
def test_the_columns_to_try_are_a_whole_flag(tmp_path: Path, header: str, flag: str) -> None:
    table = tmp_path / "runs.csv"
    table.write_text(f"{header}\n1,2,3,beyond\n")
    default = columns_of("params=params,tokens=tokens,loss=loss")
    with pytest.raises(ValueError, match="is read from it, but line 2 has only") as refused:
        read_runs(table, default, NOTHING)
    advice = str(refused.value).partition("; try --columns ")[2]
    assert advice == flag
    (typed,) = shlex.split(advice)
    assert read_runs(table, columns_of(typed), NOTHING)[0].loss == 3


def test_a_line_that_alone_lacks_a_column_is_named(tmp_path: Path) -> None:
    table = tmp_path / "runs.jsonl"
    table.write_text('{"N": 1, "D": 2, "loss": 3}\n{"N": 1, "D": 2}\n')
    with pytest.raises(ValueError, match=r"'loss' .* line 2 has only 'N', 'D'; .* --exclude 2$"):
        read_runs(table, COLUMNS, NOTHING)
    assert len(read_runs(table, COLUMNS, frozenset({2}))) == 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "directory"), (tmp_path / "none.csv", "No such file")):
        with pytest.raises(ValueError, match=f"must be a readable CSV .*{reason}"):
            read_runs(path, COLUMNS, NOTHING)


def test_lines_to_leave_out_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("N,D,loss\n1,2,3\n")
    with pytest.raises(ValueError, match=r"exclude=3 must .* 2 to 2; try without --exclude"):
        read_runs(tmp_path / "a.csv", COLUMNS, frozenset({3}))
    (tmp_path / "b.csv").write_text("N,D,loss\n1,2,3\n4,5,6\n")

    def read(words: list[str]) -> list[ScalingRun]:
        return read_runs(tmp_path / "b.csv", COLUMNS, frozenset(map(int, words[1:])))

    assert len(followed(read, ["--exclude", "3", "9"])) == 1
    with pytest.raises(ValueError, match="all are excluded"):
        read_runs(tmp_path / "a.csv", COLUMNS, frozenset({2}))

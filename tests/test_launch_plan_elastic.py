import dataclasses
import json
from pathlib import Path

import pytest

from launch.config import RunConfig
from launch.plan.chips import CHIPS
from launch.plan.command import main
from launch.plan.elastic import ROOM, WORTH, Gap, Row, elastic, worth
from launch.plan.elastic_table import elastic_text
from launch.presets import preset

PAGE = Path(__file__).parent.parent / "docs" / "plan.md"
V5E = CHIPS["v5e"]


def small(batch_size: int) -> RunConfig:
    """Few layouts: one feed-forward and one head that `tensor` cuts by 4 at most."""
    base = preset("llama3-1b")
    model = dataclasses.replace(base.model, num_heads=4, num_kv_heads=4, mlp_dim=8192)
    train = dataclasses.replace(base.train, batch_size=batch_size)
    return dataclasses.replace(base, model=model, train=train)


@pytest.fixture(scope="module")
def rows() -> list[Row | Gap]:
    return elastic(small(64), V5E, price=2.0)


def test_every_count_has_its_fastest_layout_that_fits(rows: list[Row | Gap]) -> None:
    counts = [row.chips if isinstance(row, Gap) else row.topology.chips for row in rows]
    assert counts == [64, 128, 256, 512, 1024, 2048, 4096, 8192]
    best = [row for row in rows if isinstance(row, Row)]
    assert [row.topology.chips for row in best] == [64, 128, 256]
    for row in best:
        mesh = row.config.mesh
        assert mesh.replica * mesh.fsdp * mesh.tensor == row.topology.chips
        assert row.config.train.batch_size == 64
        assert row.time.origin == "arithmetic"
        assert row.course.cost == pytest.approx(2 * row.course.chip_hours)
    seconds = [row.time.seconds for row in best]
    assert seconds == sorted(seconds, reverse=True)


def test_a_batch_with_no_more_parts_is_told(rows: list[Row | Gap]) -> None:
    gaps = [row for row in rows if isinstance(row, Gap)]
    assert {gap.why for gap in gaps} == {"no mesh cuts a batch of 64 rows evenly"}


def test_scaling_stops_where_waiting_makes_chips_dear(rows: list[Row | Gap]) -> None:
    found = worth(rows)
    assert found is not None
    last, beyond = found
    assert beyond is not None and beyond.waits is not None
    cheapest = min(row.course.chip_hours for row in rows if isinstance(row, Row))
    assert last.course.chip_hours <= WORTH * cheapest < beyond.course.chip_hours
    part, share = beyond.waits
    assert part.axes == ("tensor",) and share > 0.2
    text = elastic_text(small(64), "v5e", rows)
    assert f"scales to {last.topology.chips} chips" in text
    assert "collectives over tensor that the chip waits for, by links" in text
    assert worth([Gap(64, "")]) is None


def test_a_model_too_large_for_its_chips_says_what_it_lacks() -> None:
    (gap,) = elastic(preset("llama3-405b"), V5E, counts=(64,))
    assert isinstance(gap, Gap)
    assert gap.why.startswith("no layout fits: ")
    assert gap.why.endswith(f" of {ROOM * 16:,.1f} GiB")


def test_command_prints_the_table_of_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["llama3-8b", "--on", "v5e-256", "--elastic"])
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 80
    assert f"\n$ meshloom plan llama3-8b --on v5e-256 --elastic\n{table}```\n" in PAGE.read_text(
        encoding="utf-8"
    )


def test_json_has_all_digits(capsys: pytest.CaptureFixture[str]) -> None:
    main(["gpt2-124m", "--on", "tpu7x-8", "--elastic", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told[0]["chips"] == 64
    assert told[0]["mesh"]["fsdp"] * told[0]["mesh"]["replica"] * told[0]["mesh"]["tensor"] == 128
    assert told[0]["waits"].keys() == {"axes", "by", "share"}

import dataclasses
import json
import re

import pytest

from launch.commands.plan import main
from launch.config import RunConfig
from launch.plan.estimate import ROOM
from launch.plan.layouts import OFFLOAD, layouts, nearest_batch
from launch.plan.scaling import WORTH, BestLayout, NoLayout, Row, scaling, scaling_text, worth
from launch.plan.topology import parse
from launch.presets.preset import preset
from tests.command import ROOT
from train.chips import CHIPS
from train.memory import step_memory

PAGE = ROOT / "docs" / "plan.md"
V5E = CHIPS["v5e"]


def small(batch_size: int) -> RunConfig:
    """Few layouts: one feed-forward and one head that `tensor` cuts by 4 at most."""
    base = preset("llama3-1b")
    model = dataclasses.replace(base.model, num_heads=4, num_kv_heads=4, mlp_dim=8192)
    train = dataclasses.replace(base.train, batch_size=batch_size)
    return dataclasses.replace(base, model=model, train=train)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return scaling(small(64), V5E, price=2.0)


def test_every_count_has_its_fastest_layout_that_fits(rows: list[Row]) -> None:
    counts = [row.chips if isinstance(row, NoLayout) else row.topology.chips for row in rows]
    assert counts == [64, 128, 256, 512, 1024, 2048, 4096, 8192]
    best = [row for row in rows if isinstance(row, BestLayout)]
    assert [row.topology.chips for row in best] == [64, 128, 256]
    for row in best:
        mesh = row.config.mesh
        assert mesh.replica * mesh.fsdp * mesh.tensor == row.topology.chips
        assert row.config.train.batch_size == 64
        assert row.time.origin == "arithmetic"
        assert row.totals.cost == pytest.approx(2 * row.totals.chip_hours)
    seconds = [row.time.seconds for row in best]
    assert seconds == sorted(seconds, reverse=True)


def test_a_batch_with_no_more_parts_is_refused_with_another_that_is_cut(rows: list[Row]) -> None:
    gaps = [row for row in rows if isinstance(row, NoLayout)]
    assert [gap.chips for gap in gaps] == [512, 1024, 2048, 4096, 8192]
    for gap in gaps:
        before, advised = gap.why.split("; try --train.batch-size ")
        assert before == "no mesh cuts a batch of 64 rows evenly" and not gap.crowded
        (row,) = scaling(small(int(advised)), V5E, counts=(gap.chips,))
        assert isinstance(row, BestLayout)


def test_scaling_stops_where_waiting_makes_chips_dear(rows: list[Row]) -> None:
    ends = worth(rows)
    assert ends is not None
    last, beyond = ends
    assert beyond is not None and beyond.time.longest_wait is not None
    cheapest = min(row.totals.chip_hours for row in rows if isinstance(row, BestLayout))
    assert last.totals.chip_hours <= WORTH * cheapest < beyond.totals.chip_hours
    part, share = beyond.time.longest_wait
    assert part.axes == ("tensor",) and share > 0.2
    text = scaling_text(small(64), V5E, rows)
    assert f"scales to {last.topology.chips} chips" in text
    assert "collectives over tensor that the chip waits for, by links" in text
    assert worth([NoLayout(64, "")]) is None


def test_a_model_too_large_for_its_chips_says_what_it_lacks() -> None:
    (gap,) = scaling(preset("llama3-405b"), V5E, counts=(64,))
    assert isinstance(gap, NoLayout)
    assert gap.why.startswith("no layout fits: ")
    assert gap.why.endswith(f" of {ROOM * 16:,.1f} GiB a device") and gap.crowded
    text = " ".join(scaling_text(preset("llama3-405b"), V5E, [gap]).split())
    assert f"{OFFLOAD}; try chips with more memory, as more of these would not do" in text
    assert "fitted on" not in text, "no time is said"


def test_chips_that_would_do_beyond_the_table_are_advised_with_the_flags_to_find_them() -> None:
    run = preset("llama3-70b")
    (gap,) = scaling(run, CHIPS["v6e"], counts=(64,))
    text = " ".join(scaling_text(run, CHIPS["v6e"], [gap]).split())
    assert "32.8 of 28.8 GiB a device" in text
    ends = re.search(r"try --search in place of --elastic, with --on (\S+), (\d+) chips", text)
    assert ends and parse(ends[1]).chips == int(ends[2]) > 64
    (row,) = scaling(run, CHIPS["v6e"], counts=(int(ends[2]),))
    assert isinstance(row, BestLayout)


def test_offload_has_no_room_where_full_has_none() -> None:
    """What OFFLOAD says, by the same arithmetic, for every layout."""
    for name in ("tiny", "palm-8b", "llama3-70b"):
        run, topology = preset(name), parse("v6e-64")
        rows = nearest_batch(run, topology)
        run = dataclasses.replace(run, train=dataclasses.replace(run.train, batch_size=rows))
        length, packed = run.data.sequence_length, run.data.packing
        for ends in layouts(run, topology):
            sizes = dataclasses.asdict(ends.mesh)
            if ends.model.remat != "full":
                continue
            memory = [
                step_memory(
                    dataclasses.replace(ends.model, remat=remat, dtype="bfloat16"),
                    ends.train, length, sizes, "tpu", packed=packed,
                ).total
                for remat in ("full", "offload")
            ]  # fmt: skip
            assert memory[1] >= memory[0]


def test_each_number_of_chips_is_compared_with_what_was_fitted(rows: list[Row]) -> None:
    lines = scaling_text(small(64), V5E, rows).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "OUTSIDE what the time was fitted on: 1.1 B parameters; rows of 8,192 tokens; " in text
    assert "64 and 128 chips there: 12 published runs on v5e" in text
    output = [row["domain"]["outside"] for row in (row.record for row in rows) if "domain" in row]
    both = ("parameters", "length")
    assert output == [(*both, "chips"), (*both, "chips"), both]


def test_command_prints_the_table_of_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["llama3-8b", "--on", "v5e-256", "--elastic"])
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 80
    assert f"\n$ meshloom plan llama3-8b --on v5e-256 --elastic\n{table}```\n" in PAGE.read_text(
        encoding="utf-8"
    )


def test_json_has_all_digits(capsys: pytest.CaptureFixture[str]) -> None:
    main(["gpt2-124m", "--on", "tpu7x-8", "--elastic", "--json"])
    out, said = capsys.readouterr()
    output = json.loads(out)
    assert "estimating all layouts on 64 tpu7x chips" in said
    assert output[0]["chips"] == 64
    assert (
        output[0]["mesh"]["fsdp"] * output[0]["mesh"]["replica"] * output[0]["mesh"]["tensor"]
        == 128
    )
    assert output[0]["waits"].keys() == {"axes", "by", "share"}

from pathlib import Path

import pytest

from launch.options import GenerateOptions


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_makes_no_key_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"seed={seed} must be .* below 2\*\*32.*--seed 0"):
        GenerateOptions(run=Path("run"), seed=seed)

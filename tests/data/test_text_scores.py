import sys

import pytest

from data.text_scores import MEASURES, of_texts, require_measures

SAID = (
    "the cat sat on the mat",
    "a b c d",
    "Wholly other words here",
    "",
    "Police, killed the gunman's 2 dogs",
)
RIGHT = (
    "The cat was on the mat.",
    "d c b a",
    "nothing alike",
    "something",
    "the police killed 2 gunmen's dogs",
)


def test_rouge_is_that_of_rouge_score() -> None:
    """Numbers of rouge_score 0.1.2 without its stemmer."""
    wanted = {"rouge1": 53.8095238, "rouge2": 15.3333333, "rouge_l": 33.0952381}
    assert of_texts(["rouge"], SAID, RIGHT) == pytest.approx(wanted)


def test_exact_match_counts_blanks_alike() -> None:
    said = ["a  b", "a b", "ab", "A b"]
    assert of_texts(["exact"], said, ["a b"] * 4) == {"exact_match": 50.0}


def test_all_measures_of_the_right_texts_are_whole() -> None:
    right = ["one two three four five", "six seven eight nine ten"]
    values = of_texts(list(MEASURES), right, right)
    assert values == pytest.approx(dict.fromkeys(values, 100.0))
    assert set(values) == {"exact_match", "bleu", "chrf", "rouge1", "rouge2", "rouge_l"}
    half = of_texts(["bleu", "chrf"], [right[0], "six seven"], right)
    assert all(0 < value < 100 for value in half.values())


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    require_measures(["exact", "rouge"])
    with pytest.raises(ValueError, match=r"pip install 'meshloom\[text-metrics\]'"):
        require_measures(["exact", "chrf"])

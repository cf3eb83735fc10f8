"""Rows with hidden tokens: what is hidden, where, and that it follows from seed and place alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Fast
from tokenizers import models, pre_tokenizers

from data.config import MaskedConfig
from data.rows.masked import MaskedWindows, open_masked
from data.tokenizer import ByteTokenizer, load_tokenizer

CONFIG = MaskedConfig(sources=("synthetic:60000",), sequence_length=64, held_out=0.2, seed=3)


def rows_of(config: MaskedConfig = CONFIG) -> MaskedWindows:
    return open_masked(config, "train", lambda line: None)


@pytest.fixture(scope="module")
def rows() -> MaskedWindows:
    return rows_of()


def test_only_chosen_places_are_asked_and_their_tokens_are_the_targets(rows: MaskedWindows) -> None:
    indices = np.arange(600)
    batch = rows.batch(indices)
    whole, _ = rows.windows(indices)
    begins = whole[:, :-1] == -1
    K = CONFIG.masked_places
    assert batch.places.shape == (600, K) and K == 10
    chosen = np.take_along_axis(whole[:, :-1], batch.places, 1)
    assert (chosen == batch.targets)[batch.weights > 0].all()
    assert not np.take_along_axis(begins, batch.places, 1)[batch.weights > 0].any()
    assert all(len(set(row)) == K for row in batch.places.tolist())
    others = np.ones(batch.tokens.shape, bool)
    np.put_along_axis(others, batch.places, False, 1)
    wanted = np.where(begins, 256, whole[:, :-1])
    assert (batch.tokens == wanted)[others].all()


def test_of_ten_eight_are_hidden_one_is_another_and_one_stays(rows: MaskedWindows) -> None:
    batch = rows.batch(np.arange(400))
    shown = np.take_along_axis(batch.tokens, batch.places, 1)
    counted = batch.weights > 0
    hidden, same = (shown == 257)[counted].mean(), (shown == batch.targets)[counted].mean()
    assert hidden == pytest.approx(0.8, abs=0.03)
    # A tenth stays, and of the other tenth one in 256 is drawn as it was.
    assert same == pytest.approx(0.1 + 0.1 / 256, abs=0.02)


def test_each_epoch_draws_anew_and_any_process_alike(rows: MaskedWindows) -> None:
    n = rows.num_rows
    first = {int(e): i for i, e in enumerate(rows.examples(np.arange(n)))}
    again = {int(e): n + i for i, e in enumerate(rows.examples(np.arange(n, 2 * n)))}
    same = [
        np.array_equal(
            rows.batch(np.array([first[e]])).places, rows.batch(np.array([again[e]])).places
        )
        for e in range(20)
    ]
    assert not any(same)
    whole = rows.batch(np.arange(8))
    for row in range(8):
        alone = rows_of().batch(np.array([row]))
        for both, single in zip(whole, alone, strict=True):
            assert both is not None and single is not None
            np.testing.assert_array_equal(both[row], single[0])


def test_another_seed_hides_others_and_has_another_digest(rows: MaskedWindows) -> None:
    other = rows_of(dataclasses.replace(CONFIG, seed=4))
    assert other.digest != rows.digest
    tokens, begins = np.arange(64), np.zeros(64, bool)
    assert (other.hide(tokens, begins, 0).places != rows.hide(tokens, begins, 0).places).any()
    assert rows_of(dataclasses.replace(CONFIG, masked_share=0.3)).digest != rows.digest


def test_whole_words_are_hidden_whole() -> None:
    rows = rows_of(dataclasses.replace(CONFIG, whole_words=True))
    continues = ByteTokenizer().continues_word()
    indices = np.arange(50)
    batch = rows.batch(indices)
    whole, _ = rows.windows(indices)
    tokens = whole[:, :-1]
    for row, places, weights in zip(tokens, batch.places, batch.weights, strict=True):
        chosen = set(places[weights > 0].tolist())
        assert 5 <= len(chosen) <= CONFIG.masked_places
        for place in range(1, len(row)):
            if row[place] >= 0 and row[place - 1] >= 0 and continues[row[place]]:
                assert (place in chosen) == (place - 1 in chosen), place


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    fast = Fast(models.WordLevel({"a": 0, "[SEP]": 1, "[UNK]": 2}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.add_special_tokens(["[SEP]"])
    path = tmp_path / "tokenizer.json"
    fast.save(str(path))
    config = dataclasses.replace(CONFIG, tokenizer=str(path), lost_characters=1.0)
    with pytest.raises(ValueError, match=r"must have a special token \[MASK\].*--mask-token"):
        rows_of(config)


def test_pieces_that_go_on_with_a_word(tmp_path: Path) -> None:
    vocabulary = {"play": 0, "##ing": 1, "[SEP]": 2, "[MASK]": 3, ".": 4}
    fast = Fast(models.WordPiece(vocabulary, unk_token="[SEP]"))
    fast.add_special_tokens(["[SEP]", "[MASK]"])
    path = tmp_path / "tokenizer.json"
    fast.save(str(path))
    tokenizer = load_tokenizer(str(path))
    assert tokenizer.continues_word().tolist() == [False, True, False, False, False]
    assert tokenizer.mask == 3

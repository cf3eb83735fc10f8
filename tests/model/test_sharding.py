import dataclasses
import itertools

import jax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AbstractMesh, PartitionSpec

from model.families.decoder import Decoder
from model.families.decoder_config import DecoderConfig
from model.sharding import (
    AXES,
    MESH_AXES,
    abstract_mesh,
    axis_size,
    check_divisible,
    mesh_axes,
    spec,
)
from tests.families import FAMILIES, fresh_model
from tests.models import batch_of, mesh_of, placed

# Every weight that is cut; norms, biases of D and learned positions are whole everywhere.
CUT = {
    "embedding": ("vocab", "embed"),
    "head": ("vocab", "embed"),
    "w_q": ("embed", "heads", None),
    "w_k": ("embed", "kv_heads", None),
    "w_v": ("embed", "kv_heads", None),
    "w_o": ("heads", None, "embed"),
    "w_up": ("embed", "mlp"),
    "w_gate": ("embed", "mlp"),
    "w_down": ("mlp", "embed"),
    "b_q": ("heads", None),
    "b_k": ("kv_heads", None),
    "b_v": ("kv_heads", None),
    "b_up": ("mlp",),
}
SIZES = st.fixed_dictionaries(dict.fromkeys(AXES, st.integers(1, 3)))


def use(mesh: AbstractMesh):
    return jax.sharding.use_abstract_mesh(mesh)


def used(entries: PartitionSpec) -> list[str]:
    return [axis for e in entries if e is not None for axis in ((e,) if isinstance(e, str) else e)]


@given(sizes=SIZES, logical=st.sampled_from([*MESH_AXES, None]))
def test_spec_names_the_axes_above_size_1_and_no_others(
    sizes: dict[str, int], logical: str | None
) -> None:
    with use(abstract_mesh(**sizes)):
        (entry,) = spec(logical)
        wanted = [axis for axis in MESH_AXES.get(logical or "", ()) if sizes[axis] > 1]
        assert used(PartitionSpec(entry)) == wanted
        assert entry is None or wanted
        if logical:
            size = 1
            for axis in wanted:
                size *= sizes[axis]
            assert axis_size(logical) == size


@pytest.mark.parametrize("pair", list(itertools.combinations_with_replacement(MESH_AXES, 2)))
def test_spec_refuses_a_mesh_axis_used_twice(pair: tuple[str, str]) -> None:
    shared = set(MESH_AXES[pair[0]]) & set(MESH_AXES[pair[1]])
    with use(abstract_mesh(**dict.fromkeys(AXES, 2))):
        if shared:
            with pytest.raises(ValueError, match=f"use a mesh axis once.*'({'|'.join(shared)})'"):
                spec(*pair)
        else:
            assert len(used(spec(*pair))) == len(MESH_AXES[pair[0]] + MESH_AXES[pair[1]])
    with use(abstract_mesh()):
        assert spec(*pair) == PartitionSpec(None, None)


def test_unknown_logical_axis_is_refused_with_the_known_axes() -> None:
    with use(abstract_mesh()), pytest.raises(ValueError, match=r"'width' must be one of batch, "):
        mesh_axes("width")


def test_abstract_mesh_has_every_axis_explicit() -> None:
    mesh = abstract_mesh(fsdp=4, tensor=2)
    assert mesh.axis_names == AXES
    assert mesh.size == 8
    assert mesh.are_all_axes_explicit


def test_indivisible_size_says_both_numbers_and_the_remedy() -> None:
    with use(abstract_mesh(replica=2, fsdp=3)):
        check_divisible("train.batch_size", 12, "batch", "a multiple of 6")
        with pytest.raises(ValueError) as caught:
            check_divisible("train.batch_size", 8, "batch", "a multiple of 6")
    assert str(caught.value) == (
        "train.batch_size=8 must be a multiple of 6, because mesh.replica x mesh.fsdp cuts it into "
        "6 equal shards; try a multiple of 6"
    )


@pytest.mark.parametrize(
    ("sizes", "changes", "words"),
    [
        ({"tensor": 3}, {"vocab_multiple": 3}, r"num_heads=8 must be .* 3, .*, or --mesh.tensor 1"),
        ({"tensor": 8}, {"mlp_dim": 36}, r"model\.mlp_dim=36 must be .* 8, .*, or --mesh.tensor 4"),
        (
            {"tensor": 8},
            {"vocab_multiple": 1},
            r"vocabulary=29 .* try --model.vocab-multiple 8, or --mesh.tensor 1",
        ),
        ({"fsdp": 3}, {}, r"model\.embed_dim=16 must be a multiple of 3"),
    ],
)
def test_model_that_its_mesh_does_not_divide_is_refused(
    sizes: dict[str, int], changes: dict[str, int], words: str
) -> None:
    config = FAMILIES["gpt"]
    config = DecoderConfig(**{**vars(config), **changes})
    with use(abstract_mesh(**sizes)), pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_declares_decay_fans_and_axes(family: str) -> None:
    """Matrices decay and sum over their fan-in; norms and biases do neither."""
    with use(abstract_mesh(fsdp=2, tensor=2)):
        model = jax.eval_shape(lambda: Decoder(FAMILIES[family], jax.random.key(0)))
        actual = jax.tree_util.tree_leaves_with_path(
            model, is_leaf=lambda node: isinstance(node, nnx.Param)
        )
        assert len(actual) > 5
        for path, weight in actual:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            stacked = name.startswith("blocks/")
            declared = weight.get_metadata()
            matrix = name.split("/")[-1].startswith("w_")
            table = name.endswith("table")
            assert declared["decay"] == (matrix or table), name
            assert declared["in_block"] == stacked, name
            assert len(declared["logical"]) == weight.ndim - stacked, name
            layout = spec(*(None,) * stacked, *declared["logical"])
            assert tuple(weight.sharding.spec) == tuple(layout), name
            short = name.removesuffix("/table").split("/")[-1]
            if FAMILIES[family].qk_norm == "all" and short == "scale" and "k_norm" in name:
                assert declared["logical"] == ("kv_heads", None), name
            elif FAMILIES[family].qk_norm == "all" and short == "scale" and "q_norm" in name:
                assert declared["logical"] == ("heads", None), name
            elif short in CUT:
                wanted = CUT[short]
                if FAMILIES[family].num_kv_heads == 1:
                    wanted = tuple(None if axis == "kv_heads" else axis for axis in wanted)
                assert declared["logical"] == wanted, name
            else:
                assert set(declared["logical"]) == {None}, name
            fans = declared["fan_in"] + declared["fan_out"]
            if matrix:
                assert sorted(fans) == list(range(weight.ndim - stacked)), name
                assert declared["fan_in"] and declared["fan_out"], name
            else:
                assert declared["fan_in"] == (), name
                assert declared["fan_out"] == ((1,) if table else ()), name


def test_collectives_of_a_layer_are_those_of_the_docs() -> None:
    """Forward: each of the seven matrices is gathered over fsdp, two sums are made over tensor."""
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        model = fresh_model(dataclasses.replace(FAMILIES["llama"], remat="full"))
        rows = placed(batch_of(T=8, V=29))
        forward = jax.jit(lambda m, b: m(b.tokens, b.positions, b.segment_ids))
        text = forward.lower(model, rows).compile().as_text()
    assert text is not None
    layer = [line for line in text.splitlines() if "/while/body/" in line]
    assert sum(" all-gather(" in line for line in layer) == 7
    assert sum(" all-reduce(" in line for line in layer) == 2

"""The recurrent network: a table of tokens, layers of cells, and a head."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from model.attention.mask import TokenPlaces
from model.dropout import dropout
from model.families.recurrent_config import CellsConfig, RecurrentConfig
from model.heads import Head
from model.layers import Embedding, Norm
from model.recurrence import States, require_mesh, zeros
from model.recurrent_layers import RecurrentLayers
from model.sharding import check_divisible, next_cut, spec
from model.weights import param


class Recurrent(nnx.Module):
    """LSTM or GRU layers over the current mesh.

    Parameters are float32 and are created sharded; call it under `jax.set_mesh`.
    """

    def __init__(self, config: RecurrentConfig, key: PRNGKeyArray):
        require_cuts(config)
        embedding, layers, head = jax.random.split(key, 3)
        V, D, H, std = config.table_rows, config.embed_dim, config.hidden_dim, config.init_std
        self.config = config
        self.embedding = Embedding(param, embedding, V, D, std=std)
        self.stack = layers_of(config, layers, bidirectional=config.bidirectional)
        own_table = config.generates and not config.tied_embedding
        self.head = Embedding(param, head, V, H, std=std) if own_table else None
        self.task_head = None if config.generates else task_head(config, head)

    @property
    def output_table(self) -> nnx.Param[Array]:
        """The [V, H] matrix whose rows score the tokens; the token table itself when tied."""
        return (self.head or self.embedding).table

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"] | None = None,
        segment_ids: Int[Array, "B T"] | None = None,
        token_types: Int[Array, "B T"] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T H"]:
        """Final hidden states; without segments a row is one text. Positions and types say nothing
        to it: a token knows its place by what was read before. `key` is that of dropout, None in
        evaluation."""
        first, last = (None, None) if key is None else jax.random.split(key)
        segments = jnp.ones_like(tokens) if segment_ids is None else segment_ids
        x = self.stack(self.embed(tokens), segments, first).x
        return dropout(x, self.config.dropout, last) if self.config.generates else x

    def embed(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Token vectors in the compute type."""
        return self.embedding.lookup(tokens, jnp.dtype(self.config.dtype))

    def empty_keys(self, B: int, S: int) -> States:
        """The states [L, B, H] that B rows begin with; they are all that is kept of S tokens."""
        return empty_states(self.config, B)

    def decode(
        self,
        tokens: Int[Array, "B T"],
        places: TokenPlaces,
        keys: States,
        slots: TokenPlaces,
        start: Array,
    ) -> tuple[Float[Array, "B T H"], States]:
        """Hidden states of tokens that follow those of which `keys` are the states, and the states
        after them; places of segment 0 are padding."""
        assert places.segment_ids is not None
        return self.stack.go_on(self.embed(tokens), keys, places.segment_ids > 0)

    def logits(self, x: Float[Array, "B T H"]) -> Float[Array, "B T V"]:
        """Float32 scores of every token; training uses `output_table` and never makes them all."""
        return token_scores(x, self.output_table)


def require_cuts(config: CellsConfig) -> None:
    """Raise ValueError, naming the field, if the current mesh cannot cut the network."""
    require_mesh(config.kind)
    width = config.hidden_dim // (1 + config.bidirectional)
    V, D = config.table_rows, config.embed_dim
    check_divisible("vocabulary", V, "vocab", f"--model.vocab-multiple {next_cut(1, 'vocab')}")
    check_divisible("model.embed_dim", D, "embed", f"--model.embed-dim {next_cut(D, 'embed')}")
    wider = next_cut(width, "embed") * (1 + config.bidirectional)
    check_divisible("width of a direction", width, "embed", f"--model.hidden-dim {wider}")


def layers_of(config: CellsConfig, key: PRNGKeyArray, *, bidirectional: bool) -> RecurrentLayers:
    """The layers that a config asks for."""
    return RecurrentLayers(
        param,
        key,
        config.embed_dim,
        config.hidden_dim,
        config.num_layers,
        kind=config.cell,
        bidirectional=bidirectional,
        rate=config.dropout,
    )


def empty_states(config: CellsConfig, B: int) -> States:
    """States [L, B, H] of zero."""
    own = zeros(config.cell, B, config.hidden_dim)
    shape, layout = (config.num_layers, *own[0].shape), spec(None, "batch", None)
    return tuple(jnp.zeros(shape, out_sharding=layout) for _ in own)


def task_head(config: RecurrentConfig, key: PRNGKeyArray) -> Head:
    """What labels texts or words."""
    head, H = config.head, config.hidden_dim
    return Head(
        param,
        key,
        H,
        transform=head.transform,
        activation="relu",
        norm=lambda: Norm(param, (H,), centred=True, bias=True, epsilon=1e-5),
        bias=True,
        std=H**-0.5,
        outputs=head.outputs,
        pooling=head.pooling,
        rate=config.dropout,
    )


def token_scores(x: Float[Array, "B T H"], table: nnx.Param[Array]) -> Float[Array, "B T V"]:
    """Float32 scores of every token."""
    return jnp.einsum(
        "BTH,VH->BTV",
        x,
        table[...].astype(x.dtype),
        preferred_element_type=jnp.float32,
        out_sharding=spec("batch", "length", "vocab"),
    )

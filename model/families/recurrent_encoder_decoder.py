"""The recurrent encoder-decoder: layers read a source, others write, from the states of those."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from model.attention.global_attention import GlobalAttention
from model.attention.mask import Mask, TokenPlaces
from model.dropout import dropout
from model.families.recurrent import layers_of, require_cuts, token_scores
from model.families.recurrent_config import RecurrentEncoderDecoderConfig
from model.generate import slots
from model.layers import Embedding, row_positions
from model.recurrence import States, ends
from model.recurrent_layers import Read
from model.weights import param


class RecurrentEncoderDecoder(nnx.Module):
    """LSTM or GRU layers that read, and as many that write (Sutskever et al. 2014), over the
    current mesh.

    Parameters are float32 and are created sharded; call it under `jax.set_mesh`.
    """

    def __init__(self, config: RecurrentEncoderDecoderConfig, key: PRNGKeyArray):
        require_cuts(config)
        embedding, encoder, decoder, attention, head = jax.random.split(key, 5)
        V, D, H, std = config.table_rows, config.embed_dim, config.hidden_dim, config.init_std
        self.config = config
        self.embedding = Embedding(param, embedding, V, D, std=std)
        self.encoder = layers_of(config, encoder, bidirectional=config.bidirectional)
        self.decoder = layers_of(config, decoder, bidirectional=False)
        self.attention = GlobalAttention(param, attention, H) if config.attention else None
        self.head = None if config.tied_embedding else Embedding(param, head, V, H, std=std)

    @property
    def output_table(self) -> nnx.Param[Array]:
        """The [V, H] matrix whose rows score the tokens; the token table itself when tied."""
        return (self.head or self.embedding).table

    def __call__(
        self,
        sources: Int[Array, "B S"],
        tokens: Int[Array, "B T"],
        source_places: TokenPlaces | None = None,
        places: TokenPlaces | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T H"]:
        """What the output table scores after each token of the targets, which begin with the last
        states of the sources of their own segment. Without places a row is one pair. `key` is that
        of dropout, None in evaluation."""
        reading, writing, last = (None,) * 3 if key is None else jax.random.split(key, 3)
        source_places, own = placed(sources, source_places)
        places, segments = placed(tokens, places)
        read = self.encoder(self.embed(sources), own, reading)
        initial = last_states(read, own, segments)
        x = self.decoder(self.embed(tokens), segments, writing, initial).x
        return dropout(self.output(x, read.x, places, source_places), self.config.dropout, last)

    def embed(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Token vectors in the compute type."""
        return self.embedding.lookup(tokens, jnp.dtype(self.config.dtype))

    def output(
        self,
        x: Float[Array, "B T H"],
        read: Float[Array, "B S H"],
        places: TokenPlaces,
        source_places: TokenPlaces,
    ) -> Float[Array, "B T H"]:
        """What the output table scores of the last layer's outputs and those of the source's."""
        if self.attention is None:
            return x
        mask = Mask(causal=False, queries=places, keys=source_places)
        return self.attention(x, read, mask.visible()[:, 0])

    def logits(self, x: Float[Array, "B T H"]) -> Float[Array, "B T V"]:
        """Float32 scores of every token; training uses `output_table` and never makes them all."""
        return token_scores(x, self.output_table)


def placed(
    tokens: Int[Array, "B T"], places: TokenPlaces | None
) -> tuple[TokenPlaces, Int[Array, "B T"]]:
    """The places and their segments; without any a row is one."""
    if places is None or places.segment_ids is None:
        places = TokenPlaces(row_positions(tokens), jnp.ones_like(tokens))
    assert places.segment_ids is not None
    return places, places.segment_ids


def last_states(read: Read, sources: Int[Array, "B S"], targets: Int[Array, "B T"]) -> list[States]:
    """Of each layer the states [T, B, H] in which the segment of each target place was left, those
    of two directions side by side."""
    own = targets[:, :, None] == sources[:, None, :]
    places = [
        jnp.argmax(own & ends(sources, reverse=reverse)[:, None], axis=2).T[:, :, None]
        for reverse in (False, True)
    ]
    return [
        tuple(
            jnp.concatenate(
                [
                    jnp.take_along_axis(states, place, axis=0)
                    for states, place in zip(of_directions, places, strict=False)
                ],
                axis=-1,
            )
            for of_directions in zip(*layer, strict=True)
        )
        for layer in read.states
    ]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RecurrentWithSource:
    """A `model.generate.CachedModel` that writes of the sources it has read, a row each."""

    model: RecurrentEncoderDecoder
    read: Float[Array, "B S H"]
    """Outputs of the layers that read."""
    states: States
    """What the layers that write begin with, [L, B, H]."""
    places: TokenPlaces
    """Of the sources."""

    @property
    def config(self) -> RecurrentEncoderDecoderConfig:
        return self.model.config

    def empty_keys(self, B: int, S: int) -> States:
        """States [L, B, H] that the B rows begin with; they are all that is kept of S tokens."""
        return self.states

    def decode(
        self,
        tokens: Int[Array, "B T"],
        places: TokenPlaces,
        keys: States,
        slots: TokenPlaces,
        start: Array,
    ) -> tuple[Float[Array, "B T H"], States]:
        """What is scored after tokens that follow those of which `keys` are the states, and the
        states after them; places of segment 0 are padding."""
        assert places.segment_ids is not None
        model = self.model
        x, keys = model.decoder.go_on(model.embed(tokens), keys, places.segment_ids > 0)
        return model.output(x, self.read, places, self.places), keys

    def logits(self, x: Float[Array, "B T H"]) -> Float[Array, "B T V"]:
        """Float32 scores of every token."""
        return self.model.logits(x)


def with_source(
    model: RecurrentEncoderDecoder, sources: Int[Array, "B S"], real: Bool[Array, "B S"]
) -> RecurrentWithSource:
    """The model with sources in view, of which `real` are not padding."""
    places, segments = placed(sources, slots(real, 0))
    read = model.encoder(model.embed(sources), segments)
    # Every row writes of its segment 1.
    initial = last_states(read, segments, jnp.ones_like(sources[:, :1]))
    states = (jnp.stack([state[0] for state in each]) for each in zip(*initial, strict=True))
    return RecurrentWithSource(model, read.x, tuple(states), places)

"""The table of networks: every family has one, and it is what its config builds."""

import jax
from flax import nnx

from model.families import FAMILIES
from model.families.table import NETWORKS
from model.sharding import uncut
from tests.families import GPT


def test_every_family_has_a_network() -> None:
    assert NETWORKS.keys() == FAMILIES.keys()


def test_a_config_builds_the_network_of_its_kind() -> None:
    with uncut():
        network = jax.eval_shape(lambda: GPT.build(jax.random.key(0)))
    module, _, name = NETWORKS["decoder"].partition(":")
    assert isinstance(network, nnx.Module)
    assert (type(network).__module__, type(network).__name__) == (module, name)

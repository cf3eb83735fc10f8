"""Looks for hardware that computes or keeps numbers wrongly, and says nothing: bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from data.batch import Batch
from data.errors import UserError
from train.checkpoint.checksums import bit_sums, copies, odd_ones, shown
from train.checkpoint.tree import named_leaves
from train.loop import TrainStep
from train.state import TrainState
from train.step import Metrics

SHOWN = 3


class Replicas:
    """Compares the copies of each array of the state that several devices hold, where they lie."""

    def __init__(self, state: TrainState) -> None:
        """`state`: its arrays, or their shapes, on the current mesh. ValueError if no parameter has
        a copy."""
        self._groups = copies(state)
        if not any(copies(state.model).values()):
            raise UserError(
                "train.corruption.replicas=True must have copies to compare, because it holds "
                "them against each other, but on this mesh no parameter lies on two devices; try "
                "--train.corruption.recompute, or --mesh.replica 2"
            )
        self._sums = jax.jit(bit_sums).lower(state).compile()

    def check(self, step: int, state: TrainState) -> None:
        """Raise ValueError, naming array and devices, if copies differ after `step`."""
        sums = jax.device_get(self._sums(state))
        bad = [
            f"{name} on {shown([group[n] for n in odd_ones(held)])}"
            for (name, groups), row in zip(self._groups.items(), sums.tolist(), strict=True)
            for group in groups
            if len(set(held := [row[n] for n in group])) > 1
        ]
        if bad:
            raise UserError(
                f"copies of the state must be equal after step {step}, because all devices "
                f"make the same updates, but these are not what others hold: "
                f"{_few(bad, '; ')}; the memory, the arithmetic or a link of such a device is at "
                "fault; every checkpoint was made while all copies were equal; "
                "try --resume without that host"
            )


class Recompute:
    """Makes a step beforehand, on a copy of the state, and compares what the step itself gives.

    Both are the same program, so every bit must be the same; there must be room for the copy.
    """

    def __init__(self, state: TrainState) -> None:
        """`state`: its arrays, or their shapes, on the current mesh."""
        self._names = list(named_leaves(state))
        self._copy = jax.jit(_copied).lower(state).compile()
        self._sums = jax.jit(bit_sums).lower(state).compile()

    def sums_after(
        self, train_step: TrainStep, state: TrainState, batch: Batch, *rest: Array
    ) -> np.ndarray:
        """Sums of the bits of what the step makes of `state`, which stays as it is."""
        again, _ = train_step(self._copy(state), batch, *rest)
        return jax.device_get(self._sums(again))

    def check(self, step: int, state: TrainState, expected: np.ndarray) -> None:
        """Raise ValueError, naming arrays, if the bits of `state` are not what was expected."""
        differ = (jax.device_get(self._sums(state)) != expected).any(axis=1)
        bad = [name for name, wrong in zip(self._names, differ, strict=True) if wrong]
        if bad:
            raise UserError(
                f"step {step} must give the same bits when it is made twice, because it is the "
                f"same program on the same numbers, but {_few(bad, ', ')} differ; a device "
                "computes or keeps numbers wrongly; try --resume on other devices, or on half "
                "of them, to find the one at fault"
            )


class CheckedStep:
    """A train step that checks itself every so many steps."""

    def __init__(
        self,
        train_step: TrainStep,
        step: int,
        *,
        every_steps: int,
        replicas: Replicas | None,
        recompute: Recompute | None,
    ) -> None:
        """`step`: steps made before the next one."""
        self._train_step = train_step
        self._step = step
        self._every = every_steps
        self._replicas = replicas
        self._recompute = recompute

    def __call__(
        self, state: TrainState, batch: Batch, rate: Array, ceiling: Array
    ) -> tuple[TrainState, Metrics]:
        self._step += 1
        due = self._step % self._every == 0
        expected = None
        if due and self._recompute:
            expected = self._recompute.sums_after(self._train_step, state, batch, rate, ceiling)
        state, metrics = self._train_step(state, batch, rate, ceiling)
        if self._recompute and expected is not None:
            self._recompute.check(self._step, state, expected)
        if due and self._replicas:
            self._replicas.check(self._step, state)
        return state, metrics


def _copied(state: TrainState) -> TrainState:
    return jax.tree.map(jnp.copy, state)


def _few(names: list[str], between: str) -> str:
    more = f" (and {len(names) - SHOWN} more)" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more

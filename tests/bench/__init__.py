"""Measurements a user can repeat: the cost of our loop, step, input, checkpoints and start-up."""

from launch.process.runtime import leave_out_absent_tpu

# Before any of them starts jax, as each `python -m tests.bench.ANY` comes through here.
leave_out_absent_tpu()

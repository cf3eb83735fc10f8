"""How fast a run goes: step times, tokens/s, FLOP/s and MFU. Pure: the loop tells it the time."""

# Dense bf16 FLOP/s of one JAX device, from the makers' data sheets (NVIDIA prints twice as much,
# with sparsity) and cloud.google.com/tpu/docs. A TPU v3 or 7x chip is two devices; here is one.
# The longest name that begins the device kind counts.
PEAKS: dict[str, float] = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA GH200": 989e12,
    "NVIDIA B200": 2250e12,
    "NVIDIA GB200": 2500e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 1153.5e12,
}
# They begin like a device of the table and are slower.
UNLISTED = ("NVIDIA L40", "NVIDIA L40G", "TPU v4 lite", "TPU v4i")


def device_peak(device_kind: str) -> float | None:
    """Dense bf16 FLOP/s of a device, by its `jax.Device.device_kind`; None if it is not known."""
    known = (*PEAKS, *UNLISTED)
    names = [n for n in known if device_kind == n or device_kind.startswith((n + " ", n + "-"))]
    return PEAKS.get(max(names, key=len)) if names else None


class Throughput:
    """Times the steps between two records.

    The loop calls `start` once the step is compiled (and again after a pause, such as an
    evaluation), `step` whenever it has learnt that a step is finished, `take` for a record. So
    compiling and pauses are in no step time and the first step's time is as right as the others.
    """

    def __init__(self, *, flops_per_token: float, device_kind: str, num_devices: int) -> None:
        self._flops_per_token = flops_per_token
        peak = device_peak(device_kind)
        self._peak = None if peak is None else peak * num_devices
        self._last: float | None = None
        self._reset()

    def start(self, now: float) -> None:
        """The next step begins at `now` (seconds of any steady clock)."""
        self._last = now

    def step(self, tokens: int, now: float, *, waited: float = 0.0) -> None:
        """A step of `tokens` (over all devices) was finished at `now`, having waited for data."""
        assert self._last is not None, "start() comes first"
        self._steps += 1
        self._tokens += tokens
        self._waited += waited
        self._seconds += now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """Means over the steps since the last call, as record fields; no `mfu` without a peak."""
        assert self._steps, "no step was finished"
        seconds = max(self._seconds, 1e-9)
        flops = self._flops_per_token * self._tokens / seconds
        record = {
            "step_seconds": seconds / self._steps,
            "tokens_per_second": self._tokens / seconds,
            "flops_per_second": flops,
            "data_wait": min(self._waited / seconds, 1.0),
        }
        if self._peak is not None:
            record["mfu"] = flops / self._peak
        self._reset()
        return record

    def _reset(self) -> None:
        self._steps, self._tokens, self._seconds, self._waited = 0, 0, 0.0, 0.0


def mfu_note(device_kind: str) -> str | None:
    """A sentence for the log if MFU cannot be told on this device."""
    if device_peak(device_kind) is not None:
        return None
    return f"MFU is not reported: the peak of {device_kind!r} is not known; FLOP/s are."

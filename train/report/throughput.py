"""How fast a run goes: step times, tokens/s, FLOP/s and MFU. Pure: the loop passes the time."""

from train.chips import device_peak


class Throughput:
    """Times the steps between two records.

    The loop calls `start` once the step is compiled (and again after a pause, such as an
    evaluation), `step` whenever it sees that a step is finished, `take` for a record. So
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
        """Means over the steps since the last call, as record fields; no `mfu` without a peak, and
        neither it nor FLOP/s where those of a token are not known."""
        assert self._steps, "no step was finished"
        seconds = max(self._seconds, 1e-9)
        flops = self._flops_per_token * self._tokens / seconds
        record = {
            "step_seconds": seconds / self._steps,
            "tokens_per_second": self._tokens / seconds,
            "data_wait": min(self._waited / seconds, 1.0),
        }
        if flops:
            record["flops_per_second"] = flops
        if flops and self._peak is not None:
            record["mfu"] = flops / self._peak
        self._reset()
        return record

    def _reset(self) -> None:
        self._steps, self._tokens, self._seconds, self._waited = 0, 0, 0.0, 0.0


def mfu_note(device_kind: str, flops_per_token: float) -> str | None:
    """A sentence for the log if MFU is not known on this device, or of this network."""
    if not flops_per_token:
        return "MFU and FLOP/s are not reported: those of this network are not counted."
    if device_peak(device_kind) is not None:
        return None
    return f"MFU is not reported: the peak of {device_kind!r} is not known; FLOP/s are."

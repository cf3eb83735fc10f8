"""Speed as the loop's clock tells it, and the peaks MFU is measured against."""

import pytest

from train.report.throughput import Throughput, device_peak, mfu_note


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", None),
        ("TPU v4", 275e12),
        ("TPU v4 lite", None),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v6 lite", 918e12),
        ("cpu", None),
        ("NVIDIA H1000", None),
    ],
)
def test_peak_by_device_kind(kind: str, peak: float | None) -> None:
    assert device_peak(kind) == peak
    assert (mfu_note(kind, 1.0) is None) == (peak is not None)


def test_means_over_the_steps_since_the_last_record() -> None:
    speed = Throughput(flops_per_token=1e12, device_kind="NVIDIA H100", num_devices=2)
    speed.start(100.0)
    speed.step(4, 101.0, waited=0.5)
    speed.step(4, 104.0)
    assert speed.take() == {
        "step_seconds": 2.0,
        "tokens_per_second": 2.0,
        "flops_per_second": 2e12,
        "data_wait": 0.125,
        "mfu": 2e12 / (2 * 989e12),
    }
    speed.step(6, 106.0)
    assert speed.take()["tokens_per_second"] == 3.0


def test_compiling_and_pauses_are_in_no_step_time() -> None:
    speed = Throughput(flops_per_token=1.0, device_kind="cpu", num_devices=1)
    speed.start(0.0)
    speed.start(60.0)
    speed.step(1, 61.0)
    first = speed.take()
    speed.start(500.0)
    speed.step(1, 501.0)
    assert (
        first
        == speed.take()
        == {
            "step_seconds": 1.0,
            "tokens_per_second": 1.0,
            "flops_per_second": 1.0,
            "data_wait": 0.0,
        }
    )


def test_unknown_device_has_no_mfu_and_says_so() -> None:
    assert (
        mfu_note("cpu", 1.0) == "MFU is not reported: the peak of 'cpu' is not known; FLOP/s are."
    )
    assert "FLOP/s are not reported" in (mfu_note("cpu", 0.0) or "")

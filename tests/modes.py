"""Modes of files that hold for root too, as the tests of some run."""

import ctypes

DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # Linux's capabilities(7)
VERSION_3 = 0x20080522


def obey_modes() -> None:
    """Give up, for this process, what lets root read and write whatever the modes of files say."""
    header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    system = ctypes.CDLL(None, use_errno=True)
    assert system.capget(header, sets) == 0
    for i in range(3):
        sets[i] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    assert system.capset(header, sets) == 0

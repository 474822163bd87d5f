"""Memory that networks on the CPU use again and again, kept instead of given back."""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Tell glibc's allocator to keep freed memory for the next feature map.

    By default it hands large blocks back to the system, which clears every page anew at the next
    layer; that can take longer than the arithmetic. The process then holds on to its largest
    need. Call it once, before the first network runs.

    Returns:
        Whether it is in force; False where the C library is another one.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wishes = (
        (_MMAP_MAX, 0),
        (_TRIM_THRESHOLD, _NEVER),
        (_TOP_PAD, 64 * 1024**2),
        (_ARENA_MAX, 1),  # what other threads allocate would be given back all the same
    )
    return all(mallopt(parameter, value) == 1 for parameter, value in wishes)

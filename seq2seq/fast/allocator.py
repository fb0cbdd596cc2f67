"""What the C library does with memory that is given back."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Have this process keep freed memory for its next use; elsewhere than on glibc nothing happens.

    By default glibc hands large pieces back to the kernel, which clears every page before it lends it again: 115,000
    page faults, a tenth of the time, in the search for 1,000 sentences (docs/performance.md). Commands call it; a
    program that imports this package may.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

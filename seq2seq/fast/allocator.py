"""A setting of the C library's allocator: keep freed memory. The plain twin is not to call it."""

import ctypes
import sys
from contextlib import suppress

from seq2seq import fast

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Make this process keep freed memory for its next use; without glibc nothing happens.

    By default glibc returns large pieces to the kernel, which clears every page before it lends it again. In the search
    for 1,000 sentences this causes 115,000 page faults, a tenth of the time (docs/performance.md). Commands call this;
    a program that imports this package may call it.
    """
    if sys.platform == "linux" and fast.ON:
        with suppress(OSError, AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_MMAP_MAX, 0)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

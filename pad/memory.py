"""Keeping freed memory for the next step.

Each gradient step frees hundreds of megabytes and asks for them again. glibc returns such blocks to
the system at once, and a third of a training step goes into mapping and clearing them anew.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_pages() -> bool:
    """Have glibc keep freed blocks of this process; False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(option, value) for option, value in settings)

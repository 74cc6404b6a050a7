"""A job that a cluster's workers know by this module's name."""

import os
import signal


def square_but_two(number: int) -> int:
    """Dies at two, like a process that ran out of memory."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2

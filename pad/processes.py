"""Processes that work for another one, and end with it however it ends."""

import os
import threading
import time
from functools import cache


@cache
def end_with(parent: int) -> None:
    """Have this process end when `parent`, which started it, is gone: one that is killed can tell nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()

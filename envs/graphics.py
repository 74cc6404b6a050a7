"""One thread for all OpenGL of this package.

OpenGL has a current context for each thread, and libraries remember which one they made current last.
dm_control, when it frees or draws, would otherwise do so in our context, and pictures turn to garbage
without a word. On a thread of their own, contexts of this package meet no one else's. Made for EGL and OSMesa;
GLFW wants its windows on the main thread and is not supported.
"""

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import mujoco

from envs.opengl import OpenGLUnavailable

T = TypeVar("T")

_tasks: "queue.SimpleQueue[tuple[Future, Callable[[], object]]]" = queue.SimpleQueue()
_thread: threading.Thread | None = None
_starting = threading.Lock()


def call(function: Callable[[], T]) -> T:
    """The function's result, computed on the thread."""
    global _thread
    if threading.current_thread() is _thread:  # a garbage collector there closes somebody's environment
        return function()
    with _starting:
        if _thread is None:
            _thread = threading.Thread(target=_work, name="opengl", daemon=True)
            _thread.start()
    future: Future[T] = Future()
    _tasks.put((future, function))
    return future.result()


def post(function: Callable[[], object]) -> None:
    """Have the function called on the thread at some time; waits for nothing, so a garbage collector may do it."""
    _tasks.put((Future(), function))


def _work() -> None:
    while True:
        future, function = _tasks.get()
        try:
            future.set_result(function())
        except BaseException as error:  # whoever asked gets it
            future.set_exception(error)
        del future, function  # not kept alive until the next one comes


def _forget() -> None:
    """In a forked child the thread is gone, and with it every context."""
    global _tasks, _thread, _starting
    _tasks, _thread, _starting = queue.SimpleQueue(), None, threading.Lock()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Context:
    """An OpenGL context with a model's textures and meshes in it, and an offscreen buffer, until freed.

    Made, used and freed on the thread.

    Raises:
        OpenGLUnavailable: when this machine cannot render.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        visual = model.vis.global_
        self.pid = os.getpid()
        try:
            if not hasattr(mujoco, "GLContext"):
                raise OpenGLUnavailable("rendering is disabled")
            self._gl = mujoco.GLContext(visual.offwidth, visual.offheight)
            self._gl.make_current()
            self.mjr: mujoco.MjrContext | None = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        except OpenGLUnavailable:
            raise
        except Exception as error:  # each backend fails in its own way
            raise OpenGLUnavailable(error) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.mjr)
        # Handlers run last in, first out, and MuJoCo adds its display's when it makes its first context.
        atexit.unregister(_free_all)
        atexit.register(_free_all)
        _open.add(self)

    def make_current(self) -> None:
        """Another context of this package may have been, or a freed one.

        Raises:
            OpenGLUnavailable: in another process than that which made it.
        """
        if self.pid != os.getpid():
            raise OpenGLUnavailable("this environment was made before the process forked: make it anew in the child")
        self._gl.make_current()

    def free(self) -> None:
        """Give the graphics memory back. Freeing twice is harmless."""
        if self.mjr is None or self.pid != os.getpid():
            return
        self._gl.make_current()
        self.mjr.free()
        self._gl.free()
        self.mjr = None


_open: "weakref.WeakSet[Context]" = weakref.WeakSet()


def _free_all() -> None:
    for context in list(_open):
        call(context.free)

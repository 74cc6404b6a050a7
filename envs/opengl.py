"""Which OpenGL draws the pictures, decided before MuJoCo is imported.

MuJoCo reads `MUJOCO_GL` once, at import. Left unset on a Linux machine without a display it
picks a windowing library and fails, so this module chooses for the user who has not.
"""

import ctypes
import os
import subprocess
import sys

PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0"
"""Debian and Ubuntu packages that render without a display or a GPU."""


_too_late = False


class OpenGLUnavailable(RuntimeError):
    """No OpenGL answers on this machine; the message names what to install."""

    def __init__(self, reason: object) -> None:
        chosen = os.environ.get("MUJOCO_GL", "unset")
        if _too_late:
            super().__init__(
                f"cannot render: {reason}. MuJoCo was imported before MUJOCO_GL could be set to {chosen}: "
                f"import envs before mujoco and dm_control, or set MUJOCO_GL={chosen} yourself"
            )
            return
        super().__init__(
            f"cannot render: {reason} (MUJOCO_GL={chosen}). On Debian or Ubuntu: sudo apt-get install {PACKAGES}"
        )


def choose() -> None:
    """Set `MUJOCO_GL` to egl, else osmesa, on a Linux machine whose user has not chosen.

    And `LP_NUM_THREADS` to 0, unless it is set: Mesa rasterizes on the thread that asks for it.
    """
    # One rasterizer thread: a 100x100 picture is too small to share, and the spare threads would
    # fight the learner for the cores.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    global _too_late
    if not sys.platform.startswith("linux") or os.environ.get("MUJOCO_GL"):
        return
    _too_late = "mujoco" in sys.modules
    for backend, library in (("egl", "libEGL.so.1"), ("osmesa", "libOSMesa.so.8")):
        if _loads(library) and _loads("libOpenGL.so.0"):
            os.environ["MUJOCO_GL"] = backend
            return
    # Physics still works; the first picture raises OpenGLUnavailable.
    os.environ["MUJOCO_GL"] = "disable"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


_PROBE = """
import mujoco
from OpenGL import GL
context = mujoco.GLContext(64, 64)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
print(GL.glGetString(GL.GL_RENDERER).decode())
"""


def probe() -> str:
    """Name of the renderer that answers, found out in a process of its own since a bad driver can crash.

    Raises:
        OpenGLUnavailable: when none answers.
    """
    choose()
    command = [sys.executable, "-c", _PROBE]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise OpenGLUnavailable("the driver does not answer") from None
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"the probe ended with code {result.returncode}"]
        raise OpenGLUnavailable(lines[-1])
    return f"{os.environ.get('MUJOCO_GL', 'default')}: {result.stdout.strip().splitlines()[-1]}"


if __name__ == "__main__":
    try:
        print(probe())
    except OpenGLUnavailable as error:
        sys.exit(str(error))

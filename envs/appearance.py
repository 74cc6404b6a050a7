"""Colours of a loaded model, changed in place.

The published benchmarks recompile a model to recolour it. Here the colours go straight into the
arrays that only the renderer reads, so the physics cannot change.
"""

from collections.abc import Sequence
from functools import lru_cache
from xml.etree import ElementTree

import mujoco
import numpy as np
from dm_control.mujoco import Physics
from dm_control.suite import common

Color = Sequence[float]
"""Red, green, blue, each from 0 to 1."""

_TEXTURE_ATTRIBUTES = {
    "skybox_rgb": ("skybox", "rgb1"),
    "skybox_rgb2": ("skybox", "rgb2"),
    "skybox_markrgb": ("skybox", "markrgb"),
    "grid_rgb1": ("grid", "rgb1"),
    "grid_rgb2": ("grid", "rgb2"),
    "grid_markrgb": ("grid", "markrgb"),
}
_TEXTURE_FILES = {"skybox": "./common/skybox.xml", "grid": "./common/materials.xml"}


class Appearance:
    """The skybox, the floor's grid and the body of a suite task, recoloured and restored."""

    def __init__(self, physics: Physics) -> None:
        self._model = physics.model.ptr
        self._textures = {name: index for name in _TEXTURE_FILES if (index := self._find_texture(name)) >= 0}
        self._body = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_MATERIAL, "self")
        self._original_textures = {name: self._texels(name).copy() for name in self._textures}
        self._original_body = self._model.mat_rgba[self._body].copy()
        self.version = 0
        """Counts the changes of textures, which renderers see after `Renderer.upload`."""
        self._changed = False

    def _find_texture(self, name: str) -> int:
        kind = mujoco.mjtTexture.mjTEXTURE_SKYBOX if name == "skybox" else mujoco.mjtTexture.mjTEXTURE_2D
        for index in range(self._model.ntex):
            named = name == "skybox" or self._model.texture(index).name == name
            if named and self._model.tex_type[index] == kind:
                return index
        return -1

    @property
    def textures(self) -> list[int]:
        """Indices of the textures that may have changed, for `Renderer.upload`."""
        return list(self._textures.values())

    def _texels(self, name: str) -> np.ndarray:
        index = self._textures[name]
        start = self._model.tex_adr[index]
        size = self._model.tex_width[index] * self._model.tex_height[index] * self._model.tex_nchannel[index]
        return self._model.tex_data[start : start + size]

    def restore(self) -> None:
        """Bring back the colours of the training environment."""
        if self._changed:
            for name, texels in self._original_textures.items():
                self._texels(name)[:] = texels
            self._changed, self.version = False, self.version + 1
        if self._body >= 0:
            self._model.mat_rgba[self._body] = self._original_body

    def recolor(self, **colors: Color) -> None:
        """Set any of skybox_rgb, skybox_rgb2, skybox_markrgb, grid_rgb1, grid_rgb2, grid_markrgb, self_rgb.

        Parts that the task's model does not have are left out, as in the published benchmark.

        Raises:
            ValueError: when a name is unknown, or the model has none of the parts named.
        """
        if unknown := set(colors) - {*_TEXTURE_ATTRIBUTES, "self_rgb"}:
            raise ValueError(
                f"unknown colours {sorted(unknown)}; known: {', '.join([*_TEXTURE_ATTRIBUTES, 'self_rgb'])}"
            )
        changed = False
        for name in self._textures:
            attributes = {
                attribute: " ".join(str(float(part)) for part in colors[key])
                for key, (texture, attribute) in _TEXTURE_ATTRIBUTES.items()
                if texture == name and key in colors
            }
            texels = _compile_texture(name, tuple(attributes.items()))
            if attributes and texels.size == self._texels(name).size:
                self._texels(name)[:] = texels
                changed, self._changed, self.version = True, True, self.version + 1
        if "self_rgb" in colors and self._body >= 0:
            self._model.mat_rgba[self._body, :3] = colors["self_rgb"]
            changed = True
        if not changed:
            raise ValueError(f"this task has no skybox, grid or body of the suite to recolour ({', '.join(colors)})")


@lru_cache(maxsize=8)
def _compile_texture(name: str, attributes: tuple[tuple[str, str], ...]) -> np.ndarray:
    """Texels of a texture of the suite with some of its colours replaced, as MuJoCo itself draws them."""
    source = ElementTree.fromstring(common.ASSETS[_TEXTURE_FILES[name]])
    texture = next(element for element in source.iter("texture") if element.get("name") == name)
    texture.attrib.update(dict(attributes))
    root = ElementTree.Element("mujoco")
    ElementTree.SubElement(root, "asset").append(texture)
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    return np.array(model.tex_data)

"""Moving backgrounds, generated: no download, and the same on every machine.

Two properties of natural scenes matter to a camera policy. Their spectrum falls off as one over
frequency (Field, 1987), which the fractal part has. They are made of objects that occlude each
other, of all sizes (the dead leaves model of Lee, Mumford and Huang, 2001), which the leaves are.
Every background loops without a jump.
"""

from dataclasses import dataclass

import numpy as np

SIZE = 96
"""Height and width of a generated frame in pixels."""
FRAMES = 100
"""Length of a generated background; it loops."""


@dataclass(frozen=True)
class Style:
    """How busy a set of backgrounds is."""

    leaves: int
    largest: float
    """Radius of the largest leaf, as a fraction of the frame."""
    travel: float
    """How far a leaf moves back and forth, as a fraction of the frame."""
    contrast: float


STYLES = {
    "video_easy": Style(leaves=30, largest=0.4, travel=0.15, contrast=0.16),
    "video_hard": Style(leaves=90, largest=0.3, travel=0.3, contrast=0.22),
}
COUNTS = {"video_easy": 10, "video_hard": 100}
"""How many backgrounds there are of each kind, as many as the published benchmark has."""


def generate_background(name: str, split: str, index: int) -> np.ndarray:
    """Background `index` of the set `name`: uint8 (FRAMES, SIZE, SIZE, 3)."""
    rng = np.random.default_rng([index, *f"{name}/{split}".encode()])
    style = STYLES[name]
    palette = _palette(rng)
    light, hue = _fractal(rng), _fractal(rng)
    direction = rng.normal(size=3)
    direction -= direction.mean()
    scene = palette[0] + style.contrast * (light[..., None] + 0.5 * hue[..., None] * direction)
    texture = 0.5 * style.contrast * light[..., None]
    for _ in range(style.leaves):
        _paint_leaf(scene, texture, palette, style, rng)
    return (np.clip(scene, 0, 1) * 255).astype(np.uint8)


def _palette(rng: np.random.Generator) -> np.ndarray:
    """Eight colours (8, 3) scattered around two, since scenes are seldom of every colour at once."""
    anchors = rng.uniform(0.1, 0.9, (2, 3))
    mixing = rng.uniform(size=(8, 1))
    return np.clip(mixing * anchors[0] + (1 - mixing) * anchors[1] + rng.normal(0, 0.1, (8, 3)), 0, 1)


def _fractal(rng: np.random.Generator) -> np.ndarray:
    """Noise (FRAMES, SIZE, SIZE) of unit variance, amplitude one over frequency in space, smooth in time."""
    noise = np.fft.rfftn(rng.normal(size=(FRAMES, SIZE, SIZE)))
    t, y, x = np.fft.fftfreq(FRAMES) * FRAMES, np.fft.fftfreq(SIZE) * SIZE, np.fft.rfftfreq(SIZE) * SIZE
    frequency = np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)[None]
    amplitude = 1 / np.maximum(frequency, 1) ** 1.5 * np.exp(-((t[:, None, None] / 4) ** 2))
    amplitude[:, 0, 0] = 0
    field = np.fft.irfftn(noise * amplitude, s=(FRAMES, SIZE, SIZE), axes=(0, 1, 2))
    return field / field.std()


def _paint_leaf(
    scene: np.ndarray, texture: np.ndarray, palette: np.ndarray, style: Style, rng: np.random.Generator
) -> None:
    """Draw one moving ellipse over the scene (FRAMES, SIZE, SIZE, 3), in place."""
    # Radii with density 1/r^3, the scale-invariant choice of the dead leaves model.
    smallest = 0.04
    radius = (smallest**-2 + rng.uniform() * (style.largest**-2 - smallest**-2)) ** -0.5
    stretch, angle, tint = rng.uniform(0.6, 1.6), rng.uniform(0, np.pi), rng.integers(len(palette))
    centre, amplitude = rng.uniform(0, 1, 2), rng.uniform(-style.travel, style.travel, 2)
    cycles, phase = rng.integers(1, 3, 2), rng.uniform(0, 2 * np.pi, 2)
    time = np.arange(FRAMES)[:, None] / FRAMES
    path = centre + amplitude * np.sin(2 * np.pi * cycles * time + phase)
    grid = (np.arange(SIZE) + 0.5) / SIZE
    for frame, (row, column) in enumerate(path):
        dy, dx = (grid - row)[:, None], (grid - column)[None, :]
        along, across = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
        inside = (along * stretch) ** 2 + (across / stretch) ** 2 < radius**2
        scene[frame][inside] = palette[tint] + texture[frame][inside]

"""Pictures from a folder or of chance, to show in or behind observations while an agent learns."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pad.types import Images

SPEED = 2
"""Pixels by which a picture drifts from frame to frame, at most."""
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def load_pictures(folder: Path, height: int, width: int, most: int = 2_000) -> Images:
    """All pictures below a folder in the order of their names, scaled to one size; of very many, evenly chosen ones.

    Raises:
        FileNotFoundError: when there are none.
        ValueError: when one cannot be read.
    """
    if most < 1:
        raise ValueError(f"at least one picture is needed, got most={most}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {folder}")
    chosen = [paths[number * len(paths) // min(most, len(paths))] for number in range(min(most, len(paths)))]
    pictures = torch.empty(len(chosen), 3, height, width, dtype=torch.uint8)
    for number, path in enumerate(chosen):
        try:
            pixels = torch.from_numpy(_read(path)).permute(2, 0, 1)[None]
        except Exception as error:  # whatever a codec says
            raise ValueError(f"{path} is no picture: {(str(error).strip() or repr(error)).splitlines()[0]}") from error
        scaled = F.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
        pictures[number] = scaled[0].round().clamp(0, 255).to(torch.uint8)
    return pictures


def _read(path: Path) -> np.ndarray:
    """The first picture of a file: float32 (height, width, 3), 0 to 255."""
    pixels = np.asarray(iio.imread(path, index=0))
    if pixels.dtype in (np.uint8, np.bool_):
        return np.asarray(iio.imread(path, index=0, mode="RGB"), np.float32)
    # Sixteen bits: the reader's own conversion would cut them off.
    colors = pixels[..., None].repeat(3, 2) if pixels.ndim == 2 else pixels[..., :3]
    return colors.astype(np.float32) * (255 / np.iinfo(pixels.dtype).max)


def random_pictures(count: int, colors: int, height: int, width: int) -> Tensor:
    """Sums of random colours on coarse and fine grids, some with soft and some with hard edges.

    Returns:
        (count, colors, height, width), from 0 to 1.
    """
    picture = torch.rand(count, colors, 1, 1).expand(count, colors, height, width)
    for cells in (3, 6, 12, 24):
        grid = torch.rand(count, colors, cells, cells) - 0.5
        soft = F.interpolate(grid, (height, width), mode="bilinear")
        hard = F.interpolate(grid, (height, width), mode="nearest")
        strength, kind = torch.rand(2, count, 1, 1, 1)
        picture = picture + strength * torch.where(kind < 0.5, soft, hard)
    return picture.clamp(0, 1)


def drift(pictures: Tensor, time: int) -> Tensor:
    """Windows of pictures that move steadily, each in a random direction: (pictures, time, colors, height, width).

    Args:
        pictures: (pictures, colors, height + margin, width + margin), where the margin is SPEED * (time - 1).
    """
    count, margin = len(pictures), SPEED * (time - 1)
    velocity = torch.randint(-SPEED, SPEED + 1, (count, 1, 2))
    corner = torch.where(velocity < 0, margin, 0) + velocity * torch.arange(time)[:, None]
    height, width = (side - margin for side in pictures.shape[2:])
    windows = pictures.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count)[:, None], :, corner[..., 0], corner[..., 1]]

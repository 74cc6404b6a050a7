"""Pictures from a folder or of chance, to show in or behind observations while an agent learns."""

import math
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pad.files import first_line
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
            raise ValueError(f"{path} is no picture: {first_line(error)}") from error
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
    picture = torch.rand(count, colors, 1, 1).expand(count, colors, height, width).contiguous()
    for cells in (3, 6, 12, 24):
        grid = torch.rand(count, colors, cells, cells) - 0.5
        strength, kind = torch.rand(2, count, 1, 1, 1)
        _spread(picture, strength * grid, kind < 0.5)
    return picture.clamp_(0, 1)


def _spread(pictures: Tensor, grids: Tensor, is_soft: Tensor) -> None:
    """Adds to each picture its grid, scaled to its size: bilinearly, or with hard edges.

    As products of matrices, a fraction of the price of scaling each way and choosing.

    Args:
        grids: (pictures, colors, cells, cells).
        is_soft: (pictures, 1, 1, 1).
    """
    rows, columns = (_scaling(side, grids.shape[3], is_soft) for side in pictures.shape[2:])
    spread = (rows @ grids).flatten(1, 2)
    pictures.view(len(pictures), -1, pictures.shape[3]).baddbmm_(spread, columns[:, 0].transpose(1, 2))


def _scaling(side: int, cells: int, is_soft: Tensor) -> Tensor:
    """What a column of so many cells is multiplied with to be of that length: (pictures, 1, side, cells)."""
    each = torch.eye(cells)[None]
    soft, hard = (F.interpolate(each, side, mode=mode)[0].T for mode in ("linear", "nearest"))
    return torch.where(is_soft, soft, hard)


def drift_margin(time: int) -> int:
    """Pixels by which a picture must be higher and wider than its window, to drift for so many frames."""
    return SPEED * (time - 1)


def drift(pictures: Tensor, time: int) -> Tensor:
    """Windows of pictures that move steadily, each in a random direction: (pictures, time, colors, height, width).

    Args:
        pictures: (pictures, colors, height + margin, width + margin), where the margin is that of `drift_margin`.
    """
    count, margin = len(pictures), drift_margin(time)
    velocity = torch.randint(-SPEED, SPEED + 1, (count, 1, 2))
    corner = torch.where(velocity < 0, margin, 0) + velocity * torch.arange(time)[:, None]
    height, width = (side - margin for side in pictures.shape[2:])
    windows = [
        picture[:, top : top + height, left : left + width]
        for picture, path in zip(pictures, corner.tolist(), strict=True)
        for top, left in path
    ]
    return torch.stack(windows).unflatten(0, (count, time))


def random_films(
    count: int, time: int, colors: int, height: int, width: int, palette: Tensor | None = None, shapes: int = 8
) -> Tensor:
    """Drifting grounds, plain to rough, and before them ellipses and bars, each moving and turning as it likes.

    Args:
        palette: colours from 0 to 1, (count, any number, colors), from which half of the films take theirs: what is in
            front cannot be told from them by colour then. Default: all take any colour.
        shapes: at most, in one film.

    Returns:
        (count, time, colors, height, width), from 0 to 1.
    """
    paint = _Paint(count, colors, palette)
    grounds = _grounds(paint, height + drift_margin(time), width + drift_margin(time))
    # Those with the most shapes first: the films that have yet another one are the first few.
    number, order = torch.randint(shapes + 1, (count,)).sort(descending=True)
    film = drift(grounds[order], time)
    rows, columns, moments = torch.arange(height)[:, None], torch.arange(width), torch.arange(time)
    for shape in range(shapes):
        shown = int((number > shape).sum())
        if not shown:
            break
        down, right = torch.rand(2, shown, 1) * torch.tensor([height, width])[:, None, None]
        down, right = (start + torch.randn(shown, 1) * SPEED * moments for start in (down, right))
        angle = math.pi * torch.rand(shown, 1) + 0.1 * torch.randn(shown, 1) * moments
        cos, sin, down, right = (part[..., None, None] for part in (angle.cos(), angle.sin(), down, right))
        # Half lengths and half widths, small ones as often as large ones.
        length = torch.empty(shown, 1, 1, 1).uniform_(math.log(2), math.log(0.4 * width)).exp()
        breadth = torch.empty(shown, 1, 1, 1).uniform_(0, math.log(0.3 * width)).exp()
        # From its centre along it and across it, in half lengths and half widths; squared.
        along = ((columns - right) * (cos / length) + (rows - down) * (sin / length)).square_()
        across = ((rows - down) * (cos / breadth) - (columns - right) * (sin / breadth)).square_()
        is_round = torch.rand(shown, 1, 1, 1) < 0.5
        # In an ellipse their sum is below one, in a bar the larger of them.
        inside = torch.maximum(along, across).add_(torch.minimum(along, across).mul_(is_round)) < 1
        cover = torch.empty(shown, 1, 1, 1, 1).uniform_(0.5, 1) * inside[:, :, None]
        color = paint.draw()[order[:shown], None, :, None, None]
        film[:shown].lerp_(color.expand_as(film[:shown]), cover)
    return film[order.argsort()]


class _Paint:
    """Colours at random: any, or for half of the films from a palette."""

    def __init__(self, count: int, colors: int, palette: Tensor | None) -> None:
        self.count, self.colors, self._palette = count, colors, palette
        self._limited = torch.rand(count, 1) < (0.5 if palette is not None else 0.0)

    def draw(self) -> Tensor:
        """(count, colors)."""
        free = torch.rand(self.count, self.colors)
        if self._palette is None:
            return free
        chosen = self._palette[torch.arange(self.count), torch.randint(self._palette.shape[1], (self.count,))]
        near = (chosen * torch.empty(self.count, 1).uniform_(0.7, 1.3) + 0.05 * torch.randn(chosen.shape)).clamp(0, 1)
        return torch.where(self._limited, near, free)


def _grounds(paint: _Paint, height: int, width: int) -> Tensor:
    """One colour each, most with patterns of several sizes, coloured or in light and dark."""
    count, colors = paint.count, paint.colors
    picture = paint.draw()[..., None, None].expand(count, colors, height, width).clone()
    strength = torch.empty(count, 1, 1, 1).uniform_(0, 1.5) * (torch.rand(count, 1, 1, 1) < 0.8)
    roughness = torch.empty(count, 1, 1, 1).uniform_(0.3, 1)
    for octave, cells in enumerate((2, 4, 8, 16, 32)):
        grid = torch.rand(count, colors, cells, cells) - 0.5
        grey = torch.rand(count, 1, 1, 1) < 0.5
        grid = torch.where(grey, grid[:, :1], grid)
        _spread(picture, strength * roughness**octave * grid, torch.rand(count, 1, 1, 1) < 0.7)
    return picture.clamp_(0, 1)

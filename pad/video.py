"""Two arms of an evaluation side by side, with return and self-supervised loss running along."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageDraw

from pad.evaluation import Episode

COLORS = {"frozen": (86, 180, 233), "adapting": (230, 159, 0)}
"""Told apart by people who see colours differently, too."""
_PANEL, _TITLE, _MARGIN = 110, 24, 8
_SMALLEST = 240
"""Pixels of the shorter side of a picture, at least."""
_INK, _PAPER = (225, 225, 225), (24, 24, 28)


def write_video(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    """Write uint8 frames (height, width, 3), both even, as H.264."""
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, np.stack(frames), plugin="pyav", codec="libx264", fps=fps)


def compose(arms: dict[str, Episode], title: str) -> Iterator[np.ndarray]:
    """Frames of the video: what each arm saw, and below it how its return and loss came about.

    Args:
        arms: recorded episodes by the names in `COLORS`, with pictures of one size; small ones are shown larger.
    """
    shape = next(iter(arms.values())).frames[0].shape
    scale = max(1, math.ceil(_SMALLEST / min(shape[:2])))
    size, breadth = scale * shape[0], scale * shape[1]
    width = breadth * len(arms)
    returns = {name: np.cumsum(episode.rewards) for name, episode in arms.items()}
    losses = {name: smooth(e.self_supervised_loss) for name, e in arms.items() if e.self_supervised_loss}
    curves = {"return": returns, "self-supervised loss": losses} if losses else {"return": returns}
    height = _TITLE + size + _PANEL * len(curves)
    for step in range(max(episode.steps for episode in arms.values())):
        canvas = Image.new("RGB", (width + width % 2, height + height % 2), _PAPER)
        draw = ImageDraw.Draw(canvas)
        for column, (name, episode) in enumerate(arms.items()):
            now = min(step, episode.steps - 1)
            picture = Image.fromarray(episode.frames[now]).resize((breadth, size), Image.Resampling.NEAREST)
            canvas.paste(picture, (column * breadth, _TITLE))
            caption = f"{name}  {returns[name][now]:.4g}"
            draw.text((column * breadth + _MARGIN, 6), caption, COLORS[name])
        left = (len(arms) - 1) * breadth + draw.textlength(caption) + 4 * _MARGIN
        draw.text((width - _MARGIN, 6), _cut(draw, title, width - left), _INK, anchor="ra")
        for row, (label, lines) in enumerate(curves.items()):
            _draw_curves(draw, label, lines, step, (0, _TITLE + size + row * _PANEL, width, _PANEL))
        yield np.asarray(canvas)


def _cut(draw: ImageDraw.ImageDraw, text: str, width: float) -> str:
    """As much of the end of a text as fits into a width."""
    shown = text
    while shown and draw.textlength(shown) > width:
        text = text[1:]
        shown = f"...{text}" if text else ""
    return shown


def _draw_curves(
    draw: ImageDraw.ImageDraw, label: str, lines: dict[str, np.ndarray], step: int, box: tuple[int, int, int, int]
) -> None:
    left, top, width, height = box
    longest = max(len(line) for line in lines.values())
    largest = max(0.0, *(float(line.max()) for line in lines.values()))
    least = min(0.0, *(float(line.min()) for line in lines.values()))
    span = largest - least or 1.0
    inner_top, inner = top + 20, height - 20 - _MARGIN
    draw.text((left + _MARGIN, top + 4), label, _INK)
    extent = f"{largest:.3g}" if least == 0 else f"{least:.3g} to {largest:.3g}"
    draw.text((left + width - _MARGIN, top + 4), extent, _INK, anchor="ra")
    zero = inner_top + inner * largest / span
    draw.line([(left + _MARGIN, zero), (left + width - _MARGIN, zero)], (70, 70, 75))
    for name, line in lines.items():
        shown = line[: step + 1]
        x = left + _MARGIN + np.arange(len(shown)) * (width - 2 * _MARGIN) / max(longest - 1, 1)
        y = inner_top + inner * (largest - shown) / span
        if len(shown) > 1:
            draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), COLORS[name], 2)


def smooth(values: Sequence[float], window: int = 10) -> np.ndarray:
    """Mean of the last `window` values, at each step."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(total))
    start = np.maximum(end - window, 0)
    return (total[end] - total[start]) / (end - start)

"""The shifts by name, and what they look like.

    python scripts/shifts.py list
    python scripts/shifts.py gallery --task walker_walk --output gallery.png
    python scripts/shifts.py show "color_hard + camera:0.4" --task cheetah_run --output shown.png

list names every shift and says what it does. gallery draws each one at several strengths. show draws one shift, or
several together, at several of the agent's steps.
"""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cli
import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

import envs
from pad.seeding import episode_seed
from pad.tracking import progress_bar, say

_GAP, _LABEL, _HEAD = 4, 224, 26
_INK, _PAPER = (30, 30, 34), (255, 255, 255)


@dataclass(frozen=True)
class GalleryConfig:
    """Draw every shift at several strengths."""

    task: str = "walker_walk"
    shifts: tuple[str, ...] = tuple(envs.SHIFTS)
    """Which; default: all."""
    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    steps: tuple[int, ...] = tuple(range(8, 28))
    """The agent's steps, acting at random; shown is the one at which the shift makes the greatest difference."""
    seed: int = 0
    """Of the episode."""
    size: int = 100
    """Height and width of a picture in pixels."""
    columns: int = 2
    """How many shifts stand side by side."""
    shift_data: str | None = None
    """Folder in the published benchmark's layout, or of videos. Default: our own colours and backgrounds."""
    quality: envs.Quality = "fast"
    output: Path = Path("gallery.png")

    def __post_init__(self) -> None:
        if min(self.size, self.columns, *map(len, (self.shifts, self.strengths, self.steps))) < 1:
            raise ValueError("size, columns, and the numbers of shifts, strengths and steps must be at least 1")
        if min(self.steps) < 0:
            raise ValueError(f"steps must be at least 0, got {min(self.steps)}")
        if unknown := set(self.shifts) - set(envs.SHIFTS):
            raise ValueError(f"unknown shifts {', '.join(sorted(unknown))}; known: {', '.join(envs.SHIFTS)}")


@dataclass(frozen=True)
class ShowConfig:
    """Draw a shift at several of the agent's steps."""

    shift: Annotated[str, tyro.conf.Positional]
    """As --shift of eval.py takes it, or a YAML file."""
    task: str = "walker_walk"
    steps: tuple[int, ...] = (0, 25, 50, 75, 100)
    """The agent's steps that are shown; between them it acts at random."""
    seed: int = 0
    """Of the episode."""
    size: int = 200
    """Height and width of a picture in pixels."""
    shift_data: str | None = None
    """Folder in the published benchmark's layout, or of videos. Default: our own colours and backgrounds."""
    quality: envs.Quality = "fast"
    output: Path = Path("shown.png")

    def __post_init__(self) -> None:
        if self.size < 1 or not self.steps or min(self.steps) < 0:
            raise ValueError(f"size must be at least 1 and steps at least 0, got {self.size} and {self.steps}")


def main() -> None:
    commands = {"list": list_shifts, "gallery": draw_gallery, "show": show}
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return
    if sys.argv[1] not in commands:
        raise cli.BadInput(f"unknown command {sys.argv[1]!r}; known: {', '.join(commands)}")
    commands[sys.argv[1]](sys.argv[2:])


def list_shifts(arguments: list[str]) -> None:
    """One line for each shift, by group."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        return
    if arguments:
        raise cli.BadInput(f"list takes nothing more, got {' '.join(arguments)}")
    width = max(map(len, envs.SHIFTS))
    for group in dict.fromkeys(kind.group for kind in envs.SHIFTS.values()):
        print(f"{group}")
        for name, kind in envs.SHIFTS.items():
            if kind.group == group:
                print(f"  {name.ljust(width)}  {kind.about}")
    print("\nPut together: --shift 'color_hard + camera:0.4', 'noise:0..1', 'none@0, video_hard@50, repeat@100'")


def draw_gallery(arguments: list[str]) -> None:
    """A contact sheet."""
    config = cli.parse(GalleryConfig, arguments)
    blocks = []
    with progress_bar("gallery", len(config.shifts), 0, "shifts") as bar:
        for name in config.shifts:
            base = envs.EnvConfig(
                config.task, shift_data=config.shift_data, quality=config.quality, image_size=config.size
            )
            env_configs = [dataclasses.replace(base, shift=f"{name}:{strength}") for strength in config.strengths]
            seed = episode_seed(config.seed, 0)
            seen = np.stack([pictures_of(env, seed, config.steps) for env in env_configs])
            difference = np.abs(seen[-1].astype(float) - seen[0]).mean((1, 2, 3))
            blocks.append((name, list(seen[:, difference.argmax()])))
            bar.update(1)
    heads = [f"{strength:g}" for strength in config.strengths]
    save(config.output, draw_sheet(blocks, heads, config.columns))


def show(arguments: list[str]) -> None:
    """One row of pictures."""
    config = cli.parse(ShowConfig, arguments)
    env = envs.EnvConfig(config.task, config.shift, config.shift_data, quality=config.quality, image_size=config.size)
    steps = sorted(set(config.steps))
    pictures = pictures_of(env, episode_seed(config.seed, 0), steps)
    save(config.output, draw_sheet([(env.shift, pictures)], [f"step {step}" for step in steps], 1, label=0))


def pictures_of(config: envs.EnvConfig, seed: int, steps: Sequence[int]) -> list[np.ndarray]:
    """What the policy sees at some of an episode's steps, in their order, acting at random."""
    env, actions, shown = envs.make(config), np.random.default_rng(seed), []
    try:
        obs, _ = env.reset(seed=seed)
        for step in range(max(steps) + 1):
            if step in steps:
                shown.append(obs[-3:].transpose(1, 2, 0).copy())
            obs, _, terminated, truncated, _ = env.step(actions.uniform(-1, 1, env.action_space.shape))
            if (terminated or truncated) and step < max(steps):
                raise cli.BadInput(f"an episode of {config.task} has {step + 1} of the agent's steps, not {max(steps)}")
    finally:
        env.close()
    return shown


def draw_sheet(
    blocks: list[tuple[str, list[np.ndarray]]], heads: list[str], columns: int, label: int = _LABEL
) -> Image.Image:
    """Rows of pictures, each row with its name, below what tells the pictures of a row apart."""
    size, rows = blocks[0][1][0].shape[0], -(-len(blocks) // columns)
    width = label + len(heads) * (size + _GAP) + _GAP
    title = 0 if label else _HEAD
    sheet = Image.new("RGB", (columns * width, _HEAD + title + rows * (size + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (name, pictures) in enumerate(blocks):
        left, top = (number // rows) * width, _HEAD + title + (number % rows) * (size + _GAP)
        draw.text((left + 8, top + size // 2 if label else 5), name, _INK, font, "lm" if label else "la")
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (left + label + column * (size + _GAP), top))
    for block in range(-(-len(blocks) // rows)):
        for column, head in enumerate(heads):
            middle = block * width + label + column * (size + _GAP) + size // 2
            draw.text((middle, title + 5), head, _INK, font, "ma")
    return sheet


def save(path: Path, sheet: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    say(f"wrote {path}")


if __name__ == "__main__":
    cli.run(main)

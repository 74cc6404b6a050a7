"""Strong augmentations: other appearances of the training environment, for an agent that is robust before it adapts.

Images stay uint8. The frames of a clip, a few successive ones, share the parameters of their augmentation; every clip
of a batch has parameters of its own.
"""

import math
from collections.abc import Callable
from enum import IntEnum
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pad.pictures import drift, drift_margin, random_films, random_pictures
from pad.types import Images

AugmentationName = Literal["random_convolution", "random_overlay", "color_jitter", "random_background"]
LAYERED = "random_background"
"""Needs to know what each pixel shows, a `Layer` as one more channel of every frame: see `_random_background`."""


class Layer(IntEnum):
    """What a pixel shows, from front to back, as environments tell it."""

    THING = 0
    """The robot and other things."""
    GROUND = 1
    SKY = 2


Augmentation = Callable[[Tensor, slice], Tensor]
"""Some clips' augmentation with parameters drawn once: takes frames, uint8 (clips, time, channels, height, width), and
which frames of its own films to show at them; returns uint8 (clips, time, colors, height, width)."""
_ALL = slice(None)


def draw_augmentation(name: AugmentationName, first: Tensor, time: int, pictures: Tensor | None = None) -> Augmentation:
    """An augmentation with random parameters of its own for each clip.

    Args:
        first: frames that the clips begin with, uint8 (clips, time, channels, height, width), with layers as the last
            channel for random_background; kept are their shape, mean brightness and, for films, some colours.
        time: frames of the films that random_overlay and random_background show.
        pictures: to show in place of generated ones, uint8 (picture, colors, height, width).

    Raises:
        ValueError: when color_jitter is given frames that have not three colours, or pictures have other colours than
            the frames.
    """
    if name == "random_convolution":
        return _random_convolution(first)
    if name == "color_jitter":
        return _color_jitter(first)
    return (_random_overlay if name == "random_overlay" else _random_background)(first, time, pictures)


def _random_convolution(first: Tensor) -> Augmentation:
    """Each clip through a random 3x3 convolution over colours (Lee et al., 2020), the same for its frames.

    Colours, contrast and fine texture change, shapes stay.
    """
    clips, _, colors, _, _ = first.shape
    weight = torch.randn(clips * colors, colors, 3, 3).to(first.device)

    def augment(frames: Tensor, _film_frames: slice) -> Tensor:
        time = frames.shape[1]
        images = F.pad(frames.flatten(0, 1).float() / 255 - 0.5, (1, 1, 1, 1), mode="replicate")
        return _to_bytes(_convolved(images.unflatten(0, (clips, time)), weight).sigmoid_())

    return augment


def _convolved(clips: Tensor, weight: Tensor) -> Tensor:
    """Each clip, (time, colors, height, width), through its own of the weights, (clips * colors, colors, 3, 3)."""
    if clips.device.type == "cpu":  # one after the other, twice as fast as side by side
        each = zip(clips, weight.chunk(len(clips)), strict=True)
        return torch.stack([F.conv2d(frames, own) for frames, own in each])
    side_by_side = clips.transpose(0, 1).flatten(1, 2)  # the colours of each clip are a group of their own
    mixed = F.conv2d(side_by_side, weight, groups=len(clips))
    return mixed.unflatten(1, clips.shape[:1] + clips.shape[2:3]).transpose(0, 1)


def _color_jitter(first: Tensor) -> Augmentation:
    """Each clip with its own brightness, contrast, saturation and hue (Laskin et al., 2020), the same for its frames.

    Factors of 0.4 to 1.6; hue turns by any angle around the grey axis. Needs three colours.
    """
    clips, _, colors, _, _ = first.shape
    if colors != 3:
        raise ValueError(f"color_jitter needs three colours, got {colors}")
    brightness, contrast, saturation = torch.empty(3, clips, 1, 1).uniform_(0.4, 1.6)
    angle = torch.empty(clips).uniform_(-math.pi, math.pi)
    # Grey stays, what is not grey is scaled and turned (Rodrigues' formula about the grey axis).
    grey = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    turn = angle.cos()[:, None, None] * (torch.eye(3) - grey) + angle.sin()[:, None, None] * across
    matrix = (brightness * contrast * (grey + saturation * turn)).to(first.device)
    middle = (brightness * (first.float() / 255).mean((1, 2, 3, 4)).cpu()[:, None, None]).to(first.device)
    offset = ((1 - contrast.to(first.device)) * middle)[:, None, None]

    def augment(frames: Tensor, _film_frames: slice) -> Tensor:
        return _to_bytes((torch.einsum("cij,ctjhw->ctihw", matrix, frames.float() / 255) + offset).clamp(0, 1))

    return augment


def _random_overlay(first: Tensor, time: int, pictures: Tensor | None) -> Augmentation:
    """Each clip blended with a random picture of its own, which drifts (after Hansen and Wang, 2021).

    Without `pictures`, it is a sum of random colours on coarse and fine grids, some with soft and some with hard
    edges; it covers 20 to 70 percent.
    """
    shown = _drifting(first, time, pictures).to(first.device)
    cover = torch.empty(len(first), 1, 1, 1, 1).uniform_(0.2, 0.7).to(first.device)

    def augment(frames: Tensor, film_frames: slice) -> Tensor:
        return _to_bytes((1 - cover) * (frames.float() / 255) + cover * shown[:, film_frames])

    return augment


def _random_background(first: Tensor, time: int, pictures: Tensor | None) -> Augmentation:
    """Each clip with a random film of its own in place of its sky or of its sky and its ground.

    The chances of either are equal; so are those of what stays as it is or under a random convolution, and those of
    edges that stay or lose one pixel on one side, as before a green screen. What is sky only a simulator knows (domain
    randomization, Tobin et al., 2017, after the picture was taken): the last channel of the frames is a `Layer`.
    Pictures, where they are given, drift in place of films.
    """
    recolored = torch.rand(len(first)) < 0.5
    recoloring = _random_convolution(first[recolored, :, :-1]) if recolored.any() else None

    def front(frames: Tensor) -> Tensor:
        shown = frames[:, :, :-1].clone()
        if recoloring is not None:
            shown[recolored] = recoloring(shown[recolored], _ALL)
        return shown

    if pictures is None:
        clips, _, channels, height, width = first.shape
        palette = _palette(front(first[:, :1]), first[:, :1, -1:])
        film = random_films(clips, time, channels - 1, height, width, palette)
    else:
        film = _drifting(first[:, :, :-1], time, pictures)
    film = _to_bytes(film).to(first.device)
    nearest = torch.randint(Layer.GROUND, Layer.SKY + 1, (len(first), 1, 1, 1, 1)).to(first.device)
    sides = torch.randint(8, (len(first),))

    def augment(frames: Tensor, film_frames: slice) -> Tensor:
        shown = front(frames)
        # Bytes wrap around, so this is exact, in a tenth of the time of choosing.
        return shown + _eaten(frames[:, :, -1:] >= nearest, sides) * (film[:, film_frames] - shown)

    return augment


def _eaten(hidden: Tensor, sides: Tensor) -> Tensor:
    """Masks that reach one pixel further: up, down, left or right where `sides` is 0 to 3, else not at all."""
    wider = hidden.clone()
    for side, (step, axis) in enumerate(((-1, -2), (1, -2), (-1, -1), (1, -1))):
        # What comes in at the far edge was at the near one: nothing but background, nearly always.
        wider[sides == side] |= hidden[sides == side].roll(step, axis)
    return wider


def _palette(front: Tensor, layers: Tensor, colors: int = 64) -> Tensor:
    """Colours of things in the first frame of each clip, from 0 to 1: (clips, colors, channels)."""
    front, layers = front[:, 0].cpu(), layers[:, 0].cpu()  # what is drawn is the same on every device
    pixels, things = front.flatten(2).transpose(1, 2), layers.flatten(1) == Layer.THING
    # Where nothing is to be seen any pixel will do.
    drawn = torch.multinomial(things.float() + 1e-6, colors, replacement=True)
    return pixels.gather(1, drawn[..., None].expand(-1, -1, pixels.shape[2])).float() / 255


def _drifting(first: Tensor, time: int, pictures: Tensor | None) -> Tensor:
    """A moving picture for each clip, from 0 to 1: (clips, time, colors, height, width), but for time of `first`."""
    clips, _, colors, height, width = first.shape
    margin = drift_margin(time)
    if pictures is not None and pictures.shape[1] != colors:
        raise ValueError(f"pictures to overlay have {pictures.shape[1]} colours, the frames {colors}")
    if pictures is None:
        picture = random_pictures(clips, colors, height + margin, width + margin)
    else:
        drawn = pictures[torch.randint(len(pictures), (clips,))].float() / 255
        picture = F.interpolate(drawn, (height + margin, width + margin), mode="bilinear")
    return drift(picture, time)


def _to_bytes(values: Tensor) -> Tensor:
    return (values * 255).round_().to(torch.uint8)


class StrongAugmenter:
    """Augments a batch, an equal part of it in each of some ways.

    Args:
        frame_channels: colours of a frame. With `random_background` frames have one channel more, their layers.
        pictures: for random_overlay and random_background, uint8 (picture, colors, height, width); None for generated
            ones.
    """

    def __init__(
        self, names: tuple[AugmentationName, ...], frame_channels: int, pictures: Tensor | None = None
    ) -> None:
        self.names, self.pictures, self._colors = names, pictures, frame_channels
        self._channels = frame_channels + (LAYERED in names)

    def clips(self, frames: Tensor) -> Tensor:
        """Clips, each under one of the augmentations: uint8 (clips, time, colors, height, width).

        Args:
            frames: uint8 (clips, time, colors, height, width), with one channel more for layers where
                random_background is among the names.
        """
        augmented = []
        for name, part in zip(self.names, frames.tensor_split(len(self.names)) if self.names else (), strict=True):
            if not len(part):  # fewer clips than kinds
                continue
            clips = part if name == LAYERED else part[:, :, : self._colors]
            augmented.append(draw_augmentation(name, clips, clips.shape[1], self.pictures)(clips, _ALL))
        return torch.cat(augmented) if augmented else frames[:, :, : self._colors]

    def observations(self, obs: Images) -> Tensor:
        """All observations of a batch, each a clip of its stacked frames: uint8 (batch, channels, height, width)."""
        return self.clips(self._frames(obs)).flatten(1, 2)

    def transitions(self, obs: Images, next_obs: Images, share: float) -> tuple[Tensor, Tensor]:
        """Observations and next observations with the first `share` of the transitions augmented, the rest unchanged.

        Both observations of a transition are one clip, since they show one place.

        Returns:
            Each uint8 (batch, channels, height, width), without layers.
        """
        count = round(share * len(obs)) if self.names else 0
        before, after = self._frames(obs), self._frames(next_obs)
        # The next observation shares all frames but the newest.
        clips = self.clips(torch.cat([before[:count], after[:count, -1:]], dim=1))
        plain = (frames[count:, :, : self._colors].flatten(1, 2) for frames in (before, after))
        return (
            torch.cat([clips[:, :-1].flatten(1, 2), next(plain)]),
            torch.cat([clips[:, 1:].flatten(1, 2), next(plain)]),
        )

    def _frames(self, obs: Images) -> Tensor:
        return obs.unflatten(1, (-1, self._channels))

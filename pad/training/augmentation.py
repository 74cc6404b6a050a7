"""Weak and strong augmentations of the batches that a recipe learns from."""

from dataclasses import replace

import torch

from pad.agent import Agent
from pad.augmentations import WeakAugmentation, center_crop, weakly_augmented
from pad.pictures import load_pictures
from pad.strong import AugmentationName, StrongAugmenter
from pad.training.config import TrainingConfig
from pad.types import Batch


def weakly_augmented_batch(batch: Batch, agent: Agent, kind: WeakAugmentation, centered_share: float = 0.0) -> Batch:
    """The batch with each observation, and each next one, under a weak augmentation of its own.

    Args:
        batch: observations are uint8 (batch, channels, height, width); returned are those of the crop's size.
        centered_share: chance of a transition to be seen through the center crop instead.
    """
    size = agent.config.encoder.crop_size
    obs, next_obs = (weakly_augmented(images, size, kind) for images in (batch.obs, batch.next_obs))
    if centered_share:  # else nothing is drawn
        centered = (torch.rand(len(obs)) < centered_share).to(obs.device)
        obs[centered], next_obs[centered] = (center_crop(i, size)[centered] for i in (batch.obs, batch.next_obs))
    return replace(batch, obs=obs, next_obs=next_obs)


def make_augmenter(agent: Agent, config: TrainingConfig, names: tuple[AugmentationName, ...]) -> StrongAugmenter:
    """The strong augmentations of a recipe, with the pictures that they show.

    Raises:
        FileNotFoundError: when there are no pictures in their folder.
        ValueError: when frames do not have the three colours that color_jitter needs.
    """
    if "color_jitter" in names and agent.frame_channels != 3:
        raise ValueError(f"color_jitter needs three colours, the frames of this agent have {agent.frame_channels}")
    pictures = None
    if config.overlay_pictures is not None:  # goes with augmentations that show it
        pictures = load_pictures(config.overlay_pictures, *agent.obs_shape[1:])
    return StrongAugmenter(names, agent.frame_channels, pictures)

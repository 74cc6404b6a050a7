"""Settings of a training run, beside those of agent and environment."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pad.augmentations import WeakAugmentation
from pad.cloning import CloneConfig
from pad.expert import ExpertConfig
from pad.precision import Precision
from pad.sac import SACConfig
from pad.settings import check_fields
from pad.strong import LAYERED, AugmentationName


@dataclass(frozen=True)
class TrainingConfig:
    """Which recipe, how long, and how often to look. The defaults are the paper's."""

    recipe: Literal["sac", "clone"] = "sac"
    """sac: soft actor-critic from pixels, as in the paper. clone: a pixel agent that imitates an expert on state."""
    steps: int = 500_000
    """Decisions in the environment (recipe sac)."""
    random_steps: int = 1_000
    """Decisions at random before learning begins (recipe sac)."""
    batch_size: int = 128
    """Transitions in a gradient step (recipe sac)."""
    replay_capacity: int | None = None
    """Frames that are kept (recipe sac). Default: all of the run. Once frames are overwritten, a resumed run is no
    longer exactly the unbroken one."""
    weak_augmentation: WeakAugmentation = "random_crop"
    """How each observation is moved at random, to the size of the crop, before anything learns from it."""
    augmentations: tuple[AugmentationName, ...] = ()
    """Strong augmentations (recipe sac): Q learns from clean and augmented observations alike, towards the value of the
    clean ones (SVEA, Hansen et al., 2021). With critic state it is the actor that sees both."""
    overlay_pictures: Path | None = None
    """Folder of pictures for random_overlay and random_background, with any recipe. Default: generated ones."""
    critic: Literal["pixels", "state"] = "pixels"
    """What the critic sees (recipe sac). state: the simulator's state, though the actor sees pixels (Pinto et al.,
    2017)."""
    self_supervise_every: int = 2
    """Critic updates between self-supervised updates (recipe sac). With critic state they wait for the actor's turn,
    whose step they share: at most one in `sac.actor_every`."""
    sac: SACConfig = field(default_factory=SACConfig)
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    clone: CloneConfig = field(default_factory=CloneConfig)
    precision: Precision = "float32"
    """Number format of the convolutions. auto: bfloat16 where this machine computes faster in it."""
    recording: Literal["process", "inline"] = "process"
    """Where simulator and renderer run: in a second process while this one learns, or in this one. The result is the
    same on a CPU with one thread."""
    evaluations: int = 10
    """How many times to evaluate in the training environment, evenly spread, the last time at the end."""
    evaluation_episodes: int = 5
    """Episodes in each evaluation."""
    save_seconds: float = 60.0
    """Least time between two checkpoints."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.save_seconds < 0:
            raise ValueError(f"save_seconds must be at least 0, got {self.save_seconds}")
        for name in ("steps", "batch_size", "self_supervise_every", "evaluations", "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        used = self.augmentations if self.recipe == "sac" else self.clone.augmentations
        if self.overlay_pictures is not None and not {"random_overlay", "random_background"} & set(used):
            raise ValueError(
                "overlay_pictures goes with random_overlay and random_background; the augmentations are "
                f"{', '.join(used) or 'none'}"
            )
        if self.recipe == "clone" and (self.augmentations or self.critic == "state"):
            raise ValueError("augmentations and critic are of recipe sac; those of a clone are clone.augmentations")
        self._check_recipe()
        if self.recipe == "sac" and not 0 <= self.random_steps < self.steps:
            raise ValueError(
                f"random_steps must be at least 0 and fewer than steps ({self.steps}), or nothing is learned; got "
                f"{self.random_steps}"
            )
        if LAYERED in self.augmentations:
            raise ValueError(f"{LAYERED} goes with recipe clone alone, whose recordings tell what is background")
        if self.replay_capacity is not None and self.replay_capacity < 10_000:
            raise ValueError(f"replay_capacity must be at least 10000 frames, got {self.replay_capacity}")

    def _check_recipe(self) -> None:
        """Refuse settings that differ from their default and that the recipe never reads."""
        read = {name for names in RECIPES.values() for name in names} - set(RECIPES[self.recipe])
        for field_ in dataclasses.fields(self):
            if field_.name in read and getattr(self, field_.name) != _default(field_):
                raise ValueError(
                    f"{field_.name} is not of recipe {self.recipe}, which reads {', '.join(RECIPES[self.recipe])} and "
                    "what all recipes do"
                )


RECIPES = {
    "sac": ("steps", "random_steps", "batch_size", "replay_capacity", "self_supervise_every", "sac"),
    "clone": ("expert", "clone"),
}
"""Settings that only one recipe reads."""


def _default(field_: dataclasses.Field[Any]) -> Any:
    return field_.default if field_.default_factory is dataclasses.MISSING else field_.default_factory()

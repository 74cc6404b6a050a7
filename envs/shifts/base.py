"""What every shift answers."""

import numpy as np

from envs.appearance import Appearance


class Shift:
    """Changes what the camera sees during an episode, and nothing else. This one changes nothing.

    A shift draws all that is random in `begin`, from the generator it is given, so an episode is
    the same whatever ran before.
    """

    def begin(self, appearance: Appearance, rng: np.random.Generator) -> None:
        """A new episode starts; `appearance` shows the training environment's colours."""

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        """The picture as the shifted camera sees it: uint8 (height, width, 3), any size."""
        return picture

"""What every shift answers."""

import numpy as np

from envs.scene import Scene
from envs.view import View


class Shift:
    """A way in which deployment differs from training. This one differs in nothing.

    A shift draws all that is random from the generator that `begin` is given, in an order that pictures change nothing
    in, so an episode is the same whatever ran before and whoever watches. How far it goes is its `strength`, which may
    change within an episode: at 0 nothing differs, to the bit. Only a shift of the dynamics changes the physics, and
    none changes the reward's rule or an episode's length.
    Steps are the agent's, counted from `begin`, and never go back.
    """

    strength = 1.0
    """From 0 to 1."""
    shadows = False
    """Whether it adds a lamp that casts shadows."""
    recolors = False
    """Whether it changes the model's own colours: where one of several in a segment changes, all are put on anew."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        """A new episode, or a new part of one, starts; `scene` is as in training but for shifts that came before."""

    def change(self, scene: Scene) -> None:
        """Put the present strength into the model: after `begin`, and whenever the strength has changed."""

    def act(self, action: np.ndarray, agent_step: int) -> np.ndarray:
        """What reaches the actuators when the policy's decision number `agent_step` is `action`."""
        return action

    def arrange(self, view: View, agent_step: int) -> None:
        """Change what is about to be drawn."""

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        """The drawn picture as the policy gets it: uint8 (height, width, 3), any size, perhaps more than once a step.

        The picture given may be kept but not written to.
        """
        return picture


def signed_share(rng: np.random.Generator) -> float:
    """At least half of all that there is, either way: from 0.5 to 1, or from -1 to -0.5."""
    return float(rng.uniform(0.5, 1) * rng.choice([-1, 1]))


class Moments:
    """Random numbers for each decision of an episode, the same however often and in whatever order they are asked for.

    Args:
        rng: from which the episode's own key is drawn.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._key = int(rng.integers(2**63))

    def at(self, agent_step: int) -> np.random.Generator:
        """The generator of one decision."""
        return np.random.default_rng([self._key, agent_step])


class Wobble:
    """A smooth random path: a sum of slow sine waves, zero at the first decision, within [-1, 1].

    Args:
        count: independent coordinates.
        fastest: cycles in a decision of the quickest wave; the slowest is a third of it.
    """

    def __init__(self, rng: np.random.Generator, count: int, fastest: float) -> None:
        self._cycles = rng.uniform(fastest / 3, fastest, (3, count))
        self._weights = rng.dirichlet(np.ones(3), count).T * rng.choice([-1, 1], (3, count))

    def at(self, agent_step: int) -> np.ndarray:
        """Coordinates (count,) at that decision."""
        return (self._weights * np.sin(2 * np.pi * self._cycles * agent_step)).sum(0)

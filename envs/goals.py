"""Goals that can be drawn anew for experience that is already there: the physics do not depend on them."""

from collections.abc import Mapping

import numpy as np

States = np.ndarray
"""Simulator states side by side: float32 (batch, state)."""


class TurnGoals:
    """The finger is to turn the spinner's tip into a target, which lies anywhere on the tip's circle.

    The reward counts each of a decision's simulator steps as its last one, whose state is all that is known.

    Args:
        parts: where the parts of the state stand.
        steps_per_decision: simulator steps between two states.
    """

    def __init__(self, parts: Mapping[str, slice], steps_per_decision: int) -> None:
        position = parts["position"]
        self._tip = slice(position.stop - 2, position.stop)  # two joints, then the tip from the hinge
        self._target, self._distance = parts["target_position"], parts["dist_to_target"]
        self._steps = steps_per_decision

    def redraw(
        self, states: States, next_states: States, rng: np.random.Generator
    ) -> tuple[States, States, np.ndarray]:
        """The same transitions, each towards a goal drawn as the task draws it at the start of an episode.

        Returns:
            States and next states with these goals, and the rewards: float32 (batch,).
        """
        angle = rng.uniform(-np.pi, np.pi, len(states)).astype(np.float32)
        old = states[:, self._target]
        circle = np.linalg.norm(old, axis=1)
        new = np.stack([np.sin(angle), np.cos(angle)], axis=1) * circle[:, None]
        # The state tells the distance to the target's surface.
        radius = np.linalg.norm(old - states[:, self._tip], axis=1) - states[:, self._distance][:, 0]
        states, next_states = (self._towards(new, radius, each) for each in (states, next_states))
        reached = next_states[:, self._distance][:, 0] <= 0
        return states, next_states, reached.astype(np.float32) * self._steps

    def _towards(self, target: np.ndarray, radius: np.ndarray, states: States) -> States:
        states = states.copy()
        states[:, self._target] = target
        states[:, self._distance] = (np.linalg.norm(target - states[:, self._tip], axis=1) - radius)[:, None]
        return states


def goals_of(task: str, parts: Mapping[str, slice], steps_per_decision: int) -> TurnGoals | None:
    """A task's goals; None where they cannot be drawn anew."""
    if task in ("finger_turn_easy", "finger_turn_hard"):
        return TurnGoals(parts, steps_per_decision)
    return None

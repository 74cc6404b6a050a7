"""Policies for a control loop: one that acts as it was trained, and one that keeps learning."""

import warnings
from collections import Counter
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pad.agent import Agent
from pad.checkpoint import load_checkpoint
from pad.deployment.agent_model import as_model
from pad.deployment.background import Background
from pad.deployment.budget import Budget
from pad.deployment.camera import Observation
from pad.deployment.config import ADAPTATIONS, AdaptationConfig
from pad.deployment.intake import Intake
from pad.deployment.learner import Features, Learner, Weights, learning
from pad.deployment.model import Model, OutOfBounds, Transition
from pad.deployment.state import digest, load_state, save_state
from pad.deployment.warning import WarnOnce
from pad.types import Metrics


class FrozenPolicy:
    """Acts as it was trained, and learns nothing.

    Without guards: an observation that is none of the declared kind is an error at any time.
    """

    drift = 0.0

    def __init__(self, policy: Agent | Model) -> None:
        self.policy = policy

    def reset(self) -> None:
        """A new episode begins."""

    @torch.no_grad()
    def act(self, obs: Observation) -> Any:
        """The most likely action; of an agent in [-1, 1]."""
        if isinstance(self.policy, Agent):
            return self.policy.act(obs)
        seen = self.policy.see(obs)
        return self.policy.act(self.policy.encode(seen), seen)

    def observe(self, obs: Observation, action: Any, next_obs: Observation) -> Metrics:
        """Nothing is learned."""
        return {}

    def report(self) -> Metrics:
        """Nothing has moved."""
        return {"drift": 0.0, "updates": 0}

    def close(self) -> None:
        """There is nothing to end."""

    def __enter__(self) -> "FrozenPolicy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AdaptivePolicy:
    """Keeps the encoder of a deployed policy learning, with no reward.

    Works on its own copy, so the trained policy it was given never changes. Sees observations and
    actions, never a reward and never the name of the shift. `parameter_names` are all that moves.

        with AdaptivePolicy.from_checkpoint("cartpole_swingup") as policy:
            action = policy.act(obs)
            next_obs, *_ = env.step(action)
            policy.observe(obs, action, next_obs)

    Args:
        policy: an agent of this package, or any policy behind a `Model`.
        config: settings, or the name of some: default, light, unguarded, paper.
        adaptation: `inline` learns inside `observe`, as in the paper. `background` learns in a thread beside the
            control loop: `observe` returns at once, and new weights are taken over at the next `act`.
        budget: how much learning fits; None for as much as the settings ask for.

    Raises:
        TypeError: when the policy is none.
        ValueError: when the policy has no self-supervised head or one that was never fitted, fewer layers than are to
            move, or no calibration for a gate, or settings of that name do not exist.
    """

    @learning
    def __init__(
        self,
        policy: Agent | Model,
        config: AdaptationConfig | str | None = None,
        seed: int = 0,
        adaptation: Literal["inline", "background"] = "inline",
        budget: Budget | None = None,
    ) -> None:
        if adaptation not in ("inline", "background"):
            raise ValueError(f"adaptation must be inline or background, got {adaptation!r}")
        self.config = _settings(config)
        self._model = as_model(policy).copy()
        self._warn = WarnOnce()
        self._intake = Intake(self._model, self.config.guards.frames, self._warn)
        budget = budget or Budget()
        self._background: Background | None = None
        if adaptation == "inline":
            self._learner = Learner(self._model, self.config, seed, budget.take)
            self._features = self._learner.features
        else:
            self._learner = Learner(self._model.copy(), self.config, seed, budget.take)
            self._features = Features(self._model)
            self._background = Background(self._learner, budget)
            self._parameters = list(self._model.moving(self.config).values())
        self._budget = budget
        self._counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._acts_as_declared = self._acted_in_range = self._closed = False
        self._updates = self._decisions = 0
        self._weights: Weights = self._learner.weights

    @classmethod
    def from_checkpoint(
        cls,
        name: str | Path,
        config: AdaptationConfig | str | None = None,
        seed: int = 0,
        adaptation: Literal["inline", "background"] = "inline",
        budget: Budget | None = None,
        device: str = "cpu",
    ) -> "AdaptivePolicy":
        """From a checkpoint: a run, a folder, or the name of an agent that ships.

        Raises:
            FileNotFoundError: when there is none, naming those that ship.
            ValueError: when it is corrupt, or cannot adapt.
        """
        return cls(load_checkpoint(name, device).agent, config, seed, adaptation, budget)

    @property
    def parameter_names(self) -> list[str]:
        """What moves, by name."""
        return list(self._learner.moving)

    @property
    def model(self) -> Model:
        """What acts, with the weights that are in use."""
        return self._model

    def reset(self) -> None:
        """A new episode begins; the trained weights come back if the settings say so."""
        if self._background is not None:
            self._background.call(self._learner.reset, forget=self.config.reset == "episode")
        else:
            self._learner.reset()
        self._take_over()
        self._intake.reset()
        self._decisions = 0

    def restore(self, snapshot: dict[str, Any] | None = None) -> None:
        """Return to the trained weights, with a fresh optimizer and an empty memory; or to a snapshot.

        Raises:
            ValueError: when the snapshot is of another policy.
        """

        def restore() -> None:
            if snapshot is not None:  # before what was learned is gone
                self._learner.check_state(snapshot)
                if snapshot.get("origin", self._origin) != self._origin:
                    raise ValueError("the snapshot began from the weights of another policy")
            self._learner.restore()
            self._learner.forgive()
            self._warn.forget("given_up")
            if snapshot is not None:
                self._learner.load_state_dict(snapshot)

        self._call(restore)
        self._take_over()

    def snapshot(self) -> dict[str, Any]:
        """What was learned so far, to `restore` later."""
        read = self._learner.state_dict
        state = read() if self._background is None else self._background.read(read)
        return {**state, "origin": self._origin}

    @cached_property
    def _origin(self) -> str:
        """Tells this policy's trained weights from any others: those that move, and those that do not."""
        named = list(self._model.network.named_parameters(remove_duplicate=False))
        moving = {id(parameter) for name, parameter in named if name in self._learner.moving}
        moving_names = {name for name, parameter in named if id(parameter) in moving}  # one may have several
        still = [value for name, value in self._model.network.state_dict().items() if name not in moving_names]
        return digest((*self._learner.trained, *still))

    def save(self, path: str | Path) -> None:
        """Write what was learned to a file, which is at any moment the old one or the new one."""
        save_state(Path(path), self.snapshot())

    def load(self, path: str | Path) -> None:
        """Go on from a file that `save` wrote.

        Raises:
            FileNotFoundError: when there is none.
            ValueError: when it is corrupt, or of another policy.
        """
        state = load_state(Path(path))
        self._learner.check_state(state)
        if state["origin"] != self._origin:
            raise ValueError(f"{path} was learned from other trained weights than this policy's")
        self.restore(state)
        if self.config.reset == "episode":
            warnings.warn("the next reset() brings the trained weights back: reset='never' keeps what was loaded",
                          RuntimeWarning, stacklevel=2)  # fmt: skip

    def _call(self, function: Any) -> Any:
        return function() if self._background is None else self._background.call(function)

    def close(self) -> None:
        """Stop learning; the policy still acts. Called twice it does nothing."""
        self._closed = True
        if self._background is not None:
            self._background.close()

    def __enter__(self) -> "AdaptivePolicy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @torch.no_grad()
    def act(self, obs: Observation) -> Any:
        """The most likely action of the adapted policy; of an agent in [-1, 1].

        In place of an observation that no working camera sends, that of the last valid one. Never waits for learning.

        Raises:
            TypeError: when the very first observation is not of the declared kind.
            ValueError: when that one has another shape or dtype than in training, or the policy's first action another
                shape than declared.
        """
        self._take_over()
        action = self._features.action(self._intake.for_action(obs), self._weights)
        if not self._acts_as_declared:  # before a machine moves by it
            with suppress(OutOfBounds):  # the machine will hold it
                self._model.action(action)
            self._acts_as_declared = True
        return action

    def observe(self, obs: Observation, action: Any, next_obs: Observation) -> Metrics:
        """Learn from one transition, as far as the guards allow.

        Returns:
            `updates`, the gradient steps that were made; `self_supervised_loss`, where it was measured; and how often
            each guard has acted since the last call, as `guards/<reason>`. In the background: all that has been
            measured since then.

        Raises:
            TypeError, ValueError: when the very first observation is not what was declared, or the action has another
                shape than the policy's, or the first one is far out of its range.
            RuntimeError: when learning in the background failed before it ever worked.
        """
        taken = self._taken(action)
        ends = self._intake.for_transition(obs, next_obs)
        self._decisions += 1
        metrics: Metrics = {"updates": 0}
        if ends is not None and taken is not None:
            metrics = self._learn(Transition(ends[0], taken, ends[1], self._decisions - 1))
        if self._learner.error is not None:
            self._warn("error", f"an update failed and was dropped: {self._learner.error}")
        if self._learner.given_up:
            self._warn("given_up", "adaptation failed repeatedly and is off: the policy acts with its trained weights")
        counts = Counter(self.counts)
        acted, self._reported = counts - self._reported, counts
        return {**metrics, **{f"guards/{reason}": count for reason, count in acted.items()}}

    def _taken(self, action: Any) -> Tensor | None:
        """The action that was taken; None for one that is no number, or out of range where earlier ones were not."""
        try:
            taken = self._model.action(action)
        except OutOfBounds:
            if not self._acted_in_range:
                raise
            self._counts["action_out_of_bounds"] += 1
            return None
        if not bool(taken.isfinite().all()):
            self._counts["action_not_finite"] += 1
            return None
        self._acted_in_range = True
        return taken

    def _learn(self, transition: Transition) -> Metrics:
        if self._closed:
            self._counts["closed"] += 1
            return {"updates": 0}
        if self._background is not None:
            return self._background.submit(transition)
        with self._budget.spending():
            metrics = self._learner.learn(transition)
        self._weights = self._learner.weights
        self._updates += int(metrics["updates"])
        return metrics

    def _take_over(self) -> None:
        """Act with the newest weights that were accepted."""
        if self._background is None:
            self._weights = self._learner.weights
            return
        newest = self._background.newest
        if newest is not self._weights:
            for parameter, weight in zip(self._parameters, newest, strict=True):
                parameter.data = weight
            self._weights = newest

    @property
    def counts(self) -> dict[str, int]:
        """How often each guard has acted, by its reason."""
        dropped = {} if self._background is None else {"late": self._background.dropped}
        # Copied first: the thread beside this one goes on counting.
        counts = {**self._learner.counts, **self._intake.counts, **self._counts, **dropped}
        return {name: count for name, count in counts.items() if count}

    @property
    def drift(self) -> float:
        """Distance of the weights in use from the trained ones, as a share of these weights' norm."""
        return self._learner.drift

    def report(self) -> Metrics:
        """Where adaptation stands: drift from the trained weights, decisions in a row without a valid observation and
        in a row with the same picture to the bit, updates, how many times the usual value each part of the gate sees
        (`gate/features`, `gate/colors`, `gate/loss`), how often each guard acted; in the background also updates a
        second, and the age of the weights in use.
        """
        figures: Metrics = {
            "drift": self.drift, "given_up": float(self._learner.given_up), "blind_decisions": self._intake.blind,
            "stuck_decisions": self._intake.stuck, "updates": self._updates,
        }  # fmt: skip
        if self._background is not None:
            figures |= self._background.report()
        figures |= {f"gate/{name}": times for name, times in self._learner.excess.items()}
        return {**figures, **{f"guards/{reason}": float(count) for reason, count in self.counts.items()}}


class MeasuredPolicy:
    """Another policy, with the self-supervised loss of each transition as that policy sees it before it learns.

    The loss is that of the newest transition without augmentation, so those of two policies compare.
    """

    def __init__(self, policy: FrozenPolicy | AdaptivePolicy) -> None:
        self._policy = policy
        self.model: Model | None = None
        if isinstance(policy, AdaptivePolicy):
            self.model = policy.model
        elif isinstance(policy.policy, Model) or policy.policy.inverse_dynamics is not None:
            self.model = as_model(policy.policy)

    @property
    def drift(self) -> float:
        return self._policy.drift

    def reset(self) -> None:
        self._policy.reset()

    def act(self, obs: Observation) -> Any:
        return self._policy.act(obs)

    def observe(self, obs: Observation, action: Any, next_obs: Observation) -> Metrics:
        """The policy's own metrics, with `self_supervised_loss` measured in the same way for all."""
        if self.model is None:
            return self._policy.observe(obs, action, next_obs)
        measured: Metrics = {}
        with suppress(TypeError, ValueError):  # of a frame that is lost or an action out of range there is no loss
            measured = {"self_supervised_loss": self.model.measure(self.model.transition(obs, action, next_obs))}
        metrics = self._policy.observe(obs, action, next_obs)
        return {**metrics, **measured}


def _settings(config: AdaptationConfig | str | None) -> AdaptationConfig:
    """Those of that name, or the ones themselves."""
    if isinstance(config, str):
        if config not in ADAPTATIONS:
            raise ValueError(f"unknown settings {config!r}; known: {', '.join(ADAPTATIONS)}")
        return ADAPTATIONS[config]
    return config or ADAPTATIONS["default"]

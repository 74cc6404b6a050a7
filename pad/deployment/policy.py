"""Policies for a control loop: one that acts as it was trained, and one that keeps learning."""

import warnings
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pad.agent import Agent
from pad.checkpoint import load_checkpoint
from pad.deployment.agent_model import as_model
from pad.deployment.background import Background
from pad.deployment.budget import Budget
from pad.deployment.camera import Observation
from pad.deployment.config import ADAPTATIONS, AdaptationConfig
from pad.deployment.guards import FrameGuard
from pad.deployment.learner import Features, Learner, Weights, learning
from pad.deployment.model import Model, OutOfBounds, Seen, Transition
from pad.deployment.state import digest, load_state, save_state
from pad.types import Metrics

LONG_BLIND = 20
"""Decisions in a row without a valid observation that are worth a warning."""
KNOWN = 4
"""Arrivals that are recognized when they are shown again: a loop may observe a few decisions after it acted."""


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
        self._frames = make_frame_guard(self._model) if self.config.guards.frames else None
        budget = budget or Budget()
        self._background: Background | None = None
        if adaptation == "inline":
            self._learner = Learner(self._model, self.config, seed, budget.allows)
            self._features = self._learner.features
        else:
            self._learner = Learner(self._model.copy(), self.config, seed, budget.allows)
            self._features = Features(self._model)
            self._background = Background(self._learner, budget)
            self._parameters = list(self._model.moving(self.config).values())
        self._budget = budget
        self._counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._told: set[str] = set()
        self._first, self._in_range, self._acts_well, self._acted_within, self._closed = (
            True,
            False,
            False,
            False,
            False,
        )
        self._updates = 0
        self._last_ever: Seen | None = None
        self._weights: Weights = self._learner.weights
        self._begin()

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

    def _begin(self) -> None:
        self._last_valid: Seen | None = None
        self._blind = self._stuck = self._decisions = 0
        self._acted = False  # since the last transition
        self._judged: Any = None  # the observation that was judged last
        self._acted_on: Any = None  # the one that was judged for the last action, until its transition is observed
        self._rest: dict[str, Any] = {}  # the last good entries that are no pixels
        self._known: deque[tuple[Any, Seen | None]] = deque(maxlen=KNOWN)
        if self._frames is not None:
            self._frames.reset()

    def reset(self) -> None:
        """A new episode begins; the trained weights come back if the settings say so."""
        if self._background is not None:
            self._background.call(self._learner.reset, forget=self.config.reset == "episode")
        else:
            self._learner.reset()
        self._take_over()
        self._begin()

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
            self._told.discard("given_up")
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
        # Before a second action without a transition between, nobody has said that it is the same arrival still.
        self._judged = None
        seen = self._admit(obs, arrives=self._acted)
        self._acted, self._acted_on = True, self._judged
        self._blind = 0 if seen is not None else self._blind + 1
        if seen is not None:
            self._last_valid = self._last_ever = seen  # though it may have been shown before
        else:
            # Blind from the episode's first frame on, something must be done all the same.
            seen = self._blindly(obs) if self._last_valid is None else self._with_rest(self._last_valid, obs)
            if self._blind == LONG_BLIND:
                self._warn("blind", f"no valid observation for {LONG_BLIND} decisions: the last valid one is acted on")
        action = self._features.action(self._sound(seen), self._weights)
        if not self._acts_well:  # before a machine moves by it
            self._check_own(action)
        return action

    def _check_own(self, action: Any) -> None:
        with suppress(OutOfBounds):  # the machine will hold it
            self._model.action(action)
        self._acts_well = True

    def _warn(self, what: str, message: str) -> None:
        """Once."""
        if what not in self._told:
            self._told.add(what)
            warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _sound(self, seen: Seen) -> Seen:
        """With the last good ones in place of other entries that are missing or no numbers."""
        if self._frames is None:
            return seen
        good = {name: value for name, value in seen.rest.items() if _is_finite(value)}
        missing, bad = bool(set(self._rest) - set(seen.rest)), len(good) < len(seen.rest)
        self._counts["entries_missing"] += missing
        self._counts["entries_not_finite"] += bad
        before, self._rest = self._rest, {**self._rest, **good}
        return Seen(seen.pictures, {**seen.rest, **before, **good}) if missing or bad else seen

    def _with_rest(self, seen: Seen, obs: Observation) -> Seen:
        """Earlier pictures with the newest of the other entries, as far as there are any."""
        return Seen(seen.pictures, {**seen.rest, **self._model.rest(obs)})

    def _blindly(self, obs: Observation) -> Seen:
        try:
            self._last_ever = self._model.see(_finite(obs, self._model))
        except (TypeError, ValueError):
            if self._last_ever is None:
                raise
            self._last_ever = self._with_rest(self._last_ever, obs)
        return self._last_ever

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
        seen, next_seen = self._admit(obs, is_earlier=True), self._admit(next_obs, arrives=True, judged=self._acted_on)
        self._acted, self._acted_on = False, None
        self._decisions += 1
        metrics: Metrics = {"updates": 0}
        if seen is not None and next_seen is not None and taken is not None:
            if not bool(taken.isfinite().all()):
                self._counts["action_not_finite"] += 1
            elif self._frames is not None and _same(seen, next_seen):
                self._counts["frames_stuck"] += 1
                self._stuck += 1
            else:
                self._stuck = 0
                metrics = self._learn(Transition(seen, taken, next_seen, self._decisions - 1))
        if self._learner.error is not None:
            self._warn("error", f"an update failed and was dropped: {self._learner.error}")
        if self._learner.given_up:
            self._warn("given_up", "adaptation failed repeatedly and is off: the policy acts with its trained weights")
        counts = Counter(self.counts)
        acted, self._reported = counts - self._reported, counts
        return {**metrics, **{f"guards/{reason}": count for reason, count in acted.items()}}

    def _taken(self, action: Any) -> Tensor | None:
        """The action that was taken; None for one far out of range, where earlier ones were not."""
        try:
            taken = self._model.action(action)
        except OutOfBounds:
            if not self._acted_within:
                raise
            self._counts["action_out_of_bounds"] += 1
            return None
        self._acted_within = True
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

    def _admit(
        self, obs: Observation, arrives: bool = False, is_earlier: bool = False, judged: Any = None
    ) -> Seen | None:
        """An observation as tensors; None when no working camera sends it.

        The same one again is not judged again, but for one that was not valid and now arrives once more: the scene may
        have become what it looks like. Who acts before observing shows each arrival twice: the one that was `judged`
        for the action has not arrived once more. An earlier one that is not remembered is judged by itself, and is
        never the last valid one: others have come since.
        """
        print_ = _fingerprint(obs)
        for known, seen in reversed(self._known):
            if known == print_:
                if arrives and seen is None and print_ != judged:
                    break
                return seen
        if self._frames is None or self._first:
            for camera in self._model.cameras:  # what a programmer did wrong
                pixels = camera.checked(obs)
                if self._first:
                    camera.check_range(pixels)
        self._first = False
        self._judged, by_itself = print_, is_earlier and self._last_valid is not None
        fault = None if self._frames is None else self._frames.fault(obs, remember=not by_itself)
        if fault is not None:
            self._counts[f"frames_{fault}"] += 1
            if fault == "type" and obs is not None:
                self._warn("type", f"an observation is a {type(obs).__name__}, none of the declared kind: it is taken "
                           "for a lost frame")  # fmt: skip
        elif not self._in_range:  # a camera that was black at first has said nothing about its units
            self._in_range = True
            try:
                for camera in self._model.cameras:
                    camera.check_range(camera.checked(obs))
            except ValueError as error:  # one pixel may be broken
                self._warn("range", str(error))
        seen = self._model.see(obs) if fault is None else None
        if by_itself:
            return seen
        if seen is not None:
            self._last_valid = self._last_ever = seen
        self._known.append((print_, seen))
        return seen

    @property
    def counts(self) -> dict[str, int]:
        """How often each guard has acted, by its reason."""
        dropped = {} if self._background is None else {"late": self._background.dropped}
        return {name: count for name, count in {**self._learner.counts, **self._counts, **dropped}.items() if count}

    @property
    def drift(self) -> float:
        """Distance of the weights in use from the trained ones, as a share of these weights' norm."""
        return self._learner.drift

    def report(self) -> Metrics:
        """Where adaptation stands: drift from the trained weights, decisions in a row without a valid observation and
        in a row with the same picture to the bit, updates, how often each guard acted; in the background also updates a
        second, and the age of the weights in use.
        """
        figures: Metrics = {
            "drift": self.drift, "given_up": float(self._learner.given_up), "blind_decisions": self._blind,
            "stuck_decisions": self._stuck, "updates": self._updates,
        }  # fmt: skip
        if self._background is not None:
            figures |= self._background.report()
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


def make_frame_guard(model: Model) -> FrameGuard:
    """Knows how fast scenes change where the policy was trained, if that was measured."""
    return FrameGuard(model.cameras, None if model.calibration is None else model.calibration.largest_step)


def _fingerprint(obs: Observation) -> Any:
    """Equal for equal observations."""
    if isinstance(obs, np.ndarray) and not obs.dtype.hasobject:
        return obs.shape, obs.dtype.str, obs.tobytes()
    if isinstance(obs, Mapping):
        return {name: _fingerprint(value) for name, value in obs.items()}
    if isinstance(obs, (list, tuple)):
        return [_fingerprint(value) for value in obs]
    if obs is None or isinstance(obs, (bool, int, float, str, bytes, np.generic)):
        return type(obs), obs
    if isinstance(obs, torch.Tensor):  # by its values: it may be filled again and again
        plain = obs.detach().cpu().contiguous().flatten()
        return type(obs), obs.shape, str(obs.dtype), plain.view(torch.uint8).numpy().tobytes()
    return _Itself(obs)


class _Itself:
    """A value that cannot be compared, equal to itself alone. It is held, so that no other can take its place."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def _same(seen: Seen, other: Seen) -> bool:
    return all(bool(a.equal(b)) for a, b in zip(seen.pictures, other.pictures, strict=True))


def _is_finite(value: Any) -> bool:
    """Whether all of an entry are numbers, if it holds any."""
    array = np.asarray(value)
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _finite(obs: Observation, model: Model) -> Observation:
    """An observation whose pixels are numbers, black where they were none; what is no observation stays as it is."""

    def clean(pixels: np.ndarray, low: float) -> np.ndarray:
        if np.issubdtype(pixels.dtype, np.integer):
            return pixels
        return np.nan_to_num(pixels, nan=low, posinf=low, neginf=low)

    lows = {camera.key: camera.low for camera in model.cameras}
    if isinstance(obs, np.ndarray):
        return clean(obs, model.cameras[0].low)
    if not isinstance(obs, Mapping):
        return obs
    return {n: clean(v, lows[n]) if n in lows and isinstance(v, np.ndarray) else v for n, v in obs.items()}

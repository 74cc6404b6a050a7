"""Learns from a stream of transitions, and says which weights to act with."""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from pad.calibration import RunningAverage
from pad.deployment.config import AdaptationConfig
from pad.deployment.gradient_step import GradientStep
from pad.deployment.guards import DriftGuard, FailureGuard, Trial
from pad.deployment.model import Model, Seen, Transition
from pad.deployment.state import PARTS
from pad.gate import Gate
from pad.types import Metrics

P = ParamSpec("P")
T = TypeVar("T")
Weights = tuple[Tensor, ...]
"""Values of what moves; never changed once they are in use."""
CHECK_EVERY = 4
"""Decisions between two comparisons with the trained weights."""


class Features:
    """Features of the newest observations and the actions they lead to, each computed once for the same weights."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._kept: deque[_Kept] = deque(maxlen=8)

    @torch.no_grad()
    def of(self, seen: Seen, weights: Weights) -> Tensor:
        """Features of an observation under `weights`, which the model must hold."""
        return self._find(seen, weights).features

    @torch.no_grad()
    def action(self, seen: Seen, weights: Weights) -> Any:
        """The most likely action then; the caller's own."""
        kept = self._find(seen, weights)
        if kept.action is None:
            kept.action = self._model.act(kept.features, seen)
        return deepcopy(kept.action)

    def _find(self, seen: Seen, weights: Weights) -> "_Kept":
        for kept in self._kept:
            if kept.seen is seen and kept.weights is weights:
                return kept
        self._kept.append(_Kept(seen, weights, self._model.encode(seen)))
        return self._kept[-1]


@dataclass
class _Kept:
    seen: Seen
    weights: Weights
    features: Tensor
    action: Any = None


def learning(method: Callable[P, T]) -> Callable[P, T]:
    """With gradients, whatever mode of PyTorch the control loop is in: under `no_grad` it may act and observe."""

    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False), torch.enable_grad():
            return method(*args, **kwargs)

    return called


class Learner:
    """Moves a copy of the weights by gradient steps, and takes it over when the guards allow it.

    `weights` are those to act with: between two calls of `learn` the model holds them. The optimizer moves others, the
    `online` weights, which without a trial are taken over after each update.

    Args:
        model: belongs to the learner, which moves it.
        allowed: asked before learning at each decision whether there is time.
    """

    @learning
    def __init__(
        self, model: Model, config: AdaptationConfig, seed: int, allowed: Callable[[], bool] = lambda: True
    ) -> None:
        self.model, self.config, self._seed, self._allowed = model, config, seed, allowed
        guards = config.guards
        model.check(config)
        self._gate = make_gate(model, config)
        model.network.requires_grad_(False)
        self.moving = model.moving(config)
        self._parameters = list(self.moving.values())
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        self.trained: Weights = tuple(parameter.detach().clone() for parameter in self._parameters)
        self.online: Weights = tuple(weight.clone() for weight in self.trained)
        self._step = GradientStep(model, self._parameters, config)
        self._drift = DriftGuard(self.trained, guards.drift, guards.pull)
        self._limit = DriftGuard(self.trained, guards.drift)
        self._trial = None if guards.trial is None else Trial(guards.trial, guards.action_jump)
        self._failures = FailureGuard(guards.failures)
        self.features = Features(model)
        self.counts: Counter[str] = Counter()
        self._measured_drift: tuple[Weights, float] | None = None
        self._worked = False
        self.given_up = False
        """Whether repeated failure has ended all learning."""
        self.error: str | None = None
        """The last one that an update raised, in words."""
        self.restore()

    def reset(self) -> None:
        """A new episode begins."""
        if self._gate is not None:
            self._gate.reset()
        if self.config.reset == "episode":
            self.restore()

    @learning
    def restore(self) -> None:
        """Back to the trained weights, with a fresh optimizer and an empty memory."""
        self._return_to(self.trained)
        self._memory: deque[Transition] = deque(maxlen=self.config.memory)
        # The same draws after every return, so an episode does not depend on those before it.
        self._generator = torch.Generator().manual_seed(self._seed)
        self._decisions = self._opportunities = 0

    def forgive(self) -> None:
        """Learn again after repeated failure."""
        self.given_up = False
        self._failures.succeeded()

    def _return_to(self, weights: Weights) -> None:
        """Go on learning from `weights`."""
        self._use(weights)
        self._move_online(weights)
        self._step.reset()
        self._averaged: Weights | None = None
        self._used_loss, self._trained_loss = RunningAverage(), RunningAverage()

    def _move_online(self, weights: Weights) -> None:
        torch._foreach_copy_(self.online, weights)  # in place: a captured step goes on with these tensors

    def _use(self, weights: Weights) -> None:
        """Act with `weights`; nothing is on trial."""
        self.weights = weights
        self._tried: Weights | None = None  # what was learned last and is not yet in use
        if self._trial is not None:
            self._trial.reset()
        self._hold(weights)

    def _hold(self, weights: Weights) -> None:
        for parameter, weight in zip(self._parameters, weights, strict=True):
            parameter.data = weight

    @contextmanager
    def _holding(self, weights: Weights) -> Iterator[None]:
        """Inside, the model has other weights than those in use."""
        self._hold(weights)
        try:
            yield
        finally:
            self._hold(self.weights)

    @learning
    def learn(self, transition: Transition) -> Metrics:
        """Learn from one transition, as far as the guards allow.

        Returns:
            `updates`, the gradient steps that were made, and `self_supervised_loss`: where a guard needs it that of
            the transition itself under the weights in use, else that of what a step learned from. Without either there
            is none.

        Raises:
            Exception: whatever the model raises before a first gradient step has worked; later it is a failure.
        """
        self._memory.append(transition)
        self._decisions += 1
        if self.given_up:
            return {"updates": 0}
        try:
            return self._learn_guarded(transition)
        except Exception as error:  # whatever PyTorch says, memory that is used up included
            if not self._worked:
                raise  # it never can
            self.error = f"{type(error).__name__}: {error}"  # its traceback would hold all that the update computed
            self._fail("error")
            return {"updates": 0}

    def _learn_guarded(self, transition: Transition) -> Metrics:
        if self._gate is None and self._trial is None and self.config.guards.explosion is None:
            return self._learn()
        gate, after = self._gate, self.features.of(transition.next_obs, self.weights)
        if gate is not None and not gate.needs_loss and not self._ask_gate(transition):
            return {"updates": 0}
        if not self._needs_loss():
            return self._learn()
        loss = self._loss_between(self.features.of(transition.obs, self.weights), transition, after)
        measured: Metrics = {"self_supervised_loss": loss, "updates": 0}
        if not math.isfinite(loss):
            self._fail("not_finite")
            return measured
        if gate is not None and gate.needs_loss and not self._ask_gate(transition, loss):
            return measured
        if self._exploded(transition, loss):
            self._fail("explosion")
            return measured
        self._try(transition, loss)
        return {**measured, **self._learn(), "self_supervised_loss": loss}

    def _needs_loss(self) -> bool:
        """Whether any guard asks for the newest transition's loss under the weights in use."""
        gated = self._gate is not None and self._gate.needs_loss
        return gated or self._tried is not None or self._comparison_due()

    def _comparison_due(self) -> bool:
        """Whether to compare the weights in use with the trained ones."""
        guarded = self.config.guards.explosion is not None
        return guarded and self.weights is not self.trained and self._decisions % CHECK_EVERY == 0

    @property
    def excess(self) -> dict[str, float]:
        """How many times the usual value each part of the gate was at the last decision; nothing without a gate."""
        return {} if self._gate is None else self._gate.excess

    def _ask_gate(self, transition: Transition, loss: float | None = None) -> bool:
        """Show the gate a transition, and the loss under the weights in use, where it counts; says whether to learn.

        If not, that is counted. What was learned is kept; where the settings say so, the trained weights act until the
        gate opens.
        """
        assert self._gate is not None
        judged = None if loss is None else self._judged_loss(loss, transition)
        channels = self._judged(transition.next_obs) if self._gate.needs_features else None
        colors = self.model.color_moments(transition.next_obs) if self._gate.needs_colors else None
        if self._gate.update(judged, channels, transition.decision, colors):
            return True
        self.counts["gate"] += 1
        if self.config.guards.home and self.weights is not self.trained:
            self.counts["home"] += 1
            self._use(self.trained)
        return False

    def _judged_loss(self, loss: float, transition: Transition) -> float:
        """What the gate compares with training, given the loss under the weights in use."""
        at_home = self.config.guards.home and self.weights is not self.trained
        return self._loss_under(self.trained, transition) if at_home else loss

    def _judged(self, seen: Seen) -> np.ndarray:
        """The features that the gate compares with training."""
        weights = self.trained if self.config.guards.home else self.weights
        with self._holding(weights):
            return self.model.channels(self.features.of(seen, weights))

    @torch.no_grad()
    def _loss_between(self, features: Tensor, transition: Transition, next_features: Tensor) -> float:
        return self.model.loss_between(features, transition.action, next_features).item()

    def _loss_under(self, weights: Weights, transition: Transition) -> float:
        """The loss that other weights would give."""
        with self._holding(weights):
            before, after = (self.features.of(seen, weights) for seen in (transition.obs, transition.next_obs))
            return self._loss_between(before, transition, after)

    def _action(self, seen: Seen, weights: Weights) -> np.ndarray:
        return self.model.compared(self.features.action(seen, weights))

    def _exploded(self, transition: Transition, loss: float) -> bool:
        """Whether the weights in use infer actions worse than the trained ones, by more than the guard allows."""
        if not self._comparison_due():
            return False
        explosion = self.config.guards.explosion
        assert explosion is not None
        trained_loss = self._trained_loss.add(self._loss_under(self.trained, transition))
        return self._used_loss.add(loss) > explosion * trained_loss

    def _try(self, transition: Transition, loss: float) -> None:
        tried = self._tried
        if self._trial is None or tried is None:
            return
        tried_loss = self._loss_under(tried, transition)
        with self._holding(tried):
            tried_action = self._action(transition.next_obs, tried)
        used_action = self._action(transition.next_obs, self.weights)
        verdict = self._trial.add(loss, tried_loss, used_action, tried_action)
        if verdict == "accepted":
            self.counts["accepted"] += 1
            self._failures.succeeded()
            self._use(tried)
        elif verdict is not None:
            self.counts[f"rejected_{verdict}"] += 1
            self._return_to(self.weights)

    def _learn(self) -> Metrics:
        eager = self._opportunities < self.config.eager
        due = eager or (self._opportunities + 1) % self.config.every == 0
        in_time = due and self._allowed()
        if in_time or not eager:  # an eager opportunity without time is still to come
            self._opportunities += 1
        if due and not in_time:
            self.counts["no_time"] += 1
        if not in_time:
            return {"updates": 0}
        value, candidate = math.nan, self.weights
        for done in range(self.config.updates):
            loss = self._update()
            if done == self.config.updates - 1:
                candidate = _copies(self._averaged or self.online)  # before the loss is waited for
            value = loss.item()
            self._worked = True
            if not math.isfinite(value):
                self._fail("not_finite")
                return {"updates": done}
        if self._trial is None:
            self._failures.succeeded()
            self._use(candidate)
        else:
            self._tried = candidate
        return {"updates": self.config.updates, "self_supervised_loss": value}

    def _update(self) -> Tensor:
        """One gradient step of the online weights; its loss, NaN if it made anything not finite."""
        with self._holding(self.online):
            loss = self._step(self._memory, self._picks(), self._generator)
            if self._drift.hold(self.online):
                self.counts["drift"] += 1
            self._average()
            return loss

    @torch.no_grad()
    def _average(self) -> None:
        past = self.config.guards.average
        if past:
            before = self._averaged or self.online
            self._averaged = tuple(b.lerp(now, 1 - past) for b, now in zip(before, self.online, strict=True))

    def _picks(self) -> Tensor:
        """Which of the remembered transitions to learn from, one for each crop; the newest is always among them."""
        count, newest = self.config.batch_size, len(self._memory) - 1
        distinct = min(count, self.config.transitions or count)
        picks = torch.randint(len(self._memory), (distinct,), generator=self._generator)
        picks[0] = newest
        return picks[torch.arange(count) % distinct]

    def _fail(self, reason: str) -> None:
        """Drop what was learned: back to the weights in use, or if these are at fault to the trained ones."""
        self.counts[f"failed_{reason}"] += 1
        self._return_to(self.trained if reason == "explosion" or not self._usable() else self.weights)
        if self._failures.failed():
            self.given_up = True
            self._return_to(self.trained)

    def _usable(self) -> bool:
        return all(bool(weight.isfinite().all()) for weight in self.weights)

    @property
    def drift(self) -> float:
        """Distance of the weights in use from the trained ones, as a share of these weights' norm."""
        if self._measured_drift is None or self._measured_drift[0] is not self.weights:
            self._measured_drift = self.weights, self._drift.distance(self.weights)
        return self._measured_drift[1]

    def state_dict(self) -> dict[str, Any]:
        """What was learned, with the optimizer that goes on: plain containers and tensors."""
        return {
            "weights": dict(zip(self.moving, (w.clone() for w in self.weights), strict=True)),
            "online": dict(zip(self.moving, (w.clone() for w in self.online), strict=True)),
            "averaged": dict(zip(self.moving, (w.clone() for w in self._averaged or self.online), strict=True)),
            "optimizer": deepcopy(self._step.optimizer.state_dict()),
            "given_up": self.given_up,
            "opportunities": self._opportunities,
        }

    @learning
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was learned.

        Raises:
            ValueError: when it is of other weights than those that move here.
        """
        self.check_state(state)
        weights, online, averaged = (self._laid_out(state[part]) for part in PARTS)
        for values in (weights, online, averaged):  # saved under another budget, perhaps
            self._limit.hold(values)
        self._return_to(weights)
        self._move_online(online)
        self._averaged = averaged if self.config.guards.average else None
        self._step.load_state_dict(state["optimizer"])
        self.given_up = bool(state["given_up"])
        self._opportunities = int(state["opportunities"])

    @torch.no_grad()
    def _laid_out(self, values: dict[str, Tensor]) -> Weights:
        """In the order, the place and the memory format of what moves here: a file keeps its own."""
        return tuple(torch.empty_like(parameter).copy_(values[name]) for name, parameter in self.moving.items())

    def check_state(self, state: dict[str, Any]) -> None:
        """Whether `load_state_dict` takes a state; changes nothing.

        Raises:
            ValueError: when it does not.
        """
        if missing := {*PARTS, "optimizer", "given_up", "opportunities"} - set(state):
            raise ValueError(f"no state of a policy: it lacks {', '.join(sorted(missing))}")
        if not all(bool(value.isfinite().all()) for part in PARTS for value in state[part].values()):
            raise ValueError("the state holds NaN or infinite weights")
        for part in PARTS:
            shapes = {name: tuple(value.shape) for name, value in state[part].items()}
            expected = {name: tuple(value.shape) for name, value in self.moving.items()}
            if shapes != expected:
                raise ValueError(f"the state moves {shapes}, this policy {expected}")
        self._step.check_state(state["optimizer"])


def _copies(weights: Weights) -> Weights:
    # At once: a GPU starts one kernel for all.
    copies = tuple(torch.empty_like(weight) for weight in weights)
    torch._foreach_copy_(copies, weights)
    return copies


def make_gate(model: Model, config: AdaptationConfig) -> Gate | None:
    """The gate that the guards ask for.

    Raises:
        ValueError: when the policy was not calibrated for it.
    """
    guards = config.guards
    if guards.gate is guards.gate_features is guards.gate_colors is None:
        return None
    if model.calibration is None:
        raise ValueError(
            "no calibration for a gate: scripts/calibrate.py CHECKPOINT measures it, fit_head or load_head brings it "
            "for a policy of yours; with gate, gate_features and gate_colors None there is no gate"
        )
    return Gate(model.calibration, guards.gate, guards.gate_features, guards.gate_colors)

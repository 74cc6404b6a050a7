"""What arrives from the cameras: judged once, and replaced by the last valid observation where it is none."""

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from pad.deployment.camera import Observation
from pad.deployment.guards import FrameGuard
from pad.deployment.model import Model, Seen
from pad.deployment.warning import WarnOnce

LONG_BLIND = 20
"""Decisions in a row without a valid observation that are worth a warning."""
KNOWN = 4
"""Arrivals that are recognized when they are shown again: a loop may observe a few decisions after it acted."""


class Arrival(NamedTuple):
    """An observation that has been judged."""

    fingerprint: Any
    """Equal for equal observations."""
    seen: Seen | None
    """Its tensors; None where no working camera sends it."""


class Intake:
    """Turns the observations of a control loop into tensors, and says which of them can be trusted.

    Most arrive twice: as the `next_obs` of a transition and as what is acted on next. Each is judged once, so that
    it moves the guard's memory once.

    Args:
        guarded: whether to stand in for observations that no working camera sends. If not, each must be as declared.
        warn: tells what a user should know.
    """

    def __init__(self, model: Model, guarded: bool, warn: WarnOnce) -> None:
        self._model, self._warn = model, warn
        # It knows how fast scenes change where the policy was trained, if that was measured.
        usual = None if model.calibration is None else model.calibration.largest_step
        self._guard = FrameGuard(model.cameras, usual) if guarded else None
        self.counts: Counter[str] = Counter()
        """How often something was replaced or left out, by its reason."""
        self._declared, self._in_range = False, False  # what the first observation, and the first valid one, showed
        self._last_ever: Seen | None = None
        self.reset()

    def reset(self) -> None:
        """A new episode begins: nothing that was seen before is acted on again."""
        self._last_valid: Seen | None = None
        self._last_entries: dict[str, Any] = {}  # the last good ones that are no pixels
        self._known: deque[Arrival] = deque(maxlen=KNOWN)
        self._acted = False  # since the last transition
        self._judged_to_act: Any = None  # fingerprint of what was judged for the last action, until it is observed
        self.blind = self.stuck = 0
        """Decisions in a row without a valid observation, and with the same picture to the bit."""
        if self._guard is not None:
            self._guard.reset()

    def for_action(self, obs: Observation) -> Seen:
        """What to act on: this observation, or where it is not valid the last one that was.

        Raises:
            TypeError, ValueError: when the very first observation is not as declared.
        """
        fingerprint = _fingerprint(obs)
        known = self._find(fingerprint)
        # Not valid, and shown to a second action in a row: the scene may have become what it looks like.
        if known is None or (known.seen is None and self._acted):
            seen, self._judged_to_act = self._judge(fingerprint, obs), fingerprint
        else:
            seen, self._judged_to_act = known.seen, None
        self._acted = True
        if seen is not None:
            self.blind = 0
            self._last_valid = self._last_ever = seen  # though it may have been shown before
            return self._with_good_entries(seen)
        self.blind += 1
        if self.blind == LONG_BLIND:
            self._warn("blind", f"no valid observation for {LONG_BLIND} decisions: the last valid one is acted on")
        # Blind from the episode's first frame on, something must be done all the same.
        stand_in = self._make_do(obs) if self._last_valid is None else self._with_newest_entries(self._last_valid, obs)
        return self._with_good_entries(stand_in)

    def for_transition(self, obs: Observation, next_obs: Observation) -> tuple[Seen, Seen] | None:
        """Both ends of a transition; None where one of them is not valid, or the picture is stuck.

        Raises:
            TypeError, ValueError: when the very first observation is not as declared.
        """
        seen, next_seen = self._earlier(obs), self._newest(next_obs)
        self._acted, self._judged_to_act = False, None
        if seen is None or next_seen is None:
            return None
        if self._guard is not None and _same(seen, next_seen):
            self.counts["frames_stuck"] += 1
            self.stuck += 1
            return None
        self.stuck = 0
        return seen, next_seen

    def _earlier(self, obs: Observation) -> Seen | None:
        """The first end of a transition. One that is not remembered is never the last valid one: others came since."""
        fingerprint = _fingerprint(obs)
        if known := self._find(fingerprint):
            return known.seen
        return self._judge(fingerprint, obs, newest=self._last_valid is None)

    def _newest(self, obs: Observation) -> Seen | None:
        """The second end. Who acts before observing shows it twice; else one that was not valid has arrived again."""
        fingerprint = _fingerprint(obs)
        known = self._find(fingerprint)
        if known is None or (known.seen is None and fingerprint != self._judged_to_act):
            return self._judge(fingerprint, obs)
        return known.seen

    def _find(self, fingerprint: Any) -> Arrival | None:
        return next((known for known in reversed(self._known) if known.fingerprint == fingerprint), None)

    def _judge(self, fingerprint: Any, obs: Observation, newest: bool = True) -> Seen | None:
        """The observation's tensors, or None; unless others came since it is remembered."""
        self._check_declaration(obs)
        fault = None if self._guard is None else self._guard.check(obs, remember=newest)
        if fault is not None:
            self.counts[f"frames_{fault}"] += 1
            if fault == "type" and obs is not None:
                self._warn("type", f"an observation is a {type(obs).__name__}, none of the declared kind: it is taken "
                           "for a lost frame")  # fmt: skip
        else:
            self._check_range(obs)
        seen = self._model.see(obs) if fault is None else None
        if newest:
            if seen is not None:
                self._last_valid = self._last_ever = seen
            self._known.append(Arrival(fingerprint, seen))
        return seen

    def _check_declaration(self, obs: Observation) -> None:
        """Whether the first observation, and without a guard each, is what was declared: else the caller is wrong."""
        if self._declared and self._guard is not None:
            return
        for camera in self._model.cameras:
            pixels = camera.checked(obs)
            if not self._declared:
                camera.check_range(pixels)
        self._declared = True

    def _check_range(self, obs: Observation) -> None:
        """Of the first valid one: a camera that was black at first has said nothing about its units."""
        if self._in_range:
            return
        self._in_range = True
        try:
            for camera in self._model.cameras:
                camera.check_range(camera.checked(obs))
        except ValueError as error:  # one pixel may be broken
            self._warn("range", str(error))

    def _with_good_entries(self, seen: Seen) -> Seen:
        """With the last good ones in place of entries beside the pixels that are missing or no numbers."""
        if self._guard is None:
            return seen
        good = {name: value for name, value in seen.rest.items() if _is_finite(value)}
        missing, bad = bool(set(self._last_entries) - set(seen.rest)), len(good) < len(seen.rest)
        self.counts["entries_missing"] += missing
        self.counts["entries_not_finite"] += bad
        before, self._last_entries = self._last_entries, {**self._last_entries, **good}
        return Seen(seen.pictures, {**seen.rest, **before, **good}) if missing or bad else seen

    def _with_newest_entries(self, seen: Seen, obs: Observation) -> Seen:
        """Earlier pictures with the entries beside the pixels of a newer observation, as far as there are any."""
        return Seen(seen.pictures, {**seen.rest, **self._model.rest(obs)})

    def _make_do(self, obs: Observation) -> Seen:
        """What can be read of an observation that is not valid, or else the last one of an earlier episode."""
        try:
            self._last_ever = self._model.see(_finite(obs, self._model))
        except (TypeError, ValueError):
            if self._last_ever is None:
                raise
            self._last_ever = self._with_newest_entries(self._last_ever, obs)
        return self._last_ever


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

"""How a deployed policy learns, and what keeps it from harm."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pad.objectives import ObjectiveName
from pad.precision import Precision
from pad.settings import check_fields

Moves = Literal["color", "color_and_detail", "affine", "convolutions", "convolutions_and_head"]


@dataclass(frozen=True)
class GuardConfig:
    """Guards around the learning of a deployed policy.

    Each can be switched off: `frames` and `home` by False, `pull` and `average` by 0, the others by None (`trial` with
    `action_jump`, which is measured in it).
    """

    frames: bool = True
    """Act on the last valid observation in place of one that no working camera sends, and learn from neither."""
    gate_features: float | None = 1.0
    """When to learn: only while the features' running distance from those of training exceeds this many times the usual
    one."""
    gate_colors: float | None = 16.0
    """When to learn, too: only while the running distance of single frames' colours from those of training exceeds this
    many times the usual one. Unlike features they do not tell an unusual pose from a usual one."""
    gate: float | None = None
    """When to learn, too: only while the running self-supervised loss exceeds this many times the usual one of
    training."""
    home: bool = False
    """The gate looks with the trained weights, whatever weights are in use, and while it is shut the trained ones act.
    What was learned is kept, and must pass a trial again when the gate opens."""
    trial: int | None = 2
    """What to accept: new weights are tried beside those in use, on each transition before they learn from it, and
    taken over only if they have inferred the actions of the last so many better."""
    action_jump: float | None = 0.5
    """What to accept, too: only new weights whose actions differ from those of the ones in use by no more than this on
    average (root mean square; actions span -1 to 1)."""
    drift: float | None = 1.0
    """How far: largest distance from the trained weights, as a share of these weights' norm."""
    pull: float = 0.0
    """Share of the distance from the trained weights that each update gives back."""
    average: float = 0.0
    """Weight of the past in the running average of recent weights that is tried and used (0: the last ones)."""
    explosion: float | None = 2.0
    """When to give up on what was learned: the trained weights come back when those in use infer actions worse than
    this many times the trained ones' loss."""
    failures: int | None = 10
    """After this many failed updates with no good one between them, nothing is learned any more."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("gate", "gate_features", "gate_colors", "trial", "action_jump", "drift", "explosion", "failures"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive or None, got {value}")
        for name in ("pull", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.home and self.gate is self.gate_features is self.gate_colors is None:
            raise ValueError("home says who acts while the gate is shut: give a gate too, or home False")
        if self.action_jump is not None and self.trial is None:
            raise ValueError("action_jump is measured in a trial: give a trial too, or action_jump None")


NO_GUARDS = GuardConfig(
    frames=False,
    gate=None,
    gate_features=None,
    gate_colors=None,
    trial=None,
    action_jump=None,
    drift=None,
    explosion=None,
    failures=None,
)


@dataclass(frozen=True)
class AdaptationConfig:
    """How the encoder keeps learning after deployment."""

    moves: Moves = "color"
    """What may learn. color: a matrix and an offset over the colours of each frame, before the convolutions.
    color_and_detail: before these also a 3x3 residual convolution over the colours of each frame. affine: the shared
    convolutions' biases, in a policy of yours those of all layers and the scales of normalisation (Tent, Wang et al.,
    2021). convolutions: those that all heads share. convolutions_and_head: these and the self-supervised head and
    branch, as the authors have it."""
    layers: int | None = None
    """With convolutions or affine: only this many of the shared ones, from the first. Default: all."""
    objectives: tuple[ObjectiveName, ...] = ("inverse_dynamics",)
    """What is learned by; of several the sum. Guards judge by inverse dynamics whatever it is."""
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-2
    batch_size: int = 32
    """Random crops in each gradient step."""
    crop_grid: Literal["pixel", "stride"] = "stride"
    """Where crops may begin: anywhere, as the authors have it, or at multiples of the convolutions' stride. All crops
    of a picture then share one encoding, so that many cost hardly more than one."""
    memory: int = 64
    """Recent transitions that the crops are drawn from; the newest is always among them. 1: the newest alone."""
    transitions: int | None = 4
    """How many of them each gradient step draws; its crops are shared out among them. None: one for each crop."""
    eager: int = 0
    """Learn at each of an episode's first so many decisions at which the gate is open, and only then at every
    `every`-th: what a new scene asks for is mostly learned at once. With reset never the first since `restore`,
    restarts or not."""
    every: int = 1
    """Decisions between two learning opportunities."""
    updates: int = 1
    """Gradient steps at each of them."""
    precision: Precision = "float32"
    """Number format of the convolutions while learning; acting is always in float32."""
    reset: Literal["episode", "never"] = "episode"
    """When the trained weights come back: at each new episode, or only when `restore` is called."""
    guards: GuardConfig = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("batch_size", "memory", "transitions", "every", "updates"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.eager < 0:
            raise ValueError(f"eager must be at least 0, got {self.eager}")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives must be one or more different ones, got {self.objectives}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.layers is not None and (self.moves not in ("convolutions", "affine") or self.layers < 1):
            raise ValueError(
                f"layers must be at least 1 and goes with moves=convolutions or affine, got {self.layers} with "
                f"{self.moves}"
            )


ADAPTATIONS = MappingProxyType(
    {
        "default": AdaptationConfig(),
        # At first at each decision, then at every fourth, from fewer pictures: twice a frozen policy's time in place of
        # four times, most of the gain.
        "light": AdaptationConfig(batch_size=8, transitions=2, eager=16, every=4),
        "unguarded": AdaptationConfig(guards=NO_GUARDS),
        # Hansen et al. (2021): the newest transition under 32 crops, one Adam step, head and branch move too.
        "paper": AdaptationConfig(
            moves="convolutions_and_head",
            optimizer="adam",
            learning_rate=1e-3,
            batch_size=32,
            memory=1,
            transitions=None,
            crop_grid="pixel",
            guards=NO_GUARDS,
        ),
    }
)
"""Named settings. `default` did best on validation shifts: see docs/adaptation.md."""

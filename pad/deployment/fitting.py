"""A self-supervised head for a policy that has none, from transitions logged where the policy was trained."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pad.agent import Agent
from pad.calibration import FEWEST
from pad.deployment.agent_model import AgentModel
from pad.deployment.calibrator import calibrate_on
from pad.deployment.config import AdaptationConfig
from pad.deployment.guards import FrameGuard
from pad.deployment.learner import learning
from pad.deployment.model import Model, Transition
from pad.deployment.recordings import RecordedEpisode
from pad.deployment.torch_policy import TorchPolicy
from pad.objectives import HeadName
from pad.settings import check_fields
from pad.tracking import progress_bar
from pad.types import Metrics

AgentHead = Literal["inverse_dynamics"] | HeadName
CHECK_EVERY = 25
"""Updates between two looks at how far actions have moved."""


@dataclass(frozen=True)
class HeadConfig:
    """How a head is trained."""

    updates: int = 2_000
    """Gradient steps."""
    batch_size: int = 64
    learning_rate: float = 1e-3
    finetune: bool = False
    """Let the encoder learn with the head. Better inference of actions, for actions that are not quite the same."""
    action_bound: float = 0.05
    """With finetune: how far actions may move, root mean square (they span -1 to 1) over observations of the episodes
    that are held out; for discrete actions the share of observations with another action. The encoder stays at the
    last weights within the bound."""
    held_out: float = 0.2
    """Share of the episodes, at least one, that the head is measured and the gate is calibrated on."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.updates < 1 or self.batch_size < 2:
            raise ValueError(f"updates must be at least 1 and batch_size 2, got {self.updates} and {self.batch_size}")
        if not self.learning_rate > 0 or not self.action_bound > 0:
            raise ValueError(
                f"learning_rate and action_bound must be positive, got {self.learning_rate} and {self.action_bound}"
            )
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must be between 0 and 1, got {self.held_out}")


def fit_head(
    policy: TorchPolicy,
    episodes: Sequence[RecordedEpisode],
    config: HeadConfig | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Metrics:
    """Train the head of a policy on recorded episodes, in place and from random weights, and calibrate its gate.

    Args:
        progress: whether to show a progress bar.

    Returns:
        `loss` on episodes that were held out, `loss_of_mean`, that of always inferring the mean action (for discrete
        actions their frequencies), and `action_change`, how far fine-tuning moved the policy's actions there.

    Raises:
        ValueError: when there are fewer than two episodes, too few decisions in those that are held out, or one is not
            of this policy.
    """
    config = config or HeadConfig()
    encoder = list(policy.encoder.parameters()) if config.finetune else []
    data = _Data(policy, episodes, config)
    policy.head.begin_anew(seed)
    change, head = _ActionChange(policy, data.watched), list(policy.head.parameters())
    _fit(policy, head, encoder, data.learned, change, config, ("inverse_dynamics",), seed, progress)
    policy.fitted = True
    return _calibrate(policy, data, change)


def fit_agent_heads(
    agent: Agent,
    episodes: Sequence[RecordedEpisode],
    heads: Sequence[AgentHead] = ("inverse_dynamics",),
    config: HeadConfig | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Agent, Metrics]:
    """An agent with the weights of one that was trained without these heads, and heads that were fitted to them.

    It acts as the other one does, and `save_checkpoint` writes it like any other.

    Args:
        progress: whether to show a progress bar.

    Returns:
        The agent; the loss of each head on episodes that were held out, as `<head>_loss`; and with inverse dynamics
        all that `fit_head` measures.

    Raises:
        ValueError: when the agent has such a head, finetune is asked for, or the episodes are too few or not of this
            agent.
    """
    config = config or HeadConfig()
    _check_heads(agent, heads, config)
    fitted = _with_heads(agent, heads, seed)
    model = AgentModel(fitted)
    fresh = [parameter for name, parameter in fitted.named_parameters() if name not in agent.state_dict()]
    data = _Data(model, episodes, config)
    change = _ActionChange(model, data.watched)
    _fit(model, fresh, [], data.learned, change, config, tuple(heads), seed, progress)
    metrics = {f"{name}_loss": _held_out_loss(model, data.watched, name, config) for name in heads}
    if "inverse_dynamics" in heads:
        metrics |= _calibrate(model, data, change)
    return fitted, metrics


def _check_heads(agent: Agent, heads: Sequence[AgentHead], config: HeadConfig) -> None:
    has = {*agent.config.heads, *(["inverse_dynamics"] if agent.inverse_dynamics is not None else [])}
    if again := has & set(heads):
        raise ValueError(f"this agent has a self-supervised head for {', '.join(sorted(again))}: it can adapt as it is")
    if agent.inverse_dynamics is None and "inverse_dynamics" not in heads:
        raise ValueError("this agent has no inverse_dynamics head, which the guards judge by: fit that one as well")
    if config.finetune:
        raise ValueError("finetune is for policies that are not of this package: the encoder of an agent stays")


def _with_heads(agent: Agent, heads: Sequence[AgentHead], seed: int) -> Agent:
    """A copy of an agent with further heads, whose weights are random."""
    described = dataclasses.replace(
        agent.config,
        self_supervised=agent.config.self_supervised or "inverse_dynamics" in heads,
        heads=(*agent.config.heads, *(name for name in heads if name != "inverse_dynamics")),
    )
    channels, height, width = agent.obs_shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        other = Agent(
            (channels, height, width), agent.action_size, described, agent.frame_channels, agent.critic is not None
        )
    other.load_state_dict({**other.state_dict(), **agent.state_dict()})
    other.to(agent.device).train(agent.training)
    other.calibration = agent.calibration
    return other


class _Data:
    """Recorded transitions to learn from, and episodes that are held out.

    Raises:
        ValueError: when the episodes are too few, of one colour, or not of this policy.
    """

    def __init__(self, model: Model, episodes: Sequence[RecordedEpisode], config: HeadConfig) -> None:
        if len(episodes) < 2:
            raise ValueError(f"at least two episodes are needed, one of them to measure on; got {len(episodes)}")
        _check_pictures(model, episodes)
        count = min(max(1, round(config.held_out * len(episodes))), len(episodes) - 1)
        if (decisions := sum(map(len, episodes[-count:]))) < FEWEST:
            raise ValueError(
                f"episodes that are held out need at least {FEWEST} decisions for a calibration, got {decisions}"
            )
        self.learned = [transition for episode in episodes[:-count] for transition in _transitions(model, episode)]
        self.held_out = [_transitions(model, episode) for episode in episodes[-count:]]
        self.watched = [transition for episode in self.held_out for transition in episode]
        """Transitions of all episodes that are held out."""


def _check_pictures(model: Model, episodes: Sequence[RecordedEpisode]) -> None:
    middles = [episode.observations[len(episode) // 2] for episode in episodes]
    if all(FrameGuard(model.cameras).check(obs) == "constant" for obs in middles):
        ranges = ", ".join(f"{camera.low:g} (black) to {camera.high:g} (white)" for camera in model.cameras)
        raise ValueError(f"the recorded pictures are of one colour each: are their values from {ranges}, as declared?")


def _calibrate(model: Model, data: _Data, change: "_ActionChange") -> Metrics:
    """Calibrates the gate, and says how well actions are inferred where nothing was learned."""
    model.calibration = calibrate_on(model, data.held_out)
    return {
        "loss": model.calibration.mean_loss,
        "loss_of_mean": _loss_of_mean(model, data),
        "action_change": change(),
    }


@torch.no_grad()
def _held_out_loss(model: Model, watched: list[Transition], name: AgentHead, config: HeadConfig) -> float:
    """Loss of one head at held-out transitions, averaged over a few batches."""
    measured = AdaptationConfig(batch_size=config.batch_size, crop_grid="pixel", objectives=(name,))
    generator = torch.Generator().manual_seed(0)
    picks = [_picks(len(watched), measured, generator) for _ in range(8)]
    return float(np.mean([model.loss(watched, pick, measured, generator).item() for pick in picks]))


def _transitions(model: Model, episode: RecordedEpisode) -> list[Transition]:
    for camera in model.cameras:
        camera.check_range(camera.checked(episode.observations[0]))
    seen = [model.see(obs) for obs in episode.observations]
    return [
        Transition(obs, model.action(action), next_obs)
        for obs, action, next_obs in zip(seen[:-1], episode.actions, seen[1:], strict=True)
    ]


@learning
def _fit(
    model: Model,
    head: list[nn.Parameter],
    encoder: list[nn.Parameter],
    transitions: list[Transition],
    change: "_ActionChange",
    config: HeadConfig,
    objectives: tuple[AgentHead, ...],
    seed: int,
    progress: bool,
) -> None:
    """Train the head, and the encoder if any of it is given for as long as actions stay within the bound."""
    drawn = AdaptationConfig(batch_size=config.batch_size, crop_grid="pixel", objectives=objectives)
    generator = torch.Generator().manual_seed(seed)
    flags = [parameter.requires_grad for parameter in model.network.parameters()]
    model.network.requires_grad_(False)
    for parameter in (*head, *encoder):
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(head, lr=config.learning_rate, fused=True)
    if encoder:
        optimizer.add_param_group({"params": encoder, "lr": config.learning_rate / 10})
    within = _copies(encoder)
    with progress_bar("fitting the head", config.updates, 0, "updates", shown=progress) as bar:
        for update in range(1, config.updates + 1):
            loss = model.loss(transitions, _picks(len(transitions), drawn, generator), drawn, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if encoder and (update % CHECK_EVERY == 0 or update == config.updates):
                if change() <= config.action_bound:
                    within = _copies(encoder)
                else:  # as far as it may: from here on the head learns alone
                    _return_to_bound(encoder, within, lambda: change() <= config.action_bound)
                    for parameter in encoder:
                        parameter.requires_grad_(False)
                    optimizer = torch.optim.Adam(head, lr=config.learning_rate, fused=True)
                    encoder = []
            if update % CHECK_EVERY == 0:
                bar.set_postfix_str(f"loss {loss.item():.4g}", refresh=False)
            bar.update(1)
    for parameter, flag in zip(model.network.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)


def _return_to_bound(encoder: list[nn.Parameter], within: list[Tensor], is_within: Callable[[], bool]) -> None:
    """Move an encoder that is beyond the bound back towards weights within it, by halves until it is within too."""
    beyond = _copies(encoder)
    for share in (0.5, 0.25, 0.125, 0.0):
        _write(encoder, [w.lerp(b, share) for w, b in zip(within, beyond, strict=True)])
        if is_within():
            break


def _copies(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _picks(count: int, config: AdaptationConfig, generator: torch.Generator) -> Tensor:
    """Transitions for a batch; a contrast needs each of them twice."""
    times = 2 if "contrastive" in config.objectives else 1
    return torch.randint(count, (config.batch_size // times,), generator=generator).repeat(times)


@torch.no_grad()
def _write(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


class _ActionChange:
    """How far a policy's actions are, at some observations, from those at the time that this was made.

    The root mean square of actions scaled to [-1, 1]; for discrete ones the share that differ.
    """

    def __init__(self, model: Model, transitions: Sequence[Transition]) -> None:
        step = max(1, len(transitions) // 256)
        self._model, self._seen = model, [transition.obs for transition in transitions[::step]]
        self._before = self._actions()

    def __call__(self) -> float:
        after = self._actions()
        if self._model.discrete:
            return float((self._before != after).mean())
        return float(np.sqrt(np.square(after - self._before).mean()))

    @torch.no_grad()
    def _actions(self) -> np.ndarray:
        """Indices of discrete actions, or actions scaled to [-1, 1]."""
        model = self._model
        actions = [model.act(model.encode(seen), seen) for seen in self._seen]
        if model.discrete:
            return torch.stack([model.action(action) for action in actions]).cpu().numpy()
        return np.stack([model.compared(action) for action in actions])


def _loss_of_mean(model: Model, data: _Data) -> float:
    """Loss at the held-out transitions of always inferring the mean action, or the frequencies of discrete ones."""
    known, asked = (torch.stack([t.action for t in part]).cpu() for part in (data.learned, data.watched))
    if not model.discrete:
        return float((asked - known.mean(0)).square().mean())
    share = (torch.bincount(known, minlength=int(asked.max()) + 1) + 1).double()
    return float(-(share / share.sum()).log()[asked].mean())

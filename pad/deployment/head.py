"""A self-supervised head for a policy that has none, from transitions logged where the policy was trained."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from pad import settings
from pad.agent import Agent
from pad.calibration import FEWEST, Calibration
from pad.checkpoint import write_folder
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
FORMAT = 1
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
    policy: TorchPolicy, episodes: Sequence[RecordedEpisode], config: HeadConfig | None = None, seed: int = 0
) -> Metrics:
    """Train the head of a policy on recorded episodes, in place and from random weights, and calibrate its gate.

    Returns:
        `loss` on episodes that were held out, `loss_of_mean`, that of always inferring the mean action (for discrete
        actions their frequencies), and `action_change`, how far fine-tuning moved the policy's actions there.

    Raises:
        ValueError: when there are fewer than two episodes, too few decisions in those that are held out, or one is not
            of this policy.
    """
    config = config or HeadConfig()
    encoder = list(policy.encoder.parameters()) if config.finetune else []
    learned, held_out = _split(policy, episodes, config)
    policy.head.begin_anew(seed)
    watched = [transition for episode in held_out for transition in episode]
    before, head = _actions(policy, watched), list(policy.head.parameters())
    drawn = AdaptationConfig(batch_size=config.batch_size, crop_grid="pixel")
    _fit(policy, head, encoder, learned, watched, before, config, drawn, torch.Generator().manual_seed(seed))
    policy.fitted = True
    return _calibrate(policy, learned, held_out, before)


def fit_agent_heads(
    agent: Agent,
    episodes: Sequence[RecordedEpisode],
    heads: Sequence[AgentHead] = ("inverse_dynamics",),
    config: HeadConfig | None = None,
    seed: int = 0,
) -> tuple[Agent, Metrics]:
    """An agent with the weights of one that was trained without these heads, and heads that were fitted to them.

    It acts as the other one does, and `save_checkpoint` writes it like any other.

    Returns:
        The agent; the loss of each head on episodes that were held out, as `<head>_loss`; and with inverse dynamics
        all that `fit_head` measures.

    Raises:
        ValueError: when the agent has such a head, finetune is asked for, or the episodes are too few or not of this
            agent.
    """
    config = config or HeadConfig()
    has = {*agent.config.heads, *(["inverse_dynamics"] if agent.inverse_dynamics is not None else [])}
    if again := has & set(heads):
        raise ValueError(f"this agent has a self-supervised head for {', '.join(sorted(again))}: it can adapt as it is")
    if agent.inverse_dynamics is None and "inverse_dynamics" not in heads:
        raise ValueError("this agent has no inverse_dynamics head, which the guards judge by: fit that one as well")
    if config.finetune:
        raise ValueError("finetune is for policies that are not of this package: the encoder of an agent stays")
    more = tuple(name for name in heads if name != "inverse_dynamics")
    described = dataclasses.replace(
        agent.config,
        self_supervised=agent.config.self_supervised or "inverse_dynamics" in heads,
        heads=(*agent.config.heads, *more),
    )
    channels, height, width = agent.obs_shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fitted = Agent(
            (channels, height, width), agent.action_size, described, agent.frame_channels, agent.critic is not None
        )
    fitted.load_state_dict({**fitted.state_dict(), **agent.state_dict()})
    fitted.to(agent.device).train(agent.training)
    fitted.calibration = agent.calibration
    model = AgentModel(fitted)
    fresh = [parameter for name, parameter in fitted.named_parameters() if name not in agent.state_dict()]
    learned, held_out = _split(model, episodes, config)
    watched = [transition for episode in held_out for transition in episode]
    before = _actions(model, watched)
    drawn = AdaptationConfig(batch_size=config.batch_size, crop_grid="pixel", objectives=tuple(heads))
    _fit(model, fresh, [], learned, watched, before, config, drawn, torch.Generator().manual_seed(seed))
    metrics = {f"{name}_loss": _held_out_loss(model, watched, name, config) for name in heads}
    if "inverse_dynamics" in heads:
        metrics |= _calibrate(model, learned, held_out, before)
    return fitted, metrics


def _split(
    model: Model, episodes: Sequence[RecordedEpisode], config: HeadConfig
) -> tuple[list[Transition], list[list[Transition]]]:
    """Transitions to learn from, and episodes that are held out."""
    if len(episodes) < 2:
        raise ValueError(f"at least two episodes are needed, one of them to measure on; got {len(episodes)}")
    middles = [episode.observations[len(episode) // 2] for episode in episodes]
    if all(FrameGuard(model.cameras).fault(obs) == "constant" for obs in middles):
        ranges = ", ".join(f"{camera.low:g} (black) to {camera.high:g} (white)" for camera in model.cameras)
        raise ValueError(f"the recorded pictures are of one colour each: are their values from {ranges}, as declared?")
    count = min(max(1, round(config.held_out * len(episodes))), len(episodes) - 1)
    if (decisions := sum(map(len, episodes[-count:]))) < FEWEST:
        raise ValueError(
            f"episodes that are held out need at least {FEWEST} decisions for a calibration, got {decisions}"
        )
    learned, held_out = ([_transitions(model, e) for e in part] for part in (episodes[:-count], episodes[-count:]))
    return [transition for episode in learned for transition in episode], held_out


def _calibrate(
    model: Model, learned: list[Transition], held_out: list[list[Transition]], before: np.ndarray
) -> Metrics:
    """Calibrates the gate, and says how well actions are inferred where nothing was learned."""
    watched = [transition for episode in held_out for transition in episode]
    model.calibration = calibrate_on(model, held_out)
    return {
        "loss": model.calibration.mean_loss,
        "loss_of_mean": _loss_of_mean(model, learned, watched),
        "action_change": _change(model, before, _actions(model, watched)),
    }


@torch.no_grad()
def _held_out_loss(model: Model, watched: list[Transition], name: AgentHead, config: HeadConfig) -> float:
    """Average over a few batches."""
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
    watched: list[Transition],
    before: np.ndarray,
    config: HeadConfig,
    drawn: AdaptationConfig,
    generator: torch.Generator,
) -> None:
    flags = [parameter.requires_grad for parameter in model.network.parameters()]
    model.network.requires_grad_(False)
    for parameter in (*head, *encoder):
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(head, lr=config.learning_rate, fused=True)
    if encoder:
        optimizer.add_param_group({"params": encoder, "lr": config.learning_rate / 10})
    within = [parameter.detach().clone() for parameter in encoder]
    with progress_bar("fitting the head", config.updates, 0, "updates") as bar:
        for update in range(1, config.updates + 1):
            loss = model.loss(transitions, _picks(len(transitions), drawn, generator), drawn, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if encoder and (update % CHECK_EVERY == 0 or update == config.updates):
                if _change(model, before, _actions(model, watched)) <= config.action_bound:
                    within = [parameter.detach().clone() for parameter in encoder]
                else:  # as far as it may: from here on the head learns alone
                    beyond = [parameter.detach().clone() for parameter in encoder]
                    for share in (0.5, 0.25, 0.125, 0.0):
                        _write(encoder, [w.lerp(b, share) for w, b in zip(within, beyond, strict=True)])
                        if _change(model, before, _actions(model, watched)) <= config.action_bound:
                            break
                    for parameter in encoder:
                        parameter.requires_grad_(False)
                    optimizer = torch.optim.Adam(head, lr=config.learning_rate, fused=True)
                    encoder = []
            if update % CHECK_EVERY == 0:
                bar.set_postfix_str(f"loss {loss.item():.4g}", refresh=False)
            bar.update(1)
    for parameter, flag in zip(model.network.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)


def _picks(count: int, config: AdaptationConfig, generator: torch.Generator) -> Tensor:
    """Transitions for a batch; a contrast needs each of them twice."""
    times = 2 if "contrastive" in config.objectives else 1
    return torch.randint(count, (config.batch_size // times,), generator=generator).repeat(times)


@torch.no_grad()
def _write(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


@torch.no_grad()
def _actions(policy: Model, transitions: Sequence[Transition]) -> np.ndarray:
    """The policy's actions at some observations: indices, or scaled to [-1, 1]."""
    step = max(1, len(transitions) // 256)
    chosen = [transition.obs for transition in transitions[::step]]
    actions = [policy.act(policy.encode(seen), seen) for seen in chosen]
    if policy.discrete:
        return torch.stack([policy.action(action) for action in actions]).cpu().numpy()
    return np.stack([policy.compared(action) for action in actions])


def _change(policy: Model, before: np.ndarray, after: np.ndarray) -> float:
    if policy.discrete:
        return float((before != after).mean())
    return float(np.sqrt(np.square(after - before).mean()))


def _loss_of_mean(policy: Model, learned: Sequence[Transition], watched: Sequence[Transition]) -> float:
    known, asked = (torch.stack([t.action for t in part]).cpu() for part in (learned, watched))
    if not policy.discrete:
        return float((asked - known.mean(0)).square().mean())
    share = (torch.bincount(known, minlength=int(asked.max()) + 1) + 1).double()
    return float(-(share / share.sum()).log()[asked].mean())


def save_head(folder: str | Path, policy: TorchPolicy) -> None:
    """Write what `fit_head` learned, the encoder included: a crash leaves what was there.

    Raises:
        FileExistsError: when the folder is there and holds anything but a head: it would be replaced with all in it.
    """
    folder = Path(folder)
    if folder.exists() and not _is_head(folder):
        raise FileExistsError(f"{folder} is there already and holds no head, or other things beside it")
    # A layer under two names is written once; `load_model` knows both.
    named, kept = (*policy.network.named_parameters(), *policy.network.named_buffers()), policy.network.state_dict()
    weights = {name: value.detach().cpu().contiguous() for name, value in named if name in kept}
    calibration = None if policy.calibration is None else settings.to_dict(policy.calibration)
    about = {"head": FORMAT, "origin": policy.origin, "policy": policy.described, "calibration": calibration}
    described = yaml.safe_dump(about, sort_keys=False).encode()
    write_folder(folder, {"config.yaml": described, "model.safetensors": safetensors.torch.save(weights)})


def _is_head(folder: Path) -> bool:
    """Whether a folder is what `save_head` wrote, with nothing beside it."""
    if not folder.is_dir() or {path.name for path in folder.iterdir()} != {"config.yaml", "model.safetensors"}:
        return False
    try:
        about = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(about, dict) and "head" in about


def load_head(folder: str | Path, policy: TorchPolicy) -> TorchPolicy:
    """The same policy with the head, the encoder and the calibration that `save_head` wrote, ready to adapt.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is corrupt, or of another policy.
    """
    folder = Path(folder)
    for candidate in (folder, folder.with_name(f"{folder.name}.old")):
        if (candidate / "config.yaml").is_file():
            break
    else:
        raise FileNotFoundError(f"no head at {folder}: no such folder with a config.yaml")
    try:
        about = yaml.safe_load((candidate / "config.yaml").read_text())
        if about["head"] > FORMAT:
            raise ValueError(f"it has format {about['head']}, this version reads up to {FORMAT}: update pad")
        if about.get("origin", policy.origin) != policy.origin:
            raise ValueError("it was fitted to an encoder with other weights than this policy's")
        if "policy" not in about and len(policy.feature_shape) == 2 and about["calibration"]:
            raise ValueError("it was calibrated when channels were averaged instead of tokens: fit it again")
        for name, here in policy.described.items():
            if (there := about.get("policy", {}).get(name, here)) != here:
                raise ValueError(f"it was fitted to a policy with {name} {there}, this one has {here}")
        loaded = policy.copy()
        safetensors.torch.load_model(loaded.network, candidate / "model.safetensors")
        if not all(bool(value.isfinite().all()) for value in loaded.network.state_dict().values()):
            raise ValueError("it holds NaN or infinite weights")
        loaded.fitted = True
        if about["calibration"]:
            loaded.calibration = settings.from_dict(Calibration, about["calibration"], "calibration")
    except Exception as error:  # whatever a foreign file makes its readers say
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ValueError(f"{candidate} does not hold a head of this policy: {reason}") from error
    return loaded

"""Deployment: a policy that acts in a control loop and keeps learning there, within bounds."""

from pad.deployment.agent_model import AgentModel, as_model
from pad.deployment.budget import Budget
from pad.deployment.camera import Camera
from pad.deployment.config import ADAPTATIONS, NO_GUARDS, AdaptationConfig, GuardConfig
from pad.deployment.controls import ColorMatchedPolicy, PerturbedPolicy
from pad.deployment.fitting import HeadConfig, fit_agent_heads, fit_head
from pad.deployment.head_folder import load_head, save_head
from pad.deployment.model import Model
from pad.deployment.policy import AdaptivePolicy, FrozenPolicy, MeasuredPolicy
from pad.deployment.recordings import RecordedEpisode, load_episodes, record_episode, record_episodes
from pad.deployment.torch_policy import TorchPolicy

__all__ = [
    "ADAPTATIONS",
    "NO_GUARDS",
    "AdaptationConfig",
    "AdaptivePolicy",
    "AgentModel",
    "Budget",
    "Camera",
    "ColorMatchedPolicy",
    "FrozenPolicy",
    "GuardConfig",
    "HeadConfig",
    "MeasuredPolicy",
    "Model",
    "PerturbedPolicy",
    "RecordedEpisode",
    "TorchPolicy",
    "as_model",
    "fit_agent_heads",
    "fit_head",
    "load_episodes",
    "load_head",
    "record_episode",
    "record_episodes",
    "save_head",
]

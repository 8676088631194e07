"""State-action learned embeddings: the networks of TD7 (SALE; Fujimoto et al., arXiv 2306.02451, sections 4.1, 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ilfo.agents._mlp import MLP

__all__ = ["Actor", "Critic", "Encoder", "average_l1_norm"]


def average_l1_norm(inputs: Tensor) -> Tensor:
    """Divides by the mean absolute value over the last dimension, at least 1e-8, so that this mean becomes 1."""
    return inputs / inputs.abs().mean(dim=-1, keepdim=True).clamp(min=1e-8)


class Encoder(nn.Module):
    """``f``, which embeds states, and ``g``, which predicts the next state's embedding from this one's and an action.

    Args:
        observation_dim: Width ``D`` of an observation.
        action_dim: Width ``A`` of an action.
        hidden_dim: Units of each of the two hidden layers.
        embedding_dim: Width ``E`` of both embeddings.
    """

    def __init__(self, observation_dim: int, action_dim: int, hidden_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.f = MLP([observation_dim, hidden_dim, hidden_dim, embedding_dim], activation="elu")
        self.g = MLP([embedding_dim + action_dim, hidden_dim, hidden_dim, embedding_dim], activation="elu")

    def embed_states(self, observations: Tensor) -> Tensor:
        """``z^s``, ``(..., B, E)``, of observations ``(..., B, D)``."""
        return average_l1_norm(self.f(observations))

    def embed_pairs(self, states: Tensor, actions: Tensor) -> Tensor:
        """``z^sa``, ``(..., B, E)``, not normalised, of embedded states ``(..., B, E)`` and actions ``(..., B, A)``."""
        embedded: Tensor = self.g(states, actions)
        return embedded


class Actor(nn.Module):
    """A policy that sees the state and its embedding.

    Args:
        observation_dim: Width ``D`` of an observation.
        action_dim: Width ``A`` of an action.
        hidden_dim: Units of each hidden layer.
        embedding_dim: Width ``E`` of the embedding.
    """

    def __init__(self, observation_dim: int, action_dim: int, hidden_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.first = MLP([observation_dim, hidden_dim])
        self.rest = MLP([hidden_dim + embedding_dim, hidden_dim, hidden_dim, action_dim])

    def forward(self, observations: Tensor, states: Tensor) -> Tensor:
        """Actions ``(..., B, A)`` in [-1, 1] of observations ``(..., B, D)`` and their embeddings ``(..., B, E)``."""
        return torch.tanh(self.rest(average_l1_norm(self.first(observations)), states))


class Critic(nn.Module):
    """A state-action value that sees state, action and both embeddings; made to be stacked, ``(..., K)``.

    Args:
        observation_dim: Width ``D`` of an observation.
        action_dim: Width ``A`` of an action.
        hidden_dim: Units of each hidden layer.
        embedding_dim: Width ``E`` of the embeddings.
    """

    def __init__(self, observation_dim: int, action_dim: int, hidden_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.first = MLP([observation_dim + action_dim, hidden_dim])
        self.rest = MLP([hidden_dim + 2 * embedding_dim, hidden_dim, hidden_dim, 1], activation="elu")

    def forward(
        self, observations: Tensor, actions: Tensor, pairs: Tensor, states: Tensor, frozen: bool = False
    ) -> Tensor:
        """The values that each of the ``K`` critics gives to the same inputs.

        Args:
            observations: ``(..., B, D)``.
            actions: ``(..., B, A)``.
            pairs: ``z^sa`` of them, ``(..., B, E)``.
            states: ``z^s`` of the observations, ``(..., B, E)``.
            frozen: Whether the weights get no gradient.

        Returns:
            ``(..., K, B)``.
        """
        first, rest = (self.first.frozen, self.rest.frozen) if frozen else (self.first, self.rest)
        hidden = average_l1_norm(first(observations.unsqueeze(-3), actions.unsqueeze(-3)))
        values: Tensor = rest(hidden, pairs.unsqueeze(-3), states.unsqueeze(-3))
        return values.squeeze(-1)

"""A run: what it is told, the reward, agent and replay that are made as told, and the one step that they all take.

``configs`` has every setting, ``parts`` makes what they name. An ``Imitation`` is a reward and a policy, which plays
and scores; a ``Training`` is one that also learns, and its ``advance`` the one step. Follow an episode from there:
``memory`` asks the ``scorer`` for its rewards and stores its transitions in the ``replay``. ``plan`` and
``reward_check`` tell what a run would do, and what its reward says, before it starts.
"""

from ilfo.training.configs import TrainConfig, config_from_dict
from ilfo.training.imitation import Imitation, load
from ilfo.training.training import Training

__all__ = ["Imitation", "TrainConfig", "Training", "config_from_dict", "load"]

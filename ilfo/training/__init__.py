"""A run: what it is told, the reward, agent and replay that are made as told, and the one step that they all take.

``configs`` has every setting, ``parts`` makes what they name. An ``Imitation`` is a reward and a policy, which plays
and scores; a ``Training`` is one that also learns, and its ``advance`` the one step. Follow an episode from there:
``memory`` asks the ``scorer`` what the episode is worth and stores its transitions in the ``replay``; batches come from
there, through ``policy_inputs``, to the agent. ``plan`` and ``reward_check`` tell what a run is about to do, and what
its reward says, before it starts.

A *seed* is a run of its own, and a *member* its number among those that train side by side; each has ``num_envs``
*copies* of the environment, one *stream* of episodes each. A *row* counts the copies of all seeds, those of the first
seed first.
"""

from ilfo.training.configs import TrainConfig, config_from_dict
from ilfo.training.imitation import Imitation, load
from ilfo.training.training import Training

__all__ = ["Imitation", "TrainConfig", "Training", "config_from_dict", "load"]

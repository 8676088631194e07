"""A run: its configuration, the reward, agent and replay that it names, and the one step that they take together.

``configs`` has every setting, ``flags`` reads them, and ``parts`` makes what they name. A run starts from its
``Sources``: environment, demonstrations, and a reward that has learned nothing yet. An ``Imitation`` made from them is
a reward and a policy; it plays and scores. A ``Training`` also learns, and its ``advance`` is the one step. Follow an
episode from there: a ``replay_writer`` asks the ``scorer`` what the episode is worth and writes its transitions to the
``replay``; batches go from there, through ``policy_inputs``, to the agent. Before a run starts, ``plan`` tells what it
is about to do, and ``reward_check`` what its reward says of known episodes.

A *seed* is a run of its own, and a *member* its index among the seeds that train side by side. Each seed has
``num_envs`` *copies* of the environment, each with one *stream* of episodes. A *row* counts the copies of all seeds,
those of the first seed first; a row of metrics is a line of ``metrics.jsonl``.
"""

from ilfo.training.flags import make_config
from ilfo.training.imitation import Imitation, load
from ilfo.training.sources import Sources
from ilfo.training.training import Training

__all__ = ["Imitation", "Sources", "Training", "load", "make_config"]

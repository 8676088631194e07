"""A run: what it is told, the parts that are made of that, and the one step that they take together.

Follow one step in :mod:`ilfo.training.training`, and an episode from there: its transitions enter the replay by
:mod:`ilfo.training.memory`, with the rewards that :mod:`ilfo.training.scorer` asks the generator for.
"""

from ilfo.training.configs import TrainConfig, config_from_dict
from ilfo.training.imitation import Imitation, load
from ilfo.training.training import Training

__all__ = ["Imitation", "TrainConfig", "Training", "config_from_dict", "load"]

"""Imitation learning from observation: one file of expert states in, a policy out.

``ilfo.demos`` reads and writes demonstrations, ``ilfo.rewards`` makes rewards of them, ``ilfo.training`` trains a
policy and brings it back (``load``), ``ilfo.envs`` makes environments and plays in them, and ``ilfo.adapters`` takes a
reward to other people's learners. The command ``ilfo`` does the same without a line of code.
"""

__version__ = "0.1.0"

"""Imitation learning from observation: one file of expert states in, a policy out."""

__version__ = "0.1.0"

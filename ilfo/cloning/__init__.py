"""Behaviour cloning from states, from keypoints of frames, and from frames end to end: alike but for what is seen."""

from ilfo.cloning.configs import CloneConfig, clone_config, parse_clone
from ilfo.cloning.data import Samples, held_out, open_demonstrations
from ilfo.cloning.eyes import EYES, Eye, KeypointEye, PixelEye, PixelOptions, StateEye
from ilfo.cloning.fit import Epoch, fit_network
from ilfo.cloning.looks import (
    PLAIN,
    KindAndSplit,
    Looks,
    evaluate_clone,
    evaluate_looks,
    evaluation_of,
    looks_of,
    read_looks,
)
from ilfo.cloning.policy import ClonedPolicy, is_clone, load_clone, play, play_each

__all__ = [
    "EYES",
    "PLAIN",
    "CloneConfig",
    "ClonedPolicy",
    "Epoch",
    "Eye",
    "KeypointEye",
    "KindAndSplit",
    "Looks",
    "PixelEye",
    "PixelOptions",
    "Samples",
    "StateEye",
    "clone_config",
    "evaluate_clone",
    "evaluate_looks",
    "evaluation_of",
    "fit_network",
    "held_out",
    "is_clone",
    "load_clone",
    "looks_of",
    "open_demonstrations",
    "parse_clone",
    "play",
    "play_each",
    "read_looks",
]

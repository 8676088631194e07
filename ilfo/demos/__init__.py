"""Demonstrations: expert trajectories, reading and writing them.

``open`` reads a file or folder (the toolkit's own layout, Minari's, robomimic's, D4RL's or LeRobot's), ``write`` saves
one and ``convert`` does both, ``from_videos`` takes the frames of videos, ``check_fits`` and ``fit_to`` compare one
with an environment, ``bundled`` lists those that come with the toolkit. ``held`` repeats the last state up to a length,
``stopped`` cuts an episode off and repeats the state that it stopped in, ``shuffled`` puts the states out of order,
``thinned`` makes several steps one.
"""

from ilfo.demos.checks import check_fits, fit_to
from ilfo.demos.files import open
from ilfo.demos.library import Bundled, bundled, bundled_path
from ilfo.demos.plot import plot_demonstrations
from ilfo.demos.rearranged import held, shuffled, stopped, thinned
from ilfo.demos.trajectory import Demonstrations, Provenance, Trajectory
from ilfo.demos.videos import from_videos
from ilfo.demos.writers import convert, write

__all__ = [
    "Bundled",
    "Demonstrations",
    "Provenance",
    "Trajectory",
    "bundled",
    "bundled_path",
    "check_fits",
    "convert",
    "fit_to",
    "from_videos",
    "held",
    "open",
    "plot_demonstrations",
    "shuffled",
    "stopped",
    "thinned",
    "write",
]

"""The square that is pushed to the right, as an episode and as files, for runs that see frames."""

from dataclasses import replace

import numpy as np
import pytest
from filmed_square import push
from small_clones import SQUARE, record, write

from ilfo.demos import Demonstrations
from ilfo.envs import describe
from ilfo.training import Sources, Training


@pytest.fixture(scope="session")
def episode():
    """With states, actions and frames."""
    return record(SQUARE, push, 1)[0]


@pytest.fixture(scope="session")
def film(episode, tmp_path_factory):
    """A file with states and frames."""
    silent = Demonstrations((replace(episode, actions=None),), describe(SQUARE).provenance)
    return write(tmp_path_factory.mktemp("film"), "square.hdf5", silent)


@pytest.fixture(scope="session")
def video(episode, tmp_path_factory):
    """A file with frames alone."""
    alone = replace(episode, observations=np.zeros((len(episode) + 1, 0)), actions=None)
    return write(tmp_path_factory.mktemp("video"), "square.hdf5", Demonstrations((alone,)))


@pytest.fixture
def begin(request, tmp_path):
    """Makes trainings by the ``configure`` of the test's own module, and closes them."""
    made = []

    def begin(demo, *flags, **options):
        made.append(Training.begin(Sources(request.module.configure(demo, tmp_path / "run", *flags, **options))))
        return made[-1]

    yield begin
    for training in made:
        training.close()

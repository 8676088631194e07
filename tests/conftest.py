"""Small finished runs that several tests look at, each trained once."""

from pathlib import Path

import numpy as np
import pytest
import small_clones
import torch
from hypothesis import settings
from small_envs import expert

from ilfo import demos
from ilfo.demos import Demonstrations
from ilfo.envs import RenderError, describe, random_policy, rollout
from ilfo.envs.video import write_video
from ilfo.train import train
from ilfo.training.flags import parse_train

ENV = "InvertedPendulum-v5"
SHORT = [
    *("--steps", "300", "--random-steps", "150", "--threads", "1"),
    *("--eval-every", "150", "--eval-episodes", "2", "--log-every", "50"),
]


# Other tests run beside these, and small networks gain nothing from more.
torch.set_num_threads(1)

settings.register_profile("the same every time", derandomize=True)
settings.load_profile("the same every time")


@pytest.fixture(autouse=True)
def seeded():
    """What a test draws without a generator of its own depends on no test before it."""
    torch.manual_seed(1729)
    np.random.seed(1729)  # noqa: NPY002 -- libraries that draw from it are tested too


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Keeps what tests see of frames out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ILFO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def squares():
    """Eight episodes of the expert of the small square, with states, actions and frames."""
    return small_clones.record(small_clones.SQUARE, small_clones.expert, 8)


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory):
    """A file with the longest of a random policy's episodes, states alone."""
    episodes = rollout(random_policy(1, seed=0), ENV, 5, seed=0)
    best = max(episodes, key=len)
    path = tmp_path_factory.mktemp("demonstration") / "expert.hdf5"
    return demos.write(path, Demonstrations((best,), describe(ENV).provenance))


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A file with one walk along the ledge at the right speed."""
    return demos.write(tmp_path_factory.mktemp("demo") / "walk.hdf5", expert())


@pytest.fixture(scope="session")
def imitation_run(tmp_path_factory, demonstration):
    """A finished run on the transport reward."""
    folder = tmp_path_factory.mktemp("runs") / "imitation"
    config, _ = parse_train(["--env", ENV, "--demo", str(demonstration), "--out", str(folder), *SHORT])
    train(config)
    return folder


@pytest.fixture(scope="session")
def group_run(tmp_path_factory, demonstration):
    """Three finished seeds on the transport reward, trained side by side."""
    folder = tmp_path_factory.mktemp("runs") / "group"
    given = ["--env", ENV, "--demo", str(demonstration), "--out", str(folder), *SHORT]
    train(parse_train([*given, "--seeds", "0-2"])[0])
    return folder


@pytest.fixture(scope="session")
def environment_run(tmp_path_factory):
    """A finished run on the environment's reward, without demonstrations; no two of its episodes are worth the same."""
    folder = tmp_path_factory.mktemp("runs") / "environment"
    config, _ = parse_train(["--env", "Pendulum-v1", "--reward", "environment", "--out", str(folder), *SHORT])
    train(config)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray cluster of this machine, which ends with the module."""
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    yield started.address
    started.shutdown()


@pytest.fixture(scope="session")
def camera(tmp_path_factory):
    """Skips what films where nothing can be drawn: a machine without OpenGL."""
    episode = rollout(random_policy(1, seed=0), ENV, 1)[0]
    try:
        write_video(Path(tmp_path_factory.mktemp("camera")) / "probe.webm", episode, ENV, "standard")
    except RenderError as error:
        pytest.skip(str(error))

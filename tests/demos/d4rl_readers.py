"""D4RL's own way of reading a file: what its loader checks, and how its two views cut the rows."""

import h5py
import numpy as np


def get_dataset(path, observation_shape, action_shape):
    """Every array of the file, under the checks that D4RL makes against its environment."""
    names = []
    dataset = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        for name in names:
            dataset[name] = file[name][()] if file[name].ndim == 0 else file[name][:]
    for name in ("observations", "actions", "rewards", "terminals"):
        dataset[name] = dataset[name].squeeze()
    rows = len(dataset["observations"])
    assert dataset["observations"].shape[1:] == observation_shape
    assert dataset["actions"].shape[1:] == action_shape
    assert dataset["rewards"].shape == dataset["terminals"].shape == (rows,)
    return dataset


def qlearning_dataset(dataset):
    """Transitions whose next observation is the row below; the last step of an episode that timed out is dropped."""
    kept = [row for row in range(len(dataset["rewards"]) - 1) if not dataset["timeouts"][row]]
    columns = {name: dataset[name][kept] for name in ("observations", "actions", "rewards", "terminals")}
    return columns | {"next_observations": dataset["observations"][[row + 1 for row in kept]]}


def sequence_dataset(dataset):
    """Episodes, each a dictionary of every array of the file: a scalar or a shorter array would break it."""
    start = 0
    for row in range(len(dataset["rewards"])):
        if dataset["terminals"][row] or dataset["timeouts"][row]:
            yield {name: np.array([column[each] for each in range(start, row + 1)]) for name, column in dataset.items()}
            start = row + 1

"""robomimic's own way of reading a file: what its report demands, and how its dataset makes sequences."""

import json

import h5py
import numpy as np


def get_dataset_info(path, filter_key=None):
    """The report on a file: lengths, environment, structure of the first demonstration, or what makes it stop."""
    with h5py.File(path, "r") as file:
        if filter_key is None:
            names = list(file["data"].keys())
        else:
            names = [name.decode("utf-8") for name in np.array(file[f"mask/{filter_key}"])]
        names.sort(key=lambda name: int(name[5:]))
        actions = [file[f"data/{name}/actions"][()] for name in names]
        assert min(each.min() for each in actions) >= -1
        assert max(each.max() for each in actions) <= 1
        first = file[f"data/{names[0]}"]
        return {
            "names": names,
            "lengths": [len(each) for each in actions],
            "env_meta": json.loads(file["data"].attrs["env_args"]),
            "total": file["data"].attrs["total"],
            "num_samples": [file[f"data/{name}"].attrs["num_samples"] for name in names],
            "obs": {key: first[f"obs/{key}"].shape[1:] for key in first["obs"]},
            "next_obs": {key: first[f"next_obs/{key}"].shape[1:] for key in first["next_obs"]},
            "action_width": first["actions"].shape[1],
        }


class SequenceDataset:
    """Windows of ``length`` steps that may begin at any step, the last one repeated where an episode is over."""

    def __init__(self, path, obs_keys, dataset_keys=("actions", "rewards", "dones"), length=1):
        self.file = h5py.File(path, "r", swmr=True, libver="latest")
        self.obs_keys, self.dataset_keys, self.length = obs_keys, dataset_keys, length
        names = sorted(self.file["data"].keys(), key=lambda name: int(name[5:]))
        self.index = [(name, step) for name in names for step in range(self.file[f"data/{name}"].attrs["num_samples"])]

    def __len__(self):
        return len(self.index)

    def __getitem__(self, number):
        name, step = self.index[number]
        group = self.file[f"data/{name}"]
        samples = group.attrs["num_samples"]
        found = {key: self._window(group[key], step, samples) for key in self.dataset_keys}
        for side in ("obs", "next_obs"):
            found[side] = {key: self._window(group[f"{side}/{key}"], step, samples) for key in self.obs_keys}
        return found

    def _window(self, dataset, step, samples):
        values = dataset[step : min(samples, step + self.length)]
        missing = self.length - len(values)
        return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]).astype("float32")

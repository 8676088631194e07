"""Time of TD3's networks on one thread, forwards and backwards: plain PyTorch (MKL) beside ilfo's (oneDNN), in turn.

python benchmarks/linear.py
"""

import itertools
import statistics
import time

import torch
from torch import nn

from ilfo.agents._mlp import MLP

BATCH, ROUNDS, REPEATS = 256, 20, 50
WIDTHS = {"Hopper's actor": (11, 256, 256, 3), "one of its critics": (14, 256, 256, 1), "256 x 256": (256, 256)}


def microseconds(network: nn.Module, data: torch.Tensor) -> float:
    """Of one pass forwards and backwards."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        network(data).sum().backward()
    return (time.perf_counter() - start) / REPEATS * 1e6


def plain(widths: tuple[int, ...]) -> nn.Sequential:
    layers = [layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def main() -> None:
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}, {BATCH} rows, one thread, forwards and backwards, median of {ROUNDS} rounds")
    for name, widths in WIDTHS.items():
        networks = {"plain": plain(widths), "ilfo": MLP(widths)}
        data = torch.randn(BATCH, widths[0])
        times: dict[str, list[float]] = {which: [] for which in networks}
        for _ in range(ROUNDS):
            for which, network in networks.items():
                times[which].append(microseconds(network, data))
        slow, fast = (statistics.median(times[which]) for which in networks)
        print(f"{name:<20} plain {slow:6.0f} us   ilfo {fast:6.0f} us   {slow / fast:.2f} times")


if __name__ == "__main__":
    main()

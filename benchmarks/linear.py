"""Time of one product of TD3's networks on one thread: PyTorch's own (MKL) beside oneDNN's, in turn.

python benchmarks/linear.py
"""

import statistics
import time

import torch
from torch import nn

from ilfo.agents._linear import Linear

BATCH, SIZES, ROUNDS, REPEATS = 256, ((17, 256), (256, 256), (256, 1)), 20, 100


def microseconds(layer: nn.Module, data: torch.Tensor) -> float:
    """Of one pass forwards and backwards."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        layer(data).sum().backward()
    return (time.perf_counter() - start) / REPEATS * 1e6


def main() -> None:
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}, {BATCH} rows, forwards and backwards, median of {ROUNDS} rounds")
    for inputs, outputs in SIZES:
        layers = {"nn.Linear": nn.Linear(inputs, outputs), "ilfo": Linear(inputs, outputs)}
        data = torch.randn(BATCH, inputs, requires_grad=True)
        times: dict[str, list[float]] = {name: [] for name in layers}
        for _ in range(ROUNDS):
            for name, layer in layers.items():
                times[name].append(microseconds(layer, data))
        plain, fast = (statistics.median(times[name]) for name in layers)
        print(f"{inputs:>4} x {outputs:<4} nn.Linear {plain:6.0f} us   ilfo {fast:6.0f} us   {plain / fast:.2f} times")


if __name__ == "__main__":
    main()

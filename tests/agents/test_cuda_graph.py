"""A recording computes what the function does."""

import pytest
import torch

from ilfo.agents._cuda_graph import CudaGraph

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Accumulator:
    """Changes a tensor of its own in place, and returns what it saw."""

    def __init__(self) -> None:
        self.total = torch.zeros(4, device="cuda")

    def __call__(self, rows, scale):
        self.total += (rows * scale).sum(dim=0)
        return {"total": self.total * 2, "largest": rows.amax()}


def calls(size: int, count: int = 20):
    generator = torch.Generator().manual_seed(size)
    for _ in range(count):
        yield torch.randn(size, 4, generator=generator).cuda(), torch.rand(4, generator=generator).cuda()


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            torch.testing.assert_close(value, other[name])


def test_every_call_does_its_work_once_and_its_outputs_stay_as_they_are():
    plain, graphed = Accumulator(), Accumulator()
    graph = CudaGraph(graphed)
    expected = [plain(*tensors) for tensors in calls(8)]
    found = [graph(*tensors) for tensors in calls(8)]
    assert_close(found, expected)
    torch.testing.assert_close(graphed.total, plain.total)


def test_each_set_of_shapes_has_its_own_recording():
    plain, graphed = Accumulator(), Accumulator()
    graph = CudaGraph(graphed)
    mixed = [tensors for pair in zip(calls(8), calls(3), strict=True) for tensors in pair]
    assert_close([graph(*tensors) for tensors in mixed], [plain(*tensors) for tensors in mixed])


def test_a_function_may_return_one_tensor():
    graph = CudaGraph(torch.tanh)
    for rows, _ in calls(8):
        torch.testing.assert_close(graph(rows), torch.tanh(rows))


def test_what_was_replaced_is_seen_after_forgetting():
    plain, graphed = Accumulator(), Accumulator()
    graph = CudaGraph(graphed)
    for tensors in calls(8):
        graph(*tensors)
    graphed.total = torch.zeros(4, device="cuda")
    graph.forget()
    assert_close([graph(*tensors) for tensors in calls(8)], [plain(*tensors) for tensors in calls(8)])


def test_a_replay_does_not_wait_for_the_device():
    plain, graphed, tensors = Accumulator(), Accumulator(), list(calls(8))
    graph = CudaGraph(graphed)
    for given in tensors[:5]:
        graph(*given)
    torch.cuda.set_sync_debug_mode("error")  # who waits, raises
    try:
        for given in tensors[5:]:
            graph(*given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for given in tensors:
        plain(*given)
    torch.testing.assert_close(graphed.total, plain.total)


def test_what_cannot_be_recorded_runs_as_it_is_with_one_warning():
    plain = Accumulator()

    class Waiting(Accumulator):
        def __call__(self, rows, scale):
            if float(rows.sum()) > 1e9:  # waits for the device, which a recording cannot
                raise AssertionError
            return super().__call__(rows, scale)

    waiting = Waiting()
    graph = CudaGraph(waiting)
    expected = [plain(*tensors) for tensors in calls(8)]
    with pytest.warns(RuntimeWarning, match="without CUDA graphs") as caught:
        found = [graph(*tensors) for tensors in calls(8)]
    assert len(caught) == 1
    assert_close(found, expected)
    torch.testing.assert_close(waiting.total, plain.total)

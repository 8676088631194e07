"""The fused kernel: in Triton's interpreter, through its compiler, and on a GPU where there is one."""

import os
import subprocess
import sys

import pytest
import torch
from plain_sinkhorn import padded, problem

from ilfo.rewards import sinkhorn_plan
from ilfo.rewards.kernels import LogKernel, ScalingKernel, dense_kernel

triton = pytest.importorskip("triton", reason="needs Triton, which comes with PyTorch for CUDA on Linux")

INTERPRETED = """
import torch
from plain_sinkhorn import padded, problem
from ilfo.rewards._fused import FusedKernel
from ilfo.rewards.kernels import LogKernel
from ilfo.rewards.sinkhorn import potentials

for dtype, atol in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
    # More rows and columns than one tile has, and no multiple of a tile.
    for n, m in ((70, 150), (150, 70), (1, 5), (5, 1)):
        cost, a, b = problem(n, m, batch=2)
        scaled = (cost / 0.05).to(dtype)
        u, v = a.log(), b.log()
        u[0, : n - 1], v[1, 1:] = -torch.inf, -torch.inf
        fused, plain = FusedKernel(scaled), LogKernel(scaled)
        torch.testing.assert_close(fused.columns(u, v), plain.columns(u, v), atol=atol, rtol=0)
        torch.testing.assert_close(fused.rows(u, v), plain.rows(u, v), atol=atol, rtol=0)

cost, a, b = padded()
scaled = cost / 0.1
ours, theirs = (
    potentials(kernel(scaled), a, b, max_iterations=40, tolerance=1e-3) for kernel in (FusedKernel, LogKernel)
)
for left, right in zip(ours, theirs):
    torch.testing.assert_close(left, right, atol=1e-10, rtol=0)
assert ours[2].all()
print("agreed")
"""


def test_it_agrees_with_the_textbook_in_the_interpreter():
    here = os.path.dirname(__file__)
    result = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": here},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "agreed"


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter does not compile")
@pytest.mark.parametrize("contiguous", ["sum_stride", "out_stride"])
def test_it_compiles_for_hopper(contiguous, tmp_path, monkeypatch):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ilfo.rewards._fused import COLUMN_TILE, ROW_TILE, log_sums

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    tile = ROW_TILE if contiguous == "sum_stride" else COLUMN_TILE
    numbers = ("count", "length", "problem_stride", "out_stride", "sum_stride")
    constants = {contiguous: 1, "TILE_OUT": tile[0], "TILE_SUM": tile[1]}
    signature = dict.fromkeys(("potential", "scaled", "out"), "*fp32") | dict.fromkeys(numbers, "i32")
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=log_sums, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})
    assert "ex2.approx" in compiled.asm["ptx"]
    assert compiled.asm["cubin"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnAGPU:
    @pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
    @pytest.mark.parametrize("size", [(70, 150), (1000, 1001), (1, 5)])
    def test_it_agrees_with_the_textbook(self, size, dtype, atol):
        cost, a, b = (tensor.cuda() for tensor in problem(*size, batch=3))
        scaled = (cost / 0.05).to(dtype)
        kernel = dense_kernel(scaled)
        assert type(kernel) not in (LogKernel, ScalingKernel)
        for sums in ("columns", "rows"):
            ours, right = (getattr(each, sums)(a.log(), b.log()) for each in (kernel, LogKernel(scaled)))
            torch.testing.assert_close(ours, right, atol=atol, rtol=0)

    def test_plans_are_those_of_the_cpu_whatever_products_are_taken_in(self):
        cost, a, b = padded()
        settings = {"regularization": 0.05, "max_iterations": 5000, "tolerance": 1e-5}
        right = sinkhorn_plan(cost, a, b, **settings)
        before = torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("high")
            ours = sinkhorn_plan(*(tensor.float().cuda() for tensor in (cost, a, b)), **settings)
        finally:
            torch.set_float32_matmul_precision(before)
        torch.testing.assert_close(ours.double().cpu(), right, atol=1e-5, rtol=1e-2)

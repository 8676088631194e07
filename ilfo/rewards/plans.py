"""Optimal transport plans: how to turn one weighted set of atoms into another at the lowest cost."""

from __future__ import annotations

from ilfo.rewards.exact import exact_costs, exact_plan
from ilfo.rewards.problems import CostBlocks, RowCosts, blocks_of
from ilfo.rewards.sinkhorn import sinkhorn_costs, sinkhorn_plan

__all__ = ["CostBlocks", "RowCosts", "blocks_of", "exact_costs", "exact_plan", "sinkhorn_costs", "sinkhorn_plan"]

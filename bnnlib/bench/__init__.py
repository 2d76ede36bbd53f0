"""Side-by-side benchmarks: contenders take turns in one run, and their medians are compared."""

from bnnlib.bench.biometrics import measure_biometrics
from bnnlib.bench.branches import measure_branch_costs, measure_branches
from bnnlib.bench.convolutions import measure_convolutions
from bnnlib.bench.exactness import measure_exactness
from bnnlib.bench.networks import measure_networks
from bnnlib.bench.packing import measure_packing
from bnnlib.bench.products import measure_products
from bnnlib.bench.steps import measure_steps, measure_training
from bnnlib.bench.tables import store, stored
from bnnlib.bench.timing import side_by_side

__all__ = [
    "measure_biometrics", "measure_branch_costs", "measure_branches", "measure_convolutions", "measure_exactness",
    "measure_networks", "measure_packing", "measure_products", "measure_steps", "measure_training",
    "side_by_side", "store", "stored",
]  # fmt: skip

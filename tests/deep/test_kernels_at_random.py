import numpy as np

from bnnlib import kernels


def test_two_thousand_random_products_equal_the_integer_product():
    rng = np.random.default_rng()
    seed = int(rng.integers(2**32))
    rng = np.random.default_rng(seed)
    for _ in range(2000):
        m, n, k = (int(v) for v in rng.integers(1, [40, 40, 2500]))
        a, b = (rng.standard_normal((rows, k)).astype(np.float32) for rows in (m, n))
        expected = np.where(a >= 0, 1, -1) @ np.where(b >= 0, 1, -1).T
        product = kernels.matmul(kernels.pack(a), kernels.pack(b), k)
        assert np.array_equal(product, expected), f"seed {seed}, shape {m} x {n} x {k}"

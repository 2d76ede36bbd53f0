"""Networks made at random pack exactly; `make test-deep` tries many more."""

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from packed.random_networks import networks
from packed.test_pack import codes_of_each_layer, flat

import bnnlib


def check(network):
    """The packed network has the codes and the scores of the trained one."""
    model, shape, x = network
    packed = bnnlib.pack(model, shape)
    assert packed.exact
    codes, scores = codes_of_each_layer(model, x.numpy())
    values = packed.reference_values(x.numpy())
    for layer, expected in codes.items():
        found = values.get(f"{layer}.signs", values.get(f"{layer}.codes"))
        np.testing.assert_array_equal(flat(found, expected), expected, err_msg=str(model))
    np.testing.assert_array_equal(packed.scores(x.numpy()), packed.reference_scores(x.numpy()), err_msg=str(model))
    np.testing.assert_allclose(packed.scores(x.numpy()), scores, rtol=1e-5, atol=1e-5 * (1 + np.abs(scores).max()))
    assert torch.equal(model(x), torch.from_numpy(scores))


def tried(examples):
    """A test of that many random networks."""
    quick = settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    return quick(given(networks())(check))


test_random_networks_have_the_codes_of_the_trained_ones = tried(40)

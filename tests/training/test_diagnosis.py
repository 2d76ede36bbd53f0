"""The ten faults are found in live networks, and nothing is found in healthy ones."""

import pytest

import bnnlib
from bnnlib import data, diagnose, models
from bnnlib.broken_networks import BROKEN, CURED, SHORT
from bnnlib.training import History, Settings, fit, seeded
from bnnlib.training.diagnosis import FAULTS
from bnnlib.training.measurements import COLUMNS

HEALTHY = ["binaryconnect-deterministic", "bnn", "larq-swish-sign", "xnor-naive", "xnor-operator", "bwn-allenai",
           "lsq-w2a2", "dorefa-w2a2", "twn", "ir-net", "ie-net", "bi-real"]  # fmt: skip


@pytest.fixture(scope="module")
def small():
    return data.load("FashionMNIST", "quick", train_size=1500)


def test_each_fault_has_a_broken_network():
    assert set(BROKEN) == {fault.name for fault in FAULTS}


@pytest.mark.filterwarnings("ignore:.*filters of layer")
@pytest.mark.parametrize("name", BROKEN)
def test_the_fault_is_named_from_the_record(name, small):
    seeded(0)
    net, method, settings = BROKEN[name]()
    found = diagnose(fit(net, method, small, settings).history)
    assert not found
    assert found.likely.name == name, str(found)
    assert found.likely.cure in str(found)


@pytest.mark.filterwarnings("ignore:.*filters of layer")
@pytest.mark.parametrize("name", BROKEN)
def test_a_cured_network_has_nothing_conspicuous_and_is_no_worse(name, small):
    accuracy = {}
    for state, nets in (("broken", BROKEN), ("cured", CURED)):
        seeded(0)
        net, method, settings = nets[name]()
        result = fit(net, method, small, settings)
        accuracy[state] = result.history.epochs[-1].test_accuracy
    assert diagnose(result.history), str(diagnose(result.history))
    assert accuracy["cured"] > accuracy["broken"] - 4  # one seed, 1,000 images: two deviations of the difference


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_has_nothing_conspicuous(name, small):
    seeded(0)
    result = fit(models.MLP(name, width=256, hidden=3), name, small, SHORT)
    assert diagnose(result.history), str(diagnose(result.history))
    assert str(diagnose(result.history)) == "nothing conspicuous in the binary layers"


def test_nothing_recorded_is_nothing_conspicuous():
    assert diagnose(History())


def test_a_dead_layer_warns_and_says_why(small):
    net, method, _ = BROKEN["centring with one input channel"]()
    with pytest.warns(UserWarning, match="16 filters of layer 0 are dead: their scale is zero"):
        fit(net, method, small, Settings(epochs=1, device="cpu"))


def test_what_is_measured_agrees_with_a_hand_count(small):
    seeded(0)
    name = "binaryconnect-deterministic"
    net = models.MLP(name, width=32)
    result = fit(net, name, small, Settings(epochs=2, batch_size=50, device="cpu"))
    frame = result.history.layer_frame()
    assert set(COLUMNS) <= set(frame.columns)
    assert len(frame) == 2 * 3
    assert frame["flips_per_step"].between(0, 0.2).all()
    assert (frame["scale"] == 1).all()
    assert frame["input_bits"].isna().all()
    last = frame[(frame.epoch == 2) & (frame.layer == "layers.0")].iloc[0]
    assert last["latent_mean"] == pytest.approx(net.layers[0].weight.abs().mean().item(), rel=0.1)


def test_flips_of_sampled_weights_are_those_of_the_signs(small):
    seeded(0)
    name = "binaryconnect-stochastic"
    frame = fit(models.MLP(name, width=32), name, small, SHORT).history.layer_frame()
    first, last = (frame[frame.epoch == e]["flips_per_step"].mean() for e in (1, 3))
    assert 0 < last < first < 0.2


def test_measuring_changes_nothing(small, monkeypatch):
    def weights():
        seeded(0)
        return fit(models.MLP("xnor-port", width=32), "xnor-port", small, Settings(epochs=1, device="cpu")).model

    one = weights().state_dict()
    monkeypatch.setattr("bnnlib.training.measurements.LayerMeasurements.begin", lambda self, step: False)
    two = weights().state_dict()
    assert all((one[k] == two[k]).all() for k in one)


def test_reactnet_wants_a_teacher(small):
    with pytest.raises(ValueError, match="give teacher=fit"):
        fit(models.MLP("reactnet", width=16), "reactnet", small, Settings(epochs=1, device="cpu"))
    teacher = fit(models.MLP("float", width=64), "float", small, SHORT).model
    result = fit(models.MLP("reactnet", width=64), "reactnet", small, Settings(epochs=3, device="cpu", batch_size=50,
                 learning_rate=3e-3), teacher=teacher)  # fmt: skip
    assert result.history.epochs[-1].test_accuracy > 40


def test_sgd_is_there_and_scales_binaryconnects_updates_by_the_square():
    from bnnlib.quantizers.latent import update_scale
    from bnnlib.training import make_optimizer

    net, method = models.MLP("bnn", width=16), bnnlib.methods["bnn"]
    optimizer = make_optimizer(net, method, Settings(optimizer="sgd", learning_rate=0.1))
    rates = {g["lr"] for g in optimizer.param_groups}
    assert 0.1 * update_scale(net.layers[0].weight, "sgd") in rates


def test_what_quantizers_learn_has_no_weight_decay():
    from bnnlib.training import parameter_groups

    net, method = models.MLP("lsq-w2a2", width=16), bnnlib.methods["lsq-w2a2"]
    groups = parameter_groups(net, method, Settings(weight_decay=0.1))
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    steps = [p for n, p in net.named_parameters() if n.endswith("step")]
    assert steps
    assert not decayed & {id(p) for p in steps}
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))

import torch

from bnnlib import kernels
from bnnlib.bench import convolutions, products
from bnnlib.bench.pairs import Contender, limited_to, measure_pair

COLUMNS = [
    "contender", "threads", "caches", "ms", "gmacs", "gmacs_ours", "ratio", "ratio_low", "ratio_high",
    "ratio_packing", "ratio_packing_low", "ratio_packing_high",
]  # fmt: skip


class Nothing:
    """Stands for our kernel, and counts its calls."""

    macs = 1000

    def __init__(self):
        self.calls = {"packed": 0, "packing": 0}

    def packed(self):
        self.calls["packed"] += 1

    def packing(self):
        self.calls["packing"] += 1


def test_a_pair_is_a_row_with_the_contenders_own_columns_last():
    contender = Contender("a rival", lambda: None, threads=2, columns={"wrong_share": 0.25})
    row = measure_pair(Nothing(), contender, rounds=3, at_least=0)
    assert list(row) == [*COLUMNS, "wrong_share"]
    assert (row["contender"], row["threads"], row["caches"], row["wrong_share"]) == ("a rival", 2, "warm", 0.25)


def test_packing_in_the_call_is_compared_only_where_asked():
    for asked in (False, True):
        ours = Nothing()
        row = measure_pair(ours, Contender("a", lambda: None, against_packing=asked), rounds=3, at_least=0)
        assert (row["ratio_packing"] is not None) == asked
        assert (ours.calls["packing"] > 0) == asked
        assert ours.calls["packed"] > 0


def test_a_contender_has_its_threads_and_its_instruction_set_while_it_runs():
    seen, before = set(), (torch.get_num_threads(), kernels.info()["isa"])
    contender = Contender("a", lambda: seen.add((torch.get_num_threads(), kernels.info()["isa"])), 2, isa="portable")
    with limited_to(1):
        measure_pair(Nothing(), contender, rounds=3, at_least=0)
        assert torch.get_num_threads() == 1
    assert seen == {(2, "portable")}
    assert (torch.get_num_threads(), kernels.info()["isa"]) == before


def names(contenders):
    return [(contender.name, contender.cold) for contender in contenders]


def test_contenders_of_a_product_come_in_the_order_of_the_table():
    available = kernels.info()["available"]
    small, large = products.Product(8, 8, 64), products.Product(256, 256, 128)
    ours = [
        ("bnnlib, packing in the call", False),
        *((f"bnnlib, {isa}", False) for isa in available[:-1]),
        *((f"three loops over words, {isa}", False) for isa in available),
    ]
    rivals = ["torch.mm float32", "torch.mm int8 (wraps)"]
    theirs = [("torch.mm float32", False), ("torch.mm float32", True), ("torch.mm int8 (wraps)", False)]
    assert names(products.contenders(small, rivals, cold=True)) == ours + theirs
    assert names(products.contenders(small, rivals, cold=False)) == ours + theirs[::2]
    ours.insert(1, ("bnnlib, two threads", False))
    assert names(products.contenders(large, [], cold=True)) == ours


def test_contenders_of_a_convolution_come_in_the_order_of_the_table(nothing_optional):
    convolution = convolutions.Convolution(1, 8, 4)
    ours = ["bnnlib, packing NHWC in the call", "bnnlib, thresholds to bits"]
    warm, cold = (names(convolutions.contenders(convolution, cold)) for cold in (False, True))
    rivals = [name for name, _ in warm[2:]]
    assert [name for name, _ in warm[:2]] == ours
    assert rivals[0] == "torch float32, channels first"
    assert rivals[-1] == "torch int8"
    assert cold == warm + [(name, True) for name in rivals]


def test_our_products_and_convolutions_are_those_of_the_signs():
    product = products.Product(5, 6, 70)
    for out in (product.packed(), product.packing(), product.packed(2)):
        assert (out == product.a @ product.b.T).all()
    convolution = convolutions.Convolution(2, 8, 5)
    x, w = torch.from_numpy(convolution.x), torch.from_numpy(convolution.w)
    expected = torch.nn.functional.conv2d(x, w, padding=1).permute(0, 2, 3, 1).numpy()
    assert (convolution.packed() == expected).all()
    assert (convolution.packing() == expected).all()

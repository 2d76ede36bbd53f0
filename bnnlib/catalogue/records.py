"""The records. W1A32 methods binarise weights only, W1A1 methods activations as well."""

from dataclasses import replace

from bnnlib.catalogue.hooks import Hooks, centre_weights, clamp_norm_scales, clip_latent, enlarge_real_gradients
from bnnlib.catalogue.method import Catalogue, Method, each, sized
from bnnlib.layers import BRANCHED, INPUT_SCALED, OPERATOR
from bnnlib.quantizers import (
    LSQ,
    ApproxSign,
    BiRealSign,
    BiRealWeight,
    CentredSign,
    DeterministicBinaryConnect,
    DoReFaActivation,
    DoReFaWeight,
    EdeSign,
    Identity,
    IEEActivation,
    IEEWeight,
    LibraSign,
    MagnitudeAwareSign,
    RSign,
    SteSign,
    StochasticBinaryConnect,
    StrictSign,
    SwishSign,
    Ternary,
    XnorProcedure,
    XnorSign,
)
from bnnlib.quantizers.latent import update_scale

ENDS = frozenset({"first", "last"})
NO_ACTIVATION = ("layer", "pool", "norm")  # the next layer's sign is the activation
SIGN = {"idempotent": True, "two_valued": True}
CLIPPED = {"after_step": Hooks(clip_latent)}

FLOAT = Method(name="float", title="float32", paper="", weight_bits=32, activation_bits=32)


def _weights_only(name: str, title: str, paper: str, bits: float, weight_quantizer, **parts) -> Method:
    """A record with real activations and the float block, first and last layer real."""
    return Method(name, title, paper, bits, 32, weight_quantizer, **{"real_layers": ENDS, "packable": True, **parts})


def _both(name: str, title: str, paper: str, weight_quantizer, input_quantizer, **parts) -> Method:
    """A record with binary weights and activations, first and last layer real, no activation but the sign."""
    defaults = {"real_layers": ENDS, "block": NO_ACTIVATION, "packable": True}
    return Method(name, title, paper, 1, 1, weight_quantizer, input_quantizer, **{**defaults, **parts})


_BINARYCONNECT = "Courbariaux, Bengio, David 2015, arXiv:1511.00363"
_binaryconnect = {
    "real_layers": frozenset(),
    "loss": "squared_hinge",
    "update_scale": update_scale,
    **CLIPPED,
}
BINARYCONNECT = [
    _weights_only(
        "binaryconnect-deterministic", "BinaryConnect, deterministic", _BINARYCONNECT, 1,
        each(DeterministicBinaryConnect), **SIGN, **_binaryconnect,
    ),
    _weights_only(
        "binaryconnect-stochastic", "BinaryConnect, stochastic", _BINARYCONNECT, 1,
        each(StochasticBinaryConnect), two_valued=True, stochastic=True, **_binaryconnect,
    ),
]  # fmt: skip

_BNN = "Courbariaux, Hubara et al. 2016, arXiv:1602.02830"
BNN = _both(
    "bnn", "BNN", _BNN, each(SteSign), each(SteSign), **SIGN, **_binaryconnect,
)  # fmt: skip

_LARQ = "Geiger and Plumerai 2020 (larq), doi:10.21105/joss.01746"
LARQ = [
    _both("larq-ste-sign", "larq, ste_sign", _LARQ, each(SteSign), each(SteSign),
          **SIGN, **CLIPPED),
    _both("larq-approx-sign", "larq, approx_sign", _LARQ, each(SteSign), each(ApproxSign),
          **SIGN, **CLIPPED),
    _both("larq-swish-sign", "larq, swish_sign", _LARQ, each(SteSign), each(SwishSign),
          **SIGN, **CLIPPED),
    _both("larq-magnitude-aware-sign", "larq, magnitude_aware_sign", _LARQ, each(MagnitudeAwareSign), each(SteSign),
          **CLIPPED),
]  # fmt: skip

_XNOR = "Rastegari et al. 2016, arXiv:1603.05279"
_ALLENAI = f"{_XNOR}; allenai/XNOR-Net"
_PORT = f"{_XNOR}; jiecaoyu/XNOR-Net-PyTorch"
_PORT_BLOCK = ("layer", "relu", "pool", "norm")
_procedure = {"before_forward": Hooks(centre_weights), "centring": True}
_port = {"before_forward": Hooks(clamp_norm_scales, centre_weights), "centring": True}
_operator = {"layers": OPERATOR, "before_forward": Hooks(clamp_norm_scales), "centring": True}
_adam = {**_procedure, "after_backward": Hooks(enlarge_real_gradients)}

BWN = [
    _weights_only("bwn-naive", "BWN, paper", _XNOR, 1, each(XnorSign)),
    _weights_only("bwn-naive-exact", "BWN, paper, exact Jacobian", _XNOR, 1, each(XnorSign, rule="exact")),
    _weights_only("bwn-allenai", "BWN, allenai", _ALLENAI, 1, each(XnorProcedure, rule="allenai-sgd"), **_procedure),
    _weights_only("bwn-port", "BWN, port", _PORT, 1, each(XnorProcedure), **_port),
    _weights_only("bwn-operator", "BWN, operator", _PORT, 1, each(CentredSign), **_operator),
]  # fmt: skip

XNOR = [
    _both("xnor-naive", "XNOR-Net, paper", _XNOR, each(XnorSign), each(SteSign), layers=INPUT_SCALED),
    _both("xnor-naive-exact", "XNOR-Net, paper, exact Jacobian", _XNOR, each(XnorSign, rule="exact"), each(SteSign),
          layers=INPUT_SCALED),
    _both("xnor-allenai", "XNOR-Net, allenai (sgd)", _ALLENAI, each(XnorProcedure, rule="allenai-sgd"),
          each(StrictSign), **_procedure),
    _both("xnor-allenai-adam", "XNOR-Net, allenai (adam)", _ALLENAI, each(XnorProcedure, rule="allenai-adam"),
          each(StrictSign), **_adam),
    _both("xnor-port", "XNOR-Net, port", _PORT, each(XnorProcedure), each(StrictSign), block=_PORT_BLOCK, **_port),
    _both("xnor-port-imagenet", "XNOR-Net, port (ImageNet)", _PORT, each(XnorProcedure, rule="port-imagenet"),
          each(StrictSign), block=_PORT_BLOCK, **_procedure),
    _both("xnor-operator", "XNOR-Net, operator", _PORT, each(CentredSign), each(StrictSign), block=_PORT_BLOCK,
          **_operator),
]  # fmt: skip

_DOREFA = "Zhou et al. 2016, arXiv:1606.06160"
_TWN = "Li et al. 2016, arXiv:1605.04711"
_LSQ = "Esser et al. 2020, arXiv:1902.08153"


def _lsq(bits: int) -> Method:
    return Method(
        f"lsq-w{bits}a{bits}", f"LSQ, {bits} bits", _LSQ, bits, bits, each(LSQ, bits=bits),
        each(LSQ, bits=bits, unsigned=True), real_layers=ENDS, packable=True,
        signed_input_quantizer=each(LSQ, bits=bits, batched=True),
    )  # fmt: skip


FEW_BITS = [
    _weights_only("dorefa-w1a32", "DoReFa, 1-bit weights", _DOREFA, 1, each(DoReFaWeight, bits=1)),
    _weights_only("twn", "Ternary weights", _TWN, 1.58, each(Ternary)),
    _weights_only("dorefa-w2a32", "DoReFa, 2-bit weights", _DOREFA, 2, each(DoReFaWeight)),
    _weights_only("lsq-w2a32", "LSQ, 2-bit weights", _LSQ, 2, each(LSQ)),
    Method("dorefa-w2a2", "DoReFa, 2 bits", _DOREFA, 2, 2, each(DoReFaWeight), each(DoReFaActivation),
           real_layers=ENDS, packable=True, signed_input_quantizer=each(DoReFaActivation, signed=True)),
    _lsq(2), _lsq(4), _lsq(8),
]  # fmt: skip

_BIREAL = "Liu et al. 2018, arXiv:1808.00278"
_IRNET = "Qin et al. 2020, arXiv:1909.10788"
_REACTNET = "Liu et al. 2020, arXiv:2003.03488"
_IENET = "Ding et al. 2022, doi:10.3390/electronics11060937"
_HARDTANH_BLOCK = (*NO_ACTIVATION, "shortcut", "hardtanh")

INFORMATION = [
    _both("bi-real", "Bi-Real Net", _BIREAL, each(BiRealWeight), each(BiRealSign),
          block=(*NO_ACTIVATION, "shortcut")),
    _both("ir-net", "IR-Net", _IRNET, each(LibraSign), each(EdeSign), block=_HARDTANH_BLOCK),
    _both("reactnet", "ReActNet", _REACTNET, each(BiRealWeight), sized(RSign),
          block=(*NO_ACTIVATION, "shortcut", "rprelu"), loss="distributional"),
    _both("ie-net", "IE-Net", _IENET, sized(IEEWeight), each(IEEActivation), layers=BRANCHED,
          block=_HARDTANH_BLOCK),
]  # fmt: skip


def _literal(record: Method, weight_quantizer, input_quantizer) -> Method:
    """The record with its source's three-valued sign: sign(0) = 0."""
    return replace(
        record,
        name=f"{record.name}-literal",
        title=f"{record.title}, sign(0) = 0",
        weight_quantizer=weight_quantizer,
        input_quantizer=input_quantizer,
        packable=False,
        two_valued=False,
        literal=True,
    )


_by_name = {record.name: record for record in [*BWN, *XNOR, *INFORMATION]}
LITERAL = [
    _literal(_by_name["bwn-allenai"], each(XnorProcedure, rule="allenai-sgd", zero=0.0), each(Identity)),
    _literal(_by_name["bwn-port"], each(XnorProcedure, zero=0.0), each(Identity)),
    _literal(_by_name["bwn-operator"], each(CentredSign, zero=0.0), each(Identity)),
    _literal(
        _by_name["xnor-allenai-adam"], each(XnorProcedure, rule="allenai-adam", zero=0.0), each(StrictSign, zero=0.0)
    ),
    _literal(
        _by_name["xnor-port-imagenet"], each(XnorProcedure, rule="port-imagenet", zero=0.0), each(StrictSign, zero=0.0)
    ),
    _literal(_by_name["xnor-allenai"], each(XnorProcedure, rule="allenai-sgd", zero=0.0), each(StrictSign, zero=0.0)),
    _literal(_by_name["xnor-port"], each(XnorProcedure, zero=0.0), each(StrictSign, zero=0.0)),
    _literal(_by_name["xnor-operator"], each(CentredSign, zero=0.0), each(StrictSign, zero=0.0)),
    _literal(_by_name["bi-real"], each(BiRealWeight, zero=0.0), each(BiRealSign, zero=0.0)),
    _literal(_by_name["ir-net"], each(LibraSign, zero=0.0), each(EdeSign, zero=0.0)),
    _literal(_by_name["reactnet"], each(BiRealWeight, zero=0.0), sized(RSign, zero=0.0)),
    _literal(_by_name["ie-net"], sized(IEEWeight, zero=0.0), each(IEEActivation, zero=0.0)),
]

methods = Catalogue([FLOAT, *BINARYCONNECT, BNN, *LARQ, *BWN, *XNOR, *FEW_BITS, *INFORMATION, *LITERAL])

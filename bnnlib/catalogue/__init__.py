"""The methods of the course by name: what each binarises, how, with which loss and hooks, and where it comes from.

A :class:`Method` is a frozen record; networks build themselves from it and the training loop obeys its hooks. `float`
is a method too: the twin that every binary network is compared with.
"""

from bnnlib.catalogue.method import FIRST_LAST, Catalogue, Method, UnknownMethod, eight_bit
from bnnlib.catalogue.records import methods
from bnnlib.catalogue.rules import takes_eight_bits, why_real

__all__ = [
    "FIRST_LAST", "Catalogue", "Method", "UnknownMethod", "eight_bit", "get", "methods", "takes_eight_bits", "why_real",
]  # fmt: skip


def get(method: "str | Method") -> Method:
    """The record for a name; a record is returned as it is."""
    return method if isinstance(method, Method) else methods[method]

"""Modules used in several places, and parameters that several modules share."""

import copy

import torch
from torch import nn

from bnnlib.catalogue import Method
from bnnlib.graph import registered_names

Owner = tuple[nn.Module, str]  # a module and its own name for a parameter


def copied(model: nn.Module) -> nn.Module:
    """A deep copy. What is computed in each pass (the weight under an old ``weight_norm``) is copied by value."""
    memo = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, memo)


def replace_everywhere(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Puts one module into every place of another; returns the model, or ``new`` if that other is the model itself."""
    if old is model:
        return new
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
    return model


def separate(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Gives each place at which a module of these kinds is registered a module of its own.

    Only for modules without parameters and state, where it changes nothing but that each can be replaced by itself.
    """
    seen: set[nn.Module] = set()
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, kinds):
                if child in seen:
                    setattr(parent, name, copy.deepcopy(child))
                seen.add(child)


def tied_parameters(model: nn.Module) -> list[list[Owner]]:
    """For each parameter that several modules hold, these modules with their names for it."""
    owners: dict[nn.Parameter, list[Owner]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(parameter, []).append((module, name))
    return [each for each in owners.values() if len(each) > 1]


def refuse_untieable(model: nn.Module, outcomes: dict[nn.Module, str], method: Method) -> None:
    """Checks that every tied weight can stay tied: it can where all of its modules are converted alike, or none is.

    Args:
        model: the network before its conversion.
        outcomes: what each of its layers becomes, "converted", "8 bits" or "kept real"; other modules stay.
        method: the method of the conversion.

    Raises:
        ValueError: a weight is tied between layers that are not converted alike, or the method centres weights in
            place, which it would do once for each layer.
    """
    names = registered_names(model)
    for owners in tied_parameters(model):
        becomes = {outcomes.get(module, "kept real") if own == "weight" else "kept real" for module, own in owners}
        weights = {module for module, own in owners if own == "weight" and outcomes.get(module) in QUANTIZED}
        if not weights:
            continue
        listed = ", ".join(f"{names[module][0]}.{own}" for module, own in owners)
        converted = ", ".join(repr(names[module][0]) for module in weights)
        if len(becomes) > 1:
            each = ", ".join(f"{names[m][0]} ({outcomes.get(m, 'kept real')})" for m, _ in owners)
            raise ValueError(
                f"{listed} are one parameter, which cannot stay tied because its modules are not converted alike: "
                f"{each}. Put {converted} in keep, or untie the modules first"
            )
        if method.centring:
            raise ValueError(
                f"{listed} are one parameter, and {method.name} centres the weight of each layer in place, so it would "
                f"be centred {len(owners)} times a step. Put {converted} in keep, or untie the modules first"
            )


QUANTIZED = ("converted", "8 bits")

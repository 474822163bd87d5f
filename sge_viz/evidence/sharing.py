"""A second network of the same weights: what is done to one leaves the other alone."""

import copy
from typing import TypeVar

from torch import nn

from sge_viz.capture import HOOK_LOCK

Network = TypeVar("Network", bound=nn.Module)


def shared_copy(model: Network) -> Network:
    """Copy a network's modules but not its tensors: parameters and buffers are shared.

    The copy has none of the original's hooks, so it can be changed, or given to a library that
    registers hooks, while other threads run the original.
    """
    tensors = [*model.parameters(), *model.buffers()]
    with HOOK_LOCK:  # Another thread may be adding or removing hooks.
        twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for module in twin.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
    return twin

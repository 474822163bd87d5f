"""Forward hooks that act in one thread and are gone when their block ends."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sge_viz.capture import HOOK_LOCK

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]
"""What runs after a module: it sees the module, its inputs and its output, and may replace it."""


@contextmanager
def hooked(hooks: Iterable[tuple[nn.Module, Hook]]) -> Iterator[None]:
    """Run every hook after its module, in the thread that opened the block and in no other."""
    thread = threading.current_thread()

    def mine(hook: Hook) -> Hook:
        def run(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return hook(module, inputs, output) if threading.current_thread() is thread else None

        return run

    handles: list[RemovableHandle] = []
    with ExitStack() as stack:
        stack.callback(_remove, handles)
        with HOOK_LOCK:
            handles.extend(module.register_forward_hook(mine(hook)) for module, hook in hooks)
        yield


def _remove(handles: list[RemovableHandle]) -> None:
    with HOOK_LOCK:
        for handle in handles:
            handle.remove()

"""One pass over a folder of pictures: sharded, resumable, on one process or many."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sge_viz.capture import Reading, watch
from sge_viz.statistics.accuracy import outputs_of
from sge_viz.statistics.folder import Folder, load
from sge_viz.statistics.layer import LayerStatistics, Pictures
from sge_viz.statistics.moments import Counts
from sge_viz.statistics.plan import Job, Plan, sge_layers
from sge_viz.statistics.shards import ShardStore, pack, unpack
from sge_viz.statistics.tallies import Count, Tallies, observe
from sge_viz.statistics.team import Team, join

MEMORY_LIMIT = 8 * 2**30
"""Bytes that a process's counts may take."""

Progress = Callable[[int, int], None]
"""Told how many pictures were done, and how many of them were refused."""


@dataclass(frozen=True)
class Refused:
    """A picture that was left out.

    Attributes:
        path: Below the folder.
        reason: The sentence that `open_picture` refused it with.
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a pass gave.

    Attributes:
        tallies: Everything counted.
        refused: The pictures left out, in the order of the list.
        counted: Pictures counted.
        job: What the numbers depend on.
    """

    tallies: Tallies
    refused: tuple[Refused, ...]
    counted: int
    job: Job


def survey(
    model: nn.Module,
    folder: Folder,
    plan: Plan,
    out: Path | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
    begin: Callable[[int, int], None] | None = None,
) -> Outcome | None:
    """Run a network over a folder of pictures and count what the plan asks for.

    Stopped at any moment and started again with the same `out`, it goes on with the next shard and
    ends with the same result. Under torchrun the processes share out the shards; they need no
    common disk.

    Args:
        model: The network, on its device; it runs in eval mode.
        folder: The pictures.
        plan: What to take.
        out: Folder for the shards; None keeps nothing.
        workers: Processes that prepare pictures, for each process of the run.
        progress: Called after each batch of this process.
        begin: Called once with the pictures this process has to do, and those done before.

    Returns:
        The outcome; None in all processes but the first.

    Raises:
        WrongJob: `out` holds shards of another run.
        ValueError: The plan does not fit the network, the folder or the memory.
    """
    runner = _Runner(model, folder, plan)
    job = Job.of(model, folder, plan, runner.device)
    with join() as team, _shard_folder(out) as path:
        store = ShardStore(path, job)
        mine, owners = _deal(store, team, len(plan.shards(len(folder))))
        if begin:
            shards = plan.shards(len(folder))
            todo = sum(len(shards[number]) for number in mine)
            begin(todo, sum(len(shards[number]) for number in owners if number not in mine))
        for number, data in runner.run(mine, workers, progress or (lambda done, bad: None)):
            store.save(number, data)
        return _collect(runner, store, team, owners, job)


@contextmanager
def _shard_folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="sge_viz_") as name:
        yield Path(name, "shards")


def _deal(store: ShardStore, team: Team, count: int) -> tuple[list[int], dict[int, int]]:
    """Share out the shards: return this process's missing ones, and every shard's owner."""
    store.clean()
    team.gather(None)
    problem: Exception | None = None
    try:
        store.open()
    except ValueError as error:
        problem = error
    # All processes stop together, or those without the problem would wait for ever.
    for found in team.gather(problem):
        if found is not None:
            raise found
    present = team.gather(store.numbers(count))
    owners: dict[int, int] = {}
    missing: list[int] = []
    for number in range(count):
        holders = [rank for rank in range(team.size) if number in present[rank]]
        if holders:
            owners[number] = holders[0]
        else:
            owners[number] = len(missing) % team.size
            missing.append(number)
    return [number for number in missing if owners[number] == team.rank], owners


def _collect(
    runner: _Runner, store: ShardStore, team: Team, owners: dict[int, int], job: Job
) -> Outcome | None:
    """Merge all shards in the first process, in their order, so that the result is always one."""
    total, refused, counted = runner.empty(), [], 0
    for number in sorted(owners):
        owner = owners[number]
        data = team.to_first(owner, store.read(number) if team.rank == owner else None)
        if data is None:
            continue
        if owner != 0:
            store.save(number, data)
        arrays, record = unpack(data)
        part = runner.empty()
        part.read(arrays)
        total.absorb(part)
        refused += [Refused(path, reason) for path, reason in record["refused"]]
        counted += record["counted"]
    return Outcome(total, tuple(refused), counted, job) if team.rank == 0 else None


@dataclass(frozen=True, eq=False)
class _Batch:
    """A batch on its way through the network."""

    shard: int
    last: bool
    good: int
    bad: list[tuple[int, str]]
    future: Future[list[Count]]


class _Runner:
    """Runs one plan's network over shards."""

    def __init__(self, model: nn.Module, folder: Folder, plan: Plan) -> None:
        self._model, self._folder, self._plan = model, folder, plan
        self.device = next(model.parameters()).device
        self._groups = sge_layers(model) if plan.layers else {}
        self._classes = max(1, len(folder.classes))
        self._targets: Counts | None = None
        if plan.accuracy:
            self._targets = outputs_of(folder.classes, _outputs(model))
        self._check_memory()
        self._start_shard()

    def _check_memory(self) -> None:
        if not self._plan.statistics:
            return
        sizes = [
            LayerStatistics.size(self._plan.statistics, self._groups[path], self._classes)
            for path in self._plan.layers
        ]
        need = 3 * sum(sizes)  # this shard, the total, and a shard that is read
        if need > MEMORY_LIMIT:
            raise ValueError(
                f"The counts of {len(sizes)} layers and {self._classes} classes would take "
                f"{need / 2**30:.1f} GiB, and the limit is {MEMORY_LIMIT / 2**30:.0f} GiB: choose "
                "fewer layers, a coarser class grid, or no classes."
            )

    def empty(self) -> Tallies:
        """Make what one shard is counted in."""
        return Tallies(self._plan, self._groups, self._classes, self._targets)

    def run(
        self, numbers: Sequence[int], workers: int, progress: Progress
    ) -> Iterator[tuple[int, bytes]]:
        """Yield each shard's number and packed counts.

        Several batches are in the network at once, each in a thread that computes alone: their
        number changes the speed and not one bit of what is counted, in the order of the list.
        """
        shards = self._plan.shards(len(self._folder))
        dealt = [(number, b) for number in numbers for b in self._plan.batches(shards[number])]
        loader = load(self._folder, [b for _, b in dealt], workers, pin=self.device.type == "cuda")
        lanes = 1 if self.device.type == "cuda" else torch.get_num_threads()
        loaded = iter(loader)
        with self._ready(), ThreadPoolExecutor(lanes) as pool:
            under_way: deque[_Batch] = deque()
            for step, (number, _) in enumerate(dealt):
                places, pictures, bad = next(loaded)
                last = step + 1 == len(dealt) or dealt[step + 1][0] != number
                future = pool.submit(self._forward, places, pictures)
                under_way.append(_Batch(number, last, len(places), bad, future))
                if len(under_way) > lanes:
                    yield from self._count(under_way.popleft(), progress)
            while under_way:
                yield from self._count(under_way.popleft(), progress)

    def _forward(self, places: Tensor, pictures: Tensor) -> list[Count]:
        """Run one batch and return what is left to count of it."""
        if not len(places):
            return []
        these = Pictures(places.numpy(), self._folder.labels[places.numpy()])
        form = torch.channels_last if self._plan.channels_last else torch.contiguous_format
        inputs = pictures.to(self.device, non_blocking=True, memory_format=form)
        counts: list[Count] = []

        def receive(reading: Reading) -> None:
            counts.append(observe(reading, these, self._plan))

        watching = (
            watch(self._model, receive, self._plan.layers) if self._plan.layers else nullcontext()
        )
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self._plan.bfloat16)
        with torch.inference_mode(), autocast, watching:
            logits = self._model(inputs)
        return [*counts, lambda tallies: tallies.outputs(logits, these)]

    def _count(self, batch: _Batch, progress: Progress) -> Iterator[tuple[int, bytes]]:
        """Count a batch; yield its shard if that is complete."""
        for count in batch.future.result():
            count(self._tallies)
        self._refused += [(self._folder.paths[place], why) for place, why in batch.bad]
        self._counted += batch.good
        progress(batch.good + len(batch.bad), len(batch.bad))
        if batch.last:
            record = {"refused": self._refused, "counted": self._counted}
            yield batch.shard, pack(self._tallies.arrays(), record)
            self._start_shard()

    def _start_shard(self) -> None:
        self._tallies, self._counted = self.empty(), 0
        self._refused: list[tuple[str, str]] = []

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Put the network into the plan's form, the same way in every process; undo it after."""
        training, threads = self._model.training, torch.get_num_threads()
        # With more threads a sum's last bit would depend on how many there are.
        torch.set_num_threads(1)
        if self._plan.channels_last:
            self._model.to(memory_format=torch.channels_last)
        self._model.eval()
        try:
            with torch.backends.cudnn.flags(
                enabled=True,
                benchmark=False,
                deterministic=True,
                allow_tf32=torch.backends.cudnn.allow_tf32,
            ):
                yield
        finally:
            self._model.train(training)
            torch.set_num_threads(threads)


def _outputs(model: nn.Module) -> int:
    heads = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise ValueError(f"This {type(model).__name__} has no linear head to count classes of.")
    return heads[-1].out_features

"""The training loop: resumable, on one device or on many."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models.resnet import ResNet  # type: ignore[import-untyped]

from sge_viz.sge import SpatialGroupEnhance
from sge_viz.statistics.shards import replacing
from sge_viz.statistics.team import Team
from sge_viz.training.optimiser import make_optimiser, set_rate
from sge_viz.training.settings import BadSettings, Settings
from sge_viz.training.state import State, clean
from sge_viz.training.task import Batch, Task

LOG = "log.jsonl"


@dataclass(frozen=True)
class Report:
    """How a run is going.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        side: Side of the views in pixels.
        rate: Learning rate.
        views_per_second: Since the last report, over all processes.
        seconds_left: Estimated from the last report's speed at this side.
        values: The loss and its parts, means since the last report.
    """

    step: int
    steps: int
    side: int
    rate: float
    views_per_second: float
    seconds_left: float
    values: dict[str, float] = field(default_factory=dict)


Tell = Callable[[Report], None]


def train(
    task: Task,
    settings: Settings,
    out: Path,
    device: torch.device,
    *,
    team: Team | None = None,
    material: str = "",
    save_every: float = 300.0,
    report_every: int = 20,
    tell: Tell | None = None,
    stop_after: int | None = None,
) -> ResNet:
    """Train, or go on training; what a killed run loses is at most one interval of saving.

    Args:
        task: What is learnt.
        settings: How.
        out: Folder of the run: its state and a log, a JSON object a line. All hosts must see it.
        device: Of this process.
        team: The processes of the run.
        material: Hash of what is learnt from; a run goes on only with the same.
        save_every: Seconds between two savings.
        report_every: Steps between two reports.
        tell: Given each report, in the first process.
        stop_after: Stop (and save) once this many steps are done; None for the whole run.

    Returns:
        The trained network on its device, in eval mode: the moving average if there is one.

    Raises:
        BadSettings: The folder holds another run, hosts do not share it, or `save_every` is
            negative.
    """
    if not save_every >= 0:
        raise BadSettings(f"Saving every {save_every:g} seconds is not possible: give 0 or more.")
    team = team or Team()
    out.mkdir(parents=True, exist_ok=True)
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    module = task.module.to(device).to(memory_format=torch.channels_last)
    _compile_sge(module, settings.compile)
    average = _averaged(task.network, settings)
    state = State(module, average, make_optimiser(module, settings))
    state.resume(out, settings, material)
    _agree(team, state.step)
    if team.rank == 0:
        clean(out)
        _shorten_log(out, state.step)
    wrapped: nn.Module = module
    if team.size > 1:
        wrapped = DistributedDataParallel(
            module, device_ids=[device] if device.type == "cuda" else None
        )
    module.train()
    watch = _Watch(state, settings, report_every)
    saved = time.monotonic()
    last = min(settings.steps, stop_after if stop_after is not None else settings.steps)
    for batch in task.batches(settings, state.step, team):
        if state.step >= last:
            break
        values = _step(wrapped, state, settings, batch, device)
        if average is not None:
            average.update_parameters(task.network)
        state.step += 1
        report = watch.note(values)
        if report is not None and team.rank == 0:
            _log(out, report)
            if tell is not None:
                tell(report)
        if time.monotonic() - saved >= save_every and team.rank == 0:
            watch.stop()
            state.save(out, settings, material)
            saved = time.monotonic()
    if team.rank == 0:
        watch.stop()
        state.save(out, settings, material)
    team.gather(state.step)  # nobody goes on before it is saved
    trained: ResNet = task.network if average is None else average.module
    for network in (module, trained):
        _compile_sge(network, False)
    return trained.eval()


def _compile_sge(module: nn.Module, compiled: bool) -> None:
    for part in module.modules():
        if isinstance(part, SpatialGroupEnhance):
            part.compiled = compiled


def _step(
    module: nn.Module, state: State, settings: Settings, batch: Batch, device: torch.device
) -> dict[str, Tensor]:
    set_rate(state.optimiser, settings.rate * settings.rate_at(state.step))
    enabled = settings.precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        values: dict[str, Tensor] = module(*batch)
    values["loss"].backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    state.optimiser.zero_grad(set_to_none=True)
    return {name: value.detach() for name, value in values.items()}


def _averaged(network: nn.Module, settings: Settings) -> AveragedModel | None:
    if not settings.ema:
        return None
    average = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


class _Watch:
    """Means and speed between two reports."""

    def __init__(self, state: State, settings: Settings, every: int) -> None:
        self._state, self._settings, self._every = state, settings, every
        self._values: list[dict[str, Tensor]] = []
        self._since = self._clock = time.monotonic()

    def note(self, values: dict[str, Tensor]) -> Report | None:
        """Count a step; every so often say how it goes."""
        self._values.append(values)
        step, settings = self._state.step, self._settings
        if step % self._every and step != settings.steps:
            return None
        means = {
            name: float(torch.stack([entry[name] for entry in self._values]).mean())
            for name in values
        }
        now = time.monotonic()
        speed = len(self._values) * settings.batch / max(now - self._since, 1e-9)
        self._since, self._values = now, []
        self.stop()
        side = settings.side(step - 1)
        return Report(
            step=step,
            steps=settings.steps,
            side=side,
            rate=settings.rate * settings.rate_at(step - 1),
            views_per_second=speed,
            seconds_left=_left(settings, step, side, speed),
            values=means,
        )

    def stop(self) -> None:
        """Add the time since the last call to the run's."""
        now = time.monotonic()
        self._state.seconds += now - self._clock
        self._clock = now


def _left(settings: Settings, step: int, side: int, speed: float) -> float:
    """Estimate the seconds left: a view's time grows with its number of pixels."""
    areas = sum(
        max(0, steps.stop - max(step, steps.start)) * (later / side) ** 2
        for later, steps in settings.spans()
    )
    return areas * settings.batch / speed


def _log(out: Path, report: Report) -> None:
    line: dict[str, Any] = vars(report) | {"time": time.time()}
    with (out / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _shorten_log(out: Path, step: int) -> None:
    """Take out of the log what a killed run did after its last saving: it is done again."""
    path = out / LOG
    if not path.exists():
        return
    lines = path.read_text("utf-8", errors="replace").splitlines(keepends=True)
    with replacing(path) as file:
        file.write("".join(line for line in lines if _step_of(line) <= step).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):  # cut short when the machine stopped
        return math.inf


def _agree(team: Team, step: int) -> None:
    steps = sorted(set(team.gather(step)))
    if len(steps) > 1:
        raise BadSettings(
            f"The processes would begin at different steps ({', '.join(map(str, steps))}): --out "
            "must be a folder that all hosts share."
        )

"""The training loop that every stage runs in: one process or many, resumable at any step.

A stage says what is computed; the engine owns processes, precision, optimiser, schedule, checkpoints and logs. Every
random number is a function of seed, step and process, and so is the order of the data: a run that was killed goes on
exactly as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

from astroclip_bench.files import write_json
from astroclip_bench.progress import Progress
from baselines.astroclip.checkpoint import (
    BEST,
    LAST,
    load_checkpoint,
    read_tensors,
    restore_weights,
    save_checkpoint,
    seed_everything,
    write_tensors,
)
from baselines.astroclip.config import TrainSettings
from baselines.astroclip.data import Loader, Tensors, TrainingSplit, validation_batches
from baselines.astroclip.logs import Logs, stop_signal
from baselines.astroclip.meter import COMPUTE, OPTIMISER, Meter, counted_operations
from baselines.astroclip.optimiser import learning_rate, make_optimiser, make_plateau
from baselines.astroclip.parallel import average_gradients, compile_blocks, make_accelerator, prepare, share_buffers
from baselines.astroclip.probe import Probe

REPORT = "report.json"
VALIDATION_SEED = 271_828
"""Added to the seed: what a validation draws is the same every time."""


class Stage(Protocol):
    """What the engine runs."""

    @property
    def model(self) -> nn.Module:
        """All that is trained or kept; what a checkpoint holds."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a batch; galaxies that lack one are left out."""

    def step(
        self, batch: Tensors, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> Mapping[str, float | Tensor]:
        """Compute one batch and call `backward` once or more; return metrics, ``loss`` among them."""

    def after_step(self, step: int) -> None:
        """Do what follows an optimiser step, such as moving a teacher."""

    def validation_loss(self, batch: Tensors, generator: Generator) -> Tensor:
        """Return the loss of one batch, without gradients."""

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return architecture, version, configuration and state dict of the model file."""

    def embedder(self) -> Any:
        """Return a module with `modalities` and `embed`; what the probe scores."""


@dataclass(frozen=True)
class StageData:
    """What a stage is trained and judged on, and a digest of it."""

    training: TrainingSplit
    validation: TrainingSplit | None
    probe: Probe | None
    digest: str
    ahead: int = 3


@dataclass
class Position:
    """Where a run stands; plain values, in every checkpoint."""

    identity: dict[str, str]
    step: int = 0
    best: float | None = None
    best_step: int = 0
    operations: int | None = None
    sums: dict[str, float] = field(default_factory=dict)
    """Metrics summed since the last log."""
    summed: int = 0
    plateau: dict[str, Any] = field(default_factory=dict)
    """State of the schedule ``plateau``; the learning rate is in the optimiser's."""


class Interrupted(KeyboardInterrupt):
    """The user stopped the run; a checkpoint was written."""


def train(
    stage: Stage,
    data: StageData,
    settings: TrainSettings,
    out: Path,
    *,
    seed: int,
    recipe_digest: str,
    probe_every: int = 0,
    resume: bool = True,
    progress: Progress | None = None,
) -> Position:
    """Train a stage, and leave it with the weights that are to be exported.

    Parameters
    ----------
    out
        Folder of checkpoints and logs; made if needed.
    recipe_digest
        With the data's digest, what a checkpoint must have been written with to be gone on from.
    resume
        Go on from the checkpoint in `out`, if there is one.
    progress
        Called with the galaxies seen in this call and their total.

    Raises
    ------
    DataError
        If the checkpoint is of another recipe or of other data.
    Interrupted
        After the first interrupt or termination signal, and the checkpoint that follows it.
    """
    return _Run(stage, data, settings, out, seed, recipe_digest, probe_every).run(resume, progress)


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        stage: Stage,
        data: StageData,
        settings: TrainSettings,
        out: Path,
        seed: int,
        recipe_digest: str,
        probe_every: int,
    ) -> None:
        self.stage, self.data, self.settings, self.out = stage, data, settings, out
        self.seed, self.probe_every = seed, probe_every
        self.steps = settings.length(len(data.training))
        accelerator = self.accelerator = make_accelerator(settings, stage.model)
        self.device = accelerator.device
        self.loader = Loader(
            data.training,
            settings.batch_size,
            seed,
            self.device,
            accelerator.process_index,
            accelerator.num_processes,
            data.ahead,
        )
        optimiser = make_optimiser(stage.model, settings, fused=self.device.type == "cuda")
        methods = getattr(stage, "forward_methods", ())
        self.wrapped, self.optimiser = prepare(accelerator, stage.model, optimiser, methods)
        self.plateau = make_plateau(self.optimiser.optimizer, settings)
        self.position = Position({"recipe": recipe_digest, "data set": data.digest})
        self.sums: dict[str, Tensor] = {}
        self.meter = self._new_meter()

    def run(self, resume: bool, progress: Progress | None) -> Position:
        if resume and (self.out / LAST).exists():
            self._load()
        self.logs = Logs(self.out, self.position.step, self.accelerator.is_main_process)
        started = self.position.step
        self.meter = self._new_meter()
        batches = self.loader.batches(started * self.settings.accumulate)
        with stop_signal(alone=self.accelerator.num_processes == 1) as stopped:
            try:
                while self.position.step < self.steps:
                    self._step(batches)
                    self._follow()
                    if progress:
                        size = self.settings.batch_size * self.settings.accumulate
                        progress((self.position.step - started) * size, (self.steps - started) * size)
                    if self._any_process(stopped()):
                        self._save()
                        raise Interrupted
            finally:
                batches.close()  # type: ignore[attr-defined]
                self.logs.close()
        self._finish()
        return self.position

    def _new_meter(self) -> Meter:
        precision = torch.bfloat16 if self.settings.precision == "bf16" else torch.float32
        return Meter(self.device, lambda: self.loader.waited_seconds, self.position.operations, precision)

    def _step(self, batches: Iterator[Tensors]) -> None:
        """Take one optimiser step."""
        step, settings = self.position.step, self.settings
        if self.plateau is None:
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(step, self.steps, settings)
        self.optimiser.zero_grad(set_to_none=True)
        for part in range(settings.accumulate):
            batch = next(batches)
            number = step * settings.accumulate + part
            generator = seed_everything(self.seed, number, self.accelerator.process_index)
            if number == 0:
                with counted_operations(self.meter), self.meter.part(COMPUTE):
                    metrics = self._compute(batch, generator)
                self.position.operations = self.meter.operations = (self.meter.operations or 0) * settings.accumulate
            else:
                with self.meter.part(COMPUTE):
                    metrics = self._compute(batch, generator)
            self._add(metrics)
        with self.meter.part(OPTIMISER):
            average_gradients(self.accelerator, self.wrapped)
            norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), settings.gradient_norm)
            self._add({"gradient_norm": norm}, weight=settings.accumulate)
            self.optimiser.step()
            self.stage.after_step(step)
        if step == 0 and settings.compile:  # not before: compiled blocks hide what they compute from the count
            compile_blocks(self.stage.model)
        self.position.step += 1
        self.meter.add(settings.batch_size * settings.accumulate)

    def _compute(self, batch: Tensors, generator: Generator) -> Mapping[str, float | Tensor]:
        self.stage.model.train()
        with self.accelerator.autocast():
            return self.stage.step(batch, self._backward, self.position.step, generator)

    def _backward(self, loss: Tensor) -> None:
        """Send gradients back in the precision of the forward pass, not in autocast's choice for new operations."""
        with torch.autocast(self.device.type, enabled=False):
            self.accelerator.backward(loss)

    def _add(self, metrics: Mapping[str, float | Tensor], weight: int = 1) -> None:
        """Sum metrics where they are: reading them would wait for the device."""
        for name, value in metrics.items():
            added = torch.as_tensor(value, dtype=torch.float64).detach() * weight
            self.sums[name] = self.sums[name] + added if name in self.sums else added
        self.position.summed += "loss" in metrics

    def _follow(self) -> None:
        """Log, validate and save where it is time to."""
        if self._due(self.settings.log_every):
            self._log()
        values: dict[str, float] = {}
        if self._due(self.settings.validate_every) and self.data.validation is not None:
            with self.meter.pause("validation"):
                values |= self._validate(self.data.validation)
            if self.plateau is not None:
                self.plateau.step(values["validation_loss"])
        if self._due(self.probe_every) and self.data.probe is not None:
            with self.meter.pause("zero-shot score"):
                values |= self._probe(self.data.probe)
        saved = self._due(self.settings.checkpoint_every)
        if not (values or saved):
            return  # a pause waits for the device
        with self.meter.pause("checkpoints"):
            if values:
                self.logs.write(self.position.step, values)
                self._keep_best(values)
            if saved:
                self._save()

    def _due(self, every: int) -> bool:
        return self.position.step == self.steps or (every > 0 and self.position.step % every == 0)

    def _log(self) -> None:
        """Write the means since the last log, over all processes."""
        names = sorted(self.sums)
        sums = torch.stack([self.sums[name].to(self.device, torch.float64) for name in names])
        means = self.accelerator.reduce(sums, "mean") / self.position.summed
        values = dict(zip(names, means.tolist(), strict=True))
        values["learning_rate"] = self.optimiser.param_groups[0]["lr"]
        self.logs.write(self.position.step, values, self.meter.read())
        self.sums, self.position.summed = {}, 0

    @torch.no_grad()
    def _validate(self, split: TrainingSplit) -> dict[str, float]:
        self.stage.model.eval()
        share_buffers(self.accelerator, self.stage.model)
        accelerator, losses = self.accelerator, []
        batches = validation_batches(
            split, self.settings.batch_size, self.device, accelerator.process_index, accelerator.num_processes
        )
        for number, batch in enumerate(batches):
            generator = seed_everything(self.seed + VALIDATION_SEED, number, accelerator.process_index)
            with accelerator.autocast():
                losses.append(self.stage.validation_loss(batch, generator).detach().double())
        return {"validation_loss": float(accelerator.reduce(torch.stack(losses).mean(), "mean"))}

    def _probe(self, probe: Probe) -> dict[str, float]:
        self.stage.model.eval()
        share_buffers(self.accelerator, self.stage.model)
        with self.accelerator.autocast():
            return probe.score(self.stage.embedder(), self.device)

    def _keep_best(self, values: Mapping[str, float]) -> None:
        """Keep the weights, if they are the best so far by what the settings ask for."""
        key, sign = {"loss": ("validation_loss", -1), "probe": ("probe", 1), "last": ("", 0)}[self.settings.best]
        if key not in values:
            return
        best = self.position.best
        if best is None or sign * values[key] > sign * best:
            self.position.best, self.position.best_step = values[key], self.position.step
            weights = self.accelerator.get_state_dict(self.wrapped)
            if self.accelerator.is_main_process:
                write_tensors(self.out / BEST, {"model": weights})

    def _save(self) -> None:
        share_buffers(self.accelerator, self.stage.model)
        self.position.sums = {name: float(value) for name, value in self.sums.items()}
        self.position.plateau = {} if self.plateau is None else self.plateau.state_dict()
        position = vars(self.position)
        save_checkpoint(self.out / LAST, self.accelerator, self.wrapped, self.optimiser.optimizer, position)

    def _load(self) -> None:
        position = load_checkpoint(
            self.out / LAST, self.accelerator, self.wrapped, self.optimiser.optimizer, self.position.identity
        )
        self.position = Position(**position)
        self.sums = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.position.sums.items()}
        if self.plateau is not None:
            self.plateau.load_state_dict(self.position.plateau)
        if self.settings.compile and self.position.step:
            compile_blocks(self.stage.model)

    def _finish(self) -> None:
        """Leave the weights in the model that the settings ask to be exported."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and self.meter.seconds:
            write_json(self.out / REPORT, self.meter.report(self.accelerator.num_processes))
        if self.position.best is not None:
            restore_weights(self.wrapped, read_tensors(self.out / BEST)["model"])
        self.stage.model.eval()

    def _any_process(self, stopped: bool) -> bool:
        """Say whether a process was told to stop: a checkpoint takes all of them."""
        if self.accelerator.num_processes == 1:
            return stopped
        if stopped:
            self.accelerator.set_trigger()
        return bool(self.accelerator.check_trigger())

"""Training of unit models: from sequences to an objective of `speechkit.training`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from speechkit.errors import ConfigError, UserError
from speechkit.lm.objectives.infill import MixtureConfig
from speechkit.lm.sizes import Size
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.training import TrainingConfig
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork
    from speechkit.training import Objective

SETTINGS = "training.json"
Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class UnitTraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A unit model and how it learns.

    Attributes:
        size: tiny, small or base.
        layer: attention, lstm, gru, or another layer of `speechkit.nn.sequence` by its name.
        layers: how many, 0 for as many as the size has.
        dropout: of what layers add.
        warm: folder or hub id of a text model to begin from, instead of size and layer.
        duration_bins: of the head of durations, 0 for none.
        spans: how many stretches of a sequence can be cut out, 0 for a model that does not infill.
        mixture: what becomes of sequences; None: nothing.
        context: positions of a row.
        rows: of a batch.
        patience: looks at held-out units without a gain that end the training; 0: none does. The best weights stay.
        loop: how long and how.
    """

    size: Size = "tiny"
    layer: str = "attention"
    layers: Count = 0
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    warm: str = ""
    duration_bins: Count = 32
    spans: Count = 0
    mixture: MixtureConfig | None = None
    context: Annotated[int, msgspec.Meta(ge=2)] = 512
    rows: Positive = 8
    patience: Count = 0
    loop: TrainingConfig = TrainingConfig(
        steps=2000, learning_rates=(1e-3,), warmup_steps=100, weight_decay=0.1, clip_norm=0.5, average_decay=0.99
    )


def new_network(config: UnitTraining, units: UnitSet) -> UnitNetwork:
    """A network with drawn weights, or a text model's.

    Raises:
        ConfigError: if the layer is unknown.
        UserError: if the text model cannot be loaded.
    """
    from speechkit.lm.sizes import sized_stack
    from speechkit.lm.unit_model import UnitModel, UnitModelConfig
    from speechkit.lm.warm_model import warm_start

    vocabulary = UnitVocabulary(units, config.spans)
    if config.warm:
        return warm_start(config.warm, vocabulary, config.context, config.duration_bins)
    stack = sized_stack(config.size, config.layer, config.layers, config.dropout)
    return UnitModel(
        UnitModelConfig(vocabulary=vocabulary, stack=stack, duration_bins=config.duration_bins, context=config.context)
    )


def unit_objective(
    network: UnitNetwork,
    train: Sequence[UnitSequence],
    dev: Sequence[UnitSequence],
    config: UnitTraining,
    save: Callable[[Path], None] | None = None,
) -> Objective:
    """What `speechkit.training.train` needs to teach a network units.

    Args:
        network: changed in place.
        train: sequences to learn.
        dev: of other recordings, to look at; none for no looks.
        config: see there.
        save: for `speechkit.training.train_stage`.

    Raises:
        UserError: if sequences are not of the network's units, naming one.
        ConfigError: if the mixture asks for what the network cannot do.
    """
    from speechkit.lm.objectives.next_token import next_token
    from speechkit.lm.unit_batches import UnitBatches
    from speechkit.training import EarlyStopping, Objective, Turn

    if config.mixture is not None and config.mixture.prefix and not network.reads_prefix:
        raise ConfigError("the stack reads from left to right alone; set mixture.prefix=0, or take attention")
    if both := {row.id for row in train} & {row.id for row in dev}:
        raise UserError(f"{min(both)!r} is among the units to learn and the held-out ones; give other recordings")
    batches = UnitBatches(train, network.vocabulary, config.context, config.rows, config.mixture, config.loop.seed)
    for row in dev:
        network.vocabulary.check(row.id, row.units, row.codebook)
    if config.patience and not dev:
        raise ConfigError("patience looks at held-out units, and there are none; give some")
    return Objective(
        network,
        [Turn(next_token, [[each for each in network.parameters() if each.requires_grad]], betas=(0.9, 0.95))],
        batches.__getitem__,
        evaluate=partial(_bits, list(dev)) if dev else None,
        early_stopping=EarlyStopping("dev_bits_per_second", config.patience) if dev else None,
        save=save,
    )


def _bits(dev: Sequence[UnitSequence], network: Any) -> dict[str, float]:
    """Bits of held-out recordings by the network as it stands."""
    from speechkit.lm.unit_costs import network_costs, summarize

    training = network.training
    found = summarize("", list(network_costs(network, dev)))
    network.train(training)
    values = {"dev_bits_per_unit": found.bits_per_unit, "dev_bits_per_second": found.bits_per_second}
    if found.full_bits_per_second is not None:
        values["dev_full_bits_per_second"] = found.full_bits_per_second
    return values


def keep_settings(
    folder: Path, config: msgspec.Struct, train: Sequence[UnitSequence], units: UnitSet, **more: Any
) -> None:
    """Write what a training in a folder learns and how, and ``more``; a training that goes on there must be the same.

    Raises:
        UserError: if it is not, naming what differs.
    """
    from speechkit.io.atomic import write_json
    from speechkit.io.hashing import digest_bytes

    learnt = digest_bytes(msgspec.json.encode([[row.id, row.units, row.durations] for row in train]))
    current = {**msgspec.to_builtins(config), "codebook": units.digest, "sequences": learnt, **more}
    for name in ("loop", "patience"):  # the loop compares its own
        current.pop(name, None)
    path = folder / SETTINGS
    if (folder / "checkpoints").is_dir() and path.is_file():
        stored = msgspec.json.decode(path.read_bytes())
        names = [name for name in current if stored.get(name) != current[name]]
        if names:
            raise UserError(
                f"{folder}: holds a training with other {', '.join(names)}; use another folder, or remove "
                f"{folder / 'checkpoints'} to begin anew"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, current)

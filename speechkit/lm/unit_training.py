"""Training of unit models: builds the objective for `speechkit.training`."""

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
    """Architecture and training settings of a unit model.

    Attributes:
        size: tiny, small or base.
        layer: attention, lstm, gru, or the name of another layer of `speechkit.nn.sequence`.
        layers: number of layers, 0 for the default of the size.
        dropout: dropout of the residual branches.
        warm: folder or hub id of a text model for warm start, instead of size and layer.
        duration_bins: bins of the duration head, 0 for none.
        spans: maximum number of infilling spans per sequence, 0 for a model without infilling.
        mixture: mixture of infilling, prefix and plain sequences; None for plain sequences.
        context: positions per row.
        rows: rows per batch.
        patience: validations without improvement before early stopping; 0 disables it. The best weights are kept.
        loop: settings of the training loop.
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
    """New network with random weights, or with those of a text model.

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
    """Objective for `speechkit.training.train` that trains a network on units.

    Args:
        network: updated in place.
        train: training sequences.
        dev: held-out sequences for validation; empty for no validation.
        config: training settings.
        save: saves the model, for `speechkit.training.train_stage`.

    Raises:
        UserError: if a sequence has units of another set than the network's, naming it.
        ConfigError: if the network does not support the mixture.
    """
    from speechkit.lm.objectives.next_token import next_token
    from speechkit.lm.unit_batches import UnitBatches
    from speechkit.training import EarlyStopping, Objective, Turn

    if config.mixture is not None and config.mixture.prefix and not network.reads_prefix:
        raise ConfigError("the layers are causal and do not support prefixes; set mixture.prefix=0 or layer=attention")
    if both := {row.id for row in train} & {row.id for row in dev}:
        raise UserError(f"{min(both)!r} is both in the training and the held-out units; give other recordings")
    batches = UnitBatches(train, network.vocabulary, config.context, config.rows, config.mixture, config.loop.seed)
    for row in dev:
        network.vocabulary.check(row.id, row.units, row.codebook)
    if config.patience and not dev:
        raise ConfigError("patience needs held-out units and there are none; give some or set patience=0")
    return Objective(
        network,
        [Turn(next_token, [[weight for weight in network.parameters() if weight.requires_grad]], betas=(0.9, 0.95))],
        batches.__getitem__,
        evaluate=partial(_bits, list(dev)) if dev else None,
        early_stopping=EarlyStopping("dev_bits_per_second", config.patience) if dev else None,
        save=save,
    )


def _bits(dev: Sequence[UnitSequence], network: Any) -> dict[str, float]:
    """Bits of the held-out recordings under the current network."""
    from speechkit.lm.unit_costs import network_costs, summarize

    training = network.training
    costs = summarize("", list(network_costs(network, dev)))
    network.train(training)
    values = {"dev_bits_per_unit": costs.bits_per_unit, "dev_bits_per_second": costs.bits_per_second}
    if costs.full_bits_per_second is not None:
        values["dev_full_bits_per_second"] = costs.full_bits_per_second
    return values


def keep_settings(
    folder: Path, config: msgspec.Struct, train: Sequence[UnitSequence], units: UnitSet, **more: Any
) -> None:
    """Write the settings and data digest of a training run, and ``more``; a resumed run must match them.

    Raises:
        UserError: if it does not, naming what differs, or the folder holds a model from elsewhere.
    """
    from speechkit.io.atomic import write_json
    from speechkit.io.hashing import digest_bytes
    from speechkit.nn.checkpoints import CONFIG

    sequences = digest_bytes(msgspec.json.encode([[row.id, row.units, row.durations] for row in train]))
    current = {**msgspec.to_builtins(config), "codebook": units.digest, "sequences": sequences, **more}
    for name in ("loop", "patience"):  # compared by the training loop
        current.pop(name, None)
    path = folder / SETTINGS
    if (folder / CONFIG).is_file() and not path.is_file():
        raise UserError(f"{folder}: holds a model that was not trained there; give another folder")
    if (folder / "checkpoints").is_dir() and path.is_file():
        stored = msgspec.json.decode(path.read_bytes())
        names = [name for name in current if stored.get(name) != current[name]]
        if names:
            raise UserError(
                f"{folder}: holds a training run with other {', '.join(names)}; use another folder, or remove "
                f"{folder / 'checkpoints'} to start again"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, current)

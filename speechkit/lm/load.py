"""Open any unit model, network or n-gram, by name, folder or hub id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.errors import UserError
from speechkit.lm.decoding.speculative import Drafter, ModelDrafter
from speechkit.lm.interface import SequenceModel
from speechkit.lm.table_model import NgramTable
from speechkit.lm.unit_costs import SequenceCost, network_costs, table_costs
from speechkit.lm.unit_ngram import SPEC_FILE, read_unit_ngram
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork


@dataclass(frozen=True)
class OpenedModel:
    """A loaded unit model.

    Attributes:
        name: its name, folder or hub id.
        units: the unit set that it models.
        sequences: the model as decoders see it.
        parameters: number of learned weights, or of n-grams.
        network: None for an n-gram.
    """

    name: str
    units: UnitSet
    sequences: SequenceModel
    parameters: int
    network: UnitNetwork | None = None

    def costs(self, rows: Iterable[UnitSequence]) -> list[SequenceCost]:
        """Cost of each recording; see `speechkit.lm.unit_costs`.

        Raises:
            UserError: if a recording has units of another set, naming it.
        """
        if self.network is not None:
            return list(network_costs(self.network, rows))
        return list(table_costs(self.sequences, rows, self.units))


def open_model(name: str, device: str = "cpu") -> OpenedModel:
    """Open a folder written by `speechkit units ngram`, or a unit model: ``embedded-100``, a folder or a hub id.

    Raises:
        UserError: if there is no model, or one of its files is missing or damaged.
    """
    if (Path(name) / SPEC_FILE).is_file():
        ngram, spec = read_unit_ngram(Path(name))
        return OpenedModel(name, spec.unit_set, NgramTable(ngram, spec.units), len(ngram.entries))
    from speechkit.lm.decoder import NetworkDecoder
    from speechkit.lm.networks import load_unit_network

    network = load_unit_network(name).to(device)
    weights = sum(each.numel() for each in network.parameters())
    return OpenedModel(name, network.vocabulary.units, NetworkDecoder(network), weights, network)


class _Kind(msgspec.Struct):
    model_type: str = ""


def open_drafter(name: str, target: OpenedModel, device: str = "cpu") -> Drafter:
    """Open a drafter for a model: draft heads that were trained for it, or any model of the same units.

    Raises:
        UserError: if there is none, or its codebook or size differs from the model's.
    """
    if _is_heads(name):
        from speechkit.lm.decoding.draft_heads import DraftHeads, HeadsDrafter

        if target.network is None:
            raise UserError(f"{target.name}: is an n-gram, for which no heads can draft; give a model to draft by")
        return HeadsDrafter(DraftHeads.from_pretrained(name), target.network)
    draft = open_model(name, device)
    if draft.units.digest != target.units.digest:
        raise UserError(
            f"{draft.name}: is of the codebook {draft.units.digest[:12]} and {target.name} of "
            f"{target.units.digest[:12]}; give models of one codebook"
        )
    return ModelDrafter(draft.sequences)


def _is_heads(name: str) -> bool:
    from speechkit.lm.networks import network_folder
    from speechkit.nn.checkpoints import CONFIG

    if (Path(name) / SPEC_FILE).is_file():
        return False
    path = network_folder(name) / CONFIG
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kind).model_type == "speechkit-draft-heads"
    except (OSError, msgspec.MsgspecError):
        return False  # opening it as a model reports what is wrong

"""The layout of LibriMix, WSJ0-mix, WHAM! and WHAMR!: ``wav8k/min/<part>/<mix>/NAME.wav`` beside ``s1``, ``s2``.

Every combination of rate, ``min`` (cut to the shorter source) or ``max``, part and kind of mixture that is there is one
split: ``wav8k-min-test-mix_clean``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speechkit.data.mixtures import Mixture
from speechkit.errors import UserError
from speechkit.io.paths import safe_id

from .corpus import Clip, Corpus, Item, Request
from .tables import subfolders

RATE = re.compile(r"wav[0-9]+k")
LENGTHS = ("min", "max")
SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class MixtureSet:
    """One split: its name, the folder of its mixtures, those of its sources in order, and that of its noise."""

    name: str
    mixtures: Path
    sources: tuple[Path, ...]
    noise: Path | None = None


@dataclass(frozen=True)
class Description:
    """What a mixture's name or a table says of it; a list has an entry for each source."""

    speakers: list[str] | None = None
    gains: list[float] | None = None
    texts: list[str] | None = None
    custom: dict[str, str] = field(default_factory=dict)


def parts_below(source: Path, roots: Iterable[str]) -> list[tuple[str, Path]]:
    """(name, folder) of ``wav8k/min/<part>`` and its like, in ``source`` itself or in its subfolders ``roots``.

    Raises:
        UserError: if there is none.
    """
    found = []
    known = list(roots)
    for prefix, root in [("", source), *((f"{name}-", source / name) for name in known)]:
        for rate in (folder for folder in _folders(root) if RATE.fullmatch(folder.name)):
            for length in LENGTHS:
                parts = [part for part in _folders(rate / length) if part.name != "metadata"]
                found += [(f"{prefix}{rate.name}-{length}-{part.name}", part) for part in parts]
    if not found:
        raise UserError(
            f"{source}: holds no wav8k/min/PART; give the folder with wav8k or wav16k, or that of {known[0]}"
        )
    return found


def sets_below(source: Path, roots: Iterable[str]) -> list[MixtureSet]:
    """Every kind of mixture of every part: ``mix_single`` has one speaker, ``mix_clean`` and ``mix`` have no noise.

    Raises:
        UserError: see `parts_below`.
    """
    found = []
    for name, part in parts_below(source, roots):
        sources = source_folders(part)
        for folder in mixture_folders(part):
            heard = sources[:1] if folder.name == "mix_single" else sources
            noise = None if folder.name in ("mix", "mix_clean") else noise_folder(part)
            found.append(MixtureSet(f"{name}-{folder.name}", folder, heard, noise))
    return found


def wsj_corpus(
    sets: Callable[[Path], list[MixtureSet]], *, name: str, title: str, licence: str, homepage: str, citation: str
) -> Corpus:
    """A corpus of mixtures of WSJ0: every set that is there is a split, its mixtures sorted by file name."""

    def splits(request: Request) -> list[str]:
        return [each.name for each in sets(request.source)]

    def read(request: Request, split: str) -> Iterator[Item]:
        yield from read_set(chosen(sets(request.source), split), wsj_speakers)

    return Corpus(name, title, licence, homepage, citation, splits, read)


def chosen(sets: Iterable[MixtureSet], split: str) -> MixtureSet:
    """The split of that name."""
    return next(each for each in sets if each.name == split)


def source_folders(part: Path, ending: str = "") -> tuple[Path, ...]:
    """The folders ``s1``, ``s2`` … of a part, with something behind their names in WHAMR!."""
    numbered = {int(m[1]): f for f in _folders(part) if (m := re.fullmatch(rf"s([0-9]+){re.escape(ending)}", f.name))}
    return tuple(numbered[number] for number in sorted(numbered))


def mixture_folders(part: Path) -> list[Path]:
    """The folders of mixtures of a part: ``mix``, ``mix_clean`` and so on."""
    return [folder for folder in _folders(part) if folder.name == "mix" or folder.name.startswith("mix_")]


def noise_folder(part: Path) -> Path | None:
    """The folder of the noise that is in ``mix_both`` and ``mix_single``, where there is one."""
    return part / "noise" if (part / "noise").is_dir() else None


def read_set(
    mixtures: MixtureSet,
    describe: Callable[[str], Description],
    listed: Iterable[tuple[str, int | None]] | None = None,
) -> Iterator[Item]:
    """A clip for each mixture, with its sources, sorted by file name or as ``listed`` (file name, samples)."""
    if listed is None:
        names = sorted(path.name for path in mixtures.mixtures.iterdir() if path.suffix.lower() in SUFFIXES)
        listed = [(name, None) for name in names if not name.startswith(".")]
    for name, samples in listed:
        stem = Path(name).stem
        told = describe(stem)
        count = len(mixtures.sources)
        lists = {
            key: values
            for key in ("speakers", "gains", "texts")
            if (values := getattr(told, key)) is not None and len(values) >= count
        }
        yield Clip(
            safe_id(stem),
            mixtures.mixtures / name,
            None,
            lang="en",
            expected_samples=samples,
            custom=dict(told.custom) or None,
            mixture=Mixture(
                sources=[str(folder / name) for folder in mixtures.sources],
                noise=None if mixtures.noise is None else str(mixtures.noise / name),
                **{key: values[:count] for key, values in lists.items()},
            ),
        )


def wsj_speakers(stem: str) -> Description:
    """Speakers of a name such as ``011a0101_1.7888_020a0108_-1.7888``: three letters of each utterance's."""
    utterances = stem.split("_")[::2]
    return Description(
        speakers=[utterance[:3] for utterance in utterances], custom={"utterances": " ".join(utterances)}
    )


def _folders(folder: Path) -> list[Path]:
    return subfolders(folder) if folder.is_dir() else []

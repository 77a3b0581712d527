"""The layout of LibriMix, WSJ0-mix, WHAM! and WHAMR!: ``wav8k/min/<part>/<mix>/NAME.wav`` beside ``s1``, ``s2``.

Every combination of rate, ``min`` (truncated to the shortest source) or ``max``, part and mixture type that is present
is one split: ``wav8k-min-test-mix_clean``.
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
    """One split: its name, mixture folder, source folders in order, and noise folder."""

    name: str
    mixtures: Path
    sources: tuple[Path, ...]
    noise: Path | None = None


@dataclass(frozen=True)
class Description:
    """Metadata of a mixture, from its name or a table; lists have one entry per source."""

    speakers: list[str] | None = None
    gains: list[float] | None = None
    texts: list[str] | None = None
    custom: dict[str, str] = field(default_factory=dict)


def parts_below(source: Path, roots: Iterable[str]) -> list[tuple[str, Path]]:
    """(name, folder) of each ``wav8k/min/<part>`` and similar, in ``source`` or its subfolders ``roots``.

    Raises:
        UserError: if there is none.
    """
    listed = []
    known = list(roots)
    for prefix, root in [("", source), *((f"{name}-", source / name) for name in known)]:
        for rate in (folder for folder in _folders(root) if RATE.fullmatch(folder.name)):
            for length in LENGTHS:
                parts = [part for part in _folders(rate / length) if part.name != "metadata"]
                listed += [(f"{prefix}{rate.name}-{length}-{part.name}", part) for part in parts]
    if not listed:
        raise UserError(
            f"{source}: holds no wav8k/min/PART; give the folder with wav8k or wav16k, or that of {known[0]}"
        )
    return listed


def sets_below(source: Path, roots: Iterable[str]) -> list[MixtureSet]:
    """Every mixture type of every part: ``mix_single`` has one speaker, ``mix_clean`` and ``mix`` have no noise.

    Raises:
        UserError: see `parts_below`.
    """
    sets = []
    for name, part in parts_below(source, roots):
        sources = source_folders(part)
        for folder in mixture_folders(part):
            active = sources[:1] if folder.name == "mix_single" else sources
            noise = None if folder.name in ("mix", "mix_clean") else noise_folder(part)
            sets.append(MixtureSet(f"{name}-{folder.name}", folder, active, noise))
    return sets


def wsj_corpus(
    sets: Callable[[Path], list[MixtureSet]], *, name: str, title: str, licence: str, homepage: str, citation: str
) -> Corpus:
    """Define a corpus of WSJ0 mixtures: every set present is a split, with mixtures sorted by file name."""

    def splits(request: Request) -> list[str]:
        return [mixtures.name for mixtures in sets(request.source)]

    def read(request: Request, split: str) -> Iterator[Item]:
        yield from read_set(chosen(sets(request.source), split), wsj_speakers)

    return Corpus(name, title, licence, homepage, citation, splits, read)


def chosen(sets: Iterable[MixtureSet], split: str) -> MixtureSet:
    """Look up a split by name."""
    return next(mixtures for mixtures in sets if mixtures.name == split)


def source_folders(part: Path, ending: str = "") -> tuple[Path, ...]:
    """Source folders ``s1``, ``s2`` … of a part; ``ending`` is the suffix of their names in WHAMR!."""
    numbered = {int(m[1]): f for f in _folders(part) if (m := re.fullmatch(rf"s([0-9]+){re.escape(ending)}", f.name))}
    return tuple(numbered[number] for number in sorted(numbered))


def mixture_folders(part: Path) -> list[Path]:
    """Mixture folders of a part: ``mix``, ``mix_clean`` and so on."""
    return [folder for folder in _folders(part) if folder.name == "mix" or folder.name.startswith("mix_")]


def noise_folder(part: Path) -> Path | None:
    """Folder of the noise in ``mix_both`` and ``mix_single``, None if there is none."""
    return part / "noise" if (part / "noise").is_dir() else None


def read_set(
    mixtures: MixtureSet,
    describe: Callable[[str], Description],
    listed: Iterable[tuple[str, int | None]] | None = None,
) -> Iterator[Item]:
    """One clip per mixture, with its sources, sorted by file name or as ``listed`` (file name, samples)."""
    if listed is None:
        names = sorted(path.name for path in mixtures.mixtures.iterdir() if path.suffix.lower() in SUFFIXES)
        listed = [(name, None) for name in names if not name.startswith(".")]
    for name, samples in listed:
        stem = Path(name).stem
        description = describe(stem)
        count = len(mixtures.sources)
        lists = {
            key: values
            for key in ("speakers", "gains", "texts")
            if (values := getattr(description, key)) is not None and len(values) >= count
        }
        yield Clip(
            safe_id(stem),
            mixtures.mixtures / name,
            None,
            lang="en",
            expected_samples=samples,
            custom=dict(description.custom) or None,
            mixture=Mixture(
                sources=[str(folder / name) for folder in mixtures.sources],
                noise=None if mixtures.noise is None else str(mixtures.noise / name),
                **{key: values[:count] for key, values in lists.items()},
            ),
        )


def wsj_speakers(stem: str) -> Description:
    """Speakers of a name such as ``011a0101_1.7888_020a0108_-1.7888``: first three characters of each utterance."""
    utterances = stem.split("_")[::2]
    return Description(
        speakers=[utterance[:3] for utterance in utterances], custom={"utterances": " ".join(utterances)}
    )


def _folders(folder: Path) -> list[Path]:
    return subfolders(folder) if folder.is_dir() else []

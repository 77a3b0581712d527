"""Find mixtures, sources and separated tracks in the folder layouts of corpora and separators.

Three layouts are supported, with NAME the mixture's name and any audio suffix of `speechkit.io`:

    flat                 NAME_mix.wav, NAME_source1.wav, NAME_source2.wav, NAME_source1hat.wav …
    one per speaker      mix_clean/NAME.wav, s1/NAME.wav, s2/NAME.wav, noise/NAME.wav    LibriMix, WSJ0-mix, WHAM!
    one per mixture      NAME/mix.wav, NAME/s1.wav, NAME/s2.wav

``source`` may also be ``s``, ``spk``, ``speaker``, ``est``, ``estimate`` or ``track``; ``hat`` after the number, which
counts from 1, marks an estimate in a folder that also has the sources.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from speechkit.errors import UserError

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".opus", ".mp3"))
MIXTURE, NOISE = "mix", "noise"
_NUMBERED = r"(?:source|src|speaker|spk|estimate|est|track|s)_?(?P<number>[0-9]{1,2})(?P<hat>_?(?:hat|est))?"
_KIND = re.compile(rf"(?:(?P<mix>mix(?:ture)?)|(?P<noise>noise)|{_NUMBERED})", re.I)
_FOLDER = re.compile(rf"(?:(?P<mix>mix(?:ture)?(?:_\w+)?)|(?P<noise>noise)|{_NUMBERED})", re.I)
_FLAT = re.compile(rf"(?P<name>.+?)[_.\-]{_KIND.pattern}", re.I)

_MIX_BEHIND = re.compile(r"(?<=.)[_.\-]mix(?:ture)?\Z", re.I)


class Tracks(msgspec.Struct):
    """Files of one mixture: the mixture, its sources or estimates by number, and its noise."""

    mixture: Path | None = None
    noise: Path | None = None
    sources: dict[int, Path] = {}
    estimates: dict[int, Path] = {}

    def numbered(self, *, estimates: bool = False) -> list[Path]:
        """Sources in order; with ``estimates``, the files marked as estimates, if any."""
        chosen = self.estimates if estimates and self.estimates else self.sources
        return [chosen[number] for number in sorted(chosen)]


def find_tracks(folder: Path | str) -> dict[str, Tracks]:
    """Files of each mixture, sorted by name, in any of the three layouts.

    In the layout with one folder per speaker, ``folder`` may also be the folder of mixtures, to select one of several:
    ``…/test/mix_both``.

    Raises:
        UserError: if the folder has none of the layouts, contains several mixtures of one name, or cannot be read.
    """
    root = Path(folder)
    chosen = None
    if _FOLDER.fullmatch(root.name) and not _kinds(root) and _kinds(root.parent):
        root, chosen = root.parent, root.name
    mixtures: dict[str, Tracks] = {}
    kinds = _kinds(root)
    mixed = [name for name, match in kinds.items() if match["mix"]]
    if chosen is None and len(mixed) > 1:
        raise UserError(f"{root}: holds {', '.join(mixed)}; give one of them, such as {root / mixed[0]}")
    for name, match in kinds.items():
        if not match["mix"] or chosen in (None, name):
            for path in _audio(root / name):
                _add_track(mixtures, path.stem, match, path)
    if not kinds:
        for path in _audio(root):
            flat = _FLAT.fullmatch(path.stem)
            if flat:
                # Separators may name tracks after NAME_mix.wav; the mixture's name is NAME.
                _add_track(mixtures, without_mix(flat["name"]) if flat["number"] else flat["name"], flat, path)
        for subfolder in _entries(root, files=False):
            for path in _audio(subfolder) if not mixtures or subfolder.name not in mixtures else ():
                kind = _KIND.fullmatch(path.stem)
                if kind:
                    _add_track(mixtures, subfolder.name, kind, path)
    if not mixtures:
        raise UserError(
            f"{root}: holds no tracks in a known layout; name them NAME_mix.wav and NAME_source1.wav, or put them into "
            "folders mix, s1, s2"
        )
    return dict(sorted(mixtures.items()))


def without_mix(name: str) -> str:
    """File name of a mixture without its suffix and a final ``_mix``."""
    return _MIX_BEHIND.sub("", name)


def _add_track(mixtures: dict[str, Tracks], name: str, match: re.Match[str], path: Path) -> None:
    tracks = mixtures.setdefault(name, Tracks())
    if match["mix"] or match["noise"]:
        field = "mixture" if match["mix"] else "noise"
        duplicate = getattr(tracks, field)
        setattr(tracks, field, path)
    else:
        numbered = tracks.estimates if match["hat"] else tracks.sources
        duplicate = numbered.get(int(match["number"]))
        numbered[int(match["number"])] = path
    if duplicate is not None:
        raise UserError(f"{duplicate} and {path} are both the same track of {name!r}; keep one of them")


def _kinds(root: Path) -> dict[str, re.Match[str]]:
    """Subfolders whose names say what they contain."""
    named = ((folder.name, _FOLDER.fullmatch(folder.name)) for folder in _entries(root, files=False))
    return {name: match for name, match in named if match}


def _audio(folder: Path) -> list[Path]:
    return [path for path in _entries(folder, files=True) if path.suffix.lower() in SUFFIXES]


def _entries(folder: Path, *, files: bool) -> list[Path]:
    """Files or subfolders of a folder, sorted by name, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            chosen = [e.name for e in entries if not e.name.startswith(".") and (e.is_file() if files else e.is_dir())]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror or error}; give a folder of tracks") from error
    return [folder / name for name in sorted(chosen)]

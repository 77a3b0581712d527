"""speechocean762: 5,000 English sentences by non-native speakers, with pronunciation scores.

Layout: ``{train,test}/{wav.scp,text,utt2spk,spk2age,spk2gender}`` in Kaldi form, audio below ``WAVE``, and
``resource/{scores.json,text-phone}``. Expert scores, canonical phones, age and gender go to ``custom``; if their files
are missing, this is noted and the fields are omitted.

Licence: free for commercial and non-commercial use. Homepage: https://www.openslr.org/101
Citation: Zhang et al. 2021, speechocean762: an open-source non-native English speech corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .tables import read_keyed, read_map, require_file, whole_number

SPLITS = ("train", "test")


def splits(request: Request) -> list[str]:
    """Train and test, if present."""
    present = [name for name in SPLITS if (request.source / name / "wav.scp").is_file()]
    if not present:
        raise UserError(
            f"{request.source}: holds neither train/wav.scp nor test/wav.scp; give the folder speechocean762"
        )
    return present


def read(request: Request, split: str) -> Iterator[Item]:
    """Utterances in the order of wav.scp, then transcripts without audio."""
    folder, resource = request.source / split, request.source / "resource"
    texts, repeated = read_map(require_file(folder / "text", "download the corpus whole"))
    yield from repeated
    speakers, _ = read_map(require_file(folder / "utt2spk", "download the corpus whole"))
    ages, genders = (_optional(folder / name, request) for name in ("spk2age", "spk2gender"))
    scores = _scores(resource / "scores.json", request)
    phones = _phones(resource / "text-phone", request)
    named: set[str] = set()
    for number, name, path in read_keyed(folder / "wav.scp"):
        named.add(name)
        if not path or path.endswith("|"):
            yield LeftOut(name, "bad_line", f"{folder / 'wav.scp'}:{number}: names no file; commands are never run")
        elif name not in texts:
            yield LeftOut(name, "transcript_missing", f"{folder / 'text'}: has no line for {name}")
        else:
            speaker = speakers.get(name)
            custom: dict[str, Any] = {}
            age = whole_number(ages.get(speaker or "", ""))
            if age is not None:
                custom["age"] = age
            if speaker is not None and genders.get(speaker):
                custom["gender"] = genders[speaker]
            if name in phones:
                custom["phones"] = phones[name]
            if name in scores:
                custom["scores"] = scores[name]
            audio = request.source / path
            yield Clip(name, audio, texts[name], speaker=speaker, lang="en", custom=custom or None)
    for name in sorted(texts.keys() - named):
        yield LeftOut(name, "audio_missing", f"{folder / 'wav.scp'}: has no line for {name}")


def _optional(path: Path, request: Request) -> dict[str, str]:
    if path.is_file():
        return read_map(path)[0]
    request.notes[f"{path.name} is absent"] += 1
    return {}


def _scores(path: Path, request: Request) -> dict[str, Any]:
    if not path.is_file():
        request.notes["resource/scores.json is absent: no scores"] += 1
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is not the published JSON ({error}); download it again") from error


def _phones(path: Path, request: Request) -> dict[str, list[list[str]]]:
    """Canonical phones of every word of each utterance; a line is ``<utterance>.<word>`` and the phones."""
    phones: dict[str, list[list[str]]] = {}
    if not path.is_file():
        request.notes["resource/text-phone is absent: no canonical phones"] += 1
        return phones
    for number, key, pronunciation in read_keyed(path):
        name, _, word = key.rpartition(".")
        words = phones.setdefault(name, [])
        if word != str(len(words)):
            raise UserError(f"{path}:{number}: word {word} follows word {len(words) - 1}; download the file again")
        words.append(pronunciation.split())
    return phones


CORPUS = Corpus(
    name="speechocean762",
    title="speechocean762",
    licence="free for commercial and non-commercial use",
    homepage="https://www.openslr.org/101",
    citation="Zhang et al. 2021",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)

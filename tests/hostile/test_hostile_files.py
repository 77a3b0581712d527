"""Whatever lies in a file: a result or one sentence, in bounded time and memory. Few examples here, many when slow."""

from __future__ import annotations

import resource
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechkit.data.convert import read_format
from speechkit.data.manifest import read_manifest
from speechkit.errors import UserError
from speechkit.io.audio import audio_info, stream_audio
from speechkit.io.pickled_arrays import array_of, read_pickled
from speechkit.mining.documents import read_document

from . import corpus

CPU_SECONDS = 10.0
"""Of one small file on the slowest machine; a bomb takes minutes."""
MOST_BYTES = 200 << 20


def read_sound(path: Path) -> None:
    found = audio_info(path)
    assert 0 < found.num_samples < 1 << 40
    for block in stream_audio(path):
        assert block.dtype == "float32"


def read_paper(path: Path) -> None:
    found = read_document(path, lang="en")
    for sentence in found.sentences:
        assert found.text[sentence.begin : sentence.end] == sentence.text != ""


def read_rows(path: Path) -> None:
    for row in read_manifest(path) if path.name.endswith("own.jsonl") else read_format(path, "nemo", path.parent):
        assert row.num_samples >= 0


def read_arrays(path: Path) -> None:
    array_of(read_pickled(path))


READERS = {
    "audio": (corpus.audio, read_sound),
    "documents": (corpus.documents, read_paper),
    "manifests": (corpus.manifests, read_rows),
    "pickles": (corpus.pickles, read_arrays),
}


def cpu_seconds() -> float:
    """Of this process and of the programs that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextmanager
def bounded():
    """At most so much time and memory, and no error but a sentence in one line."""
    tracemalloc.start()
    began = cpu_seconds()
    try:
        yield
    except UserError as error:
        message = str(error)
        assert "\n" not in message, message
        assert 10 < len(message) < 2000, message
        message.encode()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert cpu_seconds() - began < CPU_SECONDS
    assert peak < MOST_BYTES


def fuzz(kind: str, folder: Path, examples: int) -> None:
    seeds, read = READERS[kind]
    files = seeds()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(files)))
        path = folder / f"x.{name}"
        path.write_bytes(data.draw(corpus.damaged(files[name])))
        with bounded():
            read(path)

    holds()


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_file_gives_a_result_or_a_sentence(kind, tmp_path):
    fuzz(kind, tmp_path, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_many_damaged_files_give_results_or_sentences(kind, tmp_path):
    fuzz(kind, tmp_path, 2000)


@pytest.mark.parametrize("kind", READERS)
def test_every_file_of_the_corpus_can_be_read_when_it_is_whole(kind, tmp_path):
    seeds, read = READERS[kind]
    for name, content in seeds().items():
        path = tmp_path / f"x.{name}"
        path.write_bytes(content)
        if kind == "manifests" and name.startswith("nemo"):
            (tmp_path / "a.wav").write_bytes(corpus.audio()["wav"])
            path.write_bytes(content.replace(b'"duration": 1.0', b'"duration": 0.1'))
        read(path)


BOMBS = {
    "attributes.html": "<p " + " ".join(f"a{n}=x" for n in range(5000)) + ">Hello there, this is text.</p>",
    "deep.html": "<div>" * 20_000 + "text",
    "open.html": "<b><i><a>" * 10_000 + "text",
    "entities.html": "<p>" + "&amp;" * 50_000,
    "reference.html": "<p>&#" + "9" * 10_000 + ";</p>",
    "less.html": "<" * 100_000,
    "marks.txt": "Hello. " + "!?." * 30_000,
    "word.txt": "a" * 300_000,
    "quotes.txt": '"' * 100_000 + " x.",
    "spaces.txt": "a" + " " * 200_000 + "x.",
    "lines.txt": "\n" * 200_000 + "x.",
    "cues.srt": "".join(f"{n}\n00:00:01,000 --> 00:00:02,000\nhello\n\n" for n in range(3000)),
    "hour.vtt": "WEBVTT\n\n" + "9" * 5000 + ":00:00.000 --> 00:00:01.000\nhi\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_defused(name, tmp_path):
    path = tmp_path / name
    path.write_text(BOMBS[name], encoding="utf-8")
    with bounded():
        read_paper(path)


def test_a_long_run_of_marks_is_cut_into_long_pieces():
    from speechkit.text import split_sentences

    text = "Hello. " + "!" * 4000 + " there"
    pieces = [text[begin:end] for begin, end in split_sentences(text, "en", max_characters=400)]
    assert len(pieces) < 15
    assert "".join(pieces) == text.replace(" ", "")

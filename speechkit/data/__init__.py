"""Manifests: the utterance record; reading, writing, checking, splitting and converting manifests."""

from speechkit.data.manifest import audio_path, read_jsonl, read_manifest, rebase, write_jsonl, write_manifest
from speechkit.data.records import AlignmentItem, Source, Utterance, recording_of, seconds

__all__ = [
    "AlignmentItem",
    "Source",
    "Utterance",
    "audio_path",
    "read_jsonl",
    "read_manifest",
    "rebase",
    "recording_of",
    "seconds",
    "write_jsonl",
    "write_manifest",
]

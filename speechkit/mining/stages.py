"""The thin adapter from mining to the pipeline: stages 0 to 7. Stages 8 and 9 stand in ``recipes/mining``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property

import msgspec
import numpy as np

from speechkit.asr.hypothesis import Emissions, Hypothesis
from speechkit.asr.load import recognizer_digest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.io.hashing import digest_file
from speechkit.mining.character_errors import with_character_errors
from speechkit.mining.confidence import SHIPPED, load_calibration, probabilities
from speechkit.mining.config import (
    AlignmentConfig,
    DocumentsConfig,
    FilesConfig,
    HypothesesConfig,
    PairingConfig,
    RefinementConfig,
    RegionsConfig,
    SelectionConfig,
)
from speechkit.mining.correction import Spellings, lexicon_digest, lexicon_missing, read_lexicon, with_corrections
from speechkit.mining.hypothesis_records import read_hypothesis, recognized_value
from speechkit.mining.input_stages import FindSpeech, ReadDocuments, input_file, list_files, names_of, ocr_digest
from speechkit.mining.lookup import RecordLookup, SentenceLookup
from speechkit.mining.mismatch import unread
from speechkit.mining.pairing import pair_all, read_pairs
from speechkit.mining.placement import KeyedDocument, KeyedHypothesis, align, learned_costs, refine_alignment
from speechkit.mining.records import (
    Document,
    Outcome,
    Pair,
    PairAlignment,
    RecognizedText,
    Recording,
    RejectReason,
    SelectionSummary,
    SentenceMatch,
    SourceFile,
    UnmatchedStretch,
)
from speechkit.mining.selection import Span, decide, outcomes_of, unmatched_stretches, utterance_of
from speechkit.pipeline import Context, Drop, Output, Resources, Stage, Value, Worker, external, model, stage
from speechkit.pipeline.arrays import read_record_arrays
from speechkit.text import normalizer_for


class Recognize(Worker):
    """Stage 3: timed characters and emissions of one recording."""

    config: HypothesesConfig

    def setup(self, device: str) -> None:
        """Load the recogniser."""
        from speechkit.asr import load_recognizer

        self.recognizer = load_recognizer(self.config.recognizer, lang=self.config.lang, device=device)

    def audio_seconds(self, record: Recording) -> float:
        """Length of the recording, for the progress line."""
        return record.seconds

    def process(self, batch: list[Recording]) -> list[Value | Drop]:
        """Recognised text for each recording; a silent one is not sent to the recogniser."""
        answers: list[Value | Drop] = []
        for recording in batch:
            if not recording.speech:
                answers.append(Value(RecognizedText(recording.id, "", self.recognizer.spec.name), {}))
                continue
            path = input_file(self.config.audio, recording.audio_filepath)
            try:
                hypothesis = self.recognizer.recognize(
                    str(path), recording.speech, channel=recording.channel, advance=self.advance
                )
            except AudioError as error:
                answers.append(Drop("unreadable_audio", str(error)))
                continue
            answers.append(recognized_value(recording.id, hypothesis, self.recognizer.spec.name))
        return answers


def pair(context: Context) -> None:
    """Stage 4: pairs from the list, or by shared text; documents and recordings without a pair are dropped by name."""
    normalizer = normalizer_for(context.config.lang)
    recordings = [(item.recording, normalizer.normalize(item.text).text) for item in context.read("hypotheses")]
    documents = [
        (document.id, " ".join(normalizer.normalize(s.text).text for s in document.sentences))
        for document in context.read("documents")
    ]
    listed = context.config.pairs is not None
    if listed:
        names = names_of(context.read("audio_files")), names_of(context.read("document_files"))
        # What could not be read was left out by name before, and does not end the run here.
        usable = {name for name, _ in recordings}, {name for name, _ in documents}
        pairs = [
            item
            for item in read_pairs(context.inputs["pairs"], *names)
            if item.recording in usable[0] and item.document in usable[1]
        ]
    else:
        pairs = pair_all(recordings, documents, context.config)
    context.write("pairs.jsonl", pairs)
    paired_recordings, paired_documents = {item.recording for item in pairs}, {item.document for item in pairs}
    for name, text in recordings:
        if name not in paired_recordings:
            why = "resembles no document" if text else "holds no recognised speech"
            why = "is in no pair with a document that could be read" if listed else why
            context.drop(name, "no_document", f"recording {name} {why}")
    for name, _ in documents:
        if name not in paired_documents:
            why = "is in no pair with a recording that could be read" if listed else "resembles no recording"
            context.drop(name, "no_recording", f"document {name} {why}")


class _PairWorker(Worker):
    """Reads the document and the hypothesis of a pair."""

    def setup(self, device: str) -> None:
        """Index the documents and hypotheses; keep the last of each."""
        self.documents = RecordLookup(self.inputs["documents"], Document)
        self.hypotheses = RecordLookup(self.inputs["hypotheses"], RecognizedText, "recording")
        self.normalizer = normalizer_for(self.config.lang)
        self._hypothesis: tuple[str, Hypothesis, KeyedHypothesis] | None = None
        self._document: tuple[str, KeyedDocument] | None = None

    def hypothesis_of(self, recording: str) -> tuple[Hypothesis, KeyedHypothesis]:
        """The hypothesis of a recording, plain and as a key."""
        if self._hypothesis is None or self._hypothesis[0] != recording:
            hypothesis = read_hypothesis(self.inputs["hypotheses"], self.hypotheses[recording])
            self._hypothesis = (recording, hypothesis, KeyedHypothesis.of(hypothesis, self.normalizer))
        return self._hypothesis[1], self._hypothesis[2]

    def document_of(self, document: str) -> KeyedDocument:
        """A document with its keys."""
        if self._document is None or self._document[0] != document:
            self._document = (document, KeyedDocument.of(self.documents[document], self.normalizer))
        return self._document[1]


class Align(_PairWorker):
    """Stage 5: one document against one recording."""

    config: AlignmentConfig

    def process(self, batch: list[Pair]) -> list[PairAlignment]:
        """An alignment for each pair."""
        answers = []
        for item in batch:
            document, hypothesis = self.document_of(item.document), self.hypothesis_of(item.recording)[1]
            # Learned from this pair alone, so that the result does not depend on how the pairs are shared out.
            costs = learned_costs([document], [hypothesis]) if self.config.learn_costs else None
            answers.append(align(item.recording, document, hypothesis, self.config.min_similarity, costs))
        return answers


NO_EMISSIONS = (
    "OCR errors are not corrected: the recogniser gives no emissions; use the embedded recogniser or another CTC model"
)


class Refine(_PairWorker):
    """Stage 6: exact times of one alignment, corrected OCR errors, and an estimate of the remaining ones."""

    config: RefinementConfig
    _spellings: tuple[str, Spellings] | None = None

    def setup(self, device: str) -> None:
        """Index the recordings too, for their loudness."""
        super().setup(device)
        self.recordings = RecordLookup(self.inputs["recordings"], Recording)

    @cached_property
    def lexicon(self) -> frozenset[str]:
        """Read when the first emissions are there to use it with."""
        return read_lexicon(self.config.lexicon, self.config.lang)

    def process(self, batch: list[PairAlignment]) -> list[PairAlignment]:
        """The alignment with exact times."""
        answers = []
        for item in batch:
            recording = self.recordings[item.recording]
            levels = np.zeros(0, np.float32)
            if recording.features is not None:
                levels = read_record_arrays(self.inputs["recordings"], recording.features)["levels"].astype(np.float32)
            emissions = self.hypothesis_of(item.recording)[0].emissions
            document = self.document_of(item.document)
            refined = refine_alignment(item, document, emissions, levels, self.config)
            answers.append(self.with_corrected_text(refined, document.document, emissions))
        return answers

    def with_corrected_text(
        self, alignment: PairAlignment, document: Document, emissions: Emissions | None
    ) -> PairAlignment:
        """The alignment with corrections where they are wanted and possible, and with estimated character errors."""
        scanned = document.kind in ("scan", "image")
        wanted = self.config.correct == "all" or (scanned and self.config.correct == "scans")
        if emissions is None:
            warnings = [NO_EMISSIONS] if wanted else []
            return msgspec.structs.replace(alignment, warnings=warnings)
        spellings = self._spellings_of(document)
        if wanted and self.lexicon:
            alignment = with_corrections(alignment, document, emissions, spellings)
        elif wanted and (missing := lexicon_missing(self.config.lexicon, self.config.lang)):
            alignment = msgspec.structs.replace(alignment, warnings=[missing])
        return with_character_errors(alignment, document, emissions, spellings, self.normalizer)

    def _spellings_of(self, document: Document) -> Spellings:
        """Those of the document; the last are kept, as a long document may belong to many recordings."""
        if self._spellings is None or self._spellings[0] != document.id:
            spellings = Spellings((sentence.text for sentence in document.sentences), self.lexicon)
            self._spellings = document.id, spellings
        return self._spellings[1]


def select(context: Context) -> None:
    """Stage 7: probabilities, overlaps, the threshold, and a reason for everything that is not kept."""
    config = context.config
    normalizer = normalizer_for(config.lang)
    calibration = load_calibration(None if config.calibration == "shipped" else config.calibration)
    documents = RecordLookup(context.inputs["documents"], Document)
    lengths: dict[str, int] = {}
    matches: list[SentenceMatch] = []
    recording_pairs: set[str] = set()
    paired_documents: set[str] = set()
    warnings: dict[str, None] = {}  # in order, each once
    for alignment in context.read("alignments"):
        warnings |= dict.fromkeys(alignment.warnings)
        recording_pairs.add(alignment.recording)
        paired_documents.add(alignment.document)
        keyed = KeyedDocument.of(documents[alignment.document], normalizer)
        sizes = {s.id: len(key.text) for s, key in zip(keyed.document.sentences, keyed.keys, strict=True)}
        order = {s.id: s.index for s in keyed.document.sentences}
        located = alignment.matches
        lengths.update((match.sentence, sizes[match.sentence]) for match in located)
        probability = probabilities(
            located,
            [sizes[match.sentence] for match in located],
            [order[match.sentence] for match in located],
            calibration,
        )
        matches += [
            msgspec.structs.replace(match, probability=round(float(value), 6))
            for match, value in zip(located, probability, strict=True)
        ]
    decision = decide(matches, lengths, config)
    kept: dict[str, list[SentenceMatch]] = defaultdict(list)
    refused: dict[str, list[tuple[SentenceMatch, RejectReason]]] = defaultdict(list)
    for match in decision.kept:
        kept[match.sentence].append(match)
    for match, reason in decision.rejected:
        refused[match.sentence].append((match, reason))
    for name in unread(paired_documents, "document", matches, decision.kept):
        context.drop(
            name,
            "no_recording",
            f"document {name} was paired, but none of its sentences was found in the recording; check the pairing",
        )
    for name in unread(recording_pairs, "recording", matches, decision.kept):
        context.drop(
            name,
            "no_document",
            f"recording {name} was paired, but no sentence of its documents was found in it; check the pairing",
        )
    rejected_counts: Counter[str] = Counter()

    def all_outcomes() -> Iterator[Outcome]:
        for document in context.read("documents"):
            keys = [normalizer.normalize(sentence.text).text for sentence in document.sentences]
            for outcome in outcomes_of(document, keys, kept, refused, document.id in paired_documents):
                if outcome.reason is not None:
                    rejected_counts[outcome.reason] += 1
                yield outcome

    context.write("outcomes.jsonl", all_outcomes())
    in_order = sorted(decision.kept, key=lambda match: (match.recording, match.start, match.sentence))
    recordings = RecordLookup(context.inputs["recordings"], Recording)
    sentences = SentenceLookup(documents)

    def as_utterance(match: SentenceMatch, reason: RejectReason | None = None) -> Utterance:
        lang, sentence = sentences.of(match)
        return utterance_of(match, sentence, recordings[match.recording], lang, reason)

    context.write("utterances.jsonl", map(as_utterance, in_order))
    by_place = sorted(decision.rejected, key=lambda entry: (entry[0].recording, entry[0].start, entry[0].sentence))
    context.write("candidates.jsonl", (as_utterance(match, reason) for match, reason in by_place))
    unmatched_seconds: dict[str, float] = defaultdict(float)
    audio_seconds = 0.0
    kept_in: dict[str, list[Span]] = defaultdict(list)
    refused_in: dict[str, list[Span]] = defaultdict(list)
    for match in in_order:
        kept_in[match.recording].append((match.start, match.end))
    for match, _ in decision.rejected:
        refused_in[match.recording].append((match.start, match.end))

    def all_stretches() -> Iterator[UnmatchedStretch]:
        nonlocal audio_seconds
        for recording in context.read("recordings"):
            audio_seconds += recording.seconds
            name = recording.id
            for stretch in unmatched_stretches(recording, kept_in[name], refused_in[name], name in recording_pairs):
                unmatched_seconds[stretch.reason] += stretch.end - stretch.start
                yield stretch

    context.write("unmatched.jsonl", all_stretches())
    summary = SelectionSummary(
        threshold=decision.threshold,
        min_precision=config.min_precision,
        expected_precision=float(np.mean([m.probability or 0.0 for m in in_order])) if in_order else None,
        kept=len(in_order),
        kept_seconds=sum(match.end - match.start for match in in_order),
        rejected=dict(rejected_counts),
        unmatched_seconds=dict(unmatched_seconds),
        audio_seconds=audio_seconds,
        run=digest_file(context.inputs["alignments"]),
        warnings=list(warnings),
    )
    for warning in warnings:
        context.say(warning)
    context.write("summary.jsonl", [summary])


def calibration_digest(name: str) -> str:
    """Digest of a calibration's content, so that with other coefficients the selection is repeated."""
    return digest_file(SHIPPED if name == "shipped" else name)


DOCUMENT_FILES = stage("files", "document_files.jsonl")
AUDIO_FILES = stage("files", "audio_files.jsonl")
DOCUMENTS = stage("documents", "documents.jsonl")
RECORDINGS = stage("regions", "recordings.jsonl")
HYPOTHESES = stage("hypotheses", "hypotheses.jsonl")

MINING_STAGES = (
    Stage(
        number=0, name="files", run=list_files, version=2, config=FilesConfig,
        inputs=(external("audio"), external("documents")),
        outputs=(Output("audio_files.jsonl", SourceFile), Output("document_files.jsonl", SourceFile)),
        drop_reasons=("not_a_document", "not_audio", "undecodable_name"),
    ),
    Stage(
        number=1, name="documents", run=ReadDocuments, version=2, config=DocumentsConfig,
        inputs=(DOCUMENT_FILES, model("ocr", digest=ocr_digest)),
        outputs=(Output("documents.jsonl", Document),),
        drop_reasons=("unreadable_document", "missing_extra", "no_sentences"),
        part_records=8, batch_size=1,
    ),
    Stage(
        number=2, name="regions", run=FindSpeech, version=2, config=RegionsConfig, inputs=(AUDIO_FILES,),
        outputs=(Output("recordings.jsonl", Recording),), drop_reasons=("unreadable_audio",),
        part_records=1, batch_size=1,
    ),
    Stage(
        number=3, name="hypotheses", run=Recognize, config=HypothesesConfig,
        inputs=(RECORDINGS, model("recognizer", digest=recognizer_digest)),
        outputs=(Output("hypotheses.jsonl", RecognizedText),), drop_reasons=("unreadable_audio",),
        part_records=1, batch_size=1, resources=Resources(cpus=2),
    ),
    Stage(
        number=4, name="pairing", run=pair, version=2, config=PairingConfig,
        inputs=(DOCUMENTS, HYPOTHESES, AUDIO_FILES, DOCUMENT_FILES, external("pairs")),
        outputs=(Output("pairs.jsonl", Pair, min_records=0),), drop_reasons=("no_document", "no_recording"),
    ),
    Stage(
        number=5, name="alignment", run=Align, config=AlignmentConfig,
        inputs=(stage("pairing", "pairs.jsonl"), DOCUMENTS, HYPOTHESES),
        outputs=(Output("alignments.jsonl", PairAlignment, min_records=0),),
        part_records=4, batch_size=1, key=("recording", "document"),
    ),
    Stage(
        number=6, name="refinement", run=Refine, version=4, config=RefinementConfig,
        inputs=(
            stage("alignment", "alignments.jsonl"), DOCUMENTS, HYPOTHESES, RECORDINGS,
            model("lexicon", digest=lexicon_digest),
        ),
        outputs=(Output("alignments.jsonl", PairAlignment, min_records=0),),
        part_records=4, batch_size=1, key=("recording", "document"),
    ),
    Stage(
        number=7, name="selection", run=select, version=4, config=SelectionConfig,
        inputs=(
            stage("refinement", "alignments.jsonl"), DOCUMENTS, RECORDINGS,
            model("calibration", digest=calibration_digest),
        ),
        outputs=(
            Output("utterances.jsonl", Utterance, min_records=0),
            Output("candidates.jsonl", Utterance, min_records=0),
            Output("outcomes.jsonl", Outcome, min_records=0),
            Output("unmatched.jsonl", UnmatchedStretch, min_records=0),
            Output("summary.jsonl", SelectionSummary),
        ),
        drop_reasons=("no_document", "no_recording"),
    ),
)  # fmt: skip

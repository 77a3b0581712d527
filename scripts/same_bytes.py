"""Compare the outputs of two checkouts: `mine` on the sample, the shipped models, units, syllables and scores.

    python scripts/same_bytes.py --save before.json            # digests of this checkout
    python scripts/same_bytes.py --against before.json         # exit code 1 if a digest differs

Bytes are compared between checkouts on one machine: processors round differently, so no digest is kept in the
repository. Pages (HTML) and run records (``_stage.json``, logs) are left out; pages hold times and versions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "recipes" / "mining" / "sample"
LEFT_OUT_SUFFIXES = {".html", ".log"}
CODEBOOKS = ("embedded-50", "embedded-100", "embedded-200", "embedded-500")
REFERENCE = "a1 the cat sat on the mat\na2 five hundred and one dogs\na3 Mr. Smith's colour TV\n"
HYPOTHESES = {
    "first": "a1 the cat sat on a mat\na2 501 dogs\na3 mister smiths color tv\n",
    "second": "a1 cat sat on the mat\na2 five hundred one dog\na3 Mr Smith's colour T V\n",
}


def run(*arguments: str | Path, cwd: Path) -> bytes:
    """Standard output of one `speechkit` command of this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from speechkit.cli.main import main; main()", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.decode()[-2000:]}")
    return done.stdout


def digest(content: bytes) -> str:
    """A short digest of some bytes."""
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def folder_digests(folder: Path, name: str) -> dict[str, str]:
    """Digest by path of every file below a folder, except pages, logs and the stages' own folders."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in LEFT_OUT_SUFFIXES]
    kept = [path for path in paths if "stages" not in path.relative_to(folder).parts and path.name[0] not in "._"]
    # Some formats require absolute paths, and the working folder has a different name in each run.
    here = str(folder.parent.resolve()).encode()
    return {f"{name}/{path.relative_to(folder)}": digest(path.read_bytes().replace(here, b"WORK")) for path in kept}


def digests() -> dict[str, str]:
    """Digests of all compared outputs, by name."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        # Inside the working folder, so that paths written into manifests do not depend on the checkout.
        shutil.copytree(SAMPLE, work / "sample")
        recordings = sorted((SAMPLE / "audio").iterdir())
        audio = [Path("sample/audio") / path.name for path in recordings]
        results: dict[str, str] = {}
        run("mine", "sample/audio", "sample/documents", "--out", "mined", cwd=work)
        results |= folder_digests(work / "mined", "mine")
        manifest = next(path for path in ("mined/manifest.jsonl", "mined/utterances.jsonl") if (work / path).is_file())
        run("export", manifest, "--out", "exported", "--to", "ctm,textgrid,srt,kaldi,fairseq,nemo,csv", cwd=work)
        results |= folder_digests(work / "exported", "export")
        results["transcribe"] = digest(run("transcribe", audio[0], "--json", cwd=work))
        for encoder, *options in (("embedded",), ("embedded", "--layer", "0"), ("log-mel",), ("mfcc",)):
            name = " ".join((encoder, *options))
            run("features", *audio[:1], "--encoder", encoder, *options, "--out", f"features {name}", cwd=work)
            results |= folder_digests(work / f"features {name}", f"features {name}")
        for codebook in CODEBOOKS:
            run("units", "assign", "features embedded --layer 0", "--codebook", codebook, "--out", "u.jsonl", cwd=work)
            results[f"units {codebook}"] = digest((work / "u.jsonl").read_bytes())
        few = (work / manifest).read_text(encoding="utf-8").splitlines(keepends=True)[:4]
        (work / "mined" / "few.jsonl").write_text("".join(few), encoding="utf-8")
        results["ued"] = digest(run("ued", "embedded-100", "--manifest", "mined/few.jsonl", "--json", cwd=work))
        run("units", "train", "features embedded", "--clusters", "20", "--out", "k20", cwd=work)
        results |= folder_digests(work / "k20", "units train")
        for segmenter in ("greedy", "dynamic", "peaks", "envelope"):
            run("syllables", audio[0], "--segmenter", segmenter, "--out", segmenter, cwd=work)
            results |= folder_digests(work / segmenter, f"syllables {segmenter}")
        (work / "ref.txt").write_text(REFERENCE, encoding="utf-8")
        for name, text in HYPOTHESES.items():
            (work / f"{name}.txt").write_text(text, encoding="utf-8")
        results["score"] = digest(run("score", "ref.txt", "first.txt", "second.txt", "--json", cwd=work))
        (work / "lines.txt").write_text("\n".join(line[3:] for line in REFERENCE.splitlines()), encoding="utf-8")
        run("lm", "build", "lines.txt", "--order", "3", "--out", "words.arpa", cwd=work)
        results["lm"] = digest((work / "words.arpa").read_bytes())
        return results


def main() -> None:
    """Save the digests, or compare them with saved ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--save", type=Path, help="file to write")
    mode.add_argument("--against", type=Path, help="file that --save wrote")
    arguments = parser.parse_args()
    now = digests()
    if arguments.save:
        arguments.save.write_text(json.dumps(now, indent=1), encoding="utf-8")
        print(f"{len(now)} digests")
        return
    before = json.loads(arguments.against.read_text(encoding="utf-8"))
    different = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
    for name in different:
        print(f"differs: {name}: {before.get(name, 'absent')} -> {now.get(name, 'absent')}")
    print(f"{len(now) - len(different)} of {len({*now, *before})} are equal")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()

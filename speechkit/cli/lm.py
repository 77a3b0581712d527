"""`speechkit lm`: n-grams of text for decoding, language models of speech units, and concept models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from speechkit.cli.lm_concepts import follows
from speechkit.cli.lm_heads import heads
from speechkit.cli.lm_units import compare, sample, score, train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Language models: n-grams of text as ARPA files, and models of speech units.",
)
app.command()(train)
app.command()(score)
app.command()(sample)
app.command()(heads)
app.command()(compare)
app.command()(follows)


Smoothing = Literal["auto", "kneser-ney", "witten-bell"]
Unit = Literal["word", "character"]
Texts = Annotated[list[Path], typer.Argument(metavar="TEXT...", help="Lines of text, or manifests (.jsonl).")]
Normalizer = Annotated[str, typer.Option(help="Normaliser of the text: none, simple, english ...")]


@app.command()
def build(
    texts: Texts,
    out: Annotated[Path, typer.Option(help="The model: .arpa, .arpa.gz, or .safetensors, which loads fast.")],
    order: Annotated[int, typer.Option(help="Longest n-gram.")] = 3,
    smoothing: Annotated[Smoothing, typer.Option(help="auto: Kneser-Ney, with fixed discounts where needed.")] = "auto",
    unit: Annotated[Unit, typer.Option(help="Words or characters.")] = "word",
    normalizer: Normalizer = "simple",
    prune: Annotated[
        str, typer.Option(help="Leave out n-grams seen at most so often, from the second order on: 0,1 or 1.")
    ] = "",
) -> None:
    """Estimate an n-gram model in ARPA format, as read by KenLM, pyctcdecode and SRILM.

    Examples:
      speechkit lm build train.jsonl --order 4 --out words.arpa

      speechkit lm build books/*.txt --prune 0,1 --out small.arpa.gz

      speechkit lm build corpus.txt --unit character --order 6 --out spelling.arpa
    """
    from speechkit.errors import UserError
    from speechkit.lm.ngram_training import estimate, write_model

    limits = [part.strip() for part in prune.split(",")] if prune else []
    if not all(limit.isdecimal() for limit in limits):
        raise UserError(f"--prune is {prune!r}; give counts such as 0,1")
    model, used = estimate(_sentences(texts, unit, normalizer), order, smoothing, list(map(int, limits)))
    write_model(model, out)
    typer.echo(f"{len(model.entries):,} n-grams up to order {order}, {used}, in {out}")


@app.command()
def perplexity(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The model.")],
    texts: Texts,
    unit: Annotated[Unit, typer.Option(help="Words or characters.")] = "word",
    normalizer: Normalizer = "simple",
) -> None:
    """Print the perplexity of a model on text, and the share of unknown words.

    Examples:
      speechkit lm perplexity words.arpa dev.jsonl
    """
    from speechkit.lm.ngram import NgramModel

    value, unknown = NgramModel.read(model).perplexity(list(_sentences(texts, unit, normalizer)))
    typer.echo(f"perplexity {value:.2f}; {unknown:.2%} of the words are unknown")


def _sentences(texts: list[Path], unit: Unit, normalizer: str) -> Iterator[list[str]]:
    from speechkit.data.manifest import read_manifest
    from speechkit.errors import UserError
    from speechkit.lm.ngram import SPACE
    from speechkit.metrics.text_lines import numbered_lines
    from speechkit.text import get_normalizer

    tidy = get_normalizer(normalizer)
    for path in texts:
        if not path.is_file():
            raise UserError(f"{path}: no such file; give text or manifests")
        lines = (
            (row.text or "" for row in read_manifest(path))
            if path.suffix == ".jsonl"
            else (line for _, line in numbered_lines(path))
        )
        for line in lines:
            words = tidy.normalize(line).text.split()
            if unit == "word":
                yield words
            else:
                yield [SPACE if character == " " else character for character in " ".join(words)]

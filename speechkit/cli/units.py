"""`speechkit units`: codebooks of discrete units, units of speech, and their statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from speechkit.cli.options import Json, settings
from speechkit.cli.unit_speech import say_units
from speechkit.cli.units_bpe import bpe, decode
from speechkit.cli.units_encode import convert, encode, known
from speechkit.cli.units_files import Quantizer, Units, print_values, read_units
from speechkit.cli.units_ngram import ngram, perplexity

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Discrete units: train codebooks, assign units, evaluate and shorten them.",
)

BATCH_FRAMES = 10_000


@app.command()
def train(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="A store written by speechkit features.")],
    out: Annotated[Path, typer.Option(help="Folder of the codebook or quantizer.")],
    clusters: Annotated[int, typer.Option(min=1, help="Units of a codebook.")] = 100,
    normalization: Annotated[str, typer.Option(help="none, standardized, or unit-length (spherical).")] = "none",
    residual: Annotated[int, typer.Option(min=0, help="Number of residual codebooks.")] = 0,
    product: Annotated[int, typer.Option(min=0, help="Number of product codebooks.")] = 0,
    average: Annotated[int, typer.Option(min=1, help="Average each frame over this many frames, odd.")] = 1,
    switch_penalty: Annotated[float, typer.Option(min=0, help="Cost of switching units, in mean distances.")] = 0.0,
    backend: Annotated[str, typer.Option(help="numpy, or faiss (the extra).")] = "numpy",
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    json: Json = False,
) -> None:
    """Train a codebook by k-means, on features of any size.

    Examples:
      speechkit units train features --clusters 100 --out kmeans-100

      speechkit units train features --clusters 100 --average 3 --switch-penalty 0.1 --out smoothed

      speechkit units train features --clusters 256 --residual 4 --out residual
    """
    import math

    from speechkit.encoders.store import FeatureStore
    from speechkit.errors import ConfigError
    from speechkit.units.finite import naming_recordings
    from speechkit.units.kmeans import KMeansConfig, train_kmeans
    from speechkit.units.smoothed import Smoothing, train_smoothed
    from speechkit.units.stacked import train_stacked

    if residual and product:
        raise ConfigError("--residual and --product exclude each other; give one")
    if average % 2 == 0:
        raise ConfigError(f"--average is {average}, which has no middle frame; give an odd number")
    if not math.isfinite(switch_penalty):
        raise ConfigError(
            f"--switch-penalty is {switch_penalty}, so that units would never change; give a number such as 0.1"
        )
    smoothing = Smoothing(average, switch_penalty)
    if smoothing != Smoothing() and (residual or product):
        raise ConfigError(
            "--average and --switch-penalty smooth the units of one codebook; leave --residual and --product out"
        )
    given = {"clusters": clusters, "normalization": normalization, "backend": backend, "seed": seed}
    config: KMeansConfig = settings(given, KMeansConfig, "speechkit units train --help")
    store = FeatureStore(features)
    log = (lambda line: None) if json else typer.echo

    def batches() -> Any:
        return store.batches(BATCH_FRAMES)

    if residual or product:
        way: Any = "residual" if residual else "product"
        with naming_recordings(store):
            stacked = train_stacked(batches, way, residual or product, config, store.spec, log)
        stacked.save(out)
        return print_values(
            {"quantizer": way, "codebooks": residual or product, "units": clusters, "folder": str(out)}, json
        )
    if smoothing != Smoothing():
        with naming_recordings(store):
            smoothed = train_smoothed(lambda: map(store.__getitem__, store.ids()), smoothing, config, store.spec, log)
        smoothed.save(out)
        return print_values({"units": clusters, "digest": smoothed.spec.digest, "folder": str(out)}, json)
    with naming_recordings(store):
        trained = train_kmeans(batches, config, store.spec, log)
    trained.codebook.save(out)
    facts = {
        "units": clusters,
        "frames": trained.frames,
        "reseeded": trained.reseeded,
        "distance": trained.distances[-1],
    }
    return print_values({**facts, "digest": trained.codebook.spec.digest, "folder": str(out)}, json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A k-means of scikit-learn (km.bin), or a .npy.")],
    encoder: Annotated[str, typer.Option(help="The encoder whose features were clustered, by name, hub id or folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the codebook.")],
    layer: Annotated[int | None, typer.Option(help="Its layer, counted as in fairseq; default: the last.")] = None,
    normalization: Annotated[str, typer.Option(help="none, or unit-length if frames were divided by their norms.")] = (
        "none"
    ),
    compat: Annotated[
        bool, typer.Option("--compat/--hop-grid", help="The grid of stock transformers, or one frame per hop.")
    ] = True,
    waveform: Annotated[str, typer.Option(help="none or standardised; default: as in the encoder's folder.")] = "",
    json: Json = False,
) -> None:
    """Read the centroids of a k-means of fairseq or textlesslib; nothing in the file is executed.

    Examples:
      speechkit units import km.bin --encoder facebook/hubert-base-ls960 --layer 9 --out codebook
    """
    from speechkit.encoders.load import load_encoder
    from speechkit.errors import ConfigError
    from speechkit.units.imported import import_codebook

    if normalization not in ("none", "unit-length"):
        raise ConfigError(f"--normalization is {normalization!r}; choose none or unit-length")
    if waveform not in ("", "none", "standardised"):
        raise ConfigError(f"--waveform is {waveform!r}; choose none or standardised")
    way: Any = normalization
    entering: Any = waveform or None
    import_codebook(file, None, way)  # report errors of the file before an encoder is downloaded
    loaded = load_encoder(encoder, layer=layer, device="cpu", compat=compat, normalization=entering)
    codebook = import_codebook(file, loaded.spec, way)
    codebook.save(out)
    spec = codebook.spec
    named = {"encoder": spec.encoder.model, "layer": spec.encoder.layer} if spec.encoder else {}
    print_values({"units": spec.clusters, **named, "digest": spec.digest, "folder": str(out)}, json)


@app.command()
def assign(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="A store of the codebook's encoder and layer.")],
    codebook: Annotated[Path, typer.Option(help="Folder of a codebook or quantizer, or a name such as embedded-100.")],
    out: Annotated[Path, typer.Option(help="Units, .jsonl; NAME-0.jsonl and so on for several codebooks.")],
) -> None:
    """Assign units to frames; each run of a unit becomes one unit with its duration.

    Examples:
      speechkit units assign features --codebook kmeans-100 --out units.jsonl
    """
    from speechkit.encoders.store import FeatureStore
    from speechkit.units.quantizers import open_quantizer, unit_sets
    from speechkit.units.sequences import assign_store, write_sequences

    quantizer = open_quantizer(codebook)
    sets = len(unit_sets(quantizer))
    paths = [out] if sets == 1 else [out.with_name(f"{out.stem}-{index}{out.suffix}") for index in range(sets)]
    count = write_sequences(paths, assign_store(FeatureStore(features), quantizer))
    typer.echo(f"units of {count:,} recordings in {', '.join(map(str, paths))}")


@app.command()
def health(
    units: Units,
    codebook: Quantizer,
    alignment: Annotated[Path | None, typer.Option(help="A manifest with alignments of the same recordings.")] = None,
    tier: Annotated[str, typer.Option(help="The tier of the alignment to compare with.")] = "phone",
    json: Json = False,
) -> None:
    """Unit usage and rate, and mutual information with phones.

    Examples:
      speechkit units health units.jsonl --codebook kmeans-100

      speechkit units health units.jsonl --codebook kmeans-100 --alignment silver.jsonl --tier phone --json
    """
    import msgspec

    from speechkit.data.manifest import read_manifest
    from speechkit.units.frame_labels import aligned_labels
    from speechkit.units.health import codebook_health, label_agreement

    sequences, named_by = read_units(units, codebook)
    rate = named_by.frames_per_second
    frames = {row.id: row.frames() for row in sequences}
    facts = msgspec.to_builtins(codebook_health(frames.values(), named_by.clusters, rate))
    if alignment is not None:
        lengths = {name: len(row) for name, row in frames.items()}
        named = aligned_labels(read_manifest(alignment), tier, lengths, alignment, rate)
        agreement = label_agreement([frames[name] for name in named], list(named.values()))
        facts |= {f"{tier} {key.replace('_', ' ')}": value for key, value in msgspec.to_builtins(agreement).items()}
    print_values(facts, json)


app.command()(bpe)
app.command()(encode)
app.command()(decode)
app.command()(convert)
app.command()(known)
app.command()(ngram)
app.command()(perplexity)
app.command("say")(say_units)


@app.command()
def draw(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The recordings.")],
    units: Annotated[list[Path], typer.Option(help="A file written by assign, one ribbon each; repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder of the pictures, ID.png.")],
    alignment: Annotated[Path | None, typer.Option(help="A manifest with words of the same recordings.")] = None,
    ids: Annotated[str, typer.Option(help="Recordings, comma-separated.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most pictures.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length drawn, from the beginning.")] = 10.0,
) -> None:
    """Draw sound, units and words above one another, as PNG, with the extra plots.

    Examples:
      speechkit units draw test.jsonl --units k-100.jsonl --units k-500.jsonl --alignment silver.jsonl --out pictures
    """
    from speechkit.cli.left_out import LeftOut
    from speechkit.cli.unit_drawing import draw_units

    asked = [name.strip() for name in ids.split(",") if name.strip()]
    left_out = LeftOut()
    drawn = 0
    for path in draw_units(manifest, units, out, alignment, asked, limit, seconds, left_out.add):
        typer.echo(path)
        drawn += 1
    left_out.end(drawn)

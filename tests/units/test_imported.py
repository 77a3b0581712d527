"""Claims about codebooks of other toolkits: real files give their centroids, and no file can make anything run."""

from __future__ import annotations

import bz2
import json
import os
import pickle
import pickletools
import zlib
from contextlib import suppress

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA

from speechkit.cli.main import call
from speechkit.encoders import load_encoder
from speechkit.errors import UserError
from speechkit.io import pickled_arrays
from speechkit.io.pickle_machine import Made
from speechkit.io.pickled_arrays import read_pickled
from speechkit.units.codebook import Codebook
from speechkit.units.imported import import_codebook

ROWS = np.random.default_rng(0).standard_normal((300, 80)).astype(np.float32)
# As HuBERT's and GSLM's recipes make them: the state of a random generator is in the file too.
FAIRSEQ = MiniBatchKMeans(7, n_init=1, max_iter=5, random_state=np.random.RandomState(3)).fit(ROWS)
PLAIN = KMeans(5, n_init=1, max_iter=5, init=ROWS[:5].astype(np.float64), random_state=0).fit(ROWS.astype(np.float64))


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3)], ids=["plain", "zlib", "gzip"])
@pytest.mark.parametrize("model", [FAIRSEQ, PLAIN], ids=["minibatch", "full"])
def test_a_joblib_file_gives_the_centroids_that_joblib_would(tmp_path, model, compress, protocol):
    joblib.dump(model, tmp_path / "km.bin", compress=compress, protocol=protocol)
    codebook = import_codebook(tmp_path / "km.bin", None)
    assert np.array_equal(codebook.centroids, model.cluster_centers_.astype(np.float32))
    assert codebook.assign(ROWS).tolist() == model.predict(ROWS.astype(model.cluster_centers_.dtype)).tolist()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "held",
    [FAIRSEQ, PLAIN.cluster_centers_, np.asfortranarray(PLAIN.cluster_centers_), PLAIN.cluster_centers_.astype(">f4")],
    ids=["model", "array", "by columns", "big-endian"],
)
def test_a_plain_pickle_is_read_too(tmp_path, held, protocol):
    (tmp_path / "km.pkl").write_bytes(pickle.dumps(held, protocol=protocol))
    wanted = held if isinstance(held, np.ndarray) else held.cluster_centers_
    assert np.array_equal(import_codebook(tmp_path / "km.pkl", None).centroids, wanted.astype(np.float32))


def test_files_of_old_libraries_are_read(tmp_path, monkeypatch):
    """Before joblib 1.3 no bytes were leapt over before an array, and modules had other names."""
    make = joblib.numpy_pickle.NumpyPickler._create_array_wrapper

    def unaligned(self, array):
        wrapper = make(self, array)
        del wrapper.numpy_array_alignment_bytes
        return wrapper

    monkeypatch.setattr(joblib.numpy_pickle.NumpyPickler, "_create_array_wrapper", unaligned)
    joblib.dump(FAIRSEQ, tmp_path / "km.bin", protocol=2)
    for whole, new, old in (
        ((tmp_path / "km.bin").read_bytes(), b"cluster._kmeans\n", b"cluster.k_means_\n"),
        (pickle.dumps(FAIRSEQ, protocol=2), b"cnumpy._core.", b"cnumpy.core."),
    ):
        assert new in whole
        (tmp_path / "old.bin").write_bytes(whole.replace(new, old))
        assert np.array_equal(import_codebook(tmp_path / "old.bin", None).centroids, FAIRSEQ.cluster_centers_)


def test_centroids_of_numpy_are_read_and_objects_are_not(tmp_path):
    np.save(tmp_path / "km.npy", PLAIN.cluster_centers_)
    assert np.array_equal(import_codebook(tmp_path / "km.npy", None).centroids, PLAIN.cluster_centers_.astype("f4"))
    np.save(tmp_path / "objects.npy", np.array([[Hostile("true")]], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"not a valid \.npy file.*numbers"):
        import_codebook(tmp_path / "objects.npy", None)
    whole = (tmp_path / "km.npy").read_bytes()
    for torn in (b"", whole[:50], whole[:-8], whole.replace(b"(5, 80)", b"(9999999999, 80)".ljust(7))):
        (tmp_path / "torn.npy").write_bytes(torn)
        with pytest.raises(UserError, match="not a valid"):
            import_codebook(tmp_path / "torn.npy", None)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("how", ["alone", "inside", "joblib"])
def test_a_hostile_file_runs_nothing(tmp_path, protocol, how):
    mark = tmp_path / "ran"
    hostile = Hostile(f"touch {mark}")
    if how == "inside":
        model = KMeans(3, n_init=1, max_iter=2).fit(ROWS[:20])
        model.verbose = hostile
        hostile = model
    path = tmp_path / "km.bin"
    joblib.dump(hostile, path, protocol=protocol) if how == "joblib" else path.write_bytes(
        pickle.dumps(hostile, protocol=protocol)
    )
    with pytest.raises(UserError, match=r"names '\w+\.system'.*no place.*k-means"):
        import_codebook(path, None)
    assert not mark.exists()
    joblib.load(path)
    assert mark.exists()  # the file would have run it


def test_what_it_would_call_is_only_written_down(tmp_path):
    # numpy.f2py.compile runs a compiler: the name may stand there, since no name is ever followed.
    path = tmp_path / "km"
    path.write_bytes(b"cnumpy.f2py\ncompile\n(S'x'\ntR.")
    found = read_pickled(path)
    assert isinstance(found, Made)
    assert (str(found.of), found.arguments) == ("numpy.f2py.compile", ("x",))
    with pytest.raises(UserError, match=r"contains numpy\.f2py\.compile without cluster_centers_"):
        import_codebook(path, None)


def test_other_content_is_one_sentence(tmp_path):
    path = tmp_path / "km.bin"

    def refused(sentence, **given):
        with pytest.raises(UserError, match=sentence) as caught:
            import_codebook(path, given.get("encoder"), given.get("normalization", "none"))
        assert "\n" not in str(caught.value)

    refused("no such file")
    joblib.dump(PCA(2).fit(ROWS), path)
    refused(r"contains sklearn\.decomposition\._pca\.PCA without cluster_centers_")
    joblib.dump(KMeans(4), path)
    refused(r"KMeans without cluster_centers_")
    joblib.dump(FAIRSEQ, path, compress=("bz2", 3))
    refused("compressed with bzip2, which is not read")
    joblib.dump(np.array([["a", None]], object), path)
    refused("array of 'O8', not of numbers")
    joblib.dump(ROWS[0], path)
    refused(r"float32 of shape \(80,\)")
    joblib.dump(ROWS.astype(int), path)
    refused("int64 of shape")
    joblib.dump(np.zeros((0, 4)), path)
    refused("0 centroids of width 4")
    joblib.dump(np.full((3, 4), np.nan), path)
    refused("contains NaN or infinity")
    joblib.dump(np.full((3, 4), 1e300), path)
    refused("contains NaN or infinity")
    joblib.dump(ROWS[:5, :12], path)
    refused("have width 12, frames of log-mel 80", encoder=load_encoder("log-mel").spec)
    refused("use none or unit-length", normalization="standardized")
    path.write_bytes(pickle.dumps({"cluster_centers_": "far"}))
    refused("without cluster_centers_")
    path.write_bytes(zlib.compress(b"x" * 1000)[:-9])
    refused("ends too early")
    path.write_bytes(b"\x1f\x8bnot gzip")
    refused("compressed and damaged")
    path.write_bytes(b"PK\x03\x04 an archive of torch")
    refused("no whole pickle of a k-means")
    path.write_bytes(bz2.compress(b"x"))
    refused("bzip2")


def test_absurd_shapes_take_no_memory(tmp_path):
    joblib.dump(ROWS[:5], tmp_path / "km.bin", protocol=2)
    whole = (tmp_path / "km.bin").read_bytes()
    (place,) = [at for op, argument, at in _instructions(whole) if op.name == "BININT1" and argument == 5][:1]
    huge = b"\x8a\x05\x00\x00\x00\x00\x7f"  # LONG1 of five bytes
    (tmp_path / "huge.bin").write_bytes(whole[:place] + huge + whole[place + 2 :])
    with pytest.raises(UserError, match=r"shape.*array.*none"):
        import_codebook(tmp_path / "huge.bin", None)
    (tmp_path / "more.bin").write_bytes(whole[:place] + b"K\xff" + whole[place + 2 :])
    with pytest.raises(UserError, match=r"ends inside.*array.*shape \(255, 80\)"):
        import_codebook(tmp_path / "more.bin", None)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled_arrays, "MAX_BYTES", 1 << 16)
    (tmp_path / "bomb").write_bytes(zlib.compress(bytes(1 << 20)))
    with pytest.raises(UserError, match="holds more than"):
        read_pickled(tmp_path / "bomb")
    (tmp_path / "large").write_bytes(bytes((1 << 16) + 1))
    with pytest.raises(UserError, match="is larger than"):
        read_pickled(tmp_path / "large")


@pytest.mark.parametrize("content", [b"cnumpy\nx\n" + b")R" * 150_000 + b".", b")" + b"\x85" * 300_000 + b"."])
def test_deep_nesting_ends_in_a_sentence(tmp_path, content):
    (tmp_path / "deep").write_bytes(content)
    with pytest.raises(UserError, match="more than 10,000 instructions"):
        import_codebook(tmp_path / "deep", None)


DOUBLED = b")" + b"2\x86" * 60  # DUP and TUPLE2: a tuple of 2**60 leaves in 120 bytes


@pytest.mark.parametrize(
    "content",
    [
        DOUBLED + b"X\x01\x00\x00\x00a\x93.",  # the module of a class
        b"X\x05\x00\x00\x00numpy" + DOUBLED + b"\x93.",  # its name
        b"}" + DOUBLED + b"K\x01s.",  # a key
        b"}X\x10\x00\x00\x00cluster_centers_" + DOUBLED + b"s.",  # the centroids
        b"cnumpy._core.multiarray\n_frombuffer\n(C\x00cnumpy\ndtype\n(" + DOUBLED + b"tR" + DOUBLED + b"K\x00tR.",
        b"cnumpy._core.multiarray\n_frombuffer\n(C\x00cnumpy\ndtype\n(X\x02\x00\x00\x00f4tR" + DOUBLED + b"K\x00tR.",
        DOUBLED + b"." + DOUBLED,
    ],
)
def test_tuples_of_tuples_are_neither_hashed_nor_shown(tmp_path, content):
    (tmp_path / "doubled").write_bytes(content)
    with pytest.raises(UserError):
        import_codebook(tmp_path / "doubled", None)


def test_what_grows_a_hundredfold_is_no_codebook(tmp_path):
    (tmp_path / "bomb").write_bytes(zlib.compress(bytes(1 << 25)))
    with pytest.raises(UserError, match="holds more than 16,777,216 bytes"):
        read_pickled(tmp_path / "bomb")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_sentence_or_a_codebook(tmp_path, data):
    path = tmp_path / "km.bin"
    if not path.exists():
        joblib.dump(PLAIN, path)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged").write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with suppress(UserError):  # any other error fails
        assert import_codebook(tmp_path / "damaged", None).centroids.ndim == 2


def test_the_command_writes_a_codebook_of_the_named_encoder(tmp_path, capsys):
    joblib.dump(FAIRSEQ, tmp_path / "km.bin")
    command = ["units", "import", str(tmp_path / "km.bin"), "--encoder", "log-mel", "--out", str(tmp_path / "book")]
    assert call([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    book = Codebook.load(tmp_path / "book")
    assert facts["digest"] == book.spec.digest
    assert facts["units"] == 7
    assert book.spec.encoder == load_encoder("log-mel").spec
    with pytest.raises(UserError, match="weights is"):
        book.check(load_encoder("mfcc").spec)
    assert call([*command[:3], "--encoder", "mfcc", "--out", str(tmp_path / "other")]) == 2
    assert "width 80" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def _instructions(content):
    """Those before the bytes of the array."""
    found = []
    try:
        found.extend(pickletools.genops(content))
    except ValueError:
        found = []
        for each in pickletools.genops(content):
            found.append(each)
            if each[0].name == "BUILD" and len([op for op, _, _ in found if op.name == "BUILD"]) == 2:
                break
    return found

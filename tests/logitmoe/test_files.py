"""Files of measures: the same bits come back, no damage goes unseen, and what was there is not lost."""

import io
import json
import os
import zipfile
from hashlib import sha256

import numpy as np
import pytest

from logitmoe import MixingMeasure
from logitmoe import files as files_module
from logitmoe.measure import FIELDS


def random_measure(batch=(), scale=2.0, k=3, K=3, d=2):
    rng = np.random.default_rng(0)
    return MixingMeasure(*(scale * rng.normal(size=(*batch, *shape)) for shape in ((k,), (k, d), (k, K), (k, K, d))))


SMALL = MixingMeasure([1, 0.1], [[3], [0]], [[-1 / 3, 0], [1, 0]], [[[2], [0]], [[-1e-9], [0]]])


def sealed(record):
    """The bytes of a JSON file with the checksum that belongs to this record."""
    lines = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in record.items())
    body = ("{\n" + lines + '  "checksum": "').encode()
    return body + sha256(body).hexdigest().encode() + b'"\n}\n'


@pytest.mark.parametrize("suffix", [".json", ".npz", ".JSON"])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0,), (0, 2)])
def test_files_round_trip_bit_for_bit(tmp_path, suffix, batch):
    G = random_measure(batch=batch, scale=1e3)
    if not batch:
        G = MixingMeasure([-0.0, 5e-324, 0.1], G.beta1 * 1e300, G.a / 3, G.b * 1e-310)
    path = tmp_path / f"measure{suffix}"
    G.save(path)
    H = MixingMeasure.load(str(path))
    for name in FIELDS:
        assert getattr(H, name).shape == getattr(G, name).shape
        assert getattr(H, name).tobytes() == getattr(G, name).tobytes()


def test_files_are_readable_without_the_package(tmp_path):
    SMALL.save(tmp_path / "G.json")
    text = (tmp_path / "G.json").read_text()
    record = json.loads(text)
    assert record.pop("checksum") in text and text.encode() == sealed(record)
    assert (record["beta0"], record["version"], record["shape"]) == ([1.0, 0.1], 2, [2, 2, 1])
    assert len(text.splitlines()) == 10
    SMALL.save(tmp_path / "G.npz")
    with np.load(tmp_path / "G.npz") as archive:
        np.testing.assert_array_equal(archive["beta0"], SMALL.beta0)
    assert zipfile.ZipFile(tmp_path / "G.npz").testzip() is None


def test_suffix_decides(tmp_path):
    for path in ("G.csv", "G"):
        with pytest.raises(ValueError, match="^path: expected a suffix .json or .npz, got 'G"):
            random_measure().save(tmp_path / path)
        with pytest.raises(ValueError, match="^path: expected a suffix .json or .npz, got 'G"):
            MixingMeasure.load(tmp_path / path)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_missing_file(tmp_path, suffix):
    with pytest.raises(FileNotFoundError):
        MixingMeasure.load(tmp_path / f"none{suffix}")


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_every_flipped_bit_is_an_error(tmp_path, suffix):
    path = tmp_path / f"G{suffix}"
    SMALL.save(path)
    content, refused = path.read_bytes(), 0
    for place in range(len(content)):
        for bit in range(8) if suffix == ".json" else (place % 8,):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            try:
                MixingMeasure.load(path)
            except ValueError as error:
                assert f"G{suffix}: expected a file written by save, with its checksum" in str(error)
                refused += 1
    assert refused == len(content) * (8 if suffix == ".json" else 1)
    path.write_bytes(content)
    assert MixingMeasure.load(path).allclose(SMALL, atol=0.0)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_other_bytes_are_an_error(tmp_path, suffix):
    path = tmp_path / f"G{suffix}"
    SMALL.save(path)
    content = path.read_bytes()
    other = io.BytesIO()
    np.savez(other, x=np.zeros(3))
    for bad in (b"", b"{}", b"[1, 2]", b"\xff\xfe\x00", b"[" * 5000, content[:-1], content + b" ", other.getvalue()):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=rf"G{suffix}: expected a file written by save"):
            MixingMeasure.load(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "other"}, "format: expected 'logitmoe.MixingMeasure', got 'other'"),
        ({"version": 3}, "version: expected 2, got 3"),
        ({"beta1": None}, "beta1: expected real numbers"),
        ({"beta1": [[1.0]]}, r"beta1: expected shape \(2, 1\)"),
        ({"a": [[float("nan"), 0], [1, 0]]}, "a: expected finite numbers, got nan"),
        ({"shape": [2, 2]}, "not enough values|missing"),
        ({"shape": "wide"}, "shape: expected an integer"),
        ({"shape": [2.7, 2, 1]}, "shape: expected an integer of at least 0, got 2.7"),
        ({"shape": [-1, 2, 1]}, "shape: expected an integer of at least 0"),
    ],
)
def test_content_that_is_no_measure(tmp_path, change, text):
    path = tmp_path / "bad.json"
    SMALL.save(path)
    record = json.loads(path.read_text())
    del record["checksum"]
    path.write_bytes(sealed(record))
    assert MixingMeasure.load(path).allclose(SMALL, atol=0.0)  # the control
    path.write_bytes(sealed({**record, **change}))
    with pytest.raises(ValueError, match=f"bad.json: not a readable file of logitmoe.MixingMeasure: .*({text})"):
        MixingMeasure.load(path)


@pytest.mark.parametrize("field", ["shape", *FIELDS])
def test_content_without_a_field(tmp_path, field):
    path = tmp_path / "bad.json"
    SMALL.save(path)
    record = json.loads(path.read_text())
    path.write_bytes(sealed({name: value for name, value in record.items() if name not in (field, "checksum")}))
    with pytest.raises(ValueError, match=f"bad.json: not a readable file of .*: no {field}"):
        MixingMeasure.load(path)


def test_npz_with_objects_is_not_unpickled(tmp_path):
    path = tmp_path / "bad.npz"
    arrays = {name: getattr(SMALL, name) for name in FIELDS} | {"b": np.array([print], dtype=object)}
    files_module.write_arrays(path, "logitmoe.MixingMeasure", [2, 2, 1], arrays)
    with pytest.raises(ValueError, match="bad.npz: not a readable file of .*Object arrays cannot be loaded"):
        MixingMeasure.load(path)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, suffix, broken):
    path = tmp_path / f"G{suffix}"
    SMALL.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(OSError, match="No space left"):
        random_measure().save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]

"""Files of named arrays that come back bit for bit or not at all: a checksum covers every other byte of the file."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from io import BytesIO
from math import prod
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from .checks import as_float_array, as_shape, message

__all__ = ["read_arrays", "read_words", "replace_file", "write_arrays"]

_VERSION = 2
_BEFORE, _AFTER = b'  "checksum": "', b'"\n}\n'
_DIGITS = 2 * sha256().digest_size


def replace_file(path, content):
    """Write bytes to a file, beside it first: until they are on the disk, what was there stays."""
    part = Path(path).with_name(f"{Path(path).name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_arrays(path, kind, shape, arrays, words=None):
    """Write a dict of float arrays to a file ``.json`` (text, one line for each array) or ``.npz`` (NumPy).

    `kind` says what the arrays are, and `shape` are sizes that tell their shapes: `read_arrays` asks for both. `words`
    is what else goes into the file, lists and dicts of text and numbers: `read_words` gives it back.
    """
    path, suffix = _as_path(path)
    header = {"format": kind, "version": _VERSION, "shape": list(shape)}
    if words is not None:
        header["words"] = json.dumps(words)
    if suffix == ".json":
        record = {**header, **{name: array.tolist() for name, array in arrays.items()}}
        lines = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in record.items())
        body = b"{\n" + lines.encode() + _BEFORE
        content = body + _digest(body) + _AFTER
    else:
        buffer = BytesIO()
        np.savez(buffer, **header, **arrays)
        with ZipFile(buffer, "a") as archive:
            archive.comment = bytes(_DIGITS)  # the last bytes of the file: here the checksum goes
        body = buffer.getvalue()[:-_DIGITS]
        content = body + _digest(body)
    replace_file(path, content)


def read_arrays(path, kind, shapes):
    """Read the arrays of a file of `write_arrays`.

    Raises FileNotFoundError if there is no such file; ValueError if the suffix is another one, a bit of the file has
    changed, or the content is of another kind or version.

    `shapes` is a function of the sizes, ``shapes(*shape)``: a dict of the names of the arrays to their shapes. The
    result is a dict of the names to the arrays.
    """
    record = _read(path, kind)
    try:
        arrays = {}
        for name, shape in shapes(*as_shape(record["shape"], "shape")).items():
            array = as_float_array(record[name], name)
            if array.size == prod(shape) == 0:
                array = array.reshape(shape)  # the list of a batch without measures does not show its other axes
            arrays[name] = as_float_array(array, name, shape=shape)
        return arrays
    except KeyError as error:
        raise ValueError(f"{path}: not a readable file of {kind}: no {error.args[0]}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a readable file of {kind}: {error}") from error


def read_words(path, kind):
    """Read the `words` of a file of `write_arrays`, None if it has none; errors as those of `read_arrays`."""
    words = _read(path, kind).get("words")
    return None if words is None else json.loads(words)


def _read(path, kind):
    """Return the record of a file of that kind, whose checksum is right."""
    path, suffix = _as_path(path)
    content = path.read_bytes()
    after = _AFTER if suffix == ".json" else b""
    end = len(content) - len(after)
    body, digest = content[: max(end - _DIGITS, 0)], content[max(end - _DIGITS, 0) :]
    if digest != _digest(body) + after:
        remedy = "it is damaged, was changed by hand, or is another kind of file: save it again"
        raise ValueError(message(str(path), "a file written by save, with its checksum", "other bytes", remedy))
    try:
        if suffix == ".json":
            record = json.loads(content)
        else:
            with np.load(BytesIO(content), allow_pickle=False) as archive:
                record = {name: archive[name].tolist() if archive[name].ndim < 2 else archive[name] for name in archive}
        for name, value in (("format", kind), ("version", _VERSION)):
            if record.get(name) != value:
                got, remedy = repr(record.get(name)), "give a file written by save"
                raise ValueError(message(name, repr(value), got, remedy))
        return record
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a readable file of {kind}: {error}") from error


def _digest(content):
    return sha256(content).hexdigest().encode()


def _as_path(path):
    """Return the path and its suffix in lower case, .json or .npz."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".json", ".npz"):
        raise ValueError(message("path", "a suffix .json or .npz", f"{path.name!r}", "rename the file"))
    return path, suffix

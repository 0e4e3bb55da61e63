"""Files: written whole or not at all, read as dataclasses; one sentence for a person when either fails."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from repro.errors import ReproError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    # processes of two containers or nodes that share the folder can have one number
    tmp = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(tmp, content)
        os.replace(tmp, path)
    except OSError as e:
        with contextlib.suppress(OSError):
            tmp.unlink(missing_ok=True)
        raise disk_error(e, path.parent) from e


def write(path: Path, content: str | bytes) -> None:
    """Write a file and flush it to disk."""
    with path.open("wb") as f:
        f.write(content.encode() if isinstance(content, str) else content)
        f.flush()
        os.fsync(f.fileno())


def sync(folder: Path) -> None:
    """Flush to disk which names a folder holds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(e: OSError, folder: Path) -> ReproError:
    """What a person is to do when a file under `folder` could not be written."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return ReproError(
            f"The disk under {folder} is full: free some space and run again; all stored runs are intact."
        )
    return ReproError(
        f"{folder} cannot be written ({e.strerror}): check its permissions and run again; stored runs are intact."
    )


def built(kind: type, values: dict[str, Any], where: str) -> Any:
    """The dataclass `kind` from the values of a TOML or JSON file, lists as tuples. Raises ReproError, which begins with
    `where`, for a field that is missing, unknown or of another type."""
    try:
        made = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as e:  # Python names the field that is missing or unknown
        raise ReproError(f"{where} {str(e).partition('() ')[2] or 'is no table'}: mend the file.") from e
    for name, hint in get_type_hints(kind).items():
        parts = get_args(hint) if get_origin(hint) is UnionType else (hint,)
        allowed = tuple(get_origin(part) or part for part in parts)
        value = getattr(made, name)
        if not isinstance(value, allowed + (int,) * (float in allowed)) or isinstance(value, bool):
            raise ReproError(
                f"{where} has {name} = {value!r}, which is not of type {getattr(hint, '__name__', hint)}: mend the file."
            )
    return made

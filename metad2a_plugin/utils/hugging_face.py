"""The Hugging Face hub: the few files of a model that are asked for come down, and files go up; nothing in them runs.

A place there is written ``hf:user/repo`` or ``hf:user/repo@revision``: a branch, a tag or a commit. Tokens, the cache
and the address of the hub are those of `huggingface_hub`, which is imported when a place is used.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeGuard

from metad2a_plugin.errors import CheckpointError, ConfigError, MetaD2AError, require, said
from metad2a_plugin.utils.schema import why

PREFIX = "hf:"
_PLACE = re.compile(r"(?P<repo>\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOG_IN = "log in with 'hf auth login', or set HF_TOKEN"


class Place(NamedTuple):
    """A repository of models; without a revision its main branch is meant."""

    repo: str
    revision: str | None


def on_hub(name: object) -> TypeGuard[str]:
    """Whether a name is that of a place on the hub."""
    return isinstance(name, str) and name.startswith(PREFIX)


def parse_place(name: str) -> Place:
    """Read the name of a place, with or without `PREFIX`.

    >>> parse_place("hf:user/repo@v1.0")
    Place(repo='user/repo', revision='v1.0')

    Raises:
        ConfigError: it is none.
    """
    found = _PLACE.fullmatch(name.removeprefix(PREFIX)) if isinstance(name, str) else None
    if found is None or ".." in name or "--" in found["repo"] or len(found["repo"]) > 96:
        raise ConfigError(f"{said(name)} is no place on the hub; expected 'hf:user/repo' or 'hf:user/repo@revision'")
    return Place(found["repo"], found["revision"])


def download(name: str, files: Mapping[str, int], *, local_files_only: bool = False) -> Path:
    """Bring files of a repository into the cache of `huggingface_hub`, and no others.

    Where the hub cannot be reached, what is in the cache is taken, with a warning. A commit that is in the cache needs
    no hub.

    Args:
        name: of the place.
        files: their names, and the most bytes each may have, which is checked before it is fetched.
        local_files_only: take them from the cache, as ``HF_HUB_OFFLINE=1`` does for all.

    Returns:
        The folder that they are in.

    Raises:
        MissingExtraError: huggingface_hub is not installed (extra ``hub``).
        ConfigError: the name is wrong.
        CheckpointError: there is no such repository, revision or file, a file is too large, or the hub cannot be
            reached and the cache does not have it.
    """
    place = parse_place(name)
    require("hub", f"{name!r}", "huggingface_hub")
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    away = "it was to be taken from the cache" if local_files_only else ""
    try:
        pinned = place.revision is not None and _COMMIT.fullmatch(place.revision) is not None
        cached = [try_to_load_from_cache(place.repo, file, revision=place.revision) for file in files] if pinned else []
        if not away and not (cached and all(isinstance(file, str) for file in cached)):
            away = _looked_up(name, place, files)
        local = bool(away) or (pinned and all(isinstance(file, str) for file in cached))
        paths = [
            Path(hf_hub_download(place.repo, file, revision=place.revision, local_files_only=local)) for file in files
        ]
    except MetaD2AError:
        raise
    except Exception as error:
        raise CheckpointError(_refusal(name, error, away)) from error
    for file, path in zip(files, paths, strict=True):
        _bounded(name, file, path.stat().st_size, files[file])  # of a cache that others may have filled
    if len({path.parent for path in paths}) > 1:
        raise CheckpointError(f"{name!r} was changed while it was fetched; try again")
    return paths[0].parent


def _looked_up(name: str, place: Place, files: Mapping[str, int]) -> str:
    """Compare files with what the hub says of them; why it cannot be asked, else nothing."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        found = HfApi().get_paths_info(place.repo, list(files), revision=place.revision)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except HFValidationError:
        raise
    except Exception as error:
        if isinstance(error, HfHubHTTPError) and _status(error) < 500:
            raise
        away = f"the hub cannot be reached ({why(error)})"
        warnings.warn(f"{away}: {name!r} is taken from the cache, where it may be older", stacklevel=3)
        return away
    sizes = {file.path: getattr(file, "size", None) for file in found}  # a folder has none
    for file, most in files.items():
        size = sizes.get(file)
        if size is None:
            raise CheckpointError(_lacks(name, file))
        _bounded(name, file, size, most)
    return ""


def _bounded(name: str, file: str, size: int, most: int) -> None:
    if size > most:
        raise CheckpointError(f"{file} of {name!r} has {size:,} bytes, more than the {most:,} that are read")


def _lacks(name: str, file: str) -> str:
    return f"{name!r} has no {file}, so it is no model of this package; push_to_hub() writes one"


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _refusal(name: str, error: Exception, away: str) -> str:
    """What is wrong, by the errors of `huggingface_hub`."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"{name!r} is gated: ask for access on its page, then {_LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no repository {name!r} that may be read; mind the spelling, and for a private one {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        revision = parse_place(name).revision
        return f"the repository of {name!r} has no branch, tag or commit {revision!r}; leave @{revision} out for main"
    if isinstance(error, errors.LocalEntryNotFoundError) and away:
        return f"{name!r} is not in the cache, and {away}; fetch it once with a connection to the hub"
    if isinstance(error, errors.EntryNotFoundError):
        return f"a file of {name!r} is missing ({why(error)})"
    if _status(error) in (401, 403):
        return f"the hub does not give {name!r} to you ({why(error)}); {_LOG_IN}"
    return f"{name!r} cannot be fetched ({why(error)}); try again"


def upload(name: str, files: Mapping[str, bytes], *, private: bool | None = None, message: str) -> str:
    """Write files to a repository as one commit; it is made if there is none.

    Args:
        name: of the place; its revision is a branch that is there.
        files: their names and contents.
        private: whether a repository that is made is; None leaves that to the account.
        message: of the commit.

    Returns:
        The name of the commit, for `download`.

    Raises:
        MissingExtraError: huggingface_hub is not installed (extra ``hub``).
        ConfigError: the name is wrong, the hub cannot be reached, or it refuses.
    """
    place = parse_place(name)
    require("hub", f"writing to {name!r}", "huggingface_hub")
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    api = HfApi()
    try:
        api.create_repo(place.repo, private=private, exist_ok=True)
        operations = [CommitOperationAdd(file, content) for file, content in files.items()]
        commit = api.create_commit(place.repo, operations, commit_message=message, revision=place.revision)
    except Exception as error:
        if isinstance(error, errors.RevisionNotFoundError):
            fix = f"it has no branch {place.revision!r}; make one, or leave it out"
        elif _status(error) in (401, 403, 404):
            fix = f"{_LOG_IN} of a token that may write there"
        elif isinstance(error, errors.OfflineModeIsEnabled):
            fix = "HF_HUB_OFFLINE is set; unset it"
        else:
            fix = "try again"
        raise ConfigError(f"cannot write to {name!r} ({why(error)}); {fix}") from error
    return f"{PREFIX}{place.repo}@{commit.oid}"

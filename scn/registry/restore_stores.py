"""Restores all images of one store into another, here or on a Ray cluster."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from scn.core import terminal
from scn.core.errors import UserError
from scn.core.files import HIDDEN
from scn.core.masking import masked
from scn.imaging.formats import Format, looks_like_an_image, named
from scn.imaging.image_io import check_holds, decode_photograph, encode_photograph, lost
from scn.inference.batch import NothingToRestore
from scn.inference.inputs import check_suffix
from scn.inference.restore import Options
from scn.registry.several import Models, Packed
from scn.storage import open_store
from scn.storage.base import ObjectExists, ObjectNotFound, Store, StoreError, StoreLacks
from scn.storage.patience import reached

RECORDS = "manifest"
"""Folder of the records; the one of NAME.png is manifest/NAME.png.json."""
MANIFEST = "manifest.json"
"""All records, written when a command ends."""
_STORE_TIMEOUT_S = 600.0
"""A store may fail so long."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is done with every image."""

    source: Store
    target: Store
    packed: Packed
    reference: str
    options: Options
    as_format: str
    factor: Fraction | None = None
    quality: int | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the results, as JSON."""
        packed = sorted(self.packed.files.items())
        models = {name: hashlib.sha256(files["model.safetensors"]).hexdigest() for name, (_, files) in packed}
        return {
            "model": self.reference,
            "weights": models,
            "factor": str(self.factor) if self.factor is not None else None,
            "quality": self.quality,
            "self_ensemble": self.options.self_ensemble,
            "chroma": self.options.chroma,
            "strength": self.options.strength,
            "precision": self.options.precision,
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one image."""

    source: str
    target: str
    error: str = ""
    """Why it was not restored; "" if it was, or if there is nothing to restore in it."""
    nothing: str = ""
    """What was found where there is nothing to restore."""


def targets(keys: Sequence[str], as_format: Format, suffix: str = "") -> dict[str, str]:
    """Key of an image -> key of its result: the same path, with the format's suffix.

    Images whose results would have one name (a.jpg, a.png) keep the whole of theirs (a.jpg.png).

    Raises:
        UserError: if two results would still have one name, or one that is kept for the records.
    """
    stems = {key: str(PurePosixPath(key).with_suffix("")) for key in keys}
    twins = {stem for stem, count in Counter(stems.values()).items() if count > 1}
    found = {key: f"{key if stem in twins else stem}{suffix}{as_format.suffixes[0]}" for key, stem in stems.items()}
    of = dict[str, str]()
    for key, target in found.items():
        if target.startswith(f"{RECORDS}/"):
            raise UserError(f"{key} would become {target}, among the records of results: put it into another folder.")
        if (other := of.setdefault(target, key)) != key:
            raise UserError(f"{other} and {key} would both become {target}: give one of them another name.")
    return found


def images_of(store: Store) -> list[str]:
    """The keys of a store that end like an image's, without hidden ones."""
    keys = (PurePosixPath(key) for key in store.list())
    hidden = (".", HIDDEN)
    return [
        str(key)
        for key in keys
        if looks_like_an_image(Path(key)) and not any(part.startswith(hidden) for part in key.parts)
    ]


def left_to_do(work: Work, wanted: dict[str, str]) -> dict[str, str]:
    """Those of the images whose results are not there; the record of a result that was deleted is deleted, too.

    Raises:
        UserError: if a result is there that was made in another way, or its record is none.
    """
    listed = set(work.target.list(f"{RECORDS}/"))  # of results of other images, too, which may be many more
    records = _records(work.target, [name for name in map(_record, wanted.values()) if name in listed])
    there = set(work.target.list())  # after the records, as each is written after its result
    left = {}
    for key, target in wanted.items():
        record = records.get(_record(target))
        if record is None:
            left[key] = target
        elif record["result"] and record["result"] not in there:
            work.target.delete(_record(target))
            left[key] = target
        elif record["settings"] != work.settings:
            raise UserError(
                f"{work.target.url}/{target} was made by another model or with other options: name another place for "
                "the results."
            )
    return left


@dataclass(kw_only=True)
class Outcome:
    """What became of all images."""

    where: str
    by: str
    restored: int = 0
    already: int = 0
    nothing: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stopped: bool = False
    """Ctrl-C came before all were done."""
    away: bool = False
    """A store failed for too long, so that the rest was not begun, or is not in the manifest."""
    unlisted: bool = False
    """What is called like a record is none, so that there is no new manifest."""

    @property
    def sentence(self) -> str:
        """For a person."""
        parts = [f"{self.restored} image{'s' if self.restored != 1 else ''} restored by {self.by}, in {self.where}"]
        parts += [f"{len(self.failed)} not"] if self.failed else []
        parts += [f"nothing to restore in {len(self.nothing)}"] if self.nothing else []
        parts += [f"{self.already} already there"] if self.already else []
        if not self.away:
            parts.append(f"{MANIFEST} there {'is not written' if self.unlisted else 'names all'}")
        if self.stopped:
            parts.append("stopped; the same command goes on")
        elif self.away:
            parts.append("stopped, as a store fails; the same command goes on when it answers")
        return "; ".join(parts)


def restore_stores(
    source: str,
    target: str,
    models: Models,
    reference: str,
    options: Options,
    kind: tuple[str, str, int | None],
    factor: Fraction | None,
    *,
    on_ray: bool,
) -> Outcome:
    """Restores all images of one store into another; what is done is found again.

    Args:
        source, target: URLs that scn.storage.open_store takes.
        models: knows `reference`.
        kind: format, suffix and quality of the results.
    Raises:
        UserError: if a store can't be used, it has no images, or results of other models lie in the target.
    """
    stores = [reached(open_store(url), _STORE_TIMEOUT_S) for url in (source, target)]
    stores[1].check()
    name, suffix, quality = kind
    check_suffix(suffix)
    work = Work(
        source=stores[0],
        target=stores[1],
        packed=models.packed(reference),
        reference=reference,
        options=options,
        as_format=name,
        factor=factor,
        quality=quality,
    )
    keys = [key for key in images_of(work.source) if not f"{work.source.url}/{key}".startswith(f"{work.target.url}/")]
    if not keys and images_of(work.source):
        raise UserError(f"The images of {source} lie in {target}, where results go: name another place for these.")
    if not keys:
        raise UserError(f"{source} holds no images: put the images that you want restored into it.")
    wanted = targets(keys, named(name), suffix)
    left = left_to_do(work, wanted)
    outcome = Outcome(where=target, by=models.names(reference), already=len(wanted) - len(left))
    results = restore_on_ray(work, left) if on_ray else restore_here(work, left, models.device)
    last = work.target
    try:
        try:
            for result in tqdm(results, total=len(left), unit="image", leave=False, disable=None, **terminal.size()):
                if result.error:
                    tqdm.write(masked(f"scn: {result.error}"), file=sys.stderr)
                    outcome.failed.append(result.source)
                elif result.nothing:
                    tqdm.write(f"{result.source}: {result.nothing}", file=sys.stderr)
                    outcome.nothing.append(result.source)
                else:
                    outcome.restored += 1
        except KeyboardInterrupt:
            outcome.stopped, last = True, open_store(target)  # which does not wait: that may be what was stopped
        try:
            write_manifest(last)
        except StoreError:
            raise
        except UserError as error:  # a record of another command: what was done here is told all the same
            print(masked(f"scn: {error}"), file=sys.stderr)
            outcome.unlisted = True
    except StoreError as error:
        print(masked(f"scn: {error}"), file=sys.stderr)
        outcome.away = True
    return outcome


def restore_here(work: Work, jobs: dict[str, str], device: str | None = None) -> Iterator[Result]:
    """Yields what became of each image, restored in this process."""
    models = work.packed.unpack(device)
    for key, target in jobs.items():
        yield restore_one(work, models, key, target)


def restore_one(work: Work, models: Models, key: str, target: str) -> Result:
    """Restores one image: the result first, then its record, which says that it is done.

    An image in which there is nothing to restore has a record and no result.

    Raises:
        StoreError: if a store fails: the next image would only wait for it as long.
    """
    name, found = f"{work.source.url}/{key}", list[str]()
    result = Result(source=key, target=target)
    try:
        data = _fetched(work.source, key)
        record = {"source": key, "source_sha256": hashlib.sha256(data).hexdigest(), "settings": work.settings}
        photograph = decode_photograph(data, name)
        kind = named(work.as_format)
        check_holds(kind, photograph, name)  # before anything is computed; its result is no smaller
        try:
            restored, by = models.restore(
                work.reference, photograph, work.options, factor=work.factor, name=name, told=found.append
            )
        except NothingToRestore as nothing:
            _put_record(work, target, record | {"result": None, "found": [str(nothing)]})
            return replace(result, nothing=str(nothing))
        found += lost(kind, restored)
        encoded = encode_photograph(restored, kind, name, work.quality)
        work.target.put(target, encoded)
        record |= {"result": target, "result_sha256": hashlib.sha256(encoded).hexdigest()}
        record |= {"by": by, "found": [*photograph.notes, *found]}
        _put_record(work, target, record)
    except ObjectExists:
        return replace(
            result, error=f"{work.target.url}/{target} is there already with other content: delete it first."
        )
    except UserError as error:
        if isinstance(error, StoreError) and not isinstance(error, ObjectNotFound | StoreLacks):
            raise
        return replace(result, error=str(error))
    except MemoryError:
        return replace(result, error=f"{name} needs more memory than there is: cut it into parts.")
    except Exception as error:  # one image ends no work, whatever is wrong with it
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return replace(result, error=f"{name} can't be restored ({what}): leave it out, and report it.")
    return result


def write_manifest(store: Store) -> None:
    """Writes the records of all results as one file. Raises UserError if one is called so and is none."""
    while True:
        before, token = store.read_pointer(MANIFEST)  # first: another command may write records, and then move it
        records = _records(store, filter(_is_record, store.list(f"{RECORDS}/")))
        data = (json.dumps({"images": list(records.values())}, indent=1) + "\n").encode()
        if before == data or store.swap_pointer(MANIFEST, data, token):
            return


def restore_on_ray(work: Work, jobs: dict[str, str]) -> Iterator[Result]:
    """Yields what became of each image, restored by Ray Data: an actor for each GPU of the cluster, or for each CPU.

    An actor that is lost is replaced, and its image restored again. Images come back as they are done.

    Raises:
        UserError: of a node with other code or versions, or as `restore_one`.
    """
    import ray

    from scn.core.nodes import common
    from scn.core.ray import start_ray
    from scn.core.ray_data import map_in_actors

    start_ray()
    reference = ray.put(work)
    with closing(map_in_actors(_Actor, (reference, common()), list(jobs.items()))) as results:
        for result in results:
            if isinstance(result, UserError):
                raise result
            yield result


class _Actor:
    def __init__(self, work: Any, needed: dict[str, str]) -> None:
        import ray
        import torch

        from scn.core.nodes import refusal

        self.refused = refusal(needed)
        if not self.refused:
            if not torch.cuda.is_available():
                torch.set_num_threads(1)  # it has one CPU
            self.work: Work = ray.get(work)
            self.models = self.work.packed.unpack()

    def __call__(self, jobs: list[tuple[str, str]]) -> Iterator[Result | UserError]:
        for key, target in jobs:
            try:
                result = self.refused or restore_one(self.work, self.models, key, target)
            except StoreError as error:
                result = error
            yield result


def _records(store: Store, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Key -> content of records. Raises UserError if one is called so and is none."""
    records = {}
    for key in keys:
        try:
            record = json.loads(store.get(key))
        except ObjectNotFound:  # its result was deleted, and another command restores it again
            continue
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or not {"settings", "result"} <= record.keys():
            raise UserError(f"{store.url}/{key} is no record of a result: move it to another place.")
        records[key] = record
    return records


def _fetched(store: Store, key: str) -> bytes:
    """An image. Raises StoreLacks for one that a store refuses which answers all the same: it must stop no other."""
    try:
        return store.get(key)
    except (ObjectNotFound, StoreLacks):
        raise
    except StoreError as error:
        open_store(store.url).check(write=False)  # without waiting again
        raise StoreLacks(str(error)) from None


def _put_record(work: Work, target: str, record: dict[str, Any]) -> None:
    work.target.put(_record(target), json.dumps(record, indent=1).encode())


def _record(target: str) -> str:
    return f"{RECORDS}/{target}.json"


def _is_record(key: str) -> bool:
    """True if the key is called like the record of a result; what else lies among them is left alone."""
    return key.endswith(".json") and looks_like_an_image(Path(key.removesuffix(".json")))

"""What names point to: `latest` moves by a rule, whatever is moved by hand stays, and the history is kept."""

import json
import shutil
import threading
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.inference.records import Metrics
from scn.registry import publish as publishing
from scn.registry.pointers import LATEST, Pointer, aliases, move, pointer_key, read
from scn.registry.promote import promote, rollback
from scn.registry.publish import latest, publish, versions
from scn.registry.reference import load, resolve
from scn.registry.rule import differences, objection
from scn.registry.trust import pointers
from scn.storage import open_store
from scn.storage.base import Store

NAME = "dn-s25"


@pytest.fixture
def project(small_project: Any) -> Any:
    return small_project


def version(project: Any, seed: int, psnr: float) -> str:
    project.add_model(NAME, seed)
    project.add_metrics(NAME, psnr)
    return publish(project.params, NAME).version


def store_of(project: Any) -> Store:
    return open_store(project.params.storage.url, project.root)


def pointer(project: Any, name: str = LATEST) -> Pointer:
    found = read(store_of(project), NAME, name)
    assert found
    return found


def moves(project: Any, name: str = LATEST) -> list[tuple[str, str]]:
    return [(each.version, each.why) for each in pointer(project, name).history]


def test_a_version_that_loses_too_much_does_not_serve(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert version(project, 1, 27.40) == "v1"
    assert version(project, 2, 27.28) == "v2"
    assert latest(store_of(project), NAME) == "v1"
    assert capsys.readouterr().err == (
        "dn-s25: v2 is published; latest stays v1, as it loses 0.12 dB on sample/evaluation (28.78 from 28.90), more "
        "than registry.latest_may_lose, 0.05: `scn models promote dn-s25@v2` moves it.\n"
    )
    assert version(project, 3, 27.35) == "v3"
    assert latest(store_of(project), NAME) == "v3"
    assert moves(project) == [("v1", "published"), ("v3", "published")]


def test_to_make_a_worse_one_serve_takes_a_reason_which_is_kept(project: Any) -> None:
    version(project, 1, 27.40)
    version(project, 2, 27.28)
    with pytest.raises(UserError, match=r"dn-s25@v2 does not take the place of v1, as it loses 0\.12 dB .* --reason"):
        promote(project.params, f"{NAME}@v2")
    assert promote(project.params, f"{NAME}@v2", reason="less ringing").version == "v2"
    assert moves(project)[-1] == ("v2", "promoted: less ringing")


def test_a_rollback_to_an_alias_leads_to_its_version(project: Any) -> None:
    for seed in (1, 2, 3):
        version(project, seed, 27.0 + seed)
    promote(project.params, f"{NAME}@v1", "production")
    assert rollback(project.params, NAME, to="production").version == "v1"
    assert load(NAME, "cpu", params_file=project.root / "params.yaml").version == "v1"
    store = store_of(project)
    with pytest.raises(ValueError, match="'production' is no version"):
        move(store, NAME, "latest", lambda found: found.moved("production", "by hand"))
    assert latest(store, NAME) == "v1"


def test_no_publish_moves_what_was_rolled_back(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2, 3):
        version(project, seed, 27.0 + seed)
    assert rollback(project.params, NAME, reason="rings at edges").version == "v2"
    assert load(NAME, "cpu", params_file=project.root / "params.yaml").version == "v2"
    capsys.readouterr()
    assert publish(project.params, NAME).version == "v3"  # nothing new
    assert version(project, 4, 40.0) == "v4"
    assert latest(store_of(project), NAME) == "v2"
    assert "latest stays v2, as it was rolled back from v3: rings at edges: " in capsys.readouterr().err
    assert versions(store_of(project), NAME) == [1, 2, 3, 4]
    assert rollback(project.params, NAME).version == "v1"  # further back, not forward to v3
    with pytest.raises(UserError, match=r"dn-s25@latest points to v1, and to nothing before: use --to vN\."):
        rollback(project.params, NAME)
    assert promote(project.params, f"{NAME}@v4").held == ""
    assert version(project, 5, 41.0) == "v5"
    assert latest(store_of(project), NAME) == "v5"
    assert [why for _, why in moves(project)] == [
        *["published"] * 3,
        *("rolled back from v3: rings at edges", "rolled back from v2", "promoted", "published"),
    ]


def test_no_publish_moves_what_is_pinned_or_was_set_by_hand(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    version(project, 1, 27.0)
    version(project, 2, 28.0)
    promote(project.params, f"{NAME}@v2", pin=True)
    version(project, 3, 29.0)
    assert latest(store_of(project), NAME) == "v2"
    assert "latest stays v2, as it is pinned: " in capsys.readouterr().err
    (project.root / "store" / pointer_key(NAME, LATEST)).write_text('{"version": "v1"}')  # without a history
    assert publish(project.params, NAME).version == "v3"
    assert latest(store_of(project), NAME) == "v1"
    assert "as it was set by hand or by an early version of scn" in capsys.readouterr().err
    assert version(project, 4, 30.0) == "v4"
    assert latest(store_of(project), NAME) == "v4"


def test_an_alias_is_a_name_of_a_version_that_moves_by_hand_only(project: Any) -> None:
    version(project, 1, 27.0)
    version(project, 2, 28.0)
    assert promote(project.params, f"{NAME}@v1", "production").version == "v1"
    assert promote(project.params, f"{NAME}@production", "staging").version == "v1"
    assert load(f"{NAME}@production", "cpu", params_file=project.root / "params.yaml").version == "v1"
    version(project, 3, 29.0)
    assert {name: each.version for name, each in pointers(store_of(project), NAME, project.params).items()} == {
        "latest": "v3",
        "production": "v1",
        "staging": "v1",
    }
    promote(project.params, f"{NAME}@latest", "production")
    assert rollback(project.params, NAME, "production").version == "v1"
    assert [found for found, _ in moves(project, "production")] == ["v1", "v3", "v1"]
    with pytest.raises(UserError, match=r"has no version 'beta' in .*: use one of v1, v2, v3, production, staging"):
        resolve(f"{NAME}@beta", project.params)
    for wrong in ("v7", "Production", "a/b", ""):
        with pytest.raises(UserError, match=rf"'{wrong}' can't be an alias: use lower-case letters"):
            promote(project.params, f"{NAME}@v1", wrong)


def test_a_damaged_version_is_never_pointed_to(project: Any) -> None:
    version(project, 1, 27.0)
    version(project, 2, 28.0)
    path = project.root / f"store/registry/{NAME}/v1/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for act in (lambda: promote(project.params, f"{NAME}@v1"), lambda: rollback(project.params, NAME)):
        with pytest.raises(UserError, match=r"model\.safetensors of dn-s25@v1 .* is missing or damaged"):
            act()
    assert latest(store_of(project), NAME) == "v2"


def test_a_version_that_can_not_be_loaded_here_is_never_pointed_to(project: Any) -> None:
    version(project, 1, 27.0)
    version(project, 2, 28.0)
    project.of_a_newer_scn(NAME, "v1")
    told = r"^dn-s25@v1: \S+ holds a model that this version of scn does not know \('gating' is no known key .*: update"
    for act in (
        lambda: promote(project.params, f"{NAME}@v1", "production"),
        lambda: promote(project.params, f"{NAME}@v1", reason="it is better"),
        lambda: rollback(project.params, NAME, to="v1"),
    ):
        with pytest.raises(UserError, match=told):
            act()
    assert latest(store_of(project), NAME) == "v2"
    assert read(store_of(project), NAME, "production") is None


def test_latest_leaves_a_version_that_is_not_there(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """As verify says of damaged ones: they are deleted, and the model is published again."""

    def delete(*gone: str) -> None:
        for each in gone:
            shutil.rmtree(project.root / "store/registry" / NAME / each)

    version(project, 1, 27.40)
    version(project, 2, 27.48)
    delete("v1", "v2")
    assert version(project, 2, 27.48) == "v1"
    assert resolve(NAME, project.params)[1] == "v1"
    version(project, 3, 27.0)  # is refused
    version(project, 4, 27.55)
    delete("v2", "v3")
    assert version(project, 5, 27.6) == "v2"
    assert resolve(NAME, project.params)[1] == "v2"
    version(project, 6, 27.65)
    promote(project.params, f"{NAME}@v3", pin=True)
    delete("v2", "v3")
    capsys.readouterr()
    assert version(project, 7, 27.65) == "v2"
    assert "latest stays v3, as it is pinned: `scn models promote dn-s25@v2` moves it" in capsys.readouterr().err
    assert promote(project.params, f"{NAME}@v2").version == "v2"


def test_what_is_left_of_a_deleted_version_is_not_compared_with(project: Any) -> None:
    version(project, 1, 27.40)
    version(project, 2, 27.28)
    with pytest.raises(UserError, match=r"dn-s25@v2 does not take the place of v1"):
        promote(project.params, f"{NAME}@v2")
    (project.root / "store/registry" / NAME / "v1/manifest.json").unlink()
    assert promote(project.params, f"{NAME}@v2").version == "v2"


def test_many_movers_at_once_lose_no_move(project: Any) -> None:
    version(project, 1, 27.0)
    store = store_of(project)

    def ten() -> None:
        for _ in range(10):
            move(store, NAME, "production", lambda present: present.moved("v1", "counted"))

    threads = [threading.Thread(target=ten) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(moves(project, "production")) == 40


def test_a_pointer_that_never_rests_ends_in_a_sentence(project: Any) -> None:
    class Busy:
        url = "s3://bucket"

        def read_pointer(self, key: str) -> tuple[None, None]:
            return None, None

        def swap_pointer(self, *arguments: object) -> bool:
            return False

    with pytest.raises(UserError, match=r"s3://bucket/registry/a/latest\.json could not be moved, as it changed 100"):
        move(Busy(), "a", LATEST, lambda present: present.moved("v1", ""))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["no JSON", "{}", '{"version": "1"}', '{"version": 1}'])
def test_a_damaged_pointer_is_one_sentence(project: Any, content: str) -> None:
    version(project, 1, 27.0)
    (project.root / "store" / pointer_key(NAME, LATEST)).write_text(content)
    with pytest.raises(UserError, match=rf"registry/{NAME}/latest\.json .*: delete it"):
        latest(store_of(project), NAME)


def metrics(project: Any, psnr: float, **provenance: Any) -> Metrics:
    store = store_of(project)
    found = json.loads(store.get(f"registry/{NAME}/v1/metrics.json"))
    found["sample/evaluation"]["model"]["psnr"] = psnr
    found["provenance"].update(provenance)
    return Metrics.loads(json.dumps(found).encode(), project.root, "")


def test_only_what_was_measured_in_the_same_way_is_compared(project: Any) -> None:
    version(project, 1, 27.0)
    before = metrics(project, 28.0, sets_sha256={"sample/evaluation": "s"})
    assert [each.gain for each in differences(before, metrics(project, 28.5))] == [0.5]
    assert objection(before, metrics(project, 27.95), 0.05) == ""
    assert "loses 0.06 dB" in objection(before, metrics(project, 27.94), 0.05)
    other = metrics(project, 28.5, data_sha256="e" * 64)
    assert objection(before, other, 0.05).startswith("they were not measured on the same images")
    same_set = metrics(project, 28.5, data_sha256="e" * 64, sets_sha256={"sample/evaluation": "s", "more": "t"})
    assert len(differences(before, same_set)) == 1
    assert differences(before, metrics(project, 28.5, protocol="sr-y-v1")) == []
    half = metrics(project, 28.5, precision="bfloat16")
    assert len(differences(before, half)) == 1  # early versions do not say
    assert differences(metrics(project, 28.0, precision="float32"), half) == []


def test_aliases_are_those_of_the_experiment() -> None:
    keys = ["registry/a/aliases/x.json", "registry/ab/aliases/y.json", "registry/a/aliases/V1.json", "registry/a/v1/z"]
    assert aliases(keys, "a") == ["x"]


def overtaken(project: Any, monkeypatch: pytest.MonkeyPatch, psnr: float, *later: float) -> None:
    """Publishes a version, and before `latest` is moved to it as many others."""
    offer = publishing._offer

    def slow(*arguments: Any) -> None:
        monkeypatch.setattr(publishing, "_offer", offer)
        for seed, each in enumerate(later, 20):
            version(project, seed, each)
        offer(*arguments)

    monkeypatch.setattr(publishing, "_offer", slow)
    version(project, 10, psnr)


@pytest.mark.parametrize(
    ("psnr", "later", "latest_is"),
    [
        (28.0, (27.37,), "v2"),  # v3 may take the place of v1, and not that of v2
        (28.0, (28.1,), "v3"),
        (28.0, (27.96, 27.92), "v4"),  # by 0.04 dB each
        (28.0, (27.97, 27.90, 27.40), "v3"),  # v4 loses 0.07 dB from v3
        (28.0, (27.38, 27.97), "v4"),  # v3 serves for a while, and is skipped now
        (27.0, (27.37,), "v3"),
    ],
)
def test_a_publisher_that_was_overtaken_is_compared_in_the_order_of_the_numbers(
    project: Any, monkeypatch: pytest.MonkeyPatch, psnr: float, later: tuple[float, ...], latest_is: str
) -> None:
    version(project, 1, 27.40)
    overtaken(project, monkeypatch, psnr, *later)
    assert versions(store_of(project), NAME) == [1, 2, *range(3, 3 + len(later))]
    assert latest(store_of(project), NAME) == latest_is


def test_a_publisher_that_was_overtaken_moves_nothing_that_was_set_by_hand(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    version(project, 1, 27.40)
    offer = publishing._offer

    def slow(*arguments: Any) -> None:
        monkeypatch.setattr(publishing, "_offer", offer)
        version(project, 20, 27.37)
        promote(project.params, f"{NAME}@v3", pin=True)
        offer(*arguments)

    monkeypatch.setattr(publishing, "_offer", slow)
    version(project, 10, 28.0)
    assert pointer(project).version == "v3"
    assert pointer(project).held == "it is pinned"


def test_the_first_of_all_may_be_overtaken(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    overtaken(project, monkeypatch, 28.0, 27.0)  # v2 was there before latest was
    assert latest(store_of(project), NAME) == "v1"

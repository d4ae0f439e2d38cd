"""Everything that a run's figures come from, as the report shows it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scn.evaluation.page.costs import Cost
from scn.evaluation.protocols import PROTOCOLS
from scn.evaluation.runs import Run
from scn.networks import NETWORKS


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A name and a value."""

    name: str
    value: str
    code: bool = False
    """True: it is a hash, a URL or a command, to be copied."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Facts under a heading."""

    title: str
    facts: Sequence[Fact]


def provenance(run: Run, cost: Cost | None) -> list[Group]:
    """Returns data, network, recipe, training, measurement and place of a run, without groups that nothing is known of.

    Args:
        cost: the cost of its network, where it is known.
    """
    groups = {
        "Training images": _corpora(run),
        "Network": _network(run, cost),
        "Recipe": _recipe(run.config),
        "Training": _training(run.config),
        "Measurement": _measurement(run),
    }
    found = {title: list(facts) for title, facts in groups.items()}
    return [Group(title=title, facts=facts) for title, facts in found.items() if facts]


def duration(seconds: float) -> str:
    """Returns a time in two units at most: "1 h 5 min", "3 min 20 s", "45 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _corpora(run: Run) -> Iterator[Fact]:
    for name, sha256 in run.training_corpora.items():
        yield Fact(name=name, value=f"licence: {run.licences.get(name, 'not known')}")
        yield Fact(name=f"{name}, SHA-256 of its images", value=str(sha256), code=True)
    manifest = _inner(run.config, "identity").get("manifest")
    if manifest:
        yield Fact(name="training patches (shard manifest), SHA-256", value=str(manifest), code=True)


def _network(run: Run, cost: Cost | None) -> Iterator[Fact]:
    architecture = dict(run.architecture or {})
    known = NETWORKS.get(str(architecture.pop("name", "")))
    if known:
        yield Fact(name="network", value=known.title)
        yield Fact(name="paper", value=f"{known.paper}, section {known.section}")
    for name, value in architecture.items():
        yield Fact(name=name, value=_shown(value))
    if cost:
        yield Fact(name="parameters", value=f"{cost.parameters:,}")
    if cost and cost.seconds:
        yield Fact(name="time", value=f"{cost.seconds:.3g} s per megapixel of the restored image")


def _recipe(config: Mapping[str, Any]) -> Iterator[Fact]:
    for name, value in _inner(_inner(config, "identity"), "train").items():
        if value not in (None, [], {}):
            yield Fact(name=name, value=_shown(value))


def _training(config: Mapping[str, Any]) -> Iterator[Fact]:
    if "steps" in config:
        yield Fact(name="steps", value=f"{config['steps']:,}")
    if "seconds" in config:
        yield Fact(name="time", value=duration(config["seconds"]))
    if "machine" in config:
        yield Fact(name="machine", value=str(config["machine"]))
    if config.get("commit"):
        yield Fact(name="commit", value=str(config["commit"]), code=True)
    if config.get("start_from"):
        yield Fact(name="started from", value=str(config["start_from"]), code=True)
    for made in config.get("made_by") or []:
        versions = ", ".join(f"{name} {version}" for name, version in _inner(made, "versions").items())
        yield Fact(name=f"from step {made.get('step', 0):,}", value=versions)
        yield Fact(name="code that trained it, SHA-256", value=str(made.get("code_sha256")), code=True)


def _measurement(run: Run) -> Iterator[Fact]:
    about = run.evaluation.provenance
    titles = {rule.name: rule.title for rules in PROTOCOLS.values() for rule in rules}
    for rule in dict.fromkeys(rule for result in run.evaluation.sets.values() for rule in result.mean):
        yield Fact(name=f"protocol {rule}", value=titles.get(rule, "of another version of the project"))
    for name, images in about.images.items():
        yield Fact(name=name, value=f"{images} image{'s' if images != 1 else ''}")
    if about.precision:
        yield Fact(name="precision", value=about.precision)
    if about.device:
        yield Fact(name="computed on", value=about.device)
    yield Fact(name="images, SHA-256", value=about.data_sha256, code=True)
    yield Fact(name="weights, SHA-256", value=about.weights_sha256, code=True)
    yield Fact(name="code that measured it, SHA-256", value=about.code_sha256, code=True)
    if about.ensemble_code_sha256 and about.ensemble_code_sha256 != about.code_sha256:
        yield Fact(name="code that measured self-ensemble, SHA-256", value=about.ensemble_code_sha256, code=True)
    if run.version_url:
        yield Fact(name="published as", value=run.version_url, code=True)
    elif run.other_version:
        yield Fact(name="published as", value=run.published)
    if not run.ships:
        yield Fact(name="made again by", value=f"dvc repro publish@{run.name}", code=True)


def _inner(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key)
    return found if isinstance(found, dict) else {}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items() if inner)
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)

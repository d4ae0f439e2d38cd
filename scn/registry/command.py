"""The commands `scn models ...`: each calls one function, which is imported when the command runs."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from scn.core.errors import UserError

models = typer.Typer(
    name="models",
    help="List, show, compare, promote, roll back, fetch, verify and remove versions; import, install, upload models.",
    no_args_is_help=True,
)
ParamsFile = Annotated[Path, typer.Option("--params", help="The configuration file.", show_default=True)]
PARAMS = Path("params.yaml")
Reference = Annotated[str, typer.Argument(metavar="MODEL", help="EXPERIMENT, EXPERIMENT@vN or EXPERIMENT@ALIAS.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept in the history.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@models.command("list")
def list_names(params: ParamsFile = PARAMS) -> None:
    """List the models that --model may name, with their figures: those that ship, and those in params.yaml's store."""
    from scn.evaluation.report import markdown_table
    from scn.registry.reference import list_models

    rows = [
        (
            entry.reference,
            ", ".join(entry.names),
            entry.task,
            "" if entry.level is None else str(entry.level),
            str(entry.scale),
            entry.figures,
            entry.source,
        )
        for entry in list_models(params_file=params)
    ]
    none = "No model ships, and none is published: train one, and run `scn publish --experiment NAME`."
    print(markdown_table(("model", "names", "task", "level", "scale", "PSNR", "where"), rows) if rows else none)


@models.command()
def show(reference: Reference, as_json: AsJson = False, params: ParamsFile = PARAMS) -> None:
    """Show a version, published or shipped: its figures, files, the names that point to it, and their history."""
    from scn.registry.show import about, text

    found = about(params, reference)
    print(json.dumps(found, indent=1) if as_json else text(found))


@models.command()
def compare(
    present: Annotated[str, typer.Argument(metavar="MODEL", help="The version to compare with.")],
    candidate: Annotated[str, typer.Argument(metavar="MODEL", help="The version that may take its place.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Compare the figures of two published versions, and say whether the second may take the place of the first."""
    from scn.config.params import load_params
    from scn.registry.show import compared

    print(compared(load_params(params), present, candidate))


@models.command()
def measure(
    reference: Reference,
    images: Annotated[
        list[str] | None,
        typer.Option("--images", metavar="DIR|CORPUS", help="Measure on these; default: the evaluation sets."),
    ] = None,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Average the results of the 8 flips and rotations.")
    ] = False,
    as_json: AsJson = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Measure a published version on further images, and publish the figures with it; what is known stays."""
    from scn.config.params import load_params
    from scn.evaluation.report import markdown_table
    from scn.registry.figures import measure_version, row

    found = list(measure_version(load_params(params), reference, images or [], self_ensemble=self_ensemble))
    rows = [{**row(measured), "": "measured now" if new else "known"} for measured, new in found]
    print(json.dumps(rows) if as_json else markdown_table(tuple(rows[0]), [tuple(each.values()) for each in rows]))


@models.command()
def promote(
    reference: Reference,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="`latest`, or an alias such as production.")] = (
        "latest"
    ),
    reason: Why = "",
    pin: Annotated[bool, typer.Option("--pin", help="No publish moves the name from there.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Point `latest`, or an alias, to a version; it is made if there is none."""
    from scn.config.params import load_params
    from scn.registry.promote import promote as promote_version

    pointer = promote_version(load_params(params), reference, name, reason=reason, pin=pin)
    print(f"{reference.partition('@')[0]}@{name}: {pointer.version}")


@models.command()
def rollback(
    reference: Annotated[str, typer.Argument(metavar="MODEL", help="EXPERIMENT, or EXPERIMENT@ALIAS.")],
    to: Annotated[str, typer.Option(metavar="vN|ALIAS", help="The version; default: the one before.")] = "",
    reason: Why = "",
    params: ParamsFile = PARAMS,
) -> None:
    """Point `latest`, or an alias, back to an earlier version; nothing is deleted, and no publish moves it again."""
    from scn.config.params import load_params
    from scn.registry.promote import rollback as roll_back

    experiment, _, name = reference.partition("@")
    pointer = roll_back(load_params(params), experiment, name or "latest", to=to, reason=reason)
    print(f"{experiment}@{name or 'latest'}: {pointer.version}")


@models.command()
def pull(
    reference: Reference,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the files.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Copy the files of a published version into a folder, verified."""
    from scn.config.params import load_params
    from scn.registry.show import pull as copy

    for path in copy(load_params(params), reference, out):
        print(path)


@models.command()
def verify(
    references: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Versions; default: all that are published.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Hash the files of published versions, and say which are whole; exit status 1 if one is not."""
    from scn.config.params import load_params
    from scn.registry.manifest import NewerFormat
    from scn.registry.show import verified

    problems = []
    for version, problem in verified(load_params(params), references or []):
        print(f"{version}: {str(problem).rstrip('.') if problem else 'whole'}")
        problems += [problem] if problem else []
    newer = sum(isinstance(each, NewerFormat) for each in problems)
    told = []
    if damaged := len(problems) - newer:
        told.append(
            f"{damaged} published version{'s are' if damaged > 1 else ' is'} damaged or not signed: sign what is only "
            "not signed with `scn models sign`, and copy a damaged registry/EXPERIMENT/vN back from a back-up, or "
            "delete it in the store and publish its model again with `scn publish`"
        )
    if newer:
        what = f"{newer} published version{'s are' if newer > 1 else ' is'} of a newer format"
        told.append(f"{what}: update this installation of scn to verify {'them' if newer > 1 else 'it'}")
    if told:
        raise UserError(f"{'; '.join(told)}.")


@models.command("check")
def check_figures(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Models that ship; default: all.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="SET", help="Only these of their evaluation sets.")
    ] = None,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="The figures with self-ensemble, too: eight times as long.")
    ] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Measure models that ship again, and compare the digits; exit status 1 if a figure differs."""
    from scn.config.params import load_params
    from scn.evaluation.report import markdown_table
    from scn.registry.shipped import HEADER, check_shipped

    rows = []
    try:
        for checked in check_shipped(load_params(params), names or [], sets or [], self_ensemble=self_ensemble):
            print(f"{checked.name} on {checked.set}: {'the same' if checked.agrees else 'differs'}", file=sys.stderr)
            rows.append(checked)
    finally:  # what was measured, also if the next set is not here
        if rows:
            print(markdown_table(HEADER, [each.cells() for each in rows]))
    if differ := sum(not each.agrees for each in rows):
        raise UserError(f"{differ} of {len(rows)} figures differ from those that ship: check weights, images and code.")


@models.command()
def key(file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file for the private key.")]) -> None:
    """Make a key to sign versions with, and print the public key that params.yaml's `registry.trusted` may name."""
    from scn.registry.signing import make_key

    print(make_key(file))


@models.command()
def sign(reference: Reference, params: ParamsFile = PARAMS) -> None:
    """Sign a published version with the private key that SCN_SIGNING_KEY names; with it set, `publish` signs, too."""
    from scn.config.params import load_params
    from scn.registry.publish import sign as sign_version
    from scn.registry.reference import parse

    loaded = load_params(params)
    experiment, version = parse(reference, loaded.open_store(), loaded)
    sign_version(loaded, experiment, version)
    print(f"{experiment}@{version}: signed")


@models.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it they are only shown.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Show the versions that nobody needs, by the rules of params.yaml's `registry`, or delete them.

    Kept are the newest `registry.keep` of each experiment, and all that a name, its last move or next rollback, a card,
    a receipt or a dvc.lock of any branch needs. A version that was never published whole is deleted when it has been
    found so for `collect.after_days` days.
    """
    from scn.config.params import load_params
    from scn.registry.collect import check_folder, unneeded
    from scn.registry.collect import delete as delete_versions

    loaded = load_params(params)
    if delete:
        check_folder(loaded.root)
    found = unneeded(loaded)
    for version in found:
        print(version.told(loaded.collect.after_days))
    old = delete_versions(loaded, found) if delete else [version for version in found if version.deletable]
    count = f"{len(old)} version{'' if len(old) == 1 else 's'}"
    print(f"{count} deleted" if delete else f"{count} would be deleted by --delete", file=sys.stderr)


@models.command("import")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="The checkpoint file.")],
    out: Annotated[
        Path | None, typer.Option(help="A new folder for the model; with --as the default is models/EXPERIMENT.")
    ] = None,
    measured_as: Annotated[
        str | None,
        typer.Option("--as", metavar="EXPERIMENT", help="Experiment that it is measured as: gives task, level, scale."),
    ] = None,
    scales: Annotated[
        int | None, typer.Option(min=1, help="Scales of the pyramid of SCN's authors' networks: their files don't say.")
    ] = None,
    scale: Annotated[int | None, typer.Option(min=2, help="Upscaling factor of SRCNN: its files don't say.")] = None,
    format: Annotated[
        str | None, typer.Option(help="Format of the file, such as ychfan-scn; default: recognised by its keys.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task: dn, car or sr; a network of scale 1 needs this or --as.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Make a model folder of another project's checkpoint: SCN's authors', BasicSR's, KAIR's, EDSR's or DnCNN's."""
    from scn.config.params import load_params
    from scn.registry.imports import import_model

    experiment = None
    if measured_as is not None:
        loaded = load_params(params)
        experiment, out = loaded.experiment(measured_as), out or loaded.root / "models" / measured_as
    if out is None:
        raise UserError(
            "--out is missing: name a new folder for the model, or what it is measured as by --as EXPERIMENT."
        )
    architecture = import_model(file, out, scales=scales, scale=scale, task=task, format=format, experiment=experiment)
    print(f"{out}: {', '.join(f'{key} {value}' for key, value in architecture.items())}")
    if experiment:
        print(f"scn evaluate -e {experiment.name} --images SET --method {out}", file=sys.stderr)


License = Annotated[str | None, typer.Option(help="The weights' licence; default: the training images decide it.")]


@models.command()
def record(
    reference: Reference,
    site: Annotated[str, typer.Option("--for", metavar="SITE", help="huggingface, or openmodeldb.")] = "huggingface",
    license: License = None,
    author: Annotated[str, typer.Option(help="OpenModelDB: the author's identifier there.")] = "",
    url: Annotated[str, typer.Option(help="OpenModelDB: where the weights can be fetched.")] = "",
    date: Annotated[str, typer.Option(help="OpenModelDB: yyyy-mm-dd; default: today.")] = "",
    params: ParamsFile = PARAMS,
) -> None:
    """Print the record of a model for a site: the model card with Hugging Face's metadata, or OpenModelDB's file."""
    from datetime import date as day

    from scn.core.schema import unknown
    from scn.registry.hub import described, hugging_face_card, open_model_db_record
    from scn.registry.reference import find

    if site not in ("huggingface", "openmodeldb"):
        raise UserError(f"{unknown(site, ('huggingface', 'openmodeldb'), 'site')}.")
    model = described(find(reference, params)[0])
    if site == "huggingface":
        print(hugging_face_card(model, license), end="")
        return
    if not author or not url:
        raise UserError("OpenModelDB's record names an author and where the weights lie: add --author and --url.")
    made = open_model_db_record(model, author=author, date=date or day.today().isoformat(), url=url, license=license)
    print(json.dumps(made, indent=4, ensure_ascii=False))


@models.command()
def push(
    reference: Reference,
    target: Annotated[str, typer.Argument(metavar="hf://OWNER/NAME", help="The repository; it is made if needed.")],
    license: License = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is made.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    r"""Upload a model with its card and figures to Hugging Face: needs pip install 'scn\[hub]'."""
    from scn.registry.hub import described
    from scn.registry.hub import push as upload
    from scn.registry.reference import find

    folder, version = find(reference, params)
    print(upload(described(folder), target, version=version, license=license, private=private))


@models.command()
def land(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment in params.yaml.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Write a trained and measured model with its curves into scn/zoo/EXPERIMENT, which ships with the project."""
    from scn.config.params import load_params
    from scn.registry.land import land as land_in_zoo

    for path in land_in_zoo(load_params(params), experiment):
        print(path)


@models.command()
def install(
    folder: Annotated[Path, typer.Argument(help="Folder with a whole version of a model, such as scn/zoo/EXPERIMENT.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Publish the version in a folder to the registry, its files unchanged."""
    from scn.config.params import load_params
    from scn.registry.publish import install as install_version

    receipt = install_version(load_params(params), folder)
    print(f"{receipt.experiment}: the newest version is {receipt.version}, in {receipt.url}")

"""The result of a study, put together from its rows."""

from collections.abc import Mapping, Sequence

from scn.config.params import Params
from scn.core.hashing import digest
from scn.evaluation.code import evaluation_code
from scn.evaluation.paper_networks import in_inference
from scn.inference.records import Figures
from scn.networks.build import build_on_meta
from scn.networks.profile import count_macs
from scn.studies.folder import Folder
from scn.studies.records import (
    PIXELS,
    Measured,
    Plan,
    PointSummary,
    Result,
    Row,
    SetSummary,
    StudyProvenance,
    VariantResult,
)
from scn.studies.spread import summary


def collect(folder: Folder, plan: Plan, params: Params, rows: Sequence[Row], measured: Measured) -> Result:
    """Puts the result of a study together.

    Args:
        params: what folder.write_params returned.
        rows: one for each variant and seed, the same seeds for every variant.
        measured: the degraded images.
    """
    study = folder.study
    by_variant = {name: [row for row in rows if row.variant == name] for name in study.variants}
    train, evaluation = folder.manifests
    networks = sorted({folder.sections(name)["model"]["name"] for name in study.variants})
    return Result(
        study=study.name,
        **study.model_dump(include={"title", "paper", "table", "question", "equal", "unlike", "task", "level", "axis"}),
        printed_how=study.printed.how,
        printed_note=study.printed.note,
        size=plan.size,
        settings=plan.settings,
        experiment=plan.experiment,
        seeds=len(by_variant[study.reference]),
        steps=plan.steps,
        minutes=plan.minutes,
        reference=study.reference,
        sweep=study.sweep.key if study.sweep else None,
        input=measured.sets,
        variants={name: _variant(folder, params, plan, name, by_variant) for name in study.variants},
        rows=list(rows),
        provenance=StudyProvenance(
            protocol=study.protocol,
            precisions=sorted({row.precision for row in rows}),
            unlike=computed_unlike(rows),
            training_data_sha256=train.sha256,
            evaluation_data_sha256=evaluation.sha256,
            training_images=train.images,
            corpora=train.corpora,
            images={name: evaluation.sets[name].images for name in folder.sets},
            measuring_code_sha256=digest({name: evaluation_code(name) for name in networks}),
            machines=sorted({row.machine for row in rows}),
            commits=sorted({row.commit for row in rows if row.commit}),
            seconds=sum(row.seconds for row in rows),
        ),
    )


def computed_unlike(rows: Sequence[Row]) -> str:
    """A sentence if trainings differ in precision or kind of device, or figures in precision; "" if all are alike."""
    ways = {
        "trained in": sorted({row.trained_in for row in rows if row.trained_in}),
        "measured in": sorted({row.precision for row in rows}),
    }
    told = [f"{what} {' and '.join(found)}" for what, found in ways.items() if len(found) > 1]
    return f"Networks were {', and '.join(told)}: differences between them may come of that." if told else ""


def _variant(folder: Folder, params: Params, plan: Plan, name: str, rows: dict[str, list[Row]]) -> VariantResult:
    about, sections = folder.study.variants[name], folder.sections(name)
    architecture = params.experiment(folder.experiment_name(name, 0)).architecture()
    trained = [parameter for parameter in build_on_meta(architecture).parameters() if parameter.requires_grad]
    reference = None if name == folder.study.reference else [row.sets for row in rows[folder.study.reference]]
    return VariantResult(
        title=about.title,
        steps=folder.steps_of(name, plan.steps),
        parameters=sum(parameter.numel() for parameter in trained),
        macs=count_macs(in_inference(architecture), PIXELS, PIXELS),
        **sections,
        line=about.place.line if about.place else None,
        x=about.place.x if about.place else None,
        printed=about.printed,
        printed_parameters=about.printed_parameters,
        printed_macs=about.printed_macs,
        sets=_sets([row.sets for row in rows[name]], reference),
        sweep=_sweep(rows[name], sections["model"][folder.study.sweep.key]) if folder.study.sweep else [],
    )


def _sweep(rows: Sequence[Row], trained: float) -> list[PointSummary]:
    """The points of a sweep over the seeds, each against the pyramid of the training."""
    points = {
        point.value: [p.sets for row in rows for p in row.sweep if p.value == point.value] for point in rows[0].sweep
    }
    return [
        PointSummary(
            value=value,
            trained=value == trained,
            sets=_sets(figures, None if value == trained else points[float(trained)]),
        )
        for value, figures in points.items()
    ]


def _sets(
    ours: Sequence[Mapping[str, Figures]], reference: Sequence[Mapping[str, Figures]] | None
) -> dict[str, SetSummary]:
    """Evaluation set -> summary, of figures by seed."""
    return {
        name: summary([sets[name] for sets in ours], None if reference is None else [sets[name] for sets in reference])
        for name in ours[0]
    }

"""The files of a study: result.json, which reports read, and those from which a study goes on.

    studies/NAME/result.json             Result: everything that README.md and plot.svg show, and every single row
    studies/NAME/plan.json               Plan: the number of steps, and what it was worked out from
    studies/NAME/rows/VARIANT-SEED.json  Row: one training, measured
    studies/NAME/rows/input.json         Measured: the degraded images themselves

PSNR is in dB, SSIM from -1 to 1, both means over the images of a set. Spreads and differences are of one number for
each seed: they tell how much a training varies, not how much images differ. Imports no PyTorch.
"""

from collections.abc import Mapping
from typing import Any, Literal

from scn.inference.records import Figures, Record

FORMAT: Literal[1] = 1
"""Version of the format of result.json."""
PIXELS = 128
"""Side of the image that multiply-adds are counted for."""


class Timing(Record):
    """Seconds that a variant's training takes on the machine that the number of steps was worked out on."""

    start: float
    """Seconds before the first step: the network is built and the images are read."""
    step: float
    """Seconds per step: the median of a few."""


class Plan(Record):
    """What a study was begun with, so that it goes on with the same: the content of plan.json."""

    study: str
    size: str
    experiment: str
    """The experiment of params.yaml whose shards are used."""
    settings: list[str]
    """Settings KEY=VALUE that went before the study's own."""
    sha256: str
    """SHA-256 of all that decides the weights but for the steps: networks, recipes, training images."""
    steps: int
    """Number of steps of a variant whose share is 1."""
    seeds: int | None = None
    """The most seeds that each variant was asked for; None: it was begun before they were kept here."""
    minutes: float | None = None
    """The minutes that `steps` was worked out from; None: the steps themselves were asked for."""
    timings: Mapping[str, Timing]
    """Variant -> its timing; empty if the steps were asked for."""
    machine: str
    """Processor and number of CPUs of the timings."""


class Point(Record):
    """The figures of one network with another pyramid than in training."""

    value: float
    """The number of scales or the ratio, see Result.sweep."""
    sets: Mapping[str, Figures]
    """Evaluation set -> figures."""


class Row(Record):
    """One training of one variant, and its figures."""

    variant: str
    seed: int
    steps: int
    sets: Mapping[str, Figures]
    """Evaluation set -> figures under the protocol that is shown."""
    further: Mapping[str, Mapping[str, Figures]]
    """Further protocol of the task -> evaluation set -> figures."""
    sweep: list[Point]
    """In the order of the values; empty if the study sweeps nothing."""
    seconds: int
    """Seconds that all steps took."""
    weights_sha256: str
    """SHA-256 of model.safetensors."""
    training_code_sha256: str
    """SHA-256 of the sources that decide the weights."""
    measured: str
    """Hash of what decides the figures besides the weights: images, code, pyramids, precision asked for."""
    precision: str
    """Precision of the network while it was measured."""
    trained_in: str | None = None
    """Kind of the device and precision of the training, of several "; " between them; None: it was not kept then."""
    machine: str
    """Processor and number of CPUs that trained."""
    commit: str | None = None
    """Git commit of the code that trained; None: unknown."""


class Measured(Record):
    """The figures of the degraded images, as a viewer sees them without a network."""

    sets: Mapping[str, Figures]
    """Evaluation set -> figures under the protocol that is shown."""
    measured: str
    """As in Row."""


class Spread(Record):
    """A figure over the seeds."""

    mean: float
    std: float | None = None
    """Standard deviation of the sample (n - 1); None for one seed."""
    n: int
    """Number of seeds."""


class Difference(Record):
    """A difference of PSNR in dB, seed by seed: every seed gives both sides the same patches in the same order."""

    mean: float
    low: float | None = None
    """Lower end of the 95 % interval of the mean (Student's t over the seeds' differences); None for one seed."""
    high: float | None = None
    """Upper end of that interval."""
    n: int
    """Number of seeds."""

    @property
    def clear(self) -> bool:
        """True if the interval leaves out 0, so that the difference is more than the noise between seeds."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class SetSummary(Record):
    """The figures of a variant on one evaluation set, over the seeds."""

    psnr: Spread
    ssim: Spread
    difference: Difference | None = None
    """PSNR minus that of the reference: the variant Result.reference; in a sweep, the pyramid of the training. None
    for the reference itself."""


class PointSummary(Record):
    """One value of a sweep, over the seeds."""

    value: float
    trained: bool
    """True for the pyramid of the training."""
    sets: Mapping[str, SetSummary]


class VariantResult(Record):
    """A variant: what it is, what the paper prints, and its figures over the seeds."""

    title: str
    steps: int
    parameters: int
    """Parameters that are trained, with the gains of weight normalisation: those that no output depends on don't count
    (of an un-shared pyramid of 4 blocks, a fifth). Before 2026-11-30 they did."""
    macs: int
    """Multiply-adds for an image of 128x128 pixels."""
    model: Mapping[str, Any]
    """Section `model` of its experiments."""
    train: Mapping[str, Any]
    """Section `train` of its experiments, without the seed."""
    line: str | None = None
    """Name of the curve that it is a point of; None: the study has no curves over variants."""
    x: float | None = None
    """Its place on the horizontal axis of the curves."""
    printed: Mapping[str, float]
    """Evaluation set -> PSNR that the paper prints."""
    printed_parameters: str
    printed_macs: str
    sets: Mapping[str, SetSummary]
    """Evaluation set -> figures."""
    sweep: list[PointSummary]


class StudyProvenance(Record):
    """Data, code and machines of a study; each row names its weights and the code that trained them."""

    protocol: str
    """Name of the protocol of all figures but Row.further (scn.evaluation.protocols)."""
    precisions: list[str]
    """Precisions of the networks while they were measured."""
    unlike: str = ""
    """A sentence that says how rows were computed in different ways; "" if all were in one."""
    training_data_sha256: str
    """TrainingManifest.sha256 of the experiment."""
    evaluation_data_sha256: str
    """EvaluationManifest.sha256 of the experiment."""
    training_images: int
    corpora: Mapping[str, str]
    """Corpus trained on -> SHA-256 of its images."""
    images: Mapping[str, int]
    """Evaluation set -> number of images."""
    measuring_code_sha256: str
    """SHA-256 of the sources that measured, of every network's."""
    machines: list[str]
    """Processors that trained."""
    commits: list[str]
    """Git commits that trained."""
    seconds: int
    """Seconds that all steps of all trainings took."""


class Result(Record):
    """The content of result.json: a study's question, its rows, their summary, and the paper's figures."""

    format: Literal[1] = FORMAT
    study: str
    title: str
    paper: str
    table: str
    question: str
    equal: str
    unlike: str
    printed_how: str
    """How the paper measured what it prints."""
    printed_note: str
    """What the paper shows without figures."""
    task: str
    level: int
    size: str
    """Size of the networks, as the study names it."""
    settings: list[str]
    experiment: str
    seeds: int
    steps: int
    minutes: float | None = None
    """Minutes that were asked for; None: the number of steps was."""
    reference: str
    """Variant that the differences are taken from."""
    sweep: str | None = None
    """What Point.value is: "scales" or "ratio"; None: no sweep."""
    axis: str
    """Name of the horizontal axis of curves over variants."""
    input: Mapping[str, Figures]
    """Evaluation set -> figures of the degraded images."""
    variants: Mapping[str, VariantResult]
    """In the order of the study."""
    rows: list[Row]
    """One for each variant and seed."""
    provenance: StudyProvenance

"""The files of figures keep their form: DVC compares them, and released versions read them."""

from pathlib import Path

import pytest

from scn.core.errors import UserError
from scn.evaluation.results import Evaluation, ImageResult, SetResult, figures_of
from scn.inference.records import Figures, Metrics, Provenance, SetFigures

METRICS = """\
{
 "Set5": {
  "input": {
   "psnr": 30.5,
   "ssim": 0.9
  },
  "model": {
   "psnr": 32.0,
   "ssim": 0.95
  },
  "ensemble": {
   "psnr": 32.25,
   "ssim": 0.96
  }
 },
 "provenance": {
  "protocol": "sr-y-v1",
  "precision": "float32",
  "data_sha256": "d",
  "weights_sha256": "w",
  "code_sha256": "c",
  "images": {
   "Set5": 5
  },
  "ensemble_code_sha256": "e"
 }
}
"""
EVALUATION = """\
{
 "experiment": "sr-x2",
 "task": "sr",
 "level": 2,
 "sets": {
  "Set5": {
   "mean": {
    "sr-y-v1": {
     "input": {
      "psnr": 30.5,
      "ssim": 0.9
     },
     "model": {
      "psnr": 32.0,
      "ssim": 0.95
     }
    }
   },
   "images": [
    {
     "name": "Set5/café",
     "height": 20,
     "width": 30,
     "figures": {
      "sr-y-v1": {
       "input": {
        "psnr": 30.5,
        "ssim": 0.9
       },
       "model": {
        "psnr": 32.0,
        "ssim": 0.95
       }
      }
     }
    }
   ],
   "most": [
    "Set5/café"
   ],
   "least": []
  }
 },
 "provenance": {
  "protocol": "sr-y-v1",
  "precision": "float32",
  "data_sha256": "d",
  "weights_sha256": "w",
  "code_sha256": "c",
  "images": {
   "Set5": 5
  }
 }
}
"""
INPUT, MODEL, ENSEMBLE = (Figures(psnr=p, ssim=s) for p, s in ((30.5, 0.9), (32.0, 0.95), (32.25, 0.96)))
PROVENANCE = Provenance(
    protocol="sr-y-v1",
    precision="float32",
    data_sha256="d",
    weights_sha256="w",
    code_sha256="c",
    images={"Set5": 5},
)
PATH = Path("metrics/sr-x2.json")


def test_metrics_are_written_and_read_back() -> None:
    provenance = PROVENANCE.model_copy(update={"ensemble_code_sha256": "e"})
    figures = SetFigures(input=INPUT, model=MODEL, ensemble=ENSEMBLE)
    metrics = Metrics(sets={"Set5": figures}, provenance=provenance)
    assert metrics.dumps() == METRICS.encode()
    assert Metrics.loads(METRICS.encode(), PATH, "again") == metrics
    assert str(figures.model) == "32.00 / 0.9500"


def test_evaluations_are_written_and_read_back() -> None:
    figures = {"sr-y-v1": {"input": INPUT, "model": MODEL}}
    image = ImageResult(name="Set5/café", height=20, width=30, figures=figures)
    of_set = SetResult(mean=figures, images=[image], most=["Set5/café"])
    evaluation = Evaluation(experiment="sr-x2", task="sr", level=2, sets={"Set5": of_set}, provenance=PROVENANCE)
    assert evaluation.dumps() == EVALUATION.encode()
    assert Evaluation.loads(EVALUATION.encode(), PATH, "again") == evaluation


def test_a_version_carries_the_means_under_all_protocols_and_dvc_those_of_the_first() -> None:
    first, other = {"input": INPUT, "model": MODEL, "ensemble": ENSEMBLE}, {"input": MODEL, "ensemble": INPUT}
    of_set = SetResult(mean={"sr-y-v1": first, "sr-rgb-v1": other}, images=[])
    evaluation = Evaluation(experiment="sr-x2", task="sr", level=2, sets={"Set5": of_set}, provenance=PROVENANCE)
    metrics = figures_of(evaluation)
    assert metrics.sets["Set5"].model == MODEL
    assert metrics.sets["Set5"].further == {"sr-rgb-v1": other}
    assert Metrics.loads(metrics.dumps(), PATH, "again") == metrics
    assert metrics.for_dvc() == {
        "Set5": {name: figures.model_dump(exclude_none=True) for name, figures in first.items()}
    }
    without = of_set.model_copy(update={"mean": {"sr-y-v1": other | {"model": MODEL}}})
    del without.mean["sr-y-v1"]["ensemble"]
    with pytest.raises(UserError, match="figures of sr-x2 lack self-ensemble: run `dvc repro ensemble@sr-x2`"):
        figures_of(evaluation.model_copy(update={"sets": {"Set5": without}}))


def test_files_of_earlier_and_later_versions_are_read() -> None:
    earlier = METRICS.replace('  "precision": "float32",\n', "").replace(',\n  "ensemble_code_sha256": "e"', "")
    assert Metrics.loads(earlier.encode(), PATH, "again").provenance.precision is None
    unnamed = METRICS.replace("sr-y-v1", "sr: luma, 8 bits, frame of scale pixels cropped")
    assert Metrics.loads(unnamed.encode(), PATH, "again").provenance.protocol == "sr-y-v1"
    later = METRICS.replace('"psnr": 32.0,', '"psnr": 32.0, "vif": 0.1,')
    assert Metrics.loads(later.encode(), PATH, "again").sets["Set5"].model == MODEL


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (METRICS[:80], r".+"),
        ("[]", "input should be a valid dictionary.*"),
        ("{}", "provenance: field required"),
        (METRICS.replace('"ssim": 0.96', '"ssim": "0.96"'), r"sets\.Set5\.ensemble\.ssim: input should be a .*number"),
        (METRICS.replace('"Set5": 5', '"Set14": 14'), "it does not say how many images Set5 has"),
    ],
)
def test_other_content_is_one_sentence(text: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"^metrics/sr-x2\.json holds no metrics \({why}\): run it again\.$"):
        Metrics.loads(text.encode(), PATH, "run it again")

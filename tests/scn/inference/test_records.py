"""The files of figures keep their form: DVC compares them, and released versions read them."""

from pathlib import Path

import pytest

from scn.core.errors import UserError
from scn.evaluation.results import Evaluation, ImageFigures, SetEvaluation
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
  "protocol": "sr: luma",
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
 "sets": {
  "Set5": {
   "input": {
    "psnr": 30.5,
    "ssim": 0.9
   },
   "model": {
    "psnr": 32.0,
    "ssim": 0.95
   },
   "images": [
    {
     "name": "Set5/café",
     "input": {
      "psnr": 30.5,
      "ssim": 0.9
     },
     "model": {
      "psnr": 32.0,
      "ssim": 0.95
     }
    }
   ]
  }
 },
 "provenance": {
  "protocol": "sr: luma",
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
    protocol="sr: luma",
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
    image = ImageFigures(name="Set5/café", input=INPUT, model=MODEL)
    of_set = SetEvaluation(input=INPUT, model=MODEL, images=[image])
    evaluation = Evaluation(experiment="sr-x2", sets={"Set5": of_set}, provenance=PROVENANCE)
    assert evaluation.dumps() == EVALUATION.encode()
    assert Evaluation.loads(EVALUATION.encode(), PATH, "again") == evaluation


def test_files_of_earlier_and_later_versions_are_read() -> None:
    earlier = METRICS.replace('  "precision": "float32",\n', "").replace(',\n  "ensemble_code_sha256": "e"', "")
    assert Metrics.loads(earlier.encode(), PATH, "again").provenance.precision is None
    later = METRICS.replace('"psnr": 32.0,', '"psnr": 32.0, "lpips": 0.1,')
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

"""The report as HTML: what stands in it is what was measured."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from finished_runs import ALL_TEN, TRAINED_ON, finish

from scn import zoo
from scn.core.errors import UserError
from scn.evaluation.page.page import count, gather, render, slug, write_page
from scn.evaluation.runs import read_shipped

SHIPPED = Path(zoo.__file__).parent
EXPERIMENTS = {"sr-x2": ("sr", 2), "dn-s25": ("dn", 25)}


class Page(HTMLParser):
    """The tables, ids, links and sources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.labelled: list[str] = []
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attrs}
        self.ids += [about["id"]] if "id" in about else []
        self.labelled += about.get("aria-labelledby", "").split()
        if tag == "a":
            self.links.append(about["href"])
        self.loads += [about[key] for key in ("src", "href", "srcset", "action") if key in about and tag != "a"]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


def two_protocols(root: Path, name: str) -> tuple[float, float]:
    """Adds RGB figures on DIV2K/validation to luma ones: 26.0, 28.6 and 28.7 dB; returns the model's PSNR of both."""
    path = root / f"evaluations/{name}/ensemble.json"
    evaluation = json.loads(path.read_text())
    found = evaluation["sets"]["DIV2K/validation"]
    rgb = {"input": 26.0, "model": 28.6, "ensemble": 28.7}
    for figures in (found["mean"], *(image["figures"] for image in found["images"])):
        figures["sr-rgb-v1"] = {method: {"psnr": psnr, "ssim": 0.8} for method, psnr in rgb.items()}
    path.write_text(json.dumps(evaluation))
    return found["mean"]["sr-y-v1"]["model"]["psnr"], 28.6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    finish(folder, EXPERIMENTS)
    return folder


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    from scn.config.params import load_params

    return render(gather(load_params(root / "params.yaml"), timed=False))


def test_the_overview_has_the_figures_of_every_set(text: str, root: Path) -> None:
    header, *rows = Page(text).tables[0]
    assert header == ["model", "evaluation set", "protocol", "input", "model", "self-ensemble", "gain"]
    assert [row[:2] for row in rows] == [[name, each] for name in EXPERIMENTS for each in ("Set5", "sample/evaluation")]
    figures = json.loads((root / "evaluations/dn-s25/ensemble.json").read_text())["sets"]["Set5"]["mean"]["dn-grey-v1"]
    psnr = {method: figures[method]["psnr"] for method in figures}
    told = [f"{psnr[method]:.2f} / 0.9000" for method in ("input", "model", "ensemble")]
    assert rows[2][2:] == ["dn-grey-v1", *told, f"{psnr['model'] - psnr['input']:+.2f}"]


def test_a_set_with_published_figures_has_them_beside_ours(text: str, root: Path) -> None:
    header, *rows = Page(text).tables[1]
    assert header[:3] == ["method", "PSNR", "SSIM"]
    assert {"ours minus theirs", "parameters", "trained on", "source"} <= set(header)
    assert "s / megapixel" not in header
    by_name = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    mean = json.loads((root / "evaluations/sr-x2/ensemble.json").read_text())["sets"]["Set5"]["mean"]["sr-y-v1"]
    assert by_name["sr-x2"]["PSNR"] == f"{mean['model']['psnr']:.2f}"
    assert by_name["sr-x2"]["trained on"] == "DIV2K/train"
    assert by_name["SCN"]["PSNR"] == "38.18"
    assert by_name["SCN"]["ours minus theirs"] == f"S {mean['model']['psnr'] - 38.18:+.2f}"
    assert by_name["SCN+"]["ours minus theirs"] == f"S {mean['ensemble']['psnr'] - 38.29:+.2f}"
    assert by_name["SCN"]["parameters"] == "19.4 M"
    assert by_name["SCN"]["source"].startswith("scn-aaai2020, table1")
    psnr = [float(row[1]) for row in rows]
    assert psnr == sorted(psnr)


def test_a_set_that_nothing_is_published_of_has_ours_alone(text: str) -> None:
    header, *rows = Page(text).tables[2]
    assert not {"source", "multiply-adds"} & set(header)
    assert [row[0] for row in rows] == ["bicubic", "sr-x2", "sr-x2, self-ensemble"]


def test_a_figure_leads_to_all_that_it_comes_from(text: str) -> None:
    page = Page(text)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert {"#run-sr-x2", "#run-dn-s25"} <= set(page.links)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.labelled) <= set(page.ids)
    for part in (
        *(TRAINED_ON, "academic research only", "d" * 64, "w" * 64, "c" * 64, "b" * 64, "abcdef0123"),
        *("1 h 2 min", "a machine, 2 CPUs", "file://store/registry/sr-x2/v1", "dvc repro publish@sr-x2"),
        *("learning_rate", "luma, frame of scale pixels cropped", "Scale-wise Convolutional Network"),
    ):
        assert part in text, part


def test_nothing_is_to_be_fetched(text: str) -> None:
    page = Page(text)
    assert all(source.startswith("data:") for source in page.loads)
    assert sum(source.startswith("data:image/jpeg") for source in page.loads) == 4 * 2 * (4 + 3)
    assert "default-src 'none'" in text
    for word in ("url(", "@import", "<script src", "fetch(", "http://", "https://"):
        assert word not in text, word


def test_what_files_say_is_escaped(tmp_path: Path) -> None:
    params = finish(tmp_path, {"dn-s25": ("dn", 25)}, sets=("sample/evaluation",))
    path = tmp_path / "models/dn-s25/config.json"
    path.write_text(path.read_text().replace("a machine", "<script>alert(1)</script>"))
    text = render(gather(params, timed=False))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_further_protocol_that_is_not_known_here_is_told(tmp_path: Path) -> None:
    params = finish(tmp_path, {"dn-s25": ("dn", 25)}, sets=("sample/evaluation",))
    path = tmp_path / "evaluations/dn-s25/ensemble.json"
    evaluation = json.loads(path.read_text())
    found = evaluation["sets"]["sample/evaluation"]
    for figures in (found["mean"], *(image["figures"] for image in found["images"])):
        figures["dn-new-v1"] = figures["dn-grey-v1"]
    path.write_text(json.dumps(evaluation))
    text = render(gather(params, timed=False))
    assert "<code>dn-new-v1</code> of another version of the project" in text


def test_ten_experiments_fit_into_ten_megabytes(tmp_path: Path) -> None:
    """Pictures that no JPEG makes small: noise, on five sets of each."""
    params = finish(tmp_path, ALL_TEN, sets=tuple(f"sample/{i}" for i in range(5)), side=200)
    size = write_page(params, tmp_path / "report.html", timed=False).stat().st_size
    assert 4_000_000 < size < 10_000_000


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    params = finish(tmp_path, {"dn-s25": ("dn", 25)}, sets=("sample/evaluation",), images=1)
    for folder in ("models", "curves", "evaluations/dn-s25/pictures"):
        shutil.rmtree(tmp_path / folder)
    text = render(gather(params, timed=False))
    assert "Training</h2>" not in text
    assert "image/jpeg" not in text
    assert "compressed" not in text
    assert "Networks were not timed." in text


def test_models_that_ship_stand_beside_ours(root: Path) -> None:
    from scn.config.params import load_params

    report = gather(load_params(root / "params.yaml"), timed=False, shipped=[read_shipped(SHIPPED / "dn-s25")])
    tables = Page(render(report)).tables
    figures = ["20.48 / 0.3929", "29.11 / 0.8271", "29.19 / 0.8287", "+8.63"]
    assert ["dn-s25 (ships)", "BSD68", "dn-grey-v1", *figures] in tables[0]
    (bsd68,) = [each for each in report.sections[1].panels if each.compared.set_name == "BSD68"]
    marks = {each.row.method: each.marks for each in bsd68.compared.published}
    assert marks == {"BM3D": "", "TNRD": "?", "DnCNN": "S?", "SCN": "?"}  # the same images as SCN, of unknown size


def test_figures_of_two_protocols_stand_in_two_tables(tmp_path: Path) -> None:
    params = finish(tmp_path, {"sr-x4": ("sr", 4)}, sets=("DIV2K/validation",))
    luma, _ = two_protocols(tmp_path, "sr-x4")
    report = gather(params, timed=False)
    (panel,) = report.sections[0].panels
    assert panel.compared.protocol == "sr-y-v1"
    ours = [row.psnr for row in panel.rows if row.kind == "model"]
    theirs = {row.name: row.psnr for row in panel.rows if row.kind == "published"}
    assert (ours, theirs["SRResNet-MS-Conv"]) == ([luma], 30.31)
    assert "SCN" not in theirs
    ((rule, rows),) = panel.others
    by_name = {row.name: row for row in rows}
    assert (rule, by_name["sr-x4"].psnr, by_name["SCN"].psnr) == ("sr-rgb-v1", 28.6, 29.18)
    assert by_name["SCN"].beside is not None
    assert by_name["SCN"].beside.difference == pytest.approx(-0.58)
    tables = Page(render(report)).tables
    assert tables[0][1][2] == "sr-y-v1"
    names = [{row[0] for row in table} for table in tables[1:3]]
    assert "SCN" not in names[0]
    assert {"SCN", "sr-x4", "bicubic"} <= names[1]
    assert "<code>sr-y-v1</code>. Mean" in render(report)


def test_gains_are_under_the_protocol_of_the_table(tmp_path: Path) -> None:
    params = finish(tmp_path, {"sr-x2": ("sr", 2)}, sets=("DIV2K/validation",))
    two_protocols(tmp_path, "sr-x2")
    report = gather(params, timed=False)
    (panel,) = report.sections[0].panels
    assert panel.compared.protocol == "sr-rgb-v1"  # all that is published at x2
    assert panel.others == []
    assert [(gains.protocol, gains.mean) for gains in panel.gains] == [("sr-rgb-v1", pytest.approx(2.6))]
    text = render(report)
    assert "Gain and PSNR below are those of the whole image, under <code>sr-y-v1</code>" in text


def test_a_run_on_other_images_is_marked(tmp_path: Path) -> None:
    params = finish(tmp_path, {"few": ("dn", 25), "all": ("dn", 25)}, sets=("sample/evaluation",))
    path = tmp_path / "evaluations/few/ensemble.json"
    evaluation = json.loads(path.read_text())
    evaluation["provenance"] |= {"images": {"sample/evaluation": 2}, "data_sha256": "e" * 64}
    path.write_text(json.dumps(evaluation))
    text = render(gather(params, timed=False))
    assert {row[0] for row in Page(text).tables[0][1:]} == {"few I", "all"}
    assert {row[0] for row in Page(text).tables[1][1:]} >= {"few I", "few, self-ensemble I", "all"}
    assert "Ours, in differences and marks: all" in text


def test_networks_are_timed_where_they_are_asked_to_be(tmp_path: Path) -> None:
    params = finish(tmp_path, {"dn-s25": ("dn", 25)}, sets=("sample/evaluation",))
    report = gather(params, machine="the machine")
    rows = {row.kind: row for row in report.sections[0].panels[0].rows}
    assert rows["model"].seconds is not None
    assert rows["ensemble"].seconds == 8 * rows["model"].seconds
    assert report.sections[0].panels[0].by_time is not None
    assert report.machine is not None
    assert report.machine.startswith("the machine, ")


def test_studies_join_the_report(root: Path, tmp_path: Path) -> None:
    params = finish(tmp_path, {"dn-s25": ("dn", 25)}, sets=("sample/evaluation",))
    spread = {"mean": 34.5, "std": 0.02, "n": 3}
    sets = {"Set5": {"psnr": spread, "ssim": spread, "difference": {"mean": 0.125, "n": 3}}}
    result = {"title": "Sharing", "variants": {"shared": {"title": "shared weights", "sets": sets}}}
    for name, content in (("good", result), ("other-form", {"title": "nothing else"})):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "result.json").write_text(json.dumps(content))
    (tmp_path / "studies/good/plot.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    text = render(gather(params, timed=False))
    assert [["variant", "Set5"], ["shared weights", "34.500 ± 0.020 (+0.125)"]] in Page(text).tables
    assert text.count("data:image/svg+xml") == 1
    assert "nothing else" not in text


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    params = finish(tmp_path, {"dn-s25": ("dn", 25)}, sets=("sample/evaluation",))
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"report\.html can't be written \(.*\): name a file in a folder you may write to"
    ):
        write_page(params, tmp_path / "file" / "report.html", timed=False)
    (tmp_path / "evaluations/dn-s25/ensemble.json").unlink()
    with pytest.raises(UserError, match="has no figures of any experiment yet: run `dvc repro` first"):
        write_page(params, tmp_path / "report.html", timed=False)


def test_short_forms() -> None:
    assert [count(None), count(705), count(57_281), count(1_221_276), count(1.93334e12)] == [
        *("", "705", "57.3 k", "1.22 M", "1.93 T"),
    ]
    assert [count(999), count(999.6), count(999_499), count(999_999), count(999_950_000)] == [
        *("999", "1 k", "999 k", "1 M", "1 G"),
    ]
    assert slug("sigma 25, a/b") != slug("sigma 25, a.b")
    assert all(letter.isalnum() or letter in "-_" for letter in slug("x2, sample/evaluation (ships)"))

"""Which network of the project a published row is."""

import pytest

from scn.evaluation.paper_networks import (
    NETWORKS_OF,
    base_of,
    count_parameters,
    in_inference,
    is_ensemble,
    network_of,
    parameters_of,
)
from scn.evaluation.published import Published, published


def find(method: str, task: str = "sr", level: int = 4, set_name: str = "Set5", paper: str = "") -> Published:
    rows = published(task, level, set_name)
    return next(row for row in rows if row.method == method and (not paper or row.paper == paper))


@pytest.mark.parametrize("method", [name for name in NETWORKS_OF if name.startswith(("SRResNet", "CARN"))])
def test_networks_have_the_parameters_that_the_paper_prints(method: str) -> None:
    rows = [row for row in published("sr", 4) if row.method == method and row.table != "supplement-table1"]
    assert rows
    for row in rows:
        found = network_of(row)
        assert found is not None
        assert row.parameters is not None
        assert abs(count_parameters(found) / row.parameters - 1) < 0.02


def test_a_row_of_another_size_is_no_network_of_ours() -> None:
    assert network_of(find("CARN", paper="ms3conv")) is not None
    supplement = next(row for row in published("sr", 4, "Set5") if row.method == "CARN" and row.parameters == 1592000)
    assert network_of(supplement) is None
    assert network_of(find("EDSR", paper="scn-aaai2020")) is None  # its size is not printed
    assert network_of(find("RCAN")) is None


def test_sizes_that_are_not_printed_come_from_the_project() -> None:
    scn = find("SCN", level=2)
    assert [scn.parameters, parameters_of(scn)] == [None, 19_436_956]
    assert parameters_of(find("DnCNN", "dn", 25, "BSD68")) == 556_097
    assert parameters_of(find("SCN", "dn", 25, "BSD68")) is None  # section 4.1 tells it for super-resolution
    assert parameters_of(find("VDSR", paper="ms3conv")) == 665_000  # as printed


def test_a_plus_is_self_ensemble_only_where_the_method_exists_without() -> None:
    assert is_ensemble(find("SCN+", level=2))
    assert not any(is_ensemble(find(name)) for name in ("A+", "SRResNet-MS3-Conv+", "SCN"))
    assert base_of("CARN-MS3-Conv+") == "CARN-MS3-Conv+"


def test_inference_has_no_weight_normalisation() -> None:
    small = {"name": "scn", "blocks": 1, "units": 4}
    assert in_inference(small)["weight_norm"] is False
    assert in_inference({"name": "vdsr"}) == {"name": "vdsr"}

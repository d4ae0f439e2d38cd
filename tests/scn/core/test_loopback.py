"""No proxy leads to the services of this machine, whichever spelling of NO_PROXY a program reads first."""

import socket
import urllib.request

import pytest

from scn.core.errors import UserError
from scn.core.loopback import check_free, no_proxy


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"no_proxy": "localhost, .example.org"},
        {"NO_PROXY": "localhost,.example.org,"},
        {"no_proxy": ".example.org", "NO_PROXY": "127.0.0.1"},
        {"no_proxy": "*"},
    ],
)
def test_a_client_goes_where_it_went_but_to_this_machine_without_the_proxy(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    before = [urllib.request.proxy_bypass(host) for host in ("example.net", "www.example.org")]
    made = no_proxy()
    for name in ("NO_PROXY", "no_proxy"):
        with monkeypatch.context() as one:
            one.delenv("NO_PROXY", raising=False)
            one.delenv("no_proxy", raising=False)
            one.setenv(name, made[name])
            assert urllib.request.proxy_bypass("127.0.0.1")
            assert " " not in made[name]
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    assert urllib.request.proxy_bypass("127.0.0.1")
    assert [urllib.request.proxy_bypass(host) for host in ("example.net", "www.example.org")] == before
    assert no_proxy() == made  # as a second `eval` makes it


def test_a_port_that_is_taken_or_none_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.core.loopback._RELEASED_SECONDS", 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as told:
            check_free([port], "wait")
        assert str(told.value) == (
            f"Port {port} of 127.0.0.1 can't be used (Address already in use): end what listens there, or wait."
        )
    check_free([port], "wait")
    with pytest.raises(UserError, match=r"^Port 70000 of 127\.0\.0\.1 can't be used \(there is no such port\): "):
        check_free([70_000], "wait")

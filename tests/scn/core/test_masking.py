"""Secrets are kept out of what is told."""

import pytest

from scn.core.masking import MASK, masked


@pytest.mark.parametrize(
    "who", ["user:password", "ghp_token", "x-access-token:ghp_token", "a:b:c", "user:p@ss", "user:p?s#s"]
)
def test_who_logs_in_by_a_url_is_not_told(who: str) -> None:
    assert (
        masked(f"git clone https://{who}@example.org/a.git failed")
        == f"git clone https://{MASK}@example.org/a.git failed"
    )
    assert masked("https://example.org/a@b and a@example.org") == "https://example.org/a@b and a@example.org"


def test_values_of_variables_that_hold_secrets_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abcdefghij")
    monkeypatch.setenv("SOME_TOKEN", "short")
    assert masked("abcdefghij is short") == f"{MASK} is short"


def test_the_password_of_a_name_is_not_told_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "prefect:abcdefghij")
    assert masked("prefect has abcdefghij, from prefect:abcdefghij") == f"prefect has {MASK}, from {MASK}"


@pytest.mark.parametrize(
    "name", ["token", "access_token", "X-Amz-Signature", "Signature", "X-Amz-Security-Token", "sig"]
)
def test_what_signs_a_url_is_not_told(name: str) -> None:
    url = f"https://example.org/a?b=c&{name}=ab%2Fc+/=&d=e"
    assert masked(f"GET '{url}' failed") == f"GET 'https://example.org/a?b=c&{name}={MASK}&d=e' failed"
    assert masked(f"https://example.org/a?{name}=abc: failed").startswith(f"https://example.org/a?{name}={MASK}")
    assert masked(f"{name}=abc") == f"{name}=abc"

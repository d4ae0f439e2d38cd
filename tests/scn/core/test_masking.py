"""Secrets are kept out of what is told."""

import pytest

from scn.core.masking import MASK, masked


@pytest.mark.parametrize("who", ["user:password", "ghp_token", "x-access-token:ghp_token", "a:b:c"])
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

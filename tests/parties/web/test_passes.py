"""Passes admit whoever shows them, for a time, and few are kept."""

from parties.web.passes import MAX_PASSES, Passes


def test_a_pass_is_for_its_value_and_its_time():
    """It holds until its time is over, or it is redeemed; what was never a pass holds nothing."""
    now = [0.0]
    passes = Passes[str](10, lambda: now[0])
    one, other = passes.issue("officer"), passes.issue("operator")
    assert (passes.value(one), passes.value(one), passes.value("guessed")) == ("officer", "officer", None)
    assert (passes.redeem(other), passes.redeem(other), passes.value(other)) == ("operator", None, None)
    now[0] = 10
    assert passes.value(one) is None


def test_of_too_many_the_oldest_is_forgotten():
    """Whoever asks for ever fills no memory."""
    passes = Passes[int](10, lambda: 0.0)
    issued = [passes.issue(number) for number in range(MAX_PASSES + 1)]
    assert [passes.value(secret) for secret in issued] == [None, *range(1, MAX_PASSES + 1)]


def test_secrets_are_not_kept():
    """What is in memory can't be shown in place of the secret."""
    passes = Passes[int](10, lambda: 0.0)
    secret = passes.issue(1)
    assert secret not in repr(vars(passes))

"""Only keys whose fingerprint an operator confirmed take part, and a swapped key is named."""

from __future__ import annotations

import json

import pytest

from parties.agreement.contract import Participant
from parties.errors import PartnerError, SettingsError
from parties.keys.identity import Identity
from parties.keys.partners import Partners


@pytest.fixture
def partners(tmp_path) -> Partners:
    return Partners(tmp_path / "partners.json")


def participant(name: str, identity: Identity) -> Participant:
    return Participant(name=name, public_key=identity.public.hex())


def test_who_was_confirmed_is_known_again(partners, tmp_path):
    """What one command confirmed, the daemon reads; typed fingerprints are kept in one form."""
    identity = Identity.generate()
    partners.add("clinic-b", identity.fingerprint.upper().replace("-", " "))
    assert Partners(tmp_path / "partners.json").all() == {"clinic-b": identity.fingerprint}
    partners.check([participant("clinic-b", identity)])


def test_nobody_is_confirmed_by_default(partners):
    """An unknown participant is refused, with how to confirm it; other organisations are told no more than that."""
    with pytest.raises(PartnerError, match=r"'clinic-b' is not a confirmed partner; .*privity partner add") as caught:
        partners.check([participant("clinic-b", Identity.generate())])
    assert "phone" not in caught.value.outward


def test_a_swapped_key_is_refused_with_both_fingerprints(partners):
    """A gateway that puts its own key in a partner's place is found out."""
    confirmed, swapped = Identity.generate(), Identity.generate()
    partners.add("clinic-b", confirmed.fingerprint)
    with pytest.raises(PartnerError, match="somebody swapped a key") as caught:
        partners.check([participant("clinic-b", swapped)])
    assert confirmed.fingerprint in str(caught.value)
    assert swapped.fingerprint in str(caught.value)


def test_a_confirmation_is_not_overwritten(partners):
    """Another fingerprint under the same name needs a removal first; the same one may be confirmed again."""
    first, second = Identity.generate(), Identity.generate()
    partners.add("clinic-b", first.fingerprint)
    partners.add("clinic-b", first.fingerprint)
    with pytest.raises(PartnerError, match="confirmed with another fingerprint"):
        partners.add("clinic-b", second.fingerprint)
    partners.remove("clinic-b")
    partners.add("clinic-b", second.fingerprint)
    assert partners.all() == {"clinic-b": second.fingerprint}


def test_a_confirmation_can_be_withdrawn(partners):
    """After that the partner is unknown again; who was never confirmed can't be removed."""
    identity = Identity.generate()
    partners.add("clinic-b", identity.fingerprint)
    partners.add("dealer", identity.fingerprint)
    partners.remove("clinic-b")
    assert list(partners.all()) == ["dealer"]
    with pytest.raises(PartnerError, match="there is no partner 'clinic-b'"):
        partners.remove("clinic-b")


@pytest.mark.parametrize("name", ["", "Clinic B", "clinic b", "a\nb", "x" * 65, "../x"])
def test_what_is_no_name_is_not_confirmed(partners, name):
    """Names are those of contracts; a slip at the terminal is told, not kept."""
    with pytest.raises(PartnerError, match="not a participant's name"):
        partners.add(name, Identity.generate().fingerprint)
    assert partners.all() == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": "b"}', "\udcff"])
def test_a_damaged_file_confirms_nobody(partners, tmp_path, content):
    """Doubt about who was confirmed ends in an error, not in an empty list."""
    (tmp_path / "partners.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match="is damaged; restore it"):
        partners.all()


def test_the_file_is_replaced_as_a_whole(partners, tmp_path):
    """No half-written list is ever under the name, and nothing else is left beside it."""
    for number in range(3):
        partners.add(f"clinic-{number}", Identity.generate().fingerprint)
        assert len(json.loads((tmp_path / "partners.json").read_text())) == number + 1
    assert [path.name for path in tmp_path.iterdir()] == ["partners.json"]

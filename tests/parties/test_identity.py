"""An organisation's key signs for it, and shows itself to nobody."""

import pickle  # noqa: TID251

import pytest

from parties.errors import ContractError, PartnerError, SettingsError
from parties.keys.identity import Identity, fingerprint, fingerprint_words, parse_fingerprint, unseal

KIND = "application/vnd.privity.test.v1+json"


def test_what_is_sealed_comes_out():
    """A sealed payload verifies under the signer's key and its own type."""
    identity = Identity.generate()
    assert unseal(identity.seal(KIND, b'{"a":1}'), identity.public, KIND) == b'{"a":1}'


def test_another_key_type_or_payload_is_refused():
    """A seal holds for one key, one type and one payload only."""
    identity, other = Identity.generate(), Identity.generate()
    envelope = identity.seal(KIND, b"x")
    with pytest.raises(ContractError, match="does not verify"):
        unseal(envelope, other.public, KIND)
    with pytest.raises(ContractError, match="another type"):
        unseal(envelope, identity.public, KIND + "x")
    with pytest.raises(ContractError, match="does not verify"):
        unseal({**envelope, "payload": "eQ=="}, identity.public, KIND)


@pytest.mark.parametrize("bad", [{}, {"payload": 1}, {"payload": "!", "payloadType": KIND, "signatures": [{}]}])
def test_malformed_envelopes_are_refused(bad):
    """Nonsense in place of an envelope is one clear error."""
    with pytest.raises(ContractError):
        unseal(bad, Identity.generate().public, KIND)


def test_fingerprints_survive_being_read_aloud():
    """Separators and case do not matter; a wrong length does."""
    name = fingerprint(Identity.generate().public)
    assert parse_fingerprint(name.upper().replace("-", " ")) == name
    with pytest.raises(PartnerError, match="hexadecimal"):
        parse_fingerprint(name[:-1])


def test_fingerprints_are_words_as_well():
    """Fifteen words of BIP-39's list say the same; four letters of each will do, and a wrong word is noticed."""
    assert fingerprint_words("-".join(["0000"] * 10)) == " ".join(["abandon"] * 14 + ["address"])
    name = fingerprint(Identity.generate().public)
    words = fingerprint_words(name)
    assert parse_fingerprint(words.upper()) == name
    assert parse_fingerprint("  ".join(word[:4] for word in words.split())) == name
    with pytest.raises(PartnerError, match="a word is misspelt"):
        parse_fingerprint(" ".join(["abandon"] * 15))
    with pytest.raises(PartnerError, match="a word is misspelt"):
        parse_fingerprint(" ".join([*words.split()[:-1], "privity"]))
    with pytest.raises(PartnerError, match="or 15 words"):
        parse_fingerprint(" ".join(words.split()[:-1]))


def test_keys_are_kept_from_others(tmp_path):
    """A saved key is 0600, loads as the same key, is never overwritten, and is refused if others can read it."""
    path = tmp_path / "identity.pem"
    identity = Identity.generate()
    identity.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Identity.load(path).public == identity.public
    with pytest.raises(SettingsError, match="exists already"):
        Identity.generate().save(path)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="readable by others"):
        Identity.load(path)


def test_a_key_is_not_shown_compared_or_pickled():
    """The private key is in no repr, no comparison and no pickle."""
    identity = Identity.generate()
    assert identity.fingerprint in repr(identity)
    with pytest.raises(TypeError):
        identity == Identity.generate()  # noqa: B015
    with pytest.raises(TypeError):
        pickle.dumps(identity)

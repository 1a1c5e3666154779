"""The tree is RFC 6962's: same roots as its vectors, same proofs as an independent implementation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency

from parties.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    extends,
    includes,
    inclusion_proof,
    leaf_hash,
    node_hash,
)

VECTOR_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LARGEST = 40


def content(number):
    return b"leaf %d" % number


def grow(contents):
    """A tree's frontier, its roots after each leaf, and a look-up of its subtrees."""
    frontier, roots, completed = Frontier(), [], []
    for leaf in contents:
        completed.append(frontier.append(leaf_hash(leaf)))
        roots.append(frontier.root())
    return frontier, roots, lambda last, level: completed[last][level]


FRONTIER, ROOTS, SUBTREES = grow(content(number) for number in range(LARGEST))


@pytest.fixture(scope="module")
def oracle():
    tree = InmemoryTree(algorithm="sha256")
    for number in range(LARGEST):
        tree.append_entry(content(number))
    return tree


def test_roots_are_those_of_certificate_transparency():
    """The eight leaves that Certificate Transparency implementations test with give its roots."""
    _, roots, _ = grow(bytes.fromhex(leaf) for leaf in VECTOR_LEAVES)
    assert [root.hex() for root in roots] == VECTOR_ROOTS
    assert Frontier().root() == EMPTY_ROOT


def test_roots_are_those_of_the_oracle(oracle):
    """Every root up to forty leaves is the one that pymerkle computes."""
    assert [oracle.get_root(size) for size in range(1, LARGEST + 1)] == ROOTS


def test_inclusion_proofs_are_those_of_the_oracle(oracle):
    """Each leaf's proof in each tree has pymerkle's hashes in pymerkle's order, and verifies."""
    for size in range(1, LARGEST + 1):
        for index in range(size):
            leaf = leaf_hash(content(index))
            proof = inclusion_proof(index, size, SUBTREES)
            theirs = oracle.prove_inclusion(index + 1, size).path
            assert proof == [node for node in theirs if node != leaf]
            assert includes(ROOTS[size - 1], size, leaf, index, proof)


def test_consistent_trees_are_those_of_the_oracle(oracle):
    """pymerkle, whose consistency proofs have other nodes than the RFC's, holds the same pairs of roots consistent."""
    for new in range(2, LARGEST + 1):
        for old in range(1, new):
            verify_consistency(ROOTS[old - 1], ROOTS[new - 1], oracle.prove_consistency(old, new))
            assert len(consistency_proof(old, new, SUBTREES)) <= len(oracle.prove_consistency(old, new).path)


def test_proofs_are_those_of_the_rfc():
    """The tree of seven leaves in RFC 6962, section 2.1.3, has the proofs that stand there."""
    _, _, subtrees = grow([b"d0", b"d1", b"d2", b"d3", b"d4", b"d5", b"d6"])
    a, b, c, d, e, f, j = (subtrees(leaf, 0) for leaf in range(7))
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, m = node_hash(g, h), node_hash(i, j)  # "l" in the RFC
    assert inclusion_proof(0, 7, subtrees) == [b, h, m]
    assert inclusion_proof(3, 7, subtrees) == [c, g, m]
    assert inclusion_proof(4, 7, subtrees) == [f, j, k]
    assert inclusion_proof(6, 7, subtrees) == [i, k]
    assert consistency_proof(3, 7, subtrees) == [c, d, g, m]
    assert consistency_proof(4, 7, subtrees) == [m]
    assert consistency_proof(6, 7, subtrees) == [i, j, k]


def test_every_consistency_proof_verifies():
    """Each pair of trees up to forty leaves has a proof, and the proof holds."""
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1):
            assert extends(old, ROOTS[old - 1], new, ROOTS[new - 1], consistency_proof(old, new, SUBTREES))


@settings(max_examples=300)
@given(st.data())
def test_wrong_proofs_do_not_verify(data):
    """A proof with one hash altered, added, dropped or for another place, size or root proves nothing."""
    size = data.draw(st.integers(2, LARGEST))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size - 1))
    inclusion = inclusion_proof(index, size, SUBTREES)
    consistency = consistency_proof(old, size, SUBTREES)
    leaf, root, old_root = leaf_hash(content(index)), ROOTS[size - 1], ROOTS[old - 1]
    for wrong in _wrong(data, inclusion):
        assert not includes(root, size, leaf, index, wrong)
    for wrong in _wrong(data, consistency):
        assert not extends(old, old_root, size, root, wrong)
    other = data.draw(st.integers(0, size - 1).filter(lambda other: other != index))
    assert not includes(root, size, leaf, other, inclusion)
    assert not includes(root, size, leaf_hash(content(other)), index, inclusion)
    assert not includes(old_root, size, leaf, index, inclusion)
    assert not extends(old, root, size, root, consistency)
    assert not extends(old, old_root, size, old_root, consistency)


def _wrong(data, proof):
    at = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    altered = bytearray(proof[at])
    altered[bit // 8] ^= 1 << bit % 8
    yield [*proof[:at], bytes(altered), *proof[at + 1 :]]
    yield [*proof[:at], *proof[at + 1 :]]
    yield [*proof[:at], leaf_hash(b"another"), *proof[at:]]


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, LARGEST])
def test_a_frontier_can_be_taken_up_anywhere(size):
    """A frontier rebuilt from stored subtrees goes on to the same root as one that never stopped."""
    frontier = Frontier.at(size, SUBTREES)
    for number in range(size, LARGEST):
        frontier.append(leaf_hash(content(number)))
    assert frontier.root() == FRONTIER.root()


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_for_what_is_not_there(index, size):
    """A leaf outside of the tree has no proof, and none verifies."""
    with pytest.raises(ValueError, match="not in a tree"):
        inclusion_proof(index, size, SUBTREES)
    assert not includes(ROOTS[2], size, leaf_hash(content(0)), index, [])


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 2)])
def test_no_proof_that_a_tree_shrinks(old, new):
    """A tree does not grow out of a larger or an empty one."""
    with pytest.raises(ValueError, match="does not grow"):
        consistency_proof(old, new, SUBTREES)
    assert not extends(old, ROOTS[0], new, ROOTS[new - 1], [])

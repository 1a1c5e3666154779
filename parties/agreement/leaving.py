"""What leaves this organisation, in plain words: each disclosure of a contract, and what others can tell besides."""

from __future__ import annotations

from dataclasses import dataclass

from parties.agreement.contract import Contract, Disclosure, Terms
from parties.agreement.kinds import AnyContract
from parties.agreement.match_plan import MatchingContract
from parties.agreement.prediction import PredictionContract

_WHAT = {
    "coefficients": "The model’s coefficients",
    "intercept": "The model’s intercept",
    "loss": "The mean loss over all training records",
    "cross-validation": "The mean loss of training records by models that had not seen them, for each C",
    "guard": "One bit: whether any record’s score left the range that is computed rightly",
    "moments": "Exact sums of each column, and of its squares, over the training records of all who have it",
    "weight-of-evidence": "In steps of cells, how many training records of each bin of its columns have which label",
    "information-value": "How much each column that is weighed by the label says of it: one number a column",
    "quantiles": "Quantiles of columns over the training records of all who have them, to 13 binary digits",
    "means": "Exact sums of columns with gaps over the training records that have a value, and how many these are",
    "levels": "By name, values of the columns that these have in common: of each party those that enough records have",
    "membership": "Which of the parties with the same columns has each record",
    "converged": "One bit: whether training ended where the model hardly moves any more",
    "auc": "AUC on the held-out records: how well the model puts them in order",
    "log-loss": "Log-loss on the held-out records: how far its probabilities are off",
    "brier": "Brier score on the held-out records: its probabilities’ mean squared error",
    "roc": "ROC table of the held-out records: how many of each class score above each threshold, in steps of cells",
    "calibration": "Calibration table of the held-out records: the same above each tenth of probability",
    "matches": "How many records each two parties, or more, have in common; of very long lists part by part",
    "sample-matches": "How many records of a random sample each two parties, or more, have in common",
    "estimate": "About how many records all parties have in common, rounded",
    "probabilities": "Each new record’s probability by the kept model",
}


@dataclass(frozen=True)
class Leaving:
    """One disclosure as a line of a table."""

    clause: str
    what: str
    to: str
    outside: bool  # whether anybody but this organisation is told
    numbers: int
    times: int


def leaving(contract: Terms, own: str) -> list[Leaving]:
    """Every disclosure that the contract allows; nothing else is opened."""
    return [
        Leaving(
            clause=item.clause,
            what=_what(item) + _noise(contract, item),
            to=_to(contract, item, own),
            outside=item.recipient != f"party:{own}",
            numbers=item.values,
            times=item.count,
        )
        for item in contract.disclosures
    ]


def _what(item: Disclosure) -> str:
    if item.name == "matched":
        return f"Which of {item.recipient.removeprefix('party:')}’s own records all parties have, if these are enough"
    what = _WHAT.get(item.name, f"“{item.name}”, as the contract defines it")
    if item.name == "coefficients" and item.recipient.startswith("party:"):
        return f"{what} of {item.recipient.removeprefix('party:')}’s own columns"
    if item.name == "coefficients":
        return f"{what} of the columns of {item.recipient.removeprefix('parties:').replace(',', ' and ')}"
    return what


def _noise(contract: Terms, item: Disclosure) -> str:
    if item.name not in {"coefficients", "intercept"} or not isinstance(contract, Contract):
        return ""
    return f", with normal noise of {contract.model.noise} from each party" if contract.model.is_noised else ""


def _to(contract: Terms, item: Disclosure, own: str) -> str:
    if item.recipient == "session":
        # The dealer has the bits from which correlations it is asked for.
        if item.name == "guard":
            return f"every party, the gateway and {_dealer(contract)}"
        return "every party and the gateway"
    told = ["us" if name == own else name for name in item.recipient.partition(":")[2].split(",")]
    return f"{told[0]} alone" if len(told) == 1 else ", ".join(told)


def _dealer(contract: Terms) -> str:
    name = contract.dealer.name
    return "the dealer" if name == "dealer" else f"the dealer {name}"


def inferences(contract: AnyContract, own: str) -> list[str]:
    """What others can tell beyond the numbers disclosed; docs/threat-model.md has all of it."""
    party = contract.party(own)
    dealer = _dealer(contract)
    names, traffic = f"the names of our columns, our {party.rows} rows", "sees"
    if isinstance(contract, Contract):
        names, traffic = (
            f"{names}, and the label’s column and its classes",
            "sees every range bit in its own traffic, but",
        )
    told = [
        (
            f"Every party, {dealer} and the gateway read this contract: {names}. Of all our data sets the gateway had"
            " such names before."
        ),
        _of_dealer(contract, dealer, traffic),
        "The gateway sees how far the run is, how long it takes and how many bytes are sent.",
    ]
    if isinstance(contract, MatchingContract):
        return [*told, *_of_matching(contract, own)]
    told += _named_levels(contract, own)
    told += _told_levels(contract, own)
    told += _told_quantiles(contract, own)
    told += _told_means(contract, own)
    if contract.partition == "blocks":
        told += _in_blocks(contract, own)
    elif contract.partition == "columns":
        told.append(
            "The other parties learn whether our record ids are the same as theirs. If they are not, whoever guesses"
            " our whole list can tell that the guess is right."
        )
    else:
        told += _by_rows(contract)
    if isinstance(contract, PredictionContract):
        told.append(
            f"Probabilities of many records tell {_told(contract, own)} the model’s coefficients, or, where these are"
            " known, what the other parties’ columns hold of a record."
        )
        return told
    told.append(
        "Results follow from the data: a coefficient of a rare column says something of the few records that have it,"
        " and several sessions on the same records tell more than one."
    )
    return told


def _named_levels(contract: Contract | PredictionContract, own: str) -> list[str]:
    """What the contract's preparation says of own columns, beside their names."""
    preparation = contract.preparation
    named = [column for column in contract.party(own).columns if preparation.of(column).levels]
    if not named:
        return []
    return [f"Whoever reads this contract reads levels of our columns by name: those of {', '.join(named)}."]


def _told_levels(contract: Contract | PredictionContract, own: str) -> list[str]:
    """Which levels of own columns leave by name, and to whom."""
    rank = contract.rank(own)
    if not isinstance(contract, Contract) or not (columns := contract.agreed_columns(rank)):
        return []
    partners = ", ".join(contract.parties[each].name for each in contract.division.side(rank) if each != rank)
    most = max(contract.preparation.of(name).most_levels for name in columns)
    return [
        (
            f"{partners}, and nobody else, are told names of levels of our columns {', '.join(columns)}: those that at"
            f" least {contract.preparation.smallest_bin} of our training records have, {most} of a column at most, and"
            " not how many records have them."
        )
    ]


def _told_quantiles(contract: Contract | PredictionContract, own: str) -> list[str]:
    """Of which own columns others are told quantiles, and what they can make of them."""
    rank = contract.rank(own)
    if not isinstance(contract, Contract) or not (columns := contract.ranked_columns(rank)):
        return []
    others = [contract.parties[each].name for each in contract.division.side(rank) if each != rank]
    told = others[0] if len(others) == 1 else f"{', '.join(others)} together"
    return [
        (
            f"A joint quantile of {', '.join(columns.values())} is one record’s value, rounded: {told} can tell whether"
            " it is ours, and how many of our records have less."
        )
    ]


def _told_means(contract: Contract | PredictionContract, own: str) -> list[str]:
    """Of which own columns with gaps others are told sums, and what they can make of them."""
    rank = contract.rank(own)
    if not isinstance(contract, Contract) or not (columns := contract.averaged_columns(rank)):
        return []
    others = [contract.parties[each].name for each in contract.division.side(rank) if each != rank]
    told = f"{others[0]} subtracts its own" if len(others) == 1 else f"{', '.join(others)} together subtract theirs"
    return [
        (
            f"Of {', '.join(columns.values())} {told}, and so can tell how many of our training records have a value"
            f" (none, or {contract.preparation.smallest_bin} at least), and these values’ mean."
        )
    ]


def _of_dealer(contract: AnyContract, dealer: str, traffic: str) -> str:
    if isinstance(contract, MatchingContract):
        return f"{dealer[0].upper()}{dealer[1:]} deals out nothing in this session, and sees no data and no result."
    return (
        f"{dealer[0].upper()}{dealer[1:]} {traffic} no data and no result."
        " Together with any one party it could read our rows: it must be independent of all."
    )


def _of_matching(contract: MatchingContract, own: str) -> list[str]:
    found = contract.party(own).columns
    hidden = "Of records that not all have, nobody" if not contract.is_estimate else "Nobody"
    both = [
        (
            f"Identifiers ({', '.join(found)}) leave under an encryption that no other party can take off alone, and in"
            f" random order. {hidden} learns whose they are."
        ),
        (
            "A party can bring made-up identifiers, and so learn whether all others have these persons; no protocol"
            " notices it. The contract says how many records each may bring."
        ),
    ]
    return [*both, *(_of_estimate(contract) if contract.is_estimate else _of_records(contract))]


def _of_estimate(contract: MatchingContract) -> list[str]:
    program = contract.program
    return [
        (
            f"Of each list a random one in {program.one_in} is compared, the same at all parties. Their processes learn"
            " exactly how many of these each two parties, or more, have in common, and so how many there are of all,"
            f" about; what is told is that in steps of {program.round_to}, and no number below {contract.least_told}."
        ),
        (
            "Each further estimate is of another sample: many of them together come close to the exact number, and tell"
            " of lists that changed a little by their difference."
        ),
    ]


def _of_records(contract: MatchingContract) -> list[str]:
    return [
        (
            f"With fewer than {contract.rules.minimum} common records all parties learn how many there are, and nobody"
            " which. Two matchings of lists that changed a little tell by their counts of the few records that changed."
        ),
        (
            f"Each party keeps its common records as data set {contract.result}, under ids that all parties share, for"
            f" {contract.keep_days} days at most: a list of persons whom all have. Once it is shared the gateway knows"
            " how many they are."
        ),
    ]


def _told(contract: PredictionContract, own: str) -> str:
    return "us" if contract.recipient == own else contract.recipient


def _in_blocks(contract: Contract | PredictionContract, own: str) -> list[str]:
    division, rank = contract.division, contract.rank(own)
    fits = "Every party learns whether the record ids of those with the same columns together are those of the others."
    if not division.is_divided(rank):
        return [f"{fits} If they are not, whoever guesses our whole list can tell that the guess is right."]
    partners = [contract.parties[each].name for each in division.side(rank) if each != rank]
    guessed = f"{', '.join(partners)}, if guessing our whole list of ids, can tell that the guess is right."
    if isinstance(contract, PredictionContract):
        return [fits, guessed]
    return [fits, guessed, _subtracting(partners[0] if len(partners) == 1 else f"{', '.join(partners)} together")]


def _subtracting(others: str) -> str:
    return f"{others} can subtract from the joint sums, and so know the mean and deviation of our columns."


def _by_rows(contract: Contract) -> list[str]:
    shared = "Every party gets the whole model, and can compare it with one of its own records alone."
    others = "The other party" if len(contract.parties) == 2 else "All other parties together"
    return [shared, _subtracting(others)]

"""Words that must not leave, because they would say to others why somebody hears from us."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

#: Words that could say to a passer-by why somebody hears from us; "*" is any ending. Spanish words
#: are written without accents, which are not looked at.
DENIED: tuple[str, ...] = (
    "addict*", "alcohol*", "drug*", "opioid*", "opiate*", "heroin*", "meth", "methamphet*",
    "cocaine", "fentanyl", "substance*", "OUD", "MOUD", "buprenorphin*", "suboxone", "methadone",
    "naltrexon*", "naloxon*", "narcan", "detox*", "rehab*", "recover*", "sober*", "sobriety",
    "clean", "relapse*", "treatment*", "discharge*", "clinic*", "counsel*", "therap*",
    "peer support", "sponsor*", "AA", "12 step*", "twelve step*", "overdos*", "withdrawal*",
    "crisis", "crises", "suicid*", "patient*", "mental health", "hospital*",
    "adict*", "adicci*", "droga*", "drogad*", "opioide*", "opiaceo*", "metanfet*", "cocaina",
    "fentanilo", "sustancia*", "buprenorfin*", "metadona", "naltrexona", "naloxona",
    "desintox*", "rehabilit*", "recuper*", "sobrio*", "sobria*", "sobriedad", "limpio*", "limpia*",
    "recaida*", "recaer", "tratamiento*", "dado de alta", "dada de alta", "alta medica",
    "consejer*", "terap*", "apoyo de pares", "apoyo entre pares", "padrino*", "madrina*",
    "12 pasos", "doce pasos", "sobredosis", "abstinencia", "paciente*", "salud mental",
)  # fmt: skip

#: These are denied as acronyms only: Mat and Na are names, "sud" is the south.
DENIED_IN_CAPITALS: tuple[str, ...] = ("NA", "MAT", "SUD")


def reveals(words: str) -> bool:
    """Whether words, such as a name that our messages use, would give it away."""
    return bool(deny_listed(words))


def deny_listed(text: str, names: Iterable[str] = ()) -> list[str]:
    """The denied words in a text, and those of ``names`` (such as the facility's) that it holds."""
    plain = _without_accents(text)
    terms = (*DENIED, *(name for name in names if re.search(r"\w", name)))
    found = [term for term in terms if _whole_word(term).search(plain)]
    return found + [term for term in DENIED_IN_CAPITALS if re.search(rf"\b{term}\b", plain)]


@cache
def _whole_word(term: str) -> re.Pattern[str]:
    words = r"[\W_]+".join(map(re.escape, re.findall(r"\w+", _without_accents(term))))
    ending = "" if term.endswith("*") else r"(?![^\W_])"
    return re.compile(rf"(?<![^\W_]){words}{ending}", re.IGNORECASE)


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if unicodedata.category(letter) != "Mn")

"""Replies as people write them, in English and Spanish, and what each must be taken for."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from functools import cache
from math import comb
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifications.replies import (
    CLIENT_SAYS,
    SAID_ALONE,
    Meaning,
    also_stop,
    understand,
)

REPLIES: dict[Meaning, tuple[str, ...]] = {
    Meaning.STOP: (
        "STOP", "stop", "Stop.", " stop ", "STOP!!!", "\tStOp\n", "'STOP'", "\u201cStop\u201d",
        "STOP please", "Please STOP", "stop stop stop", "S.T.O.P", "s t o p", "stoooooop",
        "STOP \U0001f6d1", "\U0001f64f stop \U0001f64f", "\uff33\uff34\uff2f\uff30", "sto\u200bp",
        "Stop it", "stop all", "STOPALL", "ok stop", "No, stop", "I said STOP", "Stop. Thanks",
        "STOP - I mean it", "you can stop now, thanks", "quit", "END", "Cancel", "revoke",
        "opt out", "OPT-OUT", "optout", "I'd like to opt out of these texts", "unsubscribe",
        "Unsubscribe me", "how do I unsubscribe", "unsuscribe", "remove me",
        "please stop texting me", "Stop texting my phone", "quit messaging me",
        "can you stop sending me these", "stop the messages", "stop all of these texts",
        "stop calling me", "don't text me anymore", "don\u2019t text me",
        "do not contact me again", "dont message this number", "never text me again",
        "no more texts", "No more messages please", "no texts please",
        "I don't want these messages", "I do not want to get any more texts",
        "I don't want to hear from you", "i dont want to be contacted anymore",
        "I revoke my consent", "take me off your list", "remove my number from this list",
        "lose my number", "leave me alone", "Leave me alone!!", "don't ever call me again",
        "I can't stop drinking. Stop texting me", "why don't you stop texting me",
        "Tell them to stop texting me", "Yes stop", "End.", "arrêt", "parar", "PARE", "para",
        "alto", "ALTO por favor", "Baja", "darme de baja", "quiero darme de baja",
        "denme de baja por favor", "cancelar", "salir", "fin", "Basta", "¡Basta ya!", "no más",
        "Ya no más", "no más mensajes", "No mas mensajes por favor", "no quiero más mensajes",
        "no quiero recibir mensajes", "no me escriban más", "No me manden mensajes",
        "por favor dejen de escribirme", "paren de mandarme mensajes", "deje de molestarme",
        "déjenme en paz", "no quiero que me escriban", "no quiero seguir recibiendo mensajes",
        "quítenme de la lista", "revoco mi consentimiento", "I just want to stop getting these",
        "basta de mensajes", "sácame de la lista",
    ),
    Meaning.DANGER: (
        "I want to kill myself", "i'm going to kill my self", "kms", "suicide", "im suicidal",
        "thinking about suicde", "I want to die", "i wanna die", "want 2 die", "I wish I was dead",
        "better off without me", "I can't go on", "I can\u2019t go on like this",
        "I cant do this anymore", "I can't take it any more", "no reason to live",
        "i don't want to be here", "I don't want to wake up", "I'm going to end it all",
        "going to hurt myself", "I'm not going to hurt myself", "I won't kill myself, promise",
        "I cut myself", "been cutting myself again", "self-harm", "selfharm", "overdose",
        "I think he overdosed", "I OD'd last night", "od'd again", "I took too many",
        "took too many pills", "I took all my pills", "he's not breathing", "she won't wake up",
        "someone is going to kill me", "I'm not safe", "i dont feel safe", "call 911", "911",
        "this is an emergency", "I'm ending my life", "nothing to live for", "KILL MYSELF",
        "kíll mysélf", "STOP or I'll kill myself", "stop texting me I want to die",
        "Help. I want to die", "wrong number. I want to die", "yes but i want to die",
        "I'm gonna die", "goodbye forever", "me quiero morir", "quiero morir", "Quiero morirme",
        "me voy a matar", "quiero matarme", "pienso en el suicidio", "voy a suicidarme",
        "quitarme la vida", "no quiero vivir", "ya no quiero vivir", "ya no puedo más",
        "No aguanto más", "no puedo seguir así", "quiero hacerme daño", "me quiero cortar",
        "sobredosis", "tomé demasiadas", "tomé muchas pastillas", "quiero acabar con mi vida",
        "no respira", "no despierta", "es una emergencia", "estarían mejor sin mí",
        "estoy en peligro", "no me voy a matar", "alto, quiero morir", "he wants to die",
        "mi hijo se quiere matar", "took like 20 pills", "been thinking of ending things",
        "I might hurt someone", "I can't keep doing this",
    ),
    Meaning.UNCLEAR: (
        "", "   ", "?", "\U0001f642", "thanks", "gracias", "hello", "hola", "xyz", "12345",
        "I want to quit drinking", "can't stop", "I can't stop", "I stopped using",
        "I want to stop", "I want to quit", "I quit", "stop drinking is hard",
        "Quit smoking today!", "stop using", "I stopped by the office", "the bus stop",
        "Don't stop", "please don't stop texting me", "never stop texting me",
        "why did you stop texting me", "did you stop texting me?", "you never text me",
        "you don't text me anymore", "don't text me at work", "don't text me before 10",
        "no texts at night please", "no more texts at work", "Don't call me, text is better",
        "she keeps telling him to stop calling me", "make it stop", "end of the week is good",
        "the end of my rope is near", "cancel my appointment", "enough", "not interested",
        "I want out", "I need a break from everything", "this weather is killing me",
        "my feet are killing me", "that's odd", "I'm dying to meet you",
        "my ex won't leave me alone", "yes but only evenings", "Yes, if I can bring my son",
        "yes and no", "yes no", "No, I would love that", "not now", "maybe", "I can't", "no puedo",
        "no problem", "not a wrong number", "Not wrong number", "I called the wrong number",
        "he gave me the wrong number", "I think I was matched with the wrong person",
        "someone else is coming over", "is someone else going to read this", "we have not talked",
        "we never talked", "she answered", "I didn't answer", "talked but he hung up",
        "start a new job monday", "I am back on my feet", "help with rent",
        "family emergency, sorry", "Is this thing on", "call me at 5", "I had a drink last night",
        "feeling low today", "quiero parar de beber", "quiero dejar de tomar", "no puedo parar",
        "dejé de usar", "estoy de baja médica", "no paren", "por favor no dejen de escribirme",
        "no me dejen", "no me escriban de noche", "para mañana", "alto costo", "tal vez", "quizás",
        "no hablamos", "no estoy seguro", "sí pero en la tarde", "me siento mal hoy",
        "Alto ahí amigo mío", "I want to stop using and live", "talked to nobody", "fuck off",
        "I am odd", "I took too much time",
    ),
    Meaning.YES: (
        "YES", "yes", "Yes!", "y", "yeah", "Yep", "ok", "OK thanks", "okay", "sure", "Sure thing!",
        "yes please", "Yes, I can", "yes i can do it", "I'll do it", "of course", "yesss",
        "\U0001f44d", "\U0001f44d\U0001f3fd", "Yes \U0001f60a", "SI", "sí", "Sí, claro",
        "claro que sí", "de acuerdo", "Acepto", "sí puedo", "con gusto", "¡Sí!", "vale",
    ),
    Meaning.NO: (
        "NO", "no", "No.", "n", "nope", "nah", "no thanks", "No, thank you", "no no no", "nooo",
        "Not this time", "no i can't", "No, sorry", "I decline", "\U0001f44e", "no gracias",
        "No, gracias.", "esta vez no", "no acepto",
    ),
    Meaning.START: (
        "START", "start", "Start please", "unstop", "UNSTOP", "subscribe", "opt in", "start again",
        "text me again", "please start texting me again", "empezar", "Alta", "iniciar",
        "Yes, start",
    ),
    Meaning.HELP: (
        "HELP", "help", "Help!", "info", "INFO", "help me", "I need help", "who is this?",
        "Who's this", "AYUDA", "ayuda por favor", "Necesito ayuda", "¿Quién es?", "información",
        "helllp",
    ),
    Meaning.TALKED: (
        "TALKED", "talked", "Talked!", "we talked", "We talked today", "Yes, we talked",
        "yes we spoke", "talked to him", "I talked to her yesterday", "talked for an hour",
        "we had a good talk", "Talked, he sounds well", "spoke with them this morning",
        "talked and it went well", "No, we talked yesterday", "just talked", "HABLAMOS",
        "ya hablamos", "Sí, hablamos ayer", "hablé con ella", "hemos hablado",
        "talked with Sam today", "Talked w/ them",
    ),
    Meaning.NO_ANSWER: (
        "NO ANSWER", "no answer", "No answer.", "noanswer", "no-answer", "no response",
        "still no answer", "called twice, no answer", "he didn't answer", "didn\u2019t pick up",
        "nobody answered", "left a voicemail", "went to voicemail", "voicemail", "No, no answer",
        "no answer, will try again", "couldn't reach him", "NO CONTESTA", "no contestó",
        "no me contesta", "no respondió", "nadie contestó", "sin respuesta", "dejé un mensaje",
        "buzón de voz",
    ),
    Meaning.SOMEONE_ELSE: (
        "SOMEONE ELSE", "someone else", "Someone else, please", "somebody else",
        "No, someone else", "can I have someone else?", "I'd like someone else",
        "I want a different mentor", "another person please", "could I talk to someone else",
        "someone else instead", "change mentor", "OTRA PERSONA", "otra persona por favor",
        "Quiero otra persona", "alguien más", "otro mentor", "prefiero hablar con otra persona",
        "cambiar de persona",
    ),
    Meaning.PAUSE: (
        "PAUSE", "pause please", "pause for now", "pausa", "pausar",
    ),
    Meaning.BACK: (
        "BACK", "I'm back", "I\u2019m back!", "resume", "ya regresé", "volví", "estoy de vuelta",
    ),
    Meaning.WRONG_NUMBER: (
        "wrong number", "Wrong number!", "sorry wrong number", "No, wrong number",
        "wrong number, stop", "you have the wrong number", "you've got the wrong person",
        "I think you texted the wrong number", "this is not Sam's phone", "this isn't his number",
        "WRONG NUMBER stop texting me", "número equivocado", "Numero equivocado",
        "se equivocó de número", "equivocado", "este no es el número de Ana",
    ),
}  # fmt: skip

EVERY_REPLY = [(text, meaning) for meaning, texts in REPLIES.items() for text in texts]


@pytest.mark.parametrize(("text", "meaning"), EVERY_REPLY)
def test_a_reply_is_understood_as_its_writer_meant_it(text: str, meaning: Meaning) -> None:
    assert meaning == understand(text)


@pytest.mark.parametrize("text", REPLIES[Meaning.STOP])
def test_a_wish_to_stop_is_heard_beside_danger(text: str) -> None:
    both = f"{text}. I want to die"

    assert (Meaning.DANGER, True) == (understand(both), also_stop(both))


@pytest.mark.parametrize("text", REPLIES[Meaning.UNCLEAR])
def test_nobody_is_stopped_for_something_ambiguous(text: str) -> None:
    assert not also_stop(text)


@pytest.mark.parametrize("text", ["wrong number, stop", "WRONG NUMBER stop texting me"])
def test_a_stranger_who_also_says_stop_is_stopped(text: str) -> None:
    assert also_stop(text)


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("I want to die", False),
        ("I can't stop, I want to die", False),
        ("STOP or I'll kill myself", False),
        ("Stop. I want to die", True),
        ("alto, quiero morir", True),
    ],
)
def test_danger_alone_stops_nothing(text: str, stops: bool) -> None:
    assert (Meaning.DANGER, stops) == (understand(text), also_stop(text))


@pytest.mark.parametrize("meaning", SAID_ALONE)
@pytest.mark.parametrize(
    "written", ["{}", "{}!", "  {} ", "{} please", "«{}»", "{}, gracias", "Hi, {}", "{} \U0001f64f"]
)
def test_every_word_of_the_table_works_however_it_is_written(
    meaning: Meaning, written: str
) -> None:
    for phrase in SAID_ALONE[meaning].split("|"):
        word = " ".join(phrase.split())

        asked = "check_in" if meaning is Meaning.OK else None
        assert meaning == understand(written.format(word), asked), word
        assert meaning == understand(written.format(word.upper()), asked), word


def test_the_words_that_the_law_and_the_carriers_name_all_stop() -> None:
    named = "stop, quit, end, revoke, opt out, cancel, unsubscribe, stopall, optout"

    assert {Meaning.STOP} == {understand(word) for word in named.split(", ")}


def test_a_picture_alone_is_an_answer() -> None:
    assert Meaning.STOP == understand("\U0001f6d1")
    assert Meaning.UNCLEAR == understand("we are at the \U0001f6d1 sign")


@given(st.text(max_size=400))
@settings(deadline=None)
def test_any_text_at_all_has_a_meaning(text: str) -> None:
    assert understand(text) in Meaning


def test_a_very_long_reply_is_read_in_no_time() -> None:
    long = "stop all of the " * 5_000 + "for " * 5_000

    assert Meaning.UNCLEAR == understand(long)


#: Replies written for this test, each with what was asked and what its writer means. The rules
#: were made with the first file at hand; the second was written before they were changed for it,
#: and no rule may be changed because of it. Both are by one hand, so that a stranger's replies may
#: do worse.
DATA = Path(__file__).parents[2] / "data"
#: Of the replies that the rules have not seen, at least this share is understood (155 of 231)...
UNDERSTOOD = 0.67
#: ... at most this share of those that speak of danger is missed: 13 of 47, so that with 95 %
#: certainty it is less than 41 % of such replies...
DANGER_MISSED = 0.28
#: ... and at most so many are taken for something else that would send or change anything.
TAKEN_WRONGLY = 0
#: What is missed lands with a person: an unclear reply is a task, one of danger a call, and a
#: wish to talk goes to the mentor at once.
WITH_A_PERSON = (Meaning.UNCLEAR, Meaning.DANGER, Meaning.TALK)


@dataclass(frozen=True)
class Reply:
    """A reply with what was asked, what is meant, and what it was taken for."""

    language: str
    asked: str
    meaning: str
    text: str

    @property
    def taken_for(self) -> Meaning:
        """What follows from it, of what its writer can say at all."""
        said = understand(self.text, self.asked)
        from_client = self.asked in ("introduction", "check_in")
        return Meaning.UNCLEAR if from_client and said not in CLIENT_SAYS else said

    @property
    def is_missed(self) -> bool:
        return self.taken_for != self.meaning

    @property
    def is_taken_wrongly(self) -> bool:
        return self.is_missed and self.taken_for not in WITH_A_PERSON


@cache
def replies(half: str) -> list[Reply]:
    """One half; of the unseen one, only what does not stand in the other as well."""
    with (DATA / f"replies_{half}.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        found = [Reply(*row) for row in rows]
    known = set() if half == "seen" else {reply.text.casefold() for reply in replies("seen")}
    return [reply for reply in found if reply.text.casefold() not in known]


def table(half: str) -> str:
    """Hits and misses by meaning and language."""
    count = Counter((r.meaning, r.language, r.is_missed) for r in replies(half))
    languages = ("en", "es", "mixed")
    lines = [f"{half:>13}  " + "  ".join(f"{name:>15}" for name in languages)]
    for meaning in Meaning:
        cells = [(count[meaning, name, False], count[meaning, name, True]) for name in languages]
        shown = "  ".join(f"{hit:>3} hit {miss:>2} miss" for hit, miss in cells)
        lines.append(f"{meaning:>13}  {shown}")
    return "\n".join(lines)


def upper_bound(missed: int, of: int) -> float:
    """The highest rate that would miss so few with a chance of 5 % (Clopper and Pearson)."""
    low, high = missed / of, 1.0
    while high - low > 1e-4:
        rate = (low + high) / 2
        fewer = sum(comb(of, k) * rate**k * (1 - rate) ** (of - k) for k in range(missed + 1))
        low, high = (rate, high) if fewer > 0.05 else (low, rate)
    return high


@pytest.mark.parametrize("half", ["seen", "unseen"])
def test_replies_that_were_written_for_it(half: str) -> None:
    every = replies(half)
    danger = [reply for reply in every if reply.meaning == Meaning.DANGER]
    understood = sum(not reply.is_missed for reply in every)
    missed = sum(reply.is_missed for reply in danger)
    wrongly = [f"{r.text!r}: {r.taken_for}" for r in every if r.is_taken_wrongly]
    print(f"\n{table(half)}")
    print(f"understood {understood} of {len(every)}, taken wrongly {len(wrongly)}")
    print(f"danger missed {missed} of {len(danger)}, bound {upper_bound(missed, len(danger)):.1%}")

    if half == "seen":
        assert ([], 0) == (wrongly, missed)
    assert len(wrongly) <= TAKEN_WRONGLY, wrongly
    assert missed <= DANGER_MISSED * len(danger)
    assert understood >= UNDERSTOOD * len(every)


def test_there_are_enough_of_them_in_each_half() -> None:
    assert 200 <= min(len(replies("seen")), len(replies("unseen")))

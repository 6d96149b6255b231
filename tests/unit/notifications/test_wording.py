"""What our messages say: complete, discreet, short enough, and safe with any value."""

from __future__ import annotations

import html
import re
from email.message import EmailMessage
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import meta
from jinja2.sandbox import SandboxedEnvironment

from services.notifications.replies import Meaning, understand
from services.notifications.wording import (
    CHANNELS,
    OPTIONAL,
    PURPOSES,
    TEMPLATES,
    CannotRender,
    Rendered,
    render,
    segments,
)
from services.revealing import DENIED, DENIED_IN_CAPITALS, deny_listed

LANGUAGES = ("en", "es")
TO_THE_CLIENT = frozenset(
    {"first", "introduction", "waiting", "looking_again", "ended"}
    | {"check_in", "check_in_ok", "check_in_talk"}
    | {"stopped", "started", "help", "danger", "wrong_number"}
)
EVERY_MESSAGE = list(product(PURPOSES, CHANNELS, LANGUAGES))

ORDINARY = {
    "alias": "Bridge",
    "called": "Sam",
    "mentor_name": "Jo",
    "hello": "I like long walks.",
    "in_touch_by": "Tue Nov 24, 6 pm",
    "call_by": "Tue Nov 24, 6 pm",
    "coordinator_phone": "(503) 555-0100",
    "language": "Spanish",
    "times": "weekday evenings",
    "code": "482913",
    "link": "https://bridge.example/c/8fJk2Lq9ZpX4",
    "answer_link": "https://bridge.example/a/8fJk2Lq9ZpX4",
    "unsubscribe_link": "https://bridge.example/u/8fJk2Lq9ZpX4",
}

# What a careless caller might hand over: everything it knows about the discharge.
HOSTILE = ORDINARY | {
    "facility": "Sunrise Recovery Center",
    "facility_name": "Sunrise Recovery Center",
    "program": "Sunrise Recovery Center",
    "reason": "left treatment against advice",
    "substances": "alcohol, opioids",
    "level_of_care": "residential detox",
    "called": "<b>{{ facility }}</b>\r\nBcc: spy@example.org",
    "mentor_name": "{% raw %}{{ reason }}\u202e\x00\u2028Jo",
}


def everything_outward(rendered: Rendered) -> str:
    page = rendered.html or ""
    seen = html.unescape(re.sub(r"<[^>]*>", " ", page))
    return "\n".join((rendered.subject, rendered.text, page, seen))


def words_of(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize(("purpose", "channel", "language"), EVERY_MESSAGE)
@pytest.mark.parametrize("values", [ORDINARY, HOSTILE], ids=["ordinary", "hostile"])
def test_nothing_that_leaves_says_why(
    purpose: str, channel: str, language: str, values: dict[str, str]
) -> None:
    rendered = render(purpose, channel, language, values)

    assert [] == deny_listed(
        everything_outward(rendered), names=["Sunrise Recovery Center", "Sunrise"]
    )


@given(
    name=st.text(max_size=60).filter(lambda name: not deny_listed(name)),
    message=st.sampled_from(EVERY_MESSAGE),
)
@settings(max_examples=300, deadline=None)
def test_no_name_makes_a_message_say_why(name: str, message: tuple[str, str, str]) -> None:
    rendered = render(*message, ORDINARY | {"called": name, "mentor_name": f"Jo {name}"})

    # A cut can make a denied word out of a harmless one; that is the name's, not ours.
    assert deny_listed(everything_outward(rendered)) in ([], deny_listed(f"Jo {name}"[:40]))


@pytest.mark.parametrize(("purpose", "channel", "language"), EVERY_MESSAGE)
def test_a_value_cannot_start_a_new_line_or_a_tag(
    purpose: str, channel: str, language: str
) -> None:
    rendered = render(purpose, channel, language, HOSTILE)

    assert "\n" not in rendered.subject
    assert not re.search(r"[\r\x00\u2028\u202e]", everything_outward(rendered))
    assert "<b>" not in (rendered.html or "")
    assert not re.search("^Bcc:", rendered.text, re.MULTILINE)


def test_a_subject_survives_as_one_mail_header() -> None:
    mail = EmailMessage()

    mail["Subject"] = render("first", "email", "en", ORDINARY | {"alias": "B\r\nBcc: x"}).subject

    assert ["Subject"] == mail.keys()


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_template_names_exactly_the_values_of_the_table(purpose: str, language: str) -> None:
    source = (TEMPLATES / f"{purpose}.{language}.txt").read_text("utf-8")
    head, sms, email = re.split("^--- (?:sms|email)\n", source, flags=re.MULTILINE)
    optional = OPTIONAL.get(purpose, frozenset())

    assert PURPOSES[purpose] == names_in(sms) - optional
    assert names_in(email) <= PURPOSES[purpose] | optional | CHANNELS["email"]
    assert optional <= names_in(sms + email)
    assert "unsubscribe_link" in names_in(email)
    assert names_in(head) <= {"alias"}


def names_in(source: str) -> set[str]:
    return meta.find_undeclared_variables(SandboxedEnvironment().parse(source))


def test_every_purpose_has_a_template_in_both_languages_and_no_other_is_there() -> None:
    expected = {f"{purpose}.{language}.txt" for purpose in PURPOSES for language in LANGUAGES}

    assert expected | {"layout.html"} == {path.name for path in TEMPLATES.iterdir()}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_message_without_a_value_that_it_needs_is_refused(purpose: str, channel: str) -> None:
    for name in PURPOSES[purpose] | CHANNELS[channel]:
        with pytest.raises(CannotRender, match=name):
            render(purpose, channel, "en", ORDINARY | {name: " \n"})


@pytest.mark.parametrize(
    ("purpose", "channel"), [("first", "fax"), ("../first", "sms"), ("", "sms")]
)
def test_an_unknown_message_is_refused(purpose: str, channel: str) -> None:
    with pytest.raises(CannotRender):
        render(purpose, channel, "en", ORDINARY)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://a b", 'https://a"b', "x"])
def test_a_link_that_is_none_is_refused_without_being_repeated(link: str) -> None:
    with pytest.raises(CannotRender) as refused:
        render("card", "sms", "en", ORDINARY | {"link": link})

    assert link not in str(refused.value).removeprefix("link is not a link")


@pytest.mark.parametrize(
    ("asked", "template"),
    [("es", "first.es"), ("es-MX", "first.es"), ("ES", "first.es"), ("en-US", "first.en")]
    + [(missing, "first.en") for missing in ("fr", "", "../en", "zh-Hant")],
)
def test_a_language_that_we_do_not_write_falls_back_to_english(asked: str, template: str) -> None:
    rendered = render("first", "sms", asked, ORDINARY)

    assert (template, 1) == (rendered.template, rendered.version)


@pytest.mark.parametrize(
    "name", ["José", "Jose\u0301", "Nguyễn", "李", "علی‌رضا", "Zoë 🌻", "O'Neil"]
)
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_name_in_any_script_arrives_as_it_is_written(name: str, channel: str) -> None:
    rendered = render("introduction", channel, "en", ORDINARY | {"mentor_name": name})

    assert name.replace("e\u0301", "é") in rendered.text
    assert "?" not in rendered.text


def test_a_name_of_absurd_length_is_cut() -> None:
    rendered = render("introduction", "sms", "en", ORDINARY | {"mentor_name": "x" * 500})

    assert "x" * 40 + " will" in rendered.text


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_is_one_line_of_the_cheap_alphabet_and_two_segments_at_most(
    purpose: str, language: str
) -> None:
    longest_names = dict.fromkeys(("alias", "called", "mentor_name", "times"), "x" * 40)

    usual = render(purpose, "sms", language, ORDINARY).text
    longest = render(purpose, "sms", language, ORDINARY | longest_names).text

    assert "\n" not in usual
    assert usual.isascii() or not set(usual) & set("áíóúÁÍÓÚ\u2018\u2019\u201c\u201d—")
    assert segments(longest) <= 2


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_of_an_email_says_what_its_text_says(purpose: str, language: str) -> None:
    rendered = render(purpose, "email", language, ORDINARY)

    page = rendered.html or ""
    body = html.unescape(re.sub(r"<[^>]*>", "", page[page.index("<body") :]))
    assert words_of(rendered.text) == words_of(body)
    assert ORDINARY["unsubscribe_link"] in rendered.text


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_page_of_an_email_fetches_nothing(purpose: str) -> None:
    page = render(purpose, "email", "en", ORDINARY).html or ""

    ours = {ORDINARY[name] for name in ("link", "answer_link", "unsubscribe_link")}
    assert set(re.findall(r'href="([^"]*)"', page)) <= ours
    assert not re.search(r"<(?:img|script|link|iframe|form)|src=|url\(|@import", page)


def test_a_link_that_begins_like_another_is_whole() -> None:
    """Wherever either stands, what it leads to is all of it."""
    links = {name: ORDINARY["link"] + more for name, more in (("link", ""), ("answer_link", "/a"))}

    page = render("quiet", "email", "en", ORDINARY | links).html or ""

    led_to = re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', page)
    assert set(links.values()) <= {href for href, _ in led_to}
    assert all(href == said for href, said in led_to)


def test_an_address_in_a_name_does_not_become_a_link() -> None:
    rendered = render("first", "email", "en", ORDINARY | {"called": "https://evil.example"})

    assert 'href="https://evil.example' not in (rendered.html or "")


def test_an_answer_link_is_said_only_when_there_is_one() -> None:
    without = {name: value for name, value in ORDINARY.items() if name != "answer_link"}

    assert ORDINARY["answer_link"] in render("offer", "email", "en", ORDINARY).text
    assert "Tell us" not in render("offer", "email", "en", without).text


def test_what_a_message_says_stays_out_of_logs() -> None:
    rendered = render("introduction", "email", "en", ORDINARY)

    assert "Jo" not in repr(rendered)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_text_holds_what_the_carriers_require(language: str) -> None:
    text = render("first", "sms", language, ORDINARY).text

    often = {"en": "frequency", "es": "frecuencia"}[language]
    for required in ("Bridge", "Sam", often, "STOP", {"en": "HELP", "es": "AYUDA"}[language]):
        assert required in text
    assert re.search("rates may apply|tarifas", text)
    assert "Jo" not in text.split()


@pytest.mark.parametrize("purpose", ["help", "mentor_help"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_help_says_who_we_are_whom_to_call_and_how_to_stop(purpose: str, language: str) -> None:
    text = render(purpose, "sms", language, ORDINARY).text

    assert all(said in text for said in ("Bridge", "(503) 555-0100", "911", "988", "STOP"))


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("purpose", ["danger", "wrong_number"])
def test_a_fixed_text_names_nobody(purpose: str, channel: str) -> None:
    text = render(purpose, channel, "en", ORDINARY).text

    assert not any(value in text for value in ("Bridge", "Sam", "(503) 555-0100"))


def test_an_offer_says_nothing_about_the_client() -> None:
    text = render("offer", "email", "en", HOSTILE | {"called": "Sam", "mentor_name": "Jo"}).text

    assert not {"Sam", "Jo"} & set(re.findall(r"\w+", text))


OFFERED_WORDS = {
    "OK": Meaning.OK,
    "TALK": Meaning.TALK,
    "HABLAR": Meaning.TALK,
    "PAUSE": Meaning.PAUSE,
    "PAUSA": Meaning.PAUSE,
    "BACK": Meaning.BACK,
    "REGRESE": Meaning.BACK,
    "HELP": Meaning.HELP,
    "AYUDA": Meaning.HELP,
    "STOP": Meaning.STOP,
    "START": Meaning.START,
    "YES": Meaning.YES,
    "SI": Meaning.YES,
    "NO": Meaning.NO,
    "SOMEONE ELSE": Meaning.SOMEONE_ELSE,
    "OTRA PERSONA": Meaning.SOMEONE_ELSE,
    "TALKED": Meaning.TALKED,
    "HABLAMOS": Meaning.TALKED,
    "NO ANSWER": Meaning.NO_ANSWER,
    "NO CONTESTA": Meaning.NO_ANSWER,
}


@pytest.mark.parametrize(("purpose", "language"), list(product(PURPOSES, LANGUAGES)))
def test_every_word_that_a_text_offers_is_understood(purpose: str, language: str) -> None:
    text = render(purpose, "sms", language, ORDINARY).text

    for word in re.findall(r"\b[A-Z]{2,}(?: [A-Z]{2,})*\b", text):
        assert OFFERED_WORDS[word] == understand(word, purpose)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_child_of_twelve_can_read_it(purpose: str, channel: str) -> None:
    said = render(purpose, channel, "en", ORDINARY).text
    said = re.sub(r"https?://\S+|\(503\) 555-0100|Nov 24, ", "", said).replace(":", ".")

    sentences = [part for part in re.split(r"[.?!\n]+", said) if re.search("[a-z]", part)]
    words = re.findall(r"[A-Za-z']+", said)

    assert grade(len(sentences), words) <= 6


def grade(sentences: int, words: list[str]) -> float:
    """Flesch-Kincaid, with syllables counted as groups of vowels, silent endings left out."""
    syllables = sum(
        max(1, len(re.findall("[aeiouy]+", re.sub(r"(?<=[^l])e\b|es\b|ed\b", "", word.lower()))))
        for word in words
    )
    return 0.39 * len(words) / sentences + 11.8 * syllables / len(words) - 15.59


@pytest.mark.parametrize("purpose", sorted(TO_THE_CLIENT))
@pytest.mark.parametrize("channel", CHANNELS)
def test_nothing_hurries_or_blames_the_client(purpose: str, channel: str) -> None:
    text = render(purpose, channel, "en", ORDINARY).text.lower()

    assert not re.search(r"\b(?:urgent|immediately|must|hurry|fail\w*|should|asap)\b", text)


@pytest.mark.parametrize("term", [term for term in DENIED if " " not in term])
@pytest.mark.parametrize(
    "written", ["a {} b", "{}", "({})", "x/{}/y", "x_{}_y", "https://{}.example", "x-{}"]
)
def test_a_denied_word_is_found_wherever_it_stands(term: str, written: str) -> None:
    word = term.removesuffix("*")

    assert term in deny_listed(written.format(word.upper()))
    assert term in deny_listed(written.format(word))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("your recovery", ["recover*"]),
        ("12-step and 12 steps", ["12 step*"]),
        ("Peer-Support", ["peer support"]),
        ("una cl\u00ednica", ["clinic*"]),
        ("la reca\u00edda", ["recaida*"]),
        ("the NA group", ["NA"]),
        ("Na and Mat live in the sud", []),
        ("a method to format the mat", []),
        ("cleaner air", []),
        ("Bridge will call you", []),
    ],
)
def test_the_deny_list_looks_at_whole_words(text: str, found: list[str]) -> None:
    assert found == deny_listed(text)


def test_a_facility_name_is_denied_when_it_is_given() -> None:
    assert ["Sunrise House"] == deny_listed("from sunrise-house", names=["Sunrise House", "", "-"])
    assert [] == deny_listed("at sunrise", names=["Sunrise House"])


def test_acronyms_are_denied_in_capitals() -> None:
    assert list(DENIED_IN_CAPITALS) == deny_listed(" ".join(DENIED_IN_CAPITALS))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("a", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        # 153 is odd, so an escaped letter that would be cut in half moves on whole.
        ("€" * 152, 2),
        ("€" * 153, 3),
        ("ñüàéèùìò¿Ç" * 16, 1),
        ("á" * 70, 1),
        ("á" * 71, 2),
        ("á" * 134, 2),
        ("á" * 135, 3),
        ("\u2019" + "a" * 69, 1),
        ("\u2019" + "a" * 70, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 66, 2),
        ("😀" * 67, 3),
    ],
)
def test_segments_are_counted_as_carriers_count_them(text: str, count: int) -> None:
    assert count == segments(text)

"""What a reply means, in English and Spanish, read from tables of words and phrases."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum, auto


class Meaning(StrEnum):
    """What somebody wants of us; UNCLEAR is for a person to read."""

    YES = auto()
    NO = auto()
    STOP = auto()
    START = auto()
    HELP = auto()
    TALKED = auto()
    NO_ANSWER = auto()
    SOMEONE_ELSE = auto()
    PAUSE = auto()
    BACK = auto()
    WRONG_NUMBER = auto()
    DANGER = auto()
    UNCLEAR = auto()


# The tables are read against a plain form of the reply: lower case, no accents, no apostrophes
# ("dont"), no punctuation, one space between words.

#: Words that say nothing about what is wanted.
COURTESY = """
    please|pls|plz|thanks|thank you|thx|ty|just|now|for now|right now|already|immediately|asap
    |hi|hello|hey|sorry|sir|maam|guys|bro|lol|i said|por favor|porfavor|porfa|muchas gracias
    |gracias|ya|ahora|ahora mismo|hola|buenos dias|buenas tardes|buenas noches|disculpe|perdon
"""

#: Phrases that mean something when they are all that a clause says ("stop stop" included).
SAID_ALONE: Mapping[Meaning, str] = {
    Meaning.YES: """
        yes|y|yeah|yea|yep|yup|ok|okay|okey|sure|sure thing|of course|absolutely|definitely
        |sounds good|happy to|glad to|count me in|im in|accept|i accept|i can|i can do it
        |i can do that|i will|ill do it|ill take it|no problem i can|si|sip|claro|claro que si
        |por supuesto|de acuerdo|vale|dale|acepto|puedo|yo puedo|con gusto|cuenten conmigo
        |esta bien
    """,
    Meaning.NO: """
        no|n|nope|nah|no i cant|no i cannot|not this time|i cant this time|cant this time|decline
        |i decline|pass|i pass|ill pass|not me|no no puedo|esta vez no|no puedo esta vez|paso
        |no acepto|para nada
    """,
    Meaning.STOP: """
        stop|stopp|stop all|stopall|stop it|stop this|no stop|you can stop|can you stop
        |could you stop|you need to stop|i want you to stop|i need you to stop|quit|end|revoke
        |i revoke|opt out|optout|cancel|cancel all|cancel everything|cancle|remove
        |leave me alone|no more|arret|arretez|parar|para|pare|paren|alto|baja|de baja
        |cancelar|cancela|cancele|cancelen|terminar|termina|terminen|fin|salir|basta
        |detener|detenganse|no mas|ya no mas|no quiero mas|revocar|revoco|anular
        |dejame en paz|dejeme en paz|dejenme en paz
    """,
    Meaning.START: """
        start|start again|unstop|subscribe|resubscribe|opt in|optin|opt me in|sign me up
        |start texting me|start texting me again|text me again|resume texts|resume messages
        |empezar|empezar de nuevo|comenzar|iniciar|inicio|alta|suscribir|suscribirme
        |quiero recibir mensajes|escribanme de nuevo
    """,
    Meaning.HELP: """
        help|help me|i need help|need help|can you help|can you help me|info|information
        |more info|who is this|whos this|who are you|ayuda|ayudame|ayudeme|ayudenme
        |necesito ayuda|socorro|pueden ayudarme|informacion|quien es|quien habla|quienes son
    """,
    Meaning.PAUSE: "pause|pause me|pause for a while|pausa|pausar|haga una pausa|hagan una pausa",
    Meaning.BACK: """
        back|im back|i am back|unpause|resume|regrese|volvi|he vuelto|estoy de vuelta|de vuelta
        |reanudar|continuar
    """,
}

_TEXTS = r"(?:text |automated )*(?:texts?|txts?|msgs?|messages?|sms|e ?mails?|alerts?|reminders?)"
_TEXTING = r"(?:te?xting|messaging|contacting|calling|writing|emailing|bothering|spamming|bugging)"
# What may follow for the wish to be whole: "don't text me" is one, "don't text me at work" is not.
_TO_ME = (
    r"(?: (?:me|us|anymore|any more|again|ever|at all|today|to me|from you|from this number"
    r"|(?:to |on )?(?:this|my) (?:number|phone|cell)))*$"
)
_MENSAJES = r"(?:mensajes?|textos?|sms|correos?|avisos?|notificacion(?:es)?|recordatorios?)"
_ESCRIBIR = r"(?:escribir|mandar|enviar|molestar|llamar|textear|contactar)"
_ESCRIBAN = r"(?:escriba|mande|envie|moleste|contacte|textee)[ns]?"
_A_MI = (
    r"(?: (?:mas|nunca|jamas|nada|de texto|a mi|de ustedes"
    r"|a (?:este|mi) (?:numero|telefono|celular)))*$"
)
_ANOTHER = (
    r"(?:(?:someone|somebody|anyone|anybody) else"
    r"|(?:another|a different|different|a new|some other) (?:mentor|person|one))"
)
_OTRA = r"(?:otra persona|otro mentor|otra mentora|alguien (?:mas|distinto|diferente)|otr[oa])"
_WHEN_TALKED = (
    r"(?: (?:today|yesterday|earlier|tonight|last night|this (?:morning|afternoon|evening)"
    r"|on the phone|twice|for .*|and .*))*$"
)
_CUANDO = r"(?: (?:hoy|ayer|anoche|esta (?:manana|tarde|noche)|por .*|un rato|y .*))*$"

#: Phrases that mean something within a clause. Each is a regular expression.
SAID_WITHIN: Mapping[Meaning, tuple[str, ...]] = {
    Meaning.WRONG_NUMBER: (
        r"\bwrong (?:number|phone)\b",
        r"\b(?:have|got|texted|texting|messaged) the wrong (?:person|guy|man|woman|lady|one)\b",
        r"^wrong person$",
        r"\b(?:not|isnt|aint|no longer) (?:his|her|their|\w+s) (?:phone|number|cell)\b",
        r"\b(?:numero|telefono) (?:equivocado|incorrecto)\b",
        r"\b(?:se|te) (?:ha |han )?equivoc(?:o|a|aron|an|ado|aste) de (?:numero|persona|telefono)",
        r"^(?:esta )?equivocad[oa]$|^persona equivocada$",
        r"\b(?:no|ya no) es (?:el )?(?:numero|telefono) de\b",
    ),
    Meaning.STOP: (
        r"\b(?:stop|quit|cease|end|cancel|turn off) "
        r"(?:(?:all|of|the|these|those|this|my|your|any|more|getting|receiving) )*"
        + _TEXTS
        + _TO_ME,
        r"\b(?:stop|quit|cease) " + _TEXTING + _TO_ME,
        r"\b(?:stop|quit) (?:sending\b|getting (?:these|this|them)$)",
        # "You never text me" is a complaint about silence, not a wish for it.
        r"(?<!you )(?<!he )(?<!they )\b(?:dont|do not|never) (?:ever )?"
        r"(?:te?xt|message|msg|contact|write|email|bother)" + _TO_ME,
        r"\b(?:dont|do not|never) (?:ever )?call (?:me|us|this number)"
        r" (?:anymore|any more|again|ever)",
        r"\b(?:dont|do not|no longer) (?:want|wish|need|like) "
        r"(?:(?:to|get|getting|receive|receiving|have|any|more|these|those|your|the|all|of) )*"
        + _TEXTS
        + _TO_ME,
        r"\b(?:dont|do not|no longer) (?:want|wish) (?:you )?to "
        r"(?:be (?:contacted|texted|messaged|emailed)|hear from you|text me|contact me|message me)"
        + _TO_ME,
        r"(?:\bno more|^no) (?:of )?(?:these |those |your |the )?" + _TEXTS + _TO_ME,
        r"\bopt(?:ing)? (?:me )?out(?: of (?:(?:your|these|the|all|this|getting) )*"
        + _TEXTS
        + r")?$",
        r"\bun ?sub?s?c?ri(?:be|bing|bir|birme)\b",
        r"\b(?:revoke|withdraw|cancel) (?:all )?(?:my |the )?(?:consent|permission|subscription)\b",
        r"\b(?:take|remove|get|drop) (?:me|my (?:number|name|phone)|this number) (?:off|out|from)"
        r"(?: of)? (?:(?:your|the|this|these|any|all) )*"
        r"(?:lists?|system|database|contacts|" + _TEXTS + r")$",
        r"^(?:remove|delete|lose) (?:me|my number|this number)$",
        r"\b(?:paren?|deten(?:gan?|er)|dejen?|deje|deja|cancelen?|cancelar|basta) "
        r"(?:(?:de|con|los|mis|sus|estos|esos|todos|mandar(?:me)?|enviar(?:me)?) )*"
        + _MENSAJES
        + _A_MI,
        r"\b(?:paren?|para|dejen?|deje|deja) de " + _ESCRIBIR + r"(?:me|nos)?" + _A_MI,
        r"\bno (?:me )?" + _ESCRIBAN + r"(?: mas)?(?: " + _MENSAJES + r")?" + _A_MI,
        r"\bno (?:quiero|deseo|necesito) (?:(?:seguir|recibir|recibiendo|mas|estos|esos|sus|los) )*"
        + _MENSAJES
        + _A_MI,
        r"\bno (?:quiero|deseo) que me " + _ESCRIBAN + _A_MI,
        r"^(?:no|nada de)(?: mas)? " + _MENSAJES + _A_MI,
        r"\b(?:darme|dame|denme|deme|me doy|me den|quiero(?: la)?|solicito(?: la)?) (?:de )?baja$",
        r"\b(?:quiten?|saca|saque|saquen|borren?)(?:me de (?:la|su) lista| mi numero)\b",
        r"\brevoco (?:mi|el) (?:consentimiento|permiso)\b",
    ),
    Meaning.TALKED: (
        r"^(?:i |we )?(?:have |finally )?(?:talked|spoke|spoken)"
        r"(?: (?:to|with|w) (?!no|my|his|voicemail)(?:each other|\w+))?" + _WHEN_TALKED,
        r"^(?:we )?had a (?:good |great |nice |long )?(?:talk|call|chat)" + _WHEN_TALKED,
        r"^(?:hablamos|hable|hemos hablado)(?: con (?:el|ella))?" + _CUANDO,
    ),
    Meaning.NO_ANSWER: (
        r"^(?:(?:i|we|called|tried|got|there was|still|twice|but) )*"
        r"no ?(?:answer|response|reply|pick ?up)\b",
        r"(?<!\bi )\b(?:didnt|did not|doesnt|does not|wont|hasnt|never) "
        r"(?:answer(?:ed)?|pick(?:ed)? up|respond(?:ed)?|repl(?:y|ied))\b",
        r"^(?:nobody|no one|noone) (?:answered|picked up|responded)\b",
        r"\b(?:went (?:straight )?to|left an?|left (?:him|her|them) an?|got (?:the|his|her|their)) "
        r"(?:voice ?mail|message)\b",
        r"^voice ?mail$",
        r"\b(?:couldnt|could not|cant) (?:reach|get (?:hold of|through to)) (?:him|her|them)\b",
        r"(?<!yo )\bno (?:me )?(?:contest(?:a|o|an|aron)|respond(?:e|io|en|ieron))\b",
        r"^nadie (?:contest|respond)",
        r"^(?:sin|no hubo) respuesta$",
        r"\bbuzon de voz\b|\bdeje (?:un )?mensaje\b",
    ),
    Meaning.SOMEONE_ELSE: (
        r"^(?:no )?(?:maybe )?(?:(?:can|could|may) i (?:have|get|try|talk (?:to|with))"
        r"|(?:i (?:want|need|prefer|would like|would prefer|would rather have)"
        r"|id (?:like|prefer|rather have))(?: to (?:have|try|talk (?:to|with)|speak (?:to|with)))?"
        r"|give me|find me|is there)? ?" + _ANOTHER + r"(?: (?:instead|for me|to call me))*$",
        r"^(?:i want to |can i |id like to )?(?:change|switch) (?:my )?mentors?$",
        r"^(?:no )?(?:quiero|quisiera|prefiero|necesito|me gustaria|puedo|puede ser)?"
        r"(?: ?(?:hablar con|tener))? ?(?:a )?" + _OTRA + r"$",
        r"^(?:quiero |quisiera |puedo )?cambiar de (?:persona|mentora?)$",
    ),
}

#: What looks like a meaning of the table above within a clause, and is not.
NOT_MEANT: Mapping[Meaning, tuple[str, ...]] = {
    Meaning.STOP: (
        r"\b(?:dont|do not|never|cant|cannot|couldnt|wont|didnt|not) (?:ever )?(?:stop|quit)\b",
        r"\bdid (?:you|they|he|she) (?:ever )?(?:stop|quit)\b",
        r"\b(?:he|she|her|him|mom|dad|ex) (?:(?:to|would|will|should|needs) )*(?:stop|quit)\b",
        r"\b(?:no|nunca) (?:me )?(?:paren?|dejen?|deje|cancelen?)\b",
    ),
    Meaning.WRONG_NUMBER: (
        r"\b(?:not|isnt) (?:a |the )?wrong\b",
        r"(?<!you )\b(?:i|we|have|had) (?:called|dialed|texted|tried|put|wrote)\b.*\bwrong\b",
        r"\b(?:gave|given|give)\b.*\bwrong\b",
    ),
}

#: Words of danger, anywhere in a reply. Negation does not matter ("I won't hurt myself"): a call
#: too many costs a few minutes. Everyday idioms ("this weather is killing me") are left out.
DANGER: tuple[str, ...] = (
    r"sui?ci?d\w*|kms|unalive|self ?harm\w*|kil+(?:ing)? my ?self|kil+ me|off my ?self",
    r"(?:hurt|harm|cut|hang|shoot|drown|burn)(?:t?ing)? my ?self|sl(?:it|ash) my wrists?",
    r"(?:hurt|kil+) (?:someone|somebody|him|her|them|people)",
    r"(?:end|ending|take|taking|took) my (?:own )?life|end(?:ing)? (?:it|things)(?: all)?",
    r"(?:wants?|wanted|wanna|like|going|gonna|ready|rather|hope|try|trying)(?: to| 2| i)? die",
    r"i should die|im dying(?! to| laughing)|let me die",
    r"wish (?:that )?i (?:was|were) (?:dead|never born|not alive)|wish i wasnt (?:alive|here)",
    r"better off (?:dead|without me)|rather be dead|want to be dead",
    r"(?:dont|do not|cant|no longer) (?:want to|wanna|want 2) (?:live|exist|wake up)",
    r"(?:dont|do not|no longer) (?:want to|wanna|want 2) be (?:alive|here)",
    r"no reason to (?:live|go on)|nothing to live for|not worth living|cant live like this",
    r"(?:cant|cannot|can not|couldnt|dont want to) (?:go on|keep going|keep doing this)",
    r"(?:cant|cannot|can not) (?:do|take|handle) (?:this|it|life) (?:any ?more|no more)",
    r"overdos\w*|od|oded|oding|need narcan|drank bleach",
    r"(?:took|taken|taking|take|swallowed) (?:way )?too (?:many|much(?! time))",
    r"(?:took|taken|swallowed) (?:a )?bunch of (?:\w+ )?pills",
    r"(?:took|taken|swallowed) (?:like |about )?\d+ (?:\w+ )?(?:pills?|tabs?|xanax|mg)",
    r"(?:took|taken|swallowed) all (?:of )?(?:\w+ )?(?:pills|meds|medication)",
    r"(?:not|stopped|isnt|barely) breathing|cant breathe|turn(?:ed|ing) blue|seizures?",
    r"(?:wont|not|cant) (?:wake|waking)(?: \w+)? up|jump (?:off|in front of)",
    r"goodbye (?:forever|everyone|world)|911|(?<!family )emergency",
    r"(?:im|am|are|is) (?:in danger|not safe)|(?:dont|do not) feel safe",
    r"matarme|(?:me|se) (?:va a|voy a|quiero|quiere|quise|quisiera) matar|me mato",
    r"quitar(?:me|se)? la vida|quiero desaparecer|ojala (?:me muera|estuviera muert[oa])",
    r"(?:quiero|quisiera|prefiero|deseo|voy a) morir(?:me)?|me estoy muriendo",
    r"(?:me|se) (?:quiero|quiere|quisiera|voy a|va a) morir|(?:mejor|estar) muert[oa]",
    r"(?:no quiero|sin ganas de|no tengo ganas de|no vale la pena|para que) (?:seguir )?vivir",
    r"no quiero (?:seguir(?! recibiendo)|existir|despertar|estar (?:viv[oa]|aqui))",
    r"no (?:puedo|aguanto|doy para|soporto)(?: \w+)? mas|no puedo seguir",
    r"(?:hacerme|hacerse) dano|me (?:voy a|quiero) (?:hacer dano|lastimar|cortar)|lastimarme",
    r"cortarme(?! el (?:pelo|cabello))|ahorcarme|dispararme|pegarme un tiro",
    r"(?:acabar|terminar) con (?:mi vida|todo)|(?:estarian|estan) mejor sin mi",
    r"sobredosis|(?:tome|tomado|tomo) demasiad[oa]s?",
    r"(?:tome|tomado|tomo) (?:muchas|todas (?:las|mis)|\d+) (?:pastillas|pildoras)",
    r"no (?:respira|despierta|puedo respirar)|convulsion(?:es)?|auxilio",
    r"emergencia(?! familiar)|estoy en peligro|no me siento segur[oa]|no estoy a salvo",
)

#: Replies that are a picture and nothing else.
PICTURES: Mapping[str, Meaning] = {
    "\N{THUMBS UP SIGN}": Meaning.YES,
    "\N{THUMBS DOWN SIGN}": Meaning.NO,
    "\N{OCTAGONAL SIGN}": Meaning.STOP,
}

# These keep their meaning beside other words ("talked, he sounds well"); a YES or a START does
# not ("yes, but only if it rains").
_STANDS_BESIDE_OTHER_WORDS = frozenset(
    {Meaning.TALKED, Meaning.NO_ANSWER, Meaning.SOMEONE_ELSE},
)
_APOSTROPHES = re.compile("['’‘`´ʼ′]")
_SPELLED_OUT = re.compile(r"(?<!\w)[a-z](\W)(?:[a-z]\1)+[a-z](?!\w)")
_BETWEEN_CLAUSES = re.compile(r"[.!?;:,\n\r¡¿—–]+|\s-+\s")
_LEADING_YES = re.compile(r"^(ok|okay|yes|yeah|yep|si) (?=\S)")


def understand(text: str) -> Meaning:
    """What a reply means; danger wins over everything, a wish to stop over all but that."""
    if _is_dangerous(text):
        return Meaning.DANGER
    meanings = _meanings(text)
    # Whoever has a stranger's number must be unlinked, which is more than being left alone.
    for first in (Meaning.WRONG_NUMBER, Meaning.STOP):
        if first in meanings:
            return first
    return _agreed(meanings)


def also_stop(text: str) -> bool:
    """Whether a reply asks us to stop, whatever else it says; to be honoured beside DANGER."""
    return Meaning.STOP in _meanings(text)


def _agreed(meanings: frozenset[Meaning]) -> Meaning:
    # A bare yes or no beside something more exact only leads up to it ("no, someone else").
    exact = meanings - {Meaning.YES, Meaning.NO, Meaning.UNCLEAR} or meanings
    if len(exact) != 1:
        return Meaning.UNCLEAR
    (meaning,) = exact
    if meaning in _STANDS_BESIDE_OTHER_WORDS or meanings <= {meaning, Meaning.YES}:
        return meaning
    return Meaning.UNCLEAR


def _meanings(text: str) -> frozenset[Meaning]:
    """The meanings of all clauses; UNCLEAR stands for any clause that has none."""
    clauses = list(_clauses(text))
    if not clauses:
        return frozenset(meaning for picture, meaning in PICTURES.items() if picture in text)
    return frozenset().union(*map(_meanings_of_clause, clauses))


def _meanings_of_clause(clause: str) -> frozenset[Meaning]:
    alone = (meaning for meaning, pattern in _ALONE.items() if pattern.fullmatch(clause))
    within = (
        meaning
        for meaning, pattern in _WITHIN.items()
        if pattern.search(clause) and not _is_ruled_out(meaning, clause)
    )
    return frozenset({*alone, *within}) or frozenset({Meaning.UNCLEAR})


def _is_ruled_out(meaning: Meaning, clause: str) -> bool:
    exception = _EXCEPTIONS.get(meaning)
    return exception is not None and exception.search(clause) is not None


def _is_dangerous(text: str) -> bool:
    return _DANGER.search(_words(_letters(text))) is not None


def _clauses(text: str) -> Iterable[str]:
    for part in _BETWEEN_CLAUSES.split(_letters(text)):
        clause = " ".join(_COURTESY.sub(" ", _words(part)).split())
        while lead := _LEADING_YES.match(clause):
            yield lead[1]
            clause = clause[lead.end() :]
        if clause:
            yield clause


def _letters(text: str) -> str:
    """Lower case without accents, apostrophes or invisible characters; "s.t.o.p" is "stop"."""
    bare = _APOSTROPHES.sub("'", text).casefold()
    # Without its apostrophe this one would read as "odd".
    bare = bare.replace("od'd", "overdosed").replace("'", "")
    bare = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", bare).casefold()
        if unicodedata.category(letter) not in ("Mn", "Me", "Cf")
    )
    return _SPELLED_OUT.sub(lambda spelled: re.sub(r"\W", "", spelled[0]), bare)


def _words(letters: str) -> str:
    """Words with one space between them; "stooop" is "stop"."""
    spaced = re.sub(r"[\W_]+", " ", letters).strip()
    return re.sub(r"([a-z])\1{2,}", r"\1", spaced)


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{phrase})" for phrase in phrases))


def _alternatives(table: str) -> str:
    # The longest first, so that "right now" is not left as "right".
    phrases = [" ".join(phrase.split()) for phrase in table.split("|")]
    return "|".join(sorted(phrases, key=len, reverse=True))


def _one_or_more(table: str) -> re.Pattern[str]:
    phrases = _alternatives(table)
    return re.compile(rf"(?:{phrases})(?: (?:{phrases}))*")


_COURTESY = re.compile(rf"\b(?:{_alternatives(COURTESY)})\b")
_ALONE = {meaning: _one_or_more(table) for meaning, table in SAID_ALONE.items()}
_WITHIN = {meaning: _any_of(phrases) for meaning, phrases in SAID_WITHIN.items()}
_EXCEPTIONS = {meaning: _any_of(phrases) for meaning, phrases in NOT_MEANT.items()}
_DANGER = re.compile(rf"\b(?:{'|'.join(DANGER)})\b")

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
    OK = auto()
    TALK = auto()
    WRONG_NUMBER = auto()
    DANGER = auto()
    UNCLEAR = auto()
    #: Read in no table: the number is more than one person's, and nobody knows who wrote.
    SHARED = auto()


# The tables are read against a plain form of the reply: lower case, no accents, no apostrophes
# ("dont"), no punctuation, one space between words.

#: Words that say nothing about what is wanted.
COURTESY = """
    please|pls|plz|thanks|thank you|thx|ty|just|now|for now|right now|already|immediately|asap
    |hi|hello|hey|sorry|sir|maam|guys|bro|lol|i said|por favor|porfavor|porfa|muchas gracias
    |gracias|ya|ahora|ahora mismo|por ahora|hola|buenos dias|buenas tardes|buenas noches
    |disculpe|perdon
"""

#: Phrases that mean something when they are all that a clause says ("stop stop" included).
SAID_ALONE: Mapping[Meaning, str] = {
    Meaning.YES: """
        yes|yess|ys|y|yeah|yea|yep|yup|ok|okay|okey|sure|sure thing|of course|absolutely|definitely
        |sounds good|happy to|glad to|count me in|im in|accept|i accept|i can|i can do it
        |i can do that|i can take it|i will|ill do it|ill take it|im available|happy to help
        |glad to help|no problem i can|si|sip|claro|claro que si|por supuesto|de acuerdo|vale|dale
        |acepto|puedo|yo puedo|yo lo tomo|con gusto|cuenten conmigo|esta bien
    """,
    Meaning.NO: """
        no|n|nope|nah|no i cant|no i cannot|not this time|i cant this time|cant this time|decline
        |i decline|pass|i pass|ill pass|not me|not today|i cant take anyone|i dont want a call
        |no no puedo|esta vez no|no puedo esta vez|hoy no|hoy no puedo|paso|no acepto|para nada
        |no quiero|no quiero que me llame|no quiero que me llamen
    """,
    Meaning.STOP: """
        stop|stopp|stop all|stopall|stop it|stop this|no stop|you can stop|can you stop
        |could you stop|you need to stop|i want you to stop|i need you to stop|quit|end|revoke
        |i revoke|opt out|optout|cancel|cancel all|cancel everything|cancle|remove
        |leave me alone|no more|stop asking|arret|arretez|parar|para|pare|paren|alto|baja|de baja
        |dar de baja|cancelar|cancela|cancele|cancelen|terminar|termina|terminen|fin|salir|basta
        |detener|detenganse|no mas|ya no mas|no quiero mas|revocar|revoco|anular
        |dejame en paz|dejeme en paz|dejenme en paz
    """,
    Meaning.START: """
        start|start again|unstop|subscribe|resubscribe|opt in|optin|opt me in|sign me up
        |start texting me|start texting me again|i want the texts again|text me again
        |resume texts|resume messages|empezar|empezar de nuevo|comenzar|iniciar|inicio|alta
        |suscribir|suscribirme|quiero recibir mensajes|escribanme de nuevo
        |mandenme mensajes otra vez|mandenme mensajes de nuevo
    """,
    Meaning.HELP: """
        help|help me|i need help|need help|can you help|can you help me|info|information
        |more info|who is this|whos this|who are you|who is texting me
        |how does this work|ayuda|ayudame|ayudeme|ayudenme|ayudenme con esto|necesito ayuda|socorro
        |pueden ayudarme|informacion|quien es|quien habla|quienes son
    """,
    Meaning.PAUSE: """
        pause|pause me|pause for a while|i need to pause|i need to pause for a bit
        |i need to pause for a while|taking a break from new people|pausa|pausar|haga una pausa
        |hagan una pausa|quiero una pausa|necesito una pausa
    """,
    Meaning.BACK: """
        back|im back|i am back|unpause|unpause me|resume|ready again|im ready again|regrese
        |volvi|he vuelto|estoy de vuelta|de vuelta|estoy de regreso|de regreso|reanudar|continuar
    """,
    Meaning.TALK: """
        talk|talk to me|lets talk|call me|call me back|hablar|hablemos|llamame|llameme|llamenme
    """,
    Meaning.OK: "ok|okay|okey",
}

_TEXTS = r"(?:text |automated )*(?:texts?|txts?|msgs?|messages?|sms|e ?mails?|alerts?|reminders?)"
_TEXTING = (
    r"(?:te?xting|messaging|contacting|calling|writing|emailing|bothering|spamming|bugging|asking)"
)
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
    r"(?:(?:someone?|somebody|anyone|anybody) else"
    r"|(?:another|a different|different|a new|some other) (?:mentor|person|one))"
)
_OTRA = r"(?:otra persona|otro mentor|otra mentora|alguien (?:mas|distinto|diferente)|otr[oa])"
_WHEN_TALKED = (
    r"(?: (?:today|yesterday|earlier|tonight|last night|this (?:morning|afternoon|evening)"
    r"|on the phone|twice|for .*|and .*))*$"
)
_WHEN = r"(?: (?:today|tonight|tomorrow|now|soon|later|at all|here))*$"
_CUANDO = r"(?: (?:hoy|ayer|anoche|esta (?:manana|tarde|noche)|por .*|un rato|y .*))*$"

#: Phrases that mean something within a clause. Each is a regular expression.
SAID_WITHIN: Mapping[Meaning, tuple[str, ...]] = {
    Meaning.WRONG_NUMBER: (
        r"\bw(?:ro|or)ng (?:number|phone)\b",
        r"\b(?:have|got|texted|texting|messaged) the wrong (?:person|guy|man|woman|lady|one)\b",
        r"^wrong person$",
        r"\bnot who (?:you|u) (?:want|need|think|are looking for)\b",
        r"\b(?:not|isnt|aint|no longer) (?:his|her|their|\w+s) (?:phone|number|cell)\b",
        r"\b(?:numero|telefono) (?:equivocado|incorrecto)\b",
        r"\b(?:se|te) (?:ha |han )?equivoc(?:o|a|aron|an|ado|aste) de (?:numero|persona|telefono)",
        r"^(?:esta )?equivocad[oa]$|^persona equivocada$",
        r"\bno (?:conozco a|se quien es) esa persona\b",
        r"\b(?:nobody|no one) (?:here )?by that name\b|\bnadie (?:aqui )?con ese nombre\b",
        r"\b(?:no|ya no) es (?:el )?(?:numero|telefono) de\b",
    ),
    Meaning.STOP: (
        r"\b(?:stop|quit|cease|end|cancel|turn off) "
        r"(?:(?:it|with|w|all|of|the|these|those|this|my|your|any|more|getting|receiving) )*"
        + _TEXTS
        + _TO_ME,
        r"\b(?:stop|quit|cease) " + _TEXTING + _TO_ME,
        r"\b(?:stop|quit) (?:sending\b|getting (?:these|this|them)$)",
        # "You never text me" is a complaint about silence, not a wish for it.
        r"(?<!you )(?<!he )(?<!they )\b(?:dont|do not|never) (?:ever )?"
        r"(?:te?xt|message|msg|contact|write|email|bother)(?: or call)?" + _TO_ME,
        r"\bno need to (?:te?xt|message|msg)" + _TO_ME,
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
        r"^(?:no more|enough) of (?:these|those|this)$",
        r"^enough (?:of )?(?:these |those |your |the )?" + _TEXTS + r"$",
        r"\bsign(?:ed)? up for (?:this|these|it) stop$",
        r"\bopt(?:ing)? (?:me )?out(?: of (?:(?:your|these|the|all|this|getting) )*"
        + _TEXTS
        + r")?$",
        r"\bun ?sub?s?c?ri(?:be|bing|bir|birme)\b",
        r"\b(?:revoke|withdraw|cancel) (?:all )?(?:my |the )?(?:consent|permission|subscription)\b",
        r"\b(?:take|remove|get|drop) (?:me|my (?:number|name|phone)|this number) (?:off|out|from)"
        r"(?: of)? (?:(?:your|the|this|these|any|all) )*"
        r"(?:lists?|system|database|contacts|" + _TEXTS + r")$",
        r"\b(?:take|get) (?:me|my number|this number) off$",
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
        r"\bno me (?:vuelvan?|sigan?) (?:a )?(?:escribi|manda|envia|molesta|texte)\w+" + _A_MI,
        r"^(?:estuvo|basta) (?:bueno )?(?:con|de) (?:los |sus |tantos )?" + _MENSAJES + r"$",
        r"\bno (?:quiero|deseo) que me " + _ESCRIBAN + _A_MI,
        r"^(?:no|nada de)(?: mas)? " + _MENSAJES + _A_MI,
        r"\b(?:darme|dame|denme|deme|me doy|me den|quiero(?: la)?|solicito(?: la)?) (?:de )?baja$",
        r"\b(?:quiten?|saca|saque|saquen|borren?)(?:me de (?:la|su) lista| mi numero)\b",
        r"\brevoco (?:mi|el) (?:consentimiento|permiso)\b",
    ),
    Meaning.TALKED: (
        r"^(?:i |we )?(?:have |finally )?(?:talked|taked|spoke|spoken|chatted)"
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
        r"\brang and rang\b|\bkeeps? ringing\b",
        r"\b(?:number|phone|line) (?:is |was )?(?:disconnected|(?:out of|not in) service)\b",
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
        r"|give me|find me|is there)? ?"
        + _ANOTHER
        + r"(?: (?:instead|available|for me|to call me))*$",
        r"^(?:id (?:be more comfortable with|rather have|rather talk to|prefer)|i prefer) "
        r"a (?:man|woman|guy|lady)$",
        r"^(?:prefiero|quisiera|me gustaria) (?:hablar )?(?:con )?(?:un hombre|una mujer)$",
        r"^(?:i want to |can i |id like to )?(?:change|switch) (?:my )?mentors?$",
        r"^(?:no )?(?:quiero|quisiera|prefiero|necesito|me gustaria|puedo|puede ser)?"
        r"(?: ?(?:hablar con|con|tener))? ?(?:a )?" + _OTRA + r"$",
        r"^(?:quiero |quisiera |puedo )?cambiar de (?:persona|mentora?)$",
    ),
    Meaning.TALK: (
        r"^(?:can|could) (?:we|i|you|someone|somebody|she|he) (?:talk|call|llamarme)"
        r"(?: (?:to|with) (?:you|someone|somebody|her|him))?(?: me)?" + _WHEN,
        r"^(?:i (?:need|want|would like)|id like) to (?:talk|speak)"
        r"(?: (?:to|with) (?:you|someone|somebody|her|him))?" + _WHEN,
        r"^(?:im )?not (?:(?:doing|feeling|so|too|very|that) )*(?:good|great|ok|okay|well)" + _WHEN,
        r"\b(?:having|had|its been) a (?:hard|rough|bad|tough) (?:time|day|night|week)\b",
        r"^(?:quiero|quisiera|necesito|me gustaria|puedo|podemos) hablar"
        r"(?: con (?:usted|ustedes|alguien|el|ella))?" + _CUANDO,
        r"^(?:me )?(?:puede[ns]?|podria[ns]?) llamar(?:me)?" + _CUANDO,
        r"^no (?:estoy|ando|me siento)(?: muy| tan| nada)? bien" + _CUANDO,
    ),
    Meaning.OK: (
        r"^(?:(?:im|i am|doing|feeling|pretty|very|really|all|all is|everything is) )*"
        r"(?:ok|okay|good|fine|well|great|alright|bien)" + _WHEN,
        r"^(?:(?:estoy|ando|me siento|todo|muy|bastante) )*bien" + _CUANDO,
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
    r"(?:hurt|harm|cut|hang|shoot|drown|burn|kil+)(?:t?ing)? (?:my|him|her|them) ?sel(?:f|ves)",
    r"(?:cut|sl(?:it|ash))(?:t?ing)? (?:my|his|her) wrists?|do something stupid",
    r"(?:pills|gun|knife|rope|blade) in my hand|tired of (?:living|life)|done with life|no way out",
    r"(?:nobody|no one) would (?:care|miss me|notice)|(?:want to|wanna) disappear",
    r"(?:ill|i will|id) be dead|chest pains?|bleeding (?:bad|badly|out|a lot)|ambulanc(?:e|ia)s?",
    r"(?:hits?|hitting|beats?|beating|chok(?:ed|ing)) me(?! up)|hiding (?:in|from)",
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
    r"(?:not|stopped|isnt|barely) breathing|cant breathe?|turn(?:ed|ing) blue|seizures?",
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
    r"no le veo sentido|ojala no (?:despert|amanec)\w+|(?:duele el|dolor (?:de|en el)) pecho",
    r"(?:cortar(?:me|se)?|se corto|me corte) las venas|me (?:esta|estan|viene|vienen) siguiendo",
    r"me (?:pego|pega|golpeo|golpea|amenazo|amenaza)|me quieren? (?:hacer dano|pegar|matar)",
    r"(?:hacerme|hacerse) dano|me (?:voy a|quiero) (?:hacer dano|lastimar|cortar)|lastimarme",
    r"cortarme(?! el (?:pelo|cabello))|ahorcarme|dispararme|pegarme un tiro",
    r"(?:acabar|terminar) con (?:mi vida|todo)|(?:estarian|estan) mejor sin mi",
    r"sobredosis|(?:tome|tomado|tomo) demasiad[oa]s?",
    r"(?:tome|tomado|tomo) (?:muchas|todas (?:las|mis)|\d+) (?:pastillas|pildoras)",
    r"no (?:respira|despierta|puedo respirar)|convulsion(?:es)?|auxilio",
    r"emergencia(?! familiar)|estoy en peligro|no me siento segur[oa]|no estoy a salvo",
)

#: The same, put together from who, what for and what: people say these in too many ways to list.
DANGER_BUILT: tuple[str, ...] = (
    # To die, or not to live.
    r"(?:want(?:ed)?|wanna|wish|hope|need|going|gonna|trying|ready|plan(?:ning)?|thinking|thoughts"
    r"|think|feel like|might)(?: (?:to|of|about|just|really|on|i|could|go))* "
    r"(?:die|dying|be dead|death|kill(?:ing)? my\w*|end(?:ing)? (?:it|my life|everything)"
    r"|not wak(?:e|ing) up|disappear(?:ing)?|jump(?:ing)? (?:off|from)|hang(?:ing)? my\w*)",
    r"(?:dont|do not|didnt|not) (?:really |even )?(?:want|wanna|wish|care)(?: \w+){0,3} "
    r"(?:alive|live|living|exist|wake up|be here)",
    r"wish (?:that )?i (?:was|were|had|didnt|hadnt|wasnt|never)(?: \w+){0,2} "
    r"(?:wake|woke|born|alive|dead|exist\w*)|not existing|(?:good ?bye|suicide) (?:note|letter)",
    r"(?:at|on|over) the (?:edge|ledge|overpass)|(?:drive|walk|run) into (?:a|the) (?:tree|wall)",
    r"hate my life|a burden|hopeless|nothing left for me|would(?: \w+)? miss me",
    r"wont be here|not (?:plan\w* on )?be(?:ing)? (?:around|here|alive)|plan on being around",
    r"life (?:isnt|is not|aint) worth|g[ai]ve away all my|gonna do it tonight",
    r"want (?:it|everything)(?: all)? to (?:stop|end|go away)|pain is too much",
    r"(?:point|reason|sense|purpose|use) (?:of|in|to|for) (?:\w+ ){0,2}"
    r"(?:living|life|live|go on|going on|being here)",
    r"(?:want|wish) (?:it|this|everything|my life|the pain)(?: all)?(?: to| would)? "
    r"(?:be over|end)",
    r"wont be (?:alive|around)|better (?:off )?(?:without me|if i (?:was|were|am) (?:gone|dead))",
    r"(?:have|has|got|with|holding|loaded) (?:a |the |my |his )?(?:loaded )?"
    r"(?:gun|knife|noose|rope|razor|blade)",
    r"(?:cut|slit|burn(?:ed|t)|stab(?:bed)?) (?:my ?self|(?:my|his|her) (?:arms?|legs?|wrists?))",
    r"(?:been|started|keep|kept) cutting(?! (?:back|down|out))|(?:this is|its|my last) goodbye",
    r"sui?[cs]{1,2}i?d\w*",
    # The body gives way.
    r"(?:drank|used|had|shot|smoked) (?:way )?to+ (?:many|much)(?! (?:time|coffee|fun))",
    r"took (?:way )?to+ (?:many|much)(?! time)|(?:bottle|handful|bunch) of (?:\w+ )?(?:pills|meds)",
    r"(?:pass|black)(?:ed|ing) out|unconscious|unresponsive|fainted|heart attack|having a stroke",
    r"(?:hard to|trouble|struggling to|barely) breath(?:e|ing)|chest (?:hurts?|is tight)|narcan",
    r"(?:hes|shes|lips|face|turned|turning|going|went) (?:\w+ )?blue|seizing|hallucinat\w+",
    r"hearing voices|voices (?:tell|told|say)\w*|seeing things|delirium",
    r"(?:isnt|not|wont|stopped) respond(?:ing)?|is numb|cant feel my|shot up|whole bottle",
    r"hear(?:ing)? (?:things|stuff)|somethings? (?:is )?wrong with (?:me|him|her)",
    # Somebody does, or may do, harm.
    r"(?:hurt(?:s|ing)?|attack(?:ed|ing|s)?|stab(?:bed|bing)?|rap(?:ed|ing)|threaten\w*) me",
    r"locked me (?:in|up)|wont let me (?:leave|out|go)|outside my (?:door|window)",
    r"(?:following|stalking|chasing) me|unsafe|not safe|scared (?:for my life|of him|he)",
    # The same in Spanish, whose writers leave out an "h" and mix "c", "s" and "z".
    r"(?:quiero|quisiera|deseo|pienso|pensando|ganas|voy|mejor|ojala)(?: (?:a|en|de|que|me|solo))* "
    r"(?:morir\w*|muriera|matarme|sui[csz]i\w+|desaparecer|colgarme|tirarme|lastimarme)",
    r"(?:no|sin|ni) (?:\w+ ){0,2}(?:ganas|sentido|caso|razon)(?: \w+){0,2} (?:vivir|vida|seguir)",
    r"no (?:quiero|deseo) (?:vivir|seguir viviendo)|si (?:yo )?no (?:estuviera|existiera)",
    r"h?a[csz]er(?:me|se)? dano|me (?:corte|estoy cortando)(?! el (?:pelo|cabello))",
    r"me (?:estan?) (?:pegando|golpeando|persiguiendo)|me van? a (?:matar|pegar|hacer dano)",
    r"(?:tom(?:e|o|ado)|tragu?e|trago) (?:\w+ ){0,3}(?:pastillas|pildoras|medicinas|veneno|cloro)",
    r"desmay\w+|inconsciente|me inyecte|no reacciona|tirad[oa] en el (?:piso|suelo)|en el puente",
    r"(?:soy|ser) una carga|carta de despedida|(?:volvi|volvio) a cortar|hacer una locura",
    r"a nadie le import\w+ si|si me (?:muero|matan)|no (?:veo|hay|tengo) salida",
    r"me quieren? (?:golpear|pegar|lastimar|violar)|me (?:encerro|encerraron)|no me dejan? salir",
    r"sangrando|infarto|(?:oigo|escucho) voces",
    r"tengo (?:una? )?(?:pistola|arma|navaja|soga|gun|knife)",
    r"dormir y no despertar|no aguanto (?:esta|mi) vida",
    r"adios (?:a todos|para siempre)|me despido de todos",
)

#: Replies that are a picture and nothing else.
PICTURES: Mapping[str, frozenset[Meaning]] = {
    "\N{THUMBS UP SIGN}": frozenset({Meaning.YES, Meaning.OK}),
    "\N{THUMBS DOWN SIGN}": frozenset({Meaning.NO}),
    "\N{OCTAGONAL SIGN}": frozenset({Meaning.STOP}),
}

#: What holds for everybody who has the number, whoever of them has said it.
SAID_OF_THE_NUMBER = frozenset(
    {Meaning.STOP, Meaning.START, Meaning.HELP, Meaning.DANGER, Meaning.WRONG_NUMBER}
)

#: What a client can say; anything else that is clear to others is unclear from them.
CLIENT_SAYS = frozenset(
    {
        Meaning.NO,
        Meaning.SOMEONE_ELSE,
        Meaning.OK,
        Meaning.TALK,
        Meaning.STOP,
        Meaning.START,
        Meaning.HELP,
        Meaning.DANGER,
        Meaning.WRONG_NUMBER,
    }
)

# These keep their meaning beside other words ("talked, he sounds well"); a YES or a START does
# not ("yes, but only if it rains").
_STANDS_BESIDE_OTHER_WORDS = frozenset(
    {Meaning.TALKED, Meaning.NO_ANSWER, Meaning.SOMEONE_ELSE, Meaning.TALK},
)
#: Words that our texts offer; two letters of one that changed places are a slip of the thumb.
_OFFERED = (
    *("yes", "stop", "start", "help", "talk", "talked", "pause", "back"),
    *("ayuda", "hablar", "hablamos", "pausa", "regrese"),
)
#: A wish to stop at the end of a reply without a sign before it: "all set thanks stop".
_STOP_AT_THE_END = re.compile(
    r"\b(?:thanks|thank you|thx|ty|please|pls|plz|gracias|por favor) stop$"
)
#: Or in capitals there, unless the sentence goes on to it: "I have what I need STOP".
_SHOUTED_AT_THE_END = re.compile(r"[a-z0-9,.!]\W+STOP\W*$")
_SENTENCE_GOES_ON = re.compile(
    r"\b(?:(?:to|it|this|that|the|a|bus|i|you|we|they|he|she|him|her|me|not|never|\w+nt) stop$"
    r"|(?:make|makes|want|wish|when|how|why|will|would|until|if|could|should)\b)"
)
_APOSTROPHES = re.compile("['’‘`´ʼ′]")
_SPELLED_OUT = re.compile(r"(?<!\w)[a-z](\W)(?:[a-z]\1)+[a-z](?!\w)")
_BETWEEN_CLAUSES = re.compile(r"[.!?;:,\n\r¡¿—–]+|\s-+\s")
_LEADING_YES = re.compile(r"^(ok|okay|yes|yeah|yep|si) (?=\S)")


def understand(text: str, asked: str | None = None) -> Meaning:
    """What a reply means; danger wins over everything, a wish to stop over all but that.

    ``asked`` is the question that is open: OK answers a check-in, where a yes or a no alone would
    leave open which of the two it is, and is a yes to everything else.
    """
    if _is_dangerous(text):
        return Meaning.DANGER
    meanings = _meanings(text)
    # Whoever has a stranger's number must be unlinked, which is more than being left alone.
    for first in (Meaning.WRONG_NUMBER, Meaning.STOP):
        if first in meanings:
            return first
    if asked != "check_in":
        return _agreed(meanings - {Meaning.OK})
    meaning = _agreed(meanings)
    return Meaning.UNCLEAR if meaning in (Meaning.YES, Meaning.NO) else meaning


def also_stop(text: str) -> bool:
    """Whether a reply asks us to stop, whatever else it says; to be honoured beside DANGER."""
    return Meaning.STOP in _meanings(text)


def _agreed(meanings: frozenset[Meaning]) -> Meaning:
    # A bare yes or no beside something more exact only leads up to it ("no, someone else").
    exact = meanings - {Meaning.YES, Meaning.NO, Meaning.UNCLEAR} or meanings
    if Meaning.TALK in exact:
        # Whoever would like to talk is not too well for it ("ok, can you call me").
        exact = exact - {Meaning.OK}
    if len(exact) != 1:
        return Meaning.UNCLEAR
    (meaning,) = exact
    if meaning in _STANDS_BESIDE_OTHER_WORDS or meanings <= {meaning, Meaning.YES}:
        return meaning
    return Meaning.UNCLEAR


def _meanings(text: str) -> frozenset[Meaning]:
    """The meanings of all clauses; UNCLEAR stands for any clause that has none."""
    clauses = list(_clauses(text))
    if _ends_in_stop(text):
        clauses.append("stop")
    if not clauses:
        return frozenset().union(*(said for picture, said in PICTURES.items() if picture in text))
    return frozenset().union(*map(_meanings_of_clause, clauses))


def _ends_in_stop(text: str) -> bool:
    words = _words(_letters(text))
    shouted = _SHOUTED_AT_THE_END.search(text) is not None and not _SENTENCE_GOES_ON.search(words)
    return shouted or _STOP_AT_THE_END.search(words) is not None


def _meanings_of_clause(clause: str) -> frozenset[Meaning]:
    clause = _SLIPS.get(clause, clause)
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


_SLIPS = {
    word[:place] + word[place + 1] + word[place] + word[place + 2 :]: word
    for word in _OFFERED
    for place in range(len(word) - 1)
}
_COURTESY = re.compile(rf"\b(?:{_alternatives(COURTESY)})\b")
_ALONE = {meaning: _one_or_more(table) for meaning, table in SAID_ALONE.items()}
_WITHIN = {meaning: _any_of(phrases) for meaning, phrases in SAID_WITHIN.items()}
_EXCEPTIONS = {meaning: _any_of(phrases) for meaning, phrases in NOT_MEANT.items()}
_DANGER = re.compile(rf"\b(?:{'|'.join((*DANGER, *DANGER_BUILT))})\b")

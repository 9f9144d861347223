"""Answers that decline: `I'm sorry, but I can't help with that`, in many languages.

An answer may say that somebody cannot do something, and be right: `We cannot ship on Monday`. So a
refusal has to speak of helping or answering, or of what was asked, or of being a model.
"""

from __future__ import annotations

import re

SHOWN_CHARS = 400  # in which an answer that declines says so

_ASKED = r"""
    (?: \b(?:that|this|your|the|such|these|those|any|an?)\s (?:[\w-]+\s){0,2}?
        (?:requests?|questions?|tasks?|content|text|article|document|summar(?:y|ies)|information
          |answers?|responses?|topics?|prompts?|quer(?:y|ies)|instructions?|messages?)\b
      | \b(?:content|material|texts?)\s(?:of|like)\s(?:that|this|such)\b
      | \b(?:that|this)\s? (?:[.,!;]|$|for\syou|as\b|because\b|since\b) )
"""
_ENGLISH = rf"""
    (?: (?: (?:i['\u2019]m|i\sam|we['\u2019]re|we\sare|i|we)\s )? (?:(?:very|so|really|truly)\s)?
        (?: sorry|afraid|apologi[sz]e|my\sapologies ) \b .{{0,60}}? \b )?
    (?: (?:unfortunately|regrettably) ,? \s )?
    (?:i|we) (?: \scan\s?not | \scan['\u2019]t | \swon['\u2019]t | \swill\snot | \smust\sdecline
      | (?:['\u2019]m|\sam|['\u2019]re|\sare) \s (?:unable|not\s(?:able|allowed|permitted)) ) \s
    (?:to\s)? (?:\w+\s){{0,2}}?
    (?: (?:help|assist)\b (?!\s(?:but|wondering|thinking|feeling|noticing|admiring|smiling)\b)
        (?: \s?[.,!;] | $ | \s(?:you\s)?(?:with|in|on)\b | \syou\s?[.,!;] | .{{0,30}}? {_ASKED} )
      | comply\b
      | (?:provide|offer|give)\b .{{0,30}}? \b(?:advice|assistance|opinions?|guidance)\b
      | (?: answer|provide|fulfil|fulfill|create|generate|write|do|discuss|continue|produce|share
          | support|offer|engage|process|complete|summari[sz]e|respond ) \b .{{0,30}}? {_ASKED} )
"""
_PRINCIPLES = rf"""
    (?: (?: (?:i['\u2019]m|i\sam|i|my)\s )?
        (?:sorry|afraid|apologi[sz]e|apologies) \b .{{0,20}}? \b )?
    (?: (?:that|this|it|your\srequest|the\srequest)\s
        (?:goes\sagainst|violates|is\sagainst|conflicts\swith|would\sviolate)\s
        (?:my|our|openai['\u2019]s|anthropic['\u2019]s|the)\s (?:\w+\s){{0,2}}?
        (?:guidelines|programming|polic(?:y|ies)|principles|values|rules)\b
      | (?:i['\u2019]m|i\sam|i\s(?:do\snot|don['\u2019]t)\sfeel)\s (?:not\s|un)?comfortable\s
        (?:with\s)? (?:answering|discussing|providing|writing|helping|assisting|creating|sharing) \b
      | (?:i['\u2019]m|i\sam)\s (?:just\s|only\s|merely\s)? an?\s
        (?:ai|artificial\sintelligence|(?:large\s)?language)\s? (?:language\s)?
        (?:model|assistant|chatbot|program)? \b .{{0,30}}? \b
        (?:can\s?not|can['\u2019]t|do\snot|don['\u2019]t|am\snot\sable|unable)\b
      | (?:unfortunately,?\s)? i\s(?:do\snot|don['\u2019]t)\shave\s(?:enough|sufficient)\s
        (?:information|context|data|details)\s to\s
        (?:answer|respond|help|assist|complete|fulfil|fulfill|summari[sz]e)\b .{{0,30}}? {_ASKED} )
"""
_MODEL = r"""
    (?:[\w,'\u2019]+\s){0,9}? as\san?\s (?: chatbot\b
      | (?:ai|artificial\sintelligence|large\slanguage|language) \b
        (?: \s?, | \s(?:language\s)?(?:model|assistant|chatbot|program|system)\b | \s(?:i|we)\b ) )
    | als\s (?:eine?n?\s)? (?:künstliche\sintelligenz|sprachmodell|taalmodel
        |(?:ki|ai)(?:[-\s]?(?:sprachmodell|modell|assistent|taalmodel|model))?)\b
    | en\stant\s(?:qu['\u2019]|que\s) (?:ia|intelligence\sartificielle|assistant|modèle) \b
    | como\s (?:un\s|um\s)? (?:modelo\sde\s(?:lenguaje|linguagem)|ia|inteligencia\sartificial
        |inteligência\sartificial|asistente\sde\sia|assistente\sde\sia) \b
    | (?:in\squanto|come)\s (?:un\s)? (?:modello\slinguistico|ia|intelligenza\sartificiale) \b
    | (?:作为|身为)(?:一个|一款|一名)?\s?(?:ai|人工智能|语言模型|大型语言)
    | (?:ai|人工知能|言語モデル)(?:であるため|として|なので)
    | (?:ai|인공지능)\s?(?:언어\s?모델)?(?:로서|이기)
"""
_EAST_ASIAN = r"""
    (?:对不起|抱歉|很抱歉|對不起|不好意思) .{0,12}? (?:无法|無法|不能|不便)
      .{0,12}? (?:帮|幫|协助|回答|提供|完成|满足|处理|总结)
    | (?:申し訳|すみません|恐れ入り|残念ながら) .{0,30}?
      (?:お応え|お答え|お手伝い|回答|対応|応じる) .{0,12}? (?:できません|いたしかね)
    | 죄송 .{0,30}? (?:도와|답변|제공|응답|처리) .{0,14}? (?:수\s?없|못합)
"""
#: Of each language: words of regret, of what cannot be done, and of helping or answering.
_OTHERS = (
    (
        r"(?:es\s)?tut\smir\s(?:sehr\s)?leid|leider|entschuldigung|bedauerlicherweise",
        r"(?:kann|darf|möchte|können|dürfen)\b .{0,50}? \b(?:nicht|keine?n?)|nicht\sin\sder\slage",
        r"helfen|weiterhelfen|beantworten|erstellen|zusammenfassen|nachkommen|erfüllen|anfrage",
    ),
    (
        r"(?:je\ssuis\s)?(?:vraiment\s)?désolée?|malheureusement|je\sm['\u2019]excuse",
        r"ne\s(?:peux|puis|suis)\s(?:malheureusement\s)?pas|dans\sl['\u2019]incapacité",
        r"aider|fournir|répondre|créer|résumer|assister|satisfaire|traiter\s(?:cette|votre)",
    ),
    (
        r"lo\s(?:siento|lamento)|disculp\w+|perdón|lamentablemente",
        r"no\s(?:puedo|podemos|me\ses\sposible)",
        r"ayudar\w*|proporcionar\w*|responder\w*|crear\w*|resumir\w*|cumplir|asistir(?:te|le)",
    ),
    (
        r"desculpe?|sinto\smuito|lamento|infelizmente",
        r"não\s(?:posso|consigo|podemos)",
        r"ajud\w+|fornecer|responder|criar|resumir|atender\s(?:a\s)?(?:ess|est|seu)\w*",
    ),
    (
        r"mi\sdispiace|spiacente|purtroppo|mi\sscuso",
        r"non\s(?:posso|sono\sin\sgrado)",
        r"aiutar\w*|fornir\w*|rispondere|creare|riassumere|assister\w*|soddisfare",
    ),
    (
        r"het\sspijt\sme|sorry|helaas|excuses",
        r"(?:kan|mag)\b .{0,40}? \b(?:niet|geen)",
        r"helpen|beantwoorden|samenvatten|verstrekken|voldoen\saan",
    ),
    (
        r"tyvärr|jag\sbeklagar|förlåt|ledsen|beklager|desværre|dessverre",
        r"kan\b .{0,30}? \b(?:inte|ikke)",
        r"hjälpa|hjælpe|hjelpe|besvara|svara\spå|besvare|sammanfatta",
    ),
    (
        r"przepraszam|przykro\smi|niestety",
        r"nie\s(?:mogę|jestem\sw\sstanie)",
        r"pomóc|odpowiedzieć|spełnić|streścić|udzielić",
    ),
    (
        r"извините|простите|к\sсожалению",  # noqa: RUF001 - Russian
        r"не\s(?:могу|можем)",
        r"помочь|ответить|выполнить|предоставить",
    ),
    (
        r"üzgünüm|maalesef|özür\sdilerim",
        r"bu|size|bunu|isteğ\w+",
        r"(?:yardımcı\sol|yanıtlay|yap)am\w+",  # noqa: RUF001 - Turkish
    ),
)  # fmt: skip


def _in_any_order(regret: str, cannot: str, helping: str) -> str:
    """Return a pattern for `sorry, I cannot help`, and for `I cannot help` alone."""
    return (
        rf"(?: (?:(?:{regret})\b .{{0,40}}? )? (?:[\w'\u2019]+\s){{0,4}}? \b(?:{cannot})\b"
        rf" .{{0,60}}? \b(?:{helping})\b )"
    )


_PATTERNS = (
    _ENGLISH,
    _PRINCIPLES,
    _MODEL,
    _EAST_ASIAN,
    *(_in_any_order(*words) for words in _OTHERS),
)
_DECLINES = re.compile(rf"\W*(?:{'|'.join(_PATTERNS)})", re.IGNORECASE | re.DOTALL | re.VERBOSE)


def declines(text: str) -> bool:
    """Return whether an answer begins by declining to answer."""
    return _DECLINES.match(text[:SHOWN_CHARS]) is not None

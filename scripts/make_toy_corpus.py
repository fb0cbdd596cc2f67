"""Write the toy corpus: small English, German and Korean stories made by one grammar.

A sentence is drawn once, as a tree of dataclasses; `en()`, `de()` and `ko()` of each node then say it in that language.
So the three files of a split are parallel, and each English sentence has one translation. The grammar needs what
attention is good at: nouns, verbs and adjectives are copied over long distances and put in another order (verb-final
clauses, inversion, relative clauses), and the gender of a pronoun depends on the noun that it stands for.

Some combinations of words (subject and verb, adjective and noun, verb and object) are held out: no training sentence
has one, and each dev or test sentence has one of its own split. The pronoun set does the same with triples (subject,
object, predicate). `dev.it.tsv` and `test.it.tsv` say which word "it" stands for. The same seed writes the same bytes.

    python scripts/make_toy_corpus.py [--out data/toy]
"""

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

SEED = 1
SIZES = {"train": 12_000, "dev": 500, "test": 500}
PRONOUN_ITEMS = 500
POINTED = 200  # sentences with "it" that are annotated, of dev and of test
HELD_OUT_SHARE = 0.04  # share of all combinations that is held out for dev, and as much for test
OFTEN = 5  # a word of dev, test or the pronoun set occurs at least this often in train
LONG = range(18, 29)  # English words in a long sentence
SHARES = {"simple": 14, "question": 3, "pronoun": 12, "contrast": 36, "complex": 8, "reported": 5, "long": 22}  # in %

# --- The lexicon. An underscore is a space; kinds of nouns: person, animal, food, thing, gear, readable, location ---

NOUNS = """
p woman        Frau           f 여자        | p man          Mann           m 남자
p boy          Junge/Jungen   m 소년        | p girl         Mädchen        n 소녀
p child        Kind           n 아이        | p teacher      Lehrer         m 선생님
p baker        Bäcker         m 제빵사      | p farmer       Bauer/Bauern   m 농부
p queen        Königin        f 여왕        | p king         König          m 왕
p my_brother   Bruder         m 내_남동생   | p my_sister    Schwester      f 내_여동생
p my_uncle     Onkel          m 우리_삼촌   | p my_grandmother Großmutter   f 우리_할머니
p Anna         Anna           f 안나        | p Peter        Peter          m 피터
a cat          Katze          f 고양이      | a goat         Ziege          f 염소
a cow          Kuh            f 소          | a mouse        Maus           f 쥐
a dog          Hund           m 개          | a bear         Bär/Bären      m 곰
a fox          Fuchs          m 여우        | a monkey       Affe/Affen     m 원숭이
a horse        Pferd          n 말          | a pig          Schwein        n 돼지
a sheep        Schaf          n 양          | a rabbit       Kaninchen      n 토끼
f fish         Fisch          m 생선        | f apple        Apfel          m 사과
f cake         Kuchen         m 케이크      | f cheese       Käse           m 치즈
f pear         Birne          f 배          | f carrot       Karotte        f 당근
f sausage      Wurst          f 소시지      | f banana       Banane         f 바나나
f bread        Brot           n 빵          | f egg          Ei             n 달걀
f sandwich     Sandwich       n 샌드위치    | f ice_cream    Eis            n 아이스크림
t hat          Hut            m 모자        | t ball         Ball           m 공
tg umbrella    Regenschirm    m 우산        | t mirror       Spiegel        m 거울
t bag          Tasche         f 가방        | tg lamp        Lampe          f 램프
tg clock       Uhr            f 시계        | t blanket      Decke          f 담요
t picture      Bild           n 그림        | tg bicycle     Fahrrad        n 자전거
tg toy         Spielzeug      n 장난감      | t pillow       Kissen         n 베개
r letter       Brief          m 편지        | r book         Buch           n 책
r story        Geschichte     f 이야기      | r poem         Gedicht        n 시
l garden       Garten         m 정원        | l forest       Wald           m 숲
l park         Park           m 공원        | l kitchen      Küche          f 부엌
lb house       Haus           n 집          | lb school      Schule         f 학교
lb church      Kirche         f 교회        | l village      Dorf           n 마을
"""
MASS = ("cheese", "bread", "ice cream")  # never "a"
NAMES = ("Anna", "Peter")
HE_OR_SHE = ("woman", "man", "boy", "queen", "king", "brother", "sister", "uncle", "grandmother", "Anna", "Peter")

# past, base, German past (of animals / of people), Korean stem and past stem, kinds of subjects and of objects,
# aspect (state, event, action), and how the subject takes the object (+ gladly, - not gladly, 0 neither)
VERBS = """
ate        eat      fraß/aß       먹        먹었        pa f    action +
tasted     taste    probierte     맛보      맛보았      pa f    action +
stole      steal    stahl         훔치      훔쳤        pa ft   action +
hid        hide     versteckte    숨기      숨겼        pa ft   action +
carried    carry    trug          나르      날랐        pa ft   action +
guarded    guard    bewachte      지키      지켰        pa ft   action +
chose      choose   wählte        고르      골랐        pa ft   event  +
found      find     fand          찾        찾았        pa ftr  event  0
discovered discover entdeckte     발견하    발견했      pa ft   event  0
saw        see      sah           보        보았        pa pat  event  0
liked      like     mochte        좋아하    좋아했      pa ft   state  +
hated      hate     hasste        싫어하    싫어했      pa ft   state  -
ignored    ignore   ignorierte    무시하    무시했      pa ft   event  -
forgot     forget   vergaß        잊어버리  잊어버렸    pa ftr  event  -
lost       lose     verlor        잃어버리  잃어버렸    p  tr   event  0
bought     buy      kaufte        사        샀          p  ftr  action +
sold       sell     verkaufte     팔        팔았        p  ft   action -
read       read     las           읽        읽었        p  r    action +
wrote      write    schrieb       쓰        썼          p  r    action 0
repaired   repair   reparierte    고치      고쳤        p  g    action 0
cleaned    clean    putzte        닦        닦았        p  tg   action 0
painted    paint    malte         그리      그렸        p  a    action 0
stroked    stroke   streichelte   쓰다듬    쓰다듬었    p  a    action 0
visited    visit    besuchte      찾아가    찾아갔      p  p    event  0
called     call     rief          부르      불렀        p  pa   event  0
loved      love     liebte        사랑하    사랑했      pa pa   state  0
feared     fear     fürchtete     무서워하  무서워했    pa pa   state  0
watched    watch    beobachtete   지켜보    지켜보았    pa pa   action 0
chased     chase    jagte         쫓        쫓았        pa pa   action 0
followed   follow   folgte        따라가    따라갔      pa pa   action 0
helped     help     half          도와주    도와주었    pa pa   event  0
gave       give     gab           주        주었        p  ftr  action 0
showed     show     zeigte        보여_주   보여_주었   p  ftr  action 0
brought    bring    brachte       가져다주  가져다주었  p  ftr  action 0
sent       send     schickte      보내      보냈        p  tr   event  0
slept      sleep    schlief       자        잤          pa -    action 0
played     play     spielte       놀        놀았        pa -    action 0
waited     wait     wartete       기다리    기다렸      pa -    action 0
sang       sing     sang          노래하    노래했      p  -    action 0
danced     dance    tanzte        춤추      춤추었      pa -    action 0
laughed    laugh    lachte        웃        웃었        p  -    action 0
worked     work     arbeitete     일하      일했        p  -    action 0
"""
DATIVE_VERBS = ("followed", "helped")
GIVING_VERBS = ("gave", "showed", "brought", "sent")

# English, German (with the stem that takes endings, where it differs), Korean before a noun and its past stem as a
# predicate, kinds of nouns, and whether "it was ..." is a reason to take something (+), not to (-) or neither (0)
ADJECTIVES = """
small     klein        작은         작았          paftl 0 | big       groß         큰           컸            paftl 0
old       alt          나이_든      나이가_들었   pa    0 | old       alt          오래된       오래되었      trl   0
friendly  freundlich   다정한       다정했        pa    0 | white     weiß         하얀         하얬          atb   0
black     schwarz      검은         검었          at    0 | brown     braun        갈색         갈색이었      a     0
red       rot          빨간         빨갰          t     0 | blue      blau         파란         파랬          t     0
beautiful schön        아름다운     아름다웠      trl   + | quiet     ruhig        조용한       조용했        l     0
hungry    hungrig      배고픈       배고팠        pa    + | thirsty   durstig      목마른       목말랐        pa    +
curious   neugierig    호기심_많은  호기심이_많았 pa    + | happy     glücklich    행복한       행복했        pa    +
clever    klug         영리한       영리했        pa    + | brave     mutig        용감한       용감했        pa    +
tired     müde/müd     피곤한       피곤했        pa    - | lazy      faul         게으른       게을렀        pa    -
sad       traurig      슬픈         슬펐          pa    - | nervous   nervös       초조한       초조했        pa    -
fresh     frisch       신선한       신선했        f     + | sweet     süß          달콤한       달콤했        f     +
delicious lecker       맛있는       맛있었        f     + | warm      warm         따뜻한       따뜻했        f     +
salty     salzig       짠           짰            f     - | bitter    bitter       쓴           썼            f     -
cold      kalt         차가운       차가웠        f     - | dry       trocken      마른         말랐          f     -
soft      weich        부드러운     부드러웠      t     + | light     leicht       가벼운       가벼웠        t     +
colorful  bunt         알록달록한   알록달록했    t     + | expensive teuer/teur   비싼         비쌌          t     +
heavy     schwer       무거운       무거웠        t     - | broken    kaputt       망가진       망가졌        t     -
dirty     schmutzig    더러운       더러웠        t     - | ugly      hässlich     못생긴       못생겼        t     -
exciting  spannend     흥미진진한   흥미진진했    r     + | funny     lustig       재미있는     재미있었      r     +
boring    langweilig   지루한       지루했        r     - | long      lang         긴           길었          r     -
"""
FOOD_ONLY = ("hungry", "thirsty")  # reasons to eat, not to guard a ball
PASSING = ("hungry", "thirsty", "curious", "happy", "tired", "sad", "nervous", "fresh", "warm", "cold", "dry")  # "when"

TIMES = """
yesterday gestern 어제 | in_the_morning am_Morgen 아침에 | in_the_evening am_Abend 저녁에 | at_night in_der_Nacht 밤에
on_Monday am_Montag 월요일에 | on_Sunday am_Sonntag 일요일에 | last_week letzte_Woche 지난주에
"""
MANNERS = """
quietly leise 조용히 | secretly heimlich 몰래 | quickly schnell 재빨리 | carefully vorsichtig 조심스럽게
"""
# English and German preposition (with the dative), what follows the noun in Korean, kinds of locations
PREPOSITIONS = (
    "in in 에서 l | in in 에서 l | behind hinter _뒤에서 b | in_front_of vor _앞에서 b | next_to neben _옆에서 b"
)
# English, German, Korean ending; "~": the ending goes to the stem, else to the past stem
BECAUSE, ALTHOUGH, WHEN = ("because", "weil", "기 때문에"), ("although", "obwohl", "는데도"), ("when", "als", "을 때")
WHILE, BEFORE = ("while", "während", "~는 동안"), ("before", "bevor", "~기 전에")
AND, BUT = ("and", "und", "고"), ("but", "aber", "지만")
# past, German, conjunctions, Korean ending of what is reported and past stem
REPORTS = """
said sagte that dass 다고 말했 | thought dachte that dass 다고 생각했 | believed glaubte that dass 다고 믿었
heard hörte that dass 다고 들었 | claimed behauptete that dass 다고 주장했 | asked fragte whether ob 는지 물었
knew wusste that dass 다는_것을 알고_있었
"""
QUESTION_WORDS = "why warum 왜 | when wann 언제 | where wo 어디에서"

Particle = tuple[str, str]  # after a consonant, after a vowel
TOPIC, SUBJECT, OBJECT, WITH = ("은", "는"), ("이", "가"), ("을", "를"), ("과", "와")
NOMINATIVE, ACCUSATIVE, DATIVE = 0, 1, 2
# German articles (also the relative pronouns) and endings by gender, then case
THE = (("der", "den", "dem"), ("die", "die", "der"), ("das", "das", "dem"))
AFTER_THE = (("e", "en", "en"), ("e", "e", "en"), ("e", "e", "en"))
A = (("", "en", "em"), ("e", "e", "er"), ("", "", "em"))  # ein, mein
AFTER_A = (("er", "en", "en"), ("e", "e", "en"), ("es", "es", "en"))
ER_SIE_ES = ("er", "sie", "es")
Gloss = tuple[str, str, str]  # English, German, Korean
NOTHING: Gloss = ("", "", "")
Combination = tuple[str, ...]  # its kind, then its words


def final(syllable: str) -> int:
    """Return the number of a Hangul syllable's final consonant in Unicode: 0 for none, 4 for ㄴ, 8 for ㄹ."""
    return (ord(syllable) - 0xAC00) % 28


def with_particle(word: str, particle: Particle) -> str:
    return word + particle[0 if final(word[-1]) else 1]


def before_noun(stem: str) -> str:
    """Return the past form of a Korean verb before a noun that it modifies: 먹-은, 훔치-ㄴ, 팔-ㄴ."""
    shift = {0: 4, 8: -4}.get(final(stem[-1]))
    return stem + "은" if shift is None else stem[:-1] + chr(ord(stem[-1]) + shift)


def join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Noun:
    kinds: frozenset[str]
    en: str
    de: str
    gender: int  # 0 masculine, 1 feminine, 2 neuter: the order of every triple below
    ko: str
    mine: bool

    @property
    def is_person(self) -> bool:
        return "p" in self.kinds

    @property
    def is_animal(self) -> bool:
        return "a" in self.kinds


@dataclass(frozen=True)
class Adjective:
    en: str
    de: str
    de_stem: str
    ko: str
    ko_past: str
    kinds: str
    reason: str


@dataclass(frozen=True)
class Verb:
    en: str
    base: str
    de: str
    stem: str
    past: str
    subjects: str
    objects: str
    aspect: str
    liking: str

    @property
    def case(self) -> int:
        return DATIVE if self.en in DATIVE_VERBS else ACCUSATIVE

    def german(self, subject: Noun) -> str:
        return self.de.split("/")[-1 if subject.is_person else 0]

    def korean(self, ending: str, negated: bool) -> str:
        if not ending.startswith("~"):
            return (self.stem + "지 않았" if negated else self.past) + ending
        drops = final(self.stem[-1]) == 8 and ending.startswith("~는")  # 노는, not 놀는
        return (self.stem[:-1] + chr(ord(self.stem[-1]) - 8) if drops else self.stem) + ending[1:]


@dataclass(frozen=True)
class Relative:
    """A relative clause: "the cat that saw the dog" (of_subject), or "the fish that the cat ate"."""

    verb: Verb
    other: "Phrase"
    of_subject: bool

    def en(self, head: Noun) -> str:
        parts = [self.verb.en, self.other.en()] if self.of_subject else [self.other.en(), self.verb.en]
        return join("who" if head.is_person else "that", *parts)

    def de(self, head: Noun) -> str:
        case = NOMINATIVE if self.of_subject else self.verb.case
        pronoun = THE[head.gender][case]
        other = self.other.de(self.verb.case if self.of_subject else NOMINATIVE)
        return join(",", pronoun, other, self.verb.german(head if self.of_subject else self.other.noun), ",")

    def ko(self) -> str:
        return join(self.other.ko(OBJECT if self.of_subject else SUBJECT), before_noun(self.verb.stem))


@dataclass(frozen=True)
class Phrase:
    """A noun phrase; `also` is a second noun phrase, joined by "and"."""

    noun: Noun
    article: str  # the, a, my or nothing
    adjective: Adjective | None = None
    relative: Relative | None = None
    also: "Phrase | None" = None

    def en(self) -> str:
        head = join(self.adjective.en if self.adjective else "", self.noun.en)
        article = "an" if self.article == "a" and head[0] in "aeiou" else self.article
        relative = self.relative.en(self.noun) if self.relative else ""
        return join(article, head, relative, "and " + self.also.en() if self.also else "")

    def de(self, case: int) -> str:
        """Say the phrase in German; the clause says the relative clause of an object, behind its verb."""
        relative = self.relative.de(self.noun) if self.relative and case == NOMINATIVE else ""
        return join(self.german_head(case), relative, "und " + self.also.de(case) if self.also else "")

    def german_head(self, case: int) -> str:
        if self.article == "the":
            article, ending = THE[self.noun.gender][case], AFTER_THE[self.noun.gender][case]
        else:
            stem = {"a": "ein", "my": "mein", "": ""}[self.article]
            article, ending = stem and stem + A[self.noun.gender][case], AFTER_A[self.noun.gender][case]
        noun = self.noun.de.split("/")[0 if case == NOMINATIVE else -1]
        return join(article, self.adjective.de_stem + ending if self.adjective else "", noun)

    def german_tail(self) -> str:
        return self.relative.de(self.noun) if self.relative else ""

    def korean_bare(self) -> str:
        head = join(
            self.relative.ko() if self.relative else "", self.adjective.ko if self.adjective else "", self.noun.ko
        )
        return join(with_particle(head, WITH), self.also.korean_bare()) if self.also else head

    def ko(self, particle: Particle) -> str:
        return with_particle(self.korean_bare(), particle)


class Sentence(Protocol):
    """Any tree. The German order is "first" (subject first), "after" (verb first) or "final" (verb last).

    The Korean ending belongs to the last verb, the particle to the subject.
    """

    def en(self) -> str: ...
    def de(self, order: str) -> str: ...
    def ko(self, ending: str, particle: Particle) -> str: ...


@dataclass(frozen=True)
class Clause:
    subject: Phrase
    verb: Verb
    object: Phrase | None = None
    recipient: Phrase | None = None
    place: Gloss = NOTHING
    time: Gloss = NOTHING
    manner: Gloss = NOTHING
    time_first: bool = False
    negated: bool = False

    def en(self) -> str:
        verb = "did not " + self.verb.base if self.negated else join(self.manner[0], self.verb.en)
        clause = join(self.subject.en(), verb, self.english_rest())
        return join(self.time[0], clause) if self.time_first else join(clause, self.time[0])

    def english_rest(self) -> str:
        phrases = [phrase.en() for phrase in (self.recipient, self.object) if phrase]
        return join(*phrases, self.place[0])

    def english_question(self) -> str:
        return join("did", self.subject.en(), self.manner[0], self.verb.base, self.english_rest(), self.time[0])

    def de(self, order: str) -> str:
        subject, verb = self.subject.de(NOMINATIVE), self.verb.german(self.subject.noun)
        recipient = self.recipient.de(DATIVE) if self.recipient else ""
        target = self.object.de(self.verb.case) if self.object else ""
        tail = self.object.german_tail() if self.object else ""
        rest = join(self.manner[1], recipient, target, "nicht" if self.negated else "", self.place[1])
        if self.time_first:
            return join(self.time[1], verb, subject, rest, tail)
        rest = join(self.time[1], rest)
        start = {"first": (subject, verb, rest), "after": (verb, subject, rest), "final": (subject, rest, verb)}[order]
        return join(*start, tail)

    def ko(self, ending: str, particle: Particle, inserted: str = "", known_object: bool = False) -> str:
        """Say the clause in Korean; `inserted` comes after the subject, and a known object is 그것."""
        target = self.object.ko(OBJECT) if self.object else ""
        return join(
            self.time[2] if self.time_first else "",
            self.subject.ko(particle),
            inserted,
            "" if self.time_first else self.time[2],
            self.place[2],
            self.manner[2],
            self.recipient.korean_bare() + "에게" if self.recipient else "",
            "그것을" if known_object else target,
            self.verb.korean(ending, self.negated),
        )


@dataclass(frozen=True)
class Subordinate:
    """A main clause and a subordinate clause, which may come first; in Korean it always does."""

    main: Clause
    conjunction: Gloss
    clause: Clause
    first: bool = False

    def en(self) -> str:
        clause = join(self.conjunction[0], self.clause.en())
        return join(clause, ",", self.main.en()) if self.first else join(self.main.en(), clause)

    def de(self, order: str) -> str:
        clause = join(self.conjunction[1], self.clause.de("final"))
        return join(clause, ",", self.main.de("after")) if self.first else join(self.main.de(order), ",", clause, ",")

    def ko(self, ending: str, particle: Particle) -> str:
        return join(self.clause.ko(self.conjunction[2], SUBJECT), self.main.ko(ending, particle))


@dataclass(frozen=True)
class Pronoun:
    """A clause and a predicate of its subject or its object; the predicate decides which one the pronoun stands for."""

    main: Clause
    conjunction: Gloss
    predicate: Adjective
    antecedent: Phrase

    @property
    def of_subject(self) -> bool:
        return self.antecedent is self.main.subject

    @property
    def other(self) -> Phrase:
        """The one of subject and object that the pronoun does not stand for."""
        assert self.main.object is not None
        return self.main.object if self.of_subject else self.main.subject

    def en(self) -> str:
        pronoun = ("he", "she", "it")[self.antecedent.noun.gender] if self.antecedent.noun.is_person else "it"
        comma = "," if self.conjunction == BUT else ""
        return join(self.main.en(), comma, self.conjunction[0], pronoun, "was", self.predicate.en)

    def de(self, order: str) -> str:
        pronoun = ER_SIE_ES[self.antecedent.noun.gender]
        words = ("war", self.predicate.de) if self.conjunction == BUT else (self.predicate.de, "war")
        return join(self.main.de(order), ",", self.conjunction[1], pronoun, *words, ",")

    def ko(self, ending: str, particle: Particle) -> str:
        if self.conjunction == BUT:
            antecedent = "" if self.of_subject else with_particle(self.antecedent.noun.ko, TOPIC)
            return join(self.main.ko(BUT[2], particle), antecedent, self.predicate.ko_past + ending)
        reason = self.predicate.ko_past + self.conjunction[2]
        if self.of_subject:
            return self.main.ko(ending, particle, inserted=reason)
        return join(self.antecedent.ko(SUBJECT), reason, self.main.ko(ending, particle, known_object=True))


@dataclass(frozen=True)
class Joined:
    left: Sentence
    conjunction: Gloss
    right: Sentence

    def en(self) -> str:
        return join(self.left.en(), ",", self.conjunction[0], self.right.en())

    def de(self, order: str) -> str:
        return join(self.left.de(order), ",", self.conjunction[1], self.right.de("first"))

    def ko(self, ending: str, particle: Particle) -> str:
        return join(self.left.ko(self.conjunction[2], particle), self.right.ko(ending, particle))


@dataclass(frozen=True)
class Reported:
    """Reported speech, "the woman said that ..."; `second` adds "and that ..."."""

    speaker: Phrase
    report: tuple[str, ...]
    content: Sentence
    second: Clause | None = None

    def en(self) -> str:
        verb, _, that = self.report[:3]
        second = join("and", that, self.second.en()) if self.second else ""
        return join(self.speaker.en(), verb, that, self.content.en(), second)

    def de(self, order: str) -> str:
        _, verb, _, that = self.report[:4]
        second = join("und", that, self.second.de("final")) if self.second else ""
        return join(self.speaker.de(NOMINATIVE), verb, ",", that, self.content.de("final"), second, ",")

    def ko(self, ending: str, particle: Particle) -> str:
        reported, verb = self.report[4:]
        last = self.content.ko(reported, SUBJECT)
        if self.second:
            last = join(self.content.ko(AND[2], SUBJECT), self.second.ko(reported, SUBJECT))
        return join(self.speaker.ko(particle), last, verb + ending)


@dataclass(frozen=True)
class Question:
    clause: Clause
    word: Gloss = NOTHING

    def en(self) -> str:
        return join(self.word[0], self.clause.english_question())

    def de(self, order: str) -> str:
        return join(self.word[1], self.clause.de("after"))

    def ko(self, ending: str, particle: Particle) -> str:
        return self.clause.ko("니", SUBJECT if self.word == NOTHING else TOPIC, inserted=self.word[2])


class Example(NamedTuple):
    en: str
    de: str
    ko: str
    combinations: tuple[Combination, ...]
    tree: Sentence


def written(text: str, mark: str) -> str:
    """Turn the words of a tree into raw text: with a capital, commas and the final mark."""
    text = re.sub(r"( ,)+$", "", re.sub(r"( ,)+", " ,", text)).replace(" ,", ",")
    return text[0].upper() + text[1:] + mark


def example(tree: Sentence, combinations: Iterable[Combination]) -> Example:
    mark = "?" if isinstance(tree, Question) else "."
    en, de, ko = (written(text, mark) for text in (tree.en(), tree.de("first"), tree.ko("다", TOPIC)))
    return Example(en, de, ko, tuple(combinations), tree)


def table(text: str) -> list[list[str]]:
    rows = [row.split() for line in text.strip().splitlines() for row in line.split("|")]
    return [[cell.replace("_", " ") for cell in row] for row in rows]


def glosses(text: str) -> list[Gloss]:
    return [(en, de, ko) for en, de, ko in table(text)]


def nouns() -> list[Noun]:
    return [
        Noun(frozenset(kinds), en.removeprefix("my "), de, "mfn".index(gender), ko, en.startswith("my "))
        for kinds, en, de, gender, ko in table(NOUNS)
    ]


def verbs() -> list[Verb]:
    return [Verb(*row) for row in table(VERBS)]


def adjectives() -> list[Adjective]:
    return [
        Adjective(en, de.split("/")[0], de.split("/")[-1], ko, past, kinds, reason)
        for en, de, ko, past, kinds, reason in table(ADJECTIVES)
    ]


def fits(kinds: str, noun: Noun) -> bool:
    return not noun.kinds.isdisjoint(kinds)


@dataclass
class Sampler:
    """A source of random trees. It keeps the combinations of a tree, and its nouns, since no noun comes twice."""

    rng: Random
    nouns: list[Noun] = field(default_factory=nouns)
    verbs: list[Verb] = field(default_factory=verbs)
    adjectives: list[Adjective] = field(default_factory=adjectives)
    used: list[Noun] = field(default_factory=list)
    combinations: list[Combination] = field(default_factory=list)
    rich: bool = False  # more adjectives, places, times and relative clauses

    def draw(self, kind: str) -> Example:
        self.used, self.combinations, self.rich = [], [], kind == "long"
        make: dict[str, Callable[[], Sentence]] = {
            "simple": partial(self.clause, main=True),
            "question": self.question,
            "pronoun": self.pronoun,
            "contrast": partial(self.pronoun, contrast=True),
            "complex": self.subordinate,
            "reported": self.reported,
            "long": self.long,
        }
        return example(make[kind](), self.combinations)

    def chance(self, plain: float, rich: float) -> bool:
        return self.rng.random() < (rich if self.rich else plain)

    def noun(self, kinds: str) -> Noun:
        noun = self.rng.choice([noun for noun in self.nouns if fits(kinds, noun) and noun not in self.used])
        self.used.append(noun)
        return noun

    def phrase(self, noun: Noun, may_be_new: bool = True) -> Phrase:
        if noun.en in NAMES:
            return Phrase(noun, "")
        new = may_be_new and noun.en not in MASS and self.rng.random() < 0.25
        phrase = Phrase(noun, "my" if noun.mine else "a" if new else "the")
        if not self.chance(0.3, 0.55):
            return phrase
        adjective = self.rng.choice([adjective for adjective in self.adjectives if fits(adjective.kinds, noun)])
        self.combinations.append(("adjective-noun", adjective.en, noun.en))
        return replace(phrase, adjective=adjective)

    def subject(self, verb: Verb, noun: Noun | None = None) -> Phrase:
        noun = noun or self.noun(verb.subjects)
        self.combinations.append(("subject-verb", noun.en, verb.en))
        return self.phrase(noun)

    def object(self, verb: Verb, kinds: str = "") -> Phrase:
        noun = self.noun(kinds or verb.objects)
        self.combinations.append(("verb-object", verb.en, noun.en))
        return self.phrase(noun)

    def verb(self, accept: Callable[[Verb], bool]) -> Verb:
        return self.rng.choice([verb for verb in self.verbs if accept(verb)])

    def relative(self, phrase: Phrase) -> Phrase:
        """Add a relative clause: living things are its subject, other things its object."""
        living = fits("pa", phrase.noun)
        verb = self.verb(
            lambda v: (
                v.objects != "-" and v.en not in GIVING_VERBS and fits(v.subjects if living else v.objects, phrase.noun)
            )
        )
        if living:
            self.combinations.append(("subject-verb", phrase.noun.en, verb.en))
            return replace(phrase, relative=Relative(verb, self.object(verb), of_subject=True))
        self.combinations.append(("verb-object", verb.en, phrase.noun.en))
        return replace(phrase, relative=Relative(verb, self.subject(verb), of_subject=False))

    def takes_relative(self, phrase: Phrase) -> bool:
        return phrase.article in ("the", "a") and self.chance(0.06, 0.2)

    def place(self) -> Gloss:
        en, de, ko, kinds = self.rng.choice(table(PREPOSITIONS))
        phrase = self.phrase(self.noun(kinds), may_be_new=False)
        german = re.sub("^in dem ", "im ", join(de, phrase.de(DATIVE)))
        return join(en, phrase.en()), german, phrase.korean_bare() + ko

    def clause(
        self, main: bool = False, accept: Callable[[Verb], bool] = lambda verb: True, may_have_place: bool = True
    ) -> Clause:
        """Draw a clause; a main clause may begin with its time."""
        few = self.rng.random() < 0.18
        verb = self.verb(lambda v: accept(v) and (v.objects == "-") == few)
        subject = self.subject(verb)
        if self.takes_relative(subject):
            subject = self.relative(subject)
        if verb.objects == "-":
            clause = Clause(subject, verb)
        elif verb.en in GIVING_VERBS:
            to_animal = verb.en != "sent" and self.rng.random() < 0.4
            recipient = self.phrase(self.noun("a" if to_animal else "p"))
            clause = Clause(subject, verb, self.object(verb, "f" if to_animal else ""), recipient)
        else:
            clause = Clause(subject, verb, self.shaped_object(verb))
        return self.negated(clause) if self.chance(0.14, 0.05) else self.situated(clause, main, may_have_place)

    def shaped_object(self, verb: Verb) -> Phrase:
        phrase = self.object(verb)
        if self.takes_relative(phrase):
            return self.relative(phrase)
        return replace(phrase, also=self.object(verb)) if self.chance(0.06, 0.12) else phrase

    def negated(self, clause: Clause) -> Clause:
        """Negate a clause if the place of "nicht" is certain: one definite object, no recipient, no relative clause."""
        target = clause.object
        known = not target or (target.article != "a" and not target.relative and not target.also)
        return replace(clause, negated=known and not clause.recipient)

    def situated(self, clause: Clause, main: bool, may_have_place: bool = True) -> Clause:
        """Add place, time and manner, unless they could belong to the relative clause of the object."""
        if clause.verb.aspect == "state":
            return clause
        closed = bool(clause.object and clause.object.relative)
        if may_have_place and not closed and self.chance(0.25, 0.45):
            clause = replace(clause, place=self.place())
        if (main or not closed) and self.chance(0.25, 0.35):
            first = main and (closed or self.rng.random() < 0.6)
            clause = replace(clause, time=self.rng.choice(glosses(TIMES)), time_first=first)
        if clause.verb.aspect == "action" and clause.object and not closed and self.chance(0.15, 0.2):
            clause = replace(clause, manner=self.rng.choice(glosses(MANNERS)))
        return clause

    def question(self) -> Question:
        en, de, ko = self.rng.choice([NOTHING, NOTHING, *glosses(QUESTION_WORDS)])
        clause = self.clause(accept=lambda v: v.aspect != "state", may_have_place=en != "where")
        if en == "when":
            clause = replace(clause, time=("", "", ko))
        if en == "where":
            clause = replace(clause, place=("", "", ko))
        return Question(replace(clause, negated=False), (en, de, ko if en == "why" else ""))

    def subordinate(self, main: bool = True) -> Subordinate:
        """Draw two clauses; if they are the main sentence, the subordinate clause or a time may come first."""
        conjunction = self.rng.choice([BECAUSE, BECAUSE, ALTHOUGH, WHEN, WHILE, BEFORE])
        first = main and self.rng.random() < 0.35
        clause, inner = self.clause(main and not first), self.inner_clause(conjunction)
        if inner.time != NOTHING:  # one time for both
            clause = replace(clause, time=NOTHING, time_first=False)
        return Subordinate(clause, conjunction, inner, first)

    def inner_clause(self, conjunction: Gloss) -> Clause:
        if conjunction in (BECAUSE, ALTHOUGH):
            return self.clause()
        aspects = ("action",) if conjunction == WHILE else ("action", "event")
        return replace(self.clause(accept=lambda v: v.aspect in aspects), negated=False)

    def pronoun(self, main: bool = True, contrast: bool = False) -> Pronoun:
        """Draw a pronoun; a main sentence may begin with a time or go on with "but"; a contrast is about animals."""
        verb = self.verb(lambda v: v.liking != "0" and (not contrast or "a" in v.subjects))
        animal = "a" in verb.subjects and (contrast or self.rng.random() < 0.75)
        subject = self.subject(verb, self.noun("a" if animal else "p"))
        target = self.object(verb)
        clause = Clause(subject, verb, target)
        by_subject = subject.noun.is_animal or subject.noun.en in HE_OR_SHE
        antecedent = subject if by_subject and self.rng.random() < 0.5 else target
        conjunctions = [BECAUSE, BECAUSE, ALTHOUGH]
        conjunctions += [BUT] if main else []
        conjunctions += [WHEN] if fits("paf", antecedent.noun) else []
        conjunction = self.rng.choice(conjunctions)
        predicate = self.predicate(clause, conjunction, antecedent)
        if subject.noun.is_animal:
            self.combinations.append(("pronoun", subject.noun.en, target.noun.en, predicate.en))
        return Pronoun(self.situated(clause, main), conjunction, predicate, antecedent)

    def predicate(self, clause: Clause, conjunction: Gloss, antecedent: Phrase) -> Adjective:
        """Draw an adjective of the antecedent alone, which explains the verb or (although, but) makes it surprising."""
        assert clause.object is not None
        spite = conjunction in (ALTHOUGH, BUT)
        reason = clause.verb.liking if not spite else "+-"[clause.verb.liking == "+"]
        food = "f" in clause.object.noun.kinds
        fitting = [
            adjective
            for adjective in self.adjectives
            if adjective.reason == reason
            and fits(adjective.kinds, antecedent.noun)
            and adjective != antecedent.adjective
            if (adjective.en not in FOOD_ONLY or food) and (conjunction != WHEN or adjective.en in PASSING)
        ]
        return self.rng.choice(fitting)

    def reported(self, content: Callable[[], Sentence] | None = None, twice: bool = False) -> Reported:
        report = tuple(self.rng.choice(table(REPORTS)))
        speaker = self.phrase(self.noun("p"))
        body = content() if content else self.clause()
        return Reported(speaker, report, body, self.clause() if twice else None)

    def long(self) -> Sentence:
        """Draw about three clauses; `suits` rejects other lengths."""

        def joined(left: Sentence) -> Joined:
            return Joined(left, self.rng.choice([AND, BUT]), self.clause(main=True))

        shapes: list[Callable[[], Sentence]] = [
            lambda: joined(self.subordinate()),
            lambda: self.reported(partial(self.subordinate, main=False)),
            lambda: self.reported(twice=True),
            lambda: self.reported(partial(self.pronoun, main=False)),
            lambda: joined(self.reported()),
            lambda: joined(self.pronoun(main=False)),
            self.subordinate,
        ]
        return shapes[self.rng.randrange(len(shapes))]()


def words(item: Example) -> list[str]:
    return re.findall(r"\w+", f"{item.en} {item.de} {item.ko}")


def held_out(sampler: Sampler) -> dict[str, set[Combination]]:
    """Draw the combinations that only dev, only test and only the pronoun set may have."""
    pairs = [("subject-verb", n.en, v.en) for v in sampler.verbs for n in sampler.nouns if fits(v.subjects, n)]
    pairs += [("verb-object", v.en, n.en) for v in sampler.verbs for n in sampler.nouns if fits(v.objects, n)]
    pairs += [("adjective-noun", a.en, n.en) for a in sampler.adjectives for n in sampler.nouns if fits(a.kinds, n)]
    sampler.rng.shuffle(pairs)
    size = round(HELD_OUT_SHARE * len(pairs))
    triples = [
        ("pronoun", subject.en, target.en, adjective.en)
        for subject in sampler.nouns
        for target in sampler.nouns
        for adjective in sampler.adjectives
        if subject.is_animal and fits("ft", target) and subject.gender != target.gender and adjective.reason != "0"
        if fits(adjective.kinds, subject) or fits(adjective.kinds, target)
    ]
    sampler.rng.shuffle(triples)
    pronouns: set[Combination] = set(triples[: len(triples) // 4])
    return {"dev": set(pairs[:size]), "test": set(pairs[size : 2 * size]), "pronouns": pronouns}


Corpus = dict[str, list[Example]]


def fill(sampler: Sampler, held: dict[str, set[Combination]], corpus: Corpus, split: str, kinds: Iterable[str]) -> None:
    """Draw a new example of each kind for a split, with held-out combinations of this split and of no other.

    Outside train, all words must be frequent in train.
    """
    seen = {item.en for items in corpus.values() for item in items}
    counts = Counter(word for item in corpus.get("train", []) for word in words(item))
    known = {word for word, count in counts.items() if count >= OFTEN}
    corpus[split] = []
    for kind in kinds:
        while True:
            item = sampler.draw(kind)
            frequent = not known or known.issuperset(words(item))
            if frequent and item.en not in seen and suits(item, held, split, kind):
                break
        seen.add(item.en)
        corpus[split].append(item)


def suits(item: Example, held: dict[str, set[Combination]], split: str, kind: str) -> bool:
    """Return whether an example has the right length, and the held-out combinations of its split alone."""
    splits = {name for name, combinations in held.items() if not combinations.isdisjoint(item.combinations)}
    right_length = kind != "long" or len(item.en.split()) in LONG
    return right_length and splits == (set() if split == "train" else {split})


def kinds_of(size: int, rng: Random) -> list[str]:
    """Return a kind for each sentence, in the proportions of SHARES, in random order."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(size * share // 100)]
    kinds += ["simple"] * (size - len(kinds))
    rng.shuffle(kinds)
    return kinds


def build(seed: int = SEED) -> Corpus:
    """Draw train, dev, test and the pronoun set."""
    sampler = Sampler(Random(seed))
    held = held_out(sampler)
    corpus: Corpus = {}
    for split, size in SIZES.items():
        fill(sampler, held, corpus, split, kinds_of(size, sampler.rng))
    fill(sampler, held, corpus, "pronouns", ["contrast"] * PRONOUN_ITEMS)
    return corpus


def wrong_pronoun(item: Example) -> str:
    """Return the German of a pronoun sentence with the pronoun of the other noun."""
    tree = item.tree
    assert isinstance(tree, Pronoun)
    right, wrong = (ER_SIE_ES[phrase.noun.gender] for phrase in (tree.antecedent, tree.other))
    start, end = item.de.rsplit(f" {right} ", 1)
    return f"{start} {wrong} {end}"


def pronoun_in(tree: Sentence) -> Pronoun | None:
    """Return the part of a tree that has a pronoun, if any."""
    match tree:
        case Pronoun():
            return tree
        case Joined(left=part) | Reported(content=part):
            return pronoun_in(part)
    return None


def pointers(item: Example) -> tuple[int, int, int] | None:
    """Return the positions of "it", of the noun it stands for, and of the other noun, among the English words, from 0.

    Return None if there is no choice between two nouns: there is no "it", the subject is no animal (a person is "he" or
    "she"), or the predicate could be about the place. The position of a noun of several words is that of the last.
    """
    pronoun = pronoun_in(item.tree)
    if not pronoun or not pronoun.main.subject.noun.is_animal:
        return None
    if pronoun.main.place != NOTHING and "l" in pronoun.predicate.kinds:
        return None
    words = [word.strip(".,") for word in item.en.split()]
    antecedent, other = (words.index(phrase.noun.en.split()[-1]) for phrase in (pronoun.antecedent, pronoun.other))
    return words.index("it"), antecedent, other


def annotated(items: list[Example]) -> list[str]:
    """Return the line number, from 1, and the pointers of the first POINTED sentences that have pointers."""
    found = [(line, *where) for line, item in enumerate(items, start=1) if (where := pointers(item))]
    return ["\t".join(map(str, row)) for row in found[:POINTED]]


def files(corpus: Corpus) -> dict[str, str]:
    """Return the text of each file, by name."""
    columns = {
        f"{split}.{lang}": [getattr(item, lang) for item in corpus[split]]
        for split in SIZES
        for lang in ("en", "de", "ko")
    }
    columns |= {f"{split}.it.tsv": annotated(corpus[split]) for split in ("dev", "test")}
    columns["pronouns.en"] = [item.en for item in corpus["pronouns"]]
    columns["pronouns.de"] = [item.de for item in corpus["pronouns"]]
    columns["pronouns.wrong.de"] = [wrong_pronoun(item) for item in corpus["pronouns"]]
    return {name: "".join(line + "\n" for line in lines) for name, lines in columns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the toy corpus.")
    parser.add_argument("--out", type=Path, default=Path("data/toy"), help="folder to write to (default: %(default)s)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files(build()).items():
        (out / name).write_bytes(text.encode())


if __name__ == "__main__":
    main()

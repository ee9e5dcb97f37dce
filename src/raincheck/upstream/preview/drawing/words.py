"""What a prompt's words mean to the renderer: takes a sentence, hands on the Look of a shot.

A table of words, nothing cleverer: a word ending in `*` stands for all words that begin so. A few languages share it.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from raincheck.upstream.preview.drawing.palettes import Light

_Word = TypeVar("_Word", bound=str)


class Look(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a sentence asks to see. None: it does not say."""

    place: str | None = None
    light: Light | None = None
    camera: str | None = None
    things: tuple[str, ...] = ()
    """Weather and subjects, in the order of the tables."""


def look_of(sentence: str) -> Look:
    """Of two places or lights, the one mentioned first counts."""
    plain = unicodedata.normalize("NFKC", sentence).casefold()
    return Look(
        place=_first(_PLACES, plain),
        light=_first(_LIGHTS, plain) or _first(_DIM, plain),
        camera=_first(_CAMERAS, plain),
        things=tuple(thing for thing, words in _THINGS.items() if words.search(plain)),
    )


def is_direction(sentence: str) -> bool:
    """Whether it only tells the camera what to do."""
    plain = unicodedata.normalize("NFKC", sentence).casefold()
    rest = plain
    for words in _CAMERAS.values():
        rest = words.sub(" ", rest)
    return rest != plain and not _FILLERS.sub(" ", rest).strip(" ,:-")


_FILLERS = re.compile(
    r"\b(the|a|an|and|now|we|camera|shot|very|slow|slowly|gentle|gently|smooth|smoothly|quick|quickly|fast|with|it|is)\b"
)


def _first(table: Mapping[_Word, re.Pattern[str]], plain: str) -> _Word | None:
    found = [(hit.start(), meaning) for meaning, words in table.items() if (hit := words.search(plain))]
    return min(found)[1] if found else None


def _table(meanings: Mapping[_Word, str]) -> Mapping[_Word, re.Pattern[str]]:
    return {meaning: re.compile("|".join(map(_pattern, words.split(", ")))) for meaning, words in meanings.items()}


def _pattern(word: str) -> str:
    if word[0] >= "\u2e80":  # scripts that put no spaces between words
        return re.escape(word)
    ending = r"\w*" if word.endswith("*") else "s?"
    return rf"\b{re.escape(word.removesuffix('*'))}{ending}\b"


_PLACES = _table(
    {
        "launch": "rocket*, launch*, liftoff, lift-off, spaceport, rakete*, cohete, fusée, foguete, razzo, ракет*, 火箭, ロケット",  # noqa: E501
        "space": "space, outer space, galaxy, galaxies, nebula*, cosmos, cosmic, orbit*, planet*, universe, asteroid, "
        "astronaut, weltraum, weltall, espacio, espace, espaço, spazio, космос*, 太空, 宇宙",
        "underwater": "underwater, reef, coral*, fish, fishes, whale, jellyfish, submarine, dolphin, diver, diving, "
        "unterwasser, subacu*, sous-marin, sous l'eau, под водой, 水下, 海底, 水中",
        "ocean": "ocean*, sea, seas, seaside, beach*, coast*, wave, shore, harbour, harbor, lake*, river*, island*, "
        "lagoon, boat, sailboat, ship, sailing, lighthouse, water, meer, strand, insel, schiff*, mar, playa, océan*, "
        "mer, plage, oceano, praia, mare, spiaggia, море, океан*, 海, 湖",
        "city": "city, cities, skyline, skyscraper, town, street, downtown, urban, traffic, neon, tokyo, new york, "
        "paris, london, stadt, großstadt, ciudad, ville, cidade, città, город*, 城市, 都市, 街",
        "forest": "forest*, wood, woods, woodland, tree, jungle, pine, taiga, wald*, wälder, bäume, bosque, forêt*, "
        "floresta, foresta, bosco, лес, лесу, леса, 森林, 森",
        "desert": "desert*, dune, sahara, sand, sandy, camel, cactus, wüste*, desierto, désert*, deserto, пустын*, 沙漠, 砂漠",  # noqa: E501
        "snow": "snowy, snowfield, arctic, antarctic*, glacier, iceberg, polar, tundra, north pole, winter*, "
        "invierno, hiver, inverno, зим*, 雪景, 冬",
        "garden": "garden*, flower*, meadow*, field, prairie, spring, park, tulip, sunflower, rose, lavender, "
        "blossom*, butterfly, butterflies, grass*, countryside, hill, garten, blume*, wiese*, jardín, flores, "
        "jardin, fleur*, giardino, fiori, сад, саду, цвет*, 花, 花园, 庭",
        "mountains": "mountain*, alps, alpine, peak, summit, himalaya*, everest, valley, canyon, cliff, ridge, "
        "volcano*, berg, berge*, gebirge, alpen, montaña*, montagne*, montanha*, montagna, "
        "гор, горы, горах, горами, 山",
    }
)
_LIGHTS: Mapping[Light, re.Pattern[str]] = _table(
    {
        "sunset": "sunset*, dusk, twilight, evening, golden hour, sundown, sonnenuntergang*, abend*, atardecer, "
        "puesta de sol, coucher de soleil, crépuscule, pôr do sol, tramonto, закат*, 日落, 夕阳, 夕陽, 夕日, 夕焼け",
        "sunrise": "sunrise*, dawn, morning, daybreak, sonnenaufgang*, morgen*, amanecer, lever de soleil, aube, "
        "nascer do sol, alba, amanhecer, рассвет*, 日出, 朝日, 黎明",
        "storm": "storm*, thunder*, lightning, tempest, hurricane, typhoon, tornado, sturm, gewitter*, tormenta, "
        "tempête, orage, tempestade, tempesta, temporale, гроз*, шторм*, 风暴, 暴风雨, 嵐",
        "night": "night*, midnight, moon, moonlit, moonlight, starry, stars, nocturnal, aurora*, northern lights, "
        "firefly, fireflies, campfire, bonfire, nacht*, noche, nuit, noite, notte, ноч*, 夜, 星空",
        "day": "day, daytime, noon, midday, sunny, sunshine, blue sky, summer*, sommer*, verano, été, verão, estate, "
        "лет*, 白天, 夏",
    }
)
_DIM: Mapping[Light, re.Pattern[str]] = _table(  # fog at sunrise is a sunrise
    {
        "overcast": "fog, foggy, mist*, overcast, cloudy, grey, gray, haze, hazy, rain*, drizzle, nebel*, niebla, "
        "brouillard, brume, neblina, nebbia, regen*, lluvia, pluie, chuva, pioggia, туман*, дожд*, 雾, 霧, 雨",
    }
)
_CAMERAS = _table(
    {
        "zoom in": "zoom in, zooms in, zooming in, push in, pushes in, dolly in, closer, close-up, close up, closeup",
        "zoom out": "zoom out, zooms out, zooming out, pull back, pulls back, dolly out, wide shot, wider, reveal*",
        "pan left": "pan left, pans left, panning left, to the left, leftward",
        "pan right": "pan right, pans right, panning right, to the right, rightward, panorama, panoramic",
        "tilt up": "tilt up, tilts up, tilting up, look up, looks up, crane up, upward",
        "tilt down": "tilt down, tilts down, tilting down, look down, looks down, crane down, downward",
        "hold": "static shot, static camera, still camera, locked, locked-off, tripod",
    }
)
_THINGS = _table(
    {
        "rain": "rain*, drizzle, downpour, regen*, lluvia, pluie, chuva, pioggia, дожд*, 雨, storm*, thunderstorm, "
        "tormenta, orage, гроз*, gewitter*, tempest*, 嵐",
        "lightning": "lightning, thunder*, storm*, blitz*, gewitter*, tormenta, relámpago, orage, tempest*, éclair*, "
        "гроз*, молни*, 闪电, 嵐",
        "snow": "snow*, blizzard, winter*, schnee*, nieve, neige, neve, снег*, зим*, 雪",
        "fire": "fire, campfire, bonfire, flame, burning, blaze, inferno, feuer, lagerfeuer, fuego, feu, fogo, fuoco, "
        "огонь, костёр, костер, 火焰, 篝火, 焚き火",
        "embers": "volcano*, lava, ember, spark, eruption, erupt*",
        "aurora": "aurora*, northern lights, polarlicht*, nordlicht*, aurore*, 极光, オーロラ",
        "fireflies": "firefly, fireflies, magic*, fairy, glühwürmchen, luciérnaga, luciole, 萤火虫, 蛍",
        "fog": "fog, foggy, mist*, haze, hazy, nebel*, niebla, brouillard, brume, neblina, nebbia, туман*, 雾, 霧",
        "boat": "boat, sailboat, ship, sail, sails, sailing, sailor, yacht, regatta, boot, schiff*, segel*, barco, "
        "velero, bateau, voilier, veleiro, barca, лодк*, корабл*, 船, 帆船",
        "birds": "bird, birds, seagull, gull, crane, swallow, eagle, flock, geese, vogel, vögel, möwe*, pájaro, "
        "gaviota, oiseau*, pássaro, uccelli, птиц*, чайк*, 鸟, 鳥",
        "balloon": "balloon, hot air balloon, hot-air balloon, ballon, heißluftballon*, globo, montgolfière, balão, "
        "mongolfier*, воздушн*, 热气球, 気球",
        "lighthouse": "lighthouse, leuchtturm, faro, phare, farol, маяк*, 灯塔, 灯台",
        "moon": "moon*, mond*, luna, lune, lua, лун*, 月",
        "planet": "planet*, saturn, jupiter, mars, earth, orbit*, 行星, 惑星",
        "fish": "fish, fishes, school, reef, coral*, fisch*, peces, poisson*, peixe*, pesci, рыб*, 鱼, 魚",
    }
)

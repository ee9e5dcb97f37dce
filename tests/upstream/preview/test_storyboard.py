"""What a prompt becomes: shots, places, light, colours. Nothing is drawn here."""

import colorsys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from raincheck.upstream.preview.drawing.palettes import palette_for
from raincheck.upstream.preview.drawing.storyboard import SHOTS, Plan, extended, plan, sentences
from raincheck.upstream.preview.drawing.words import look_of

SMALL = (96, 64)


def a_plan(prompt: str = "A sunset over mountains", *, seed: int = 7, seconds: float = 5, fps: int = 24) -> Plan:
    return plan(prompt, seed=seed, seconds=seconds, size=SMALL, fps=fps)


@pytest.mark.parametrize(
    ("prompt", "place", "light"),
    [
        ("A rocket launching into space", "launch", "sunset"),
        ("A sunset over mountains", "mountains", "sunset"),
        ("Sunset", "ocean", "sunset"),
        ("Sunrise", "mountains", "sunrise"),
        ("Storm", "ocean", "storm"),
        ("A campfire", "forest", "night"),
        ("City lights on a foggy night", "city", "night"),
        ("Sonnenuntergang über den Bergen", "mountains", "sunset"),
        ("Une forêt au lever de soleil", "forest", "sunrise"),
        ("Un desierto al atardecer", "desert", "sunset"),
        ("Ночной город под дождём", "city", "night"),
        ("日落时分的海", "ocean", "sunset"),
        ("夜の森", "forest", "night"),
    ],
)
def test_words_choose_place_and_light(prompt: str, place: str, light: str) -> None:
    [shot] = a_plan(prompt).shots
    assert (shot.place, shot.light) == (place, light)


def test_words_choose_weather_subjects_and_camera() -> None:
    look = look_of("Zoom in on a sailboat and a lighthouse in a thunderstorm")
    assert look.camera == "zoom in"
    assert {"boat", "lighthouse", "rain", "lightning"} <= {*look.things}


def test_a_part_of_another_word_is_not_a_word() -> None:
    assert look_of("A seasoned marketer has fun") == look_of("")


def test_fog_at_sunrise_is_a_sunrise() -> None:
    assert look_of("fog at sunrise").light == "sunrise"
    assert look_of("fog").light == "overcast"


def test_sentences_become_shots_and_what_is_not_said_stays() -> None:
    shots = a_plan("The ocean at night. A sailboat passes, then zoom out; a forest", seconds=8).shots
    assert [shot.place for shot in shots] == ["ocean", "ocean", "forest"]
    assert {shot.light for shot in shots} == {"night"}
    assert shots[1].camera == "zoom out"
    assert "boat" in shots[1].things
    assert [shot.start for shot in shots] == [0, 64, 128]


def test_a_short_clip_has_only_the_shots_that_fit() -> None:
    assert len(a_plan("One. Two. Three. Four. Five. Six.", seconds=2).shots) == 2
    assert len(a_plan("One. Two. Three. Four. Five. Six.", seconds=60).shots) == SHOTS
    assert len(a_plan("One. Two.", seconds=0.1).shots) == 1


def test_numbers_with_a_point_are_not_ends_of_sentences() -> None:
    assert sentences("A 3.5 litre engine") == ["A 3.5 litre engine"]
    assert sentences("") == sentences(" .; ") == [""]


@given(seconds=st.floats(0.04, 60), fps=st.sampled_from([12, 24, 30, 60]))
def test_a_plan_has_exactly_the_frames_that_were_asked_for(seconds: float, fps: int) -> None:
    board = a_plan("One. Two. Three.", seconds=seconds, fps=fps)
    assert board.frames == max(1, round(seconds * fps))
    assert all(0 <= shot.start < board.frames for shot in board.shots)


def test_the_same_prompt_and_seed_give_the_same_plan_and_others_another() -> None:
    assert a_plan("") == a_plan("")
    assert a_plan(seed=1).shots[0].key != a_plan(seed=2).shots[0].key
    assert a_plan("Sunset").shots[0].key != a_plan("Sunrise").shots[0].key


@given(prompt=st.text(max_size=200), more=st.text(max_size=50), seed=st.integers(-(2**70), 2**70))
def test_any_prompt_and_seed_make_a_plan_that_survives_json(prompt: str, more: str, seed: int) -> None:
    board = extended(a_plan(prompt, seed=seed % 2**63), 2.0, more)
    assert msgspec.json.decode(msgspec.json.encode(board), type=Plan) == board
    assert a_plan(prompt, seed=seed).frames == 120


def test_an_extension_keeps_every_shot_and_adds_new_ones() -> None:
    before = a_plan("Sunset")
    after = extended(before, 3.0, "A city at night. Rain.")
    assert after.parts == (120, 72)
    assert after.shots[:1] == before.shots
    assert [(shot.place, shot.start) for shot in after.shots[1:]] == [("city", 120), ("city", 156)]


def test_without_a_new_scene_the_last_one_goes_on() -> None:
    before = a_plan("Sunset")
    assert extended(before, 3.0).shots == before.shots
    assert extended(before, 3.0, "Sunset at the ocean").shots == before.shots
    assert len(extended(before, 3.0, "Zoom out").shots) == 2


def test_a_sentence_that_only_moves_the_camera_directs_the_shot_before_it() -> None:
    city, forest = a_plan("A city at night. Slowly zoom in. A forest.", seconds=6).shots
    assert (city.caption, city.camera) == ("A city at night", "zoom in")
    assert (forest.caption, forest.start) == ("A forest", 72)


def test_a_second_move_of_the_camera_stays_in_the_scene() -> None:
    wide, close, other = a_plan("Pan left over a city at night. Zoom in. A forest.", seconds=6).shots
    assert (close.key, close.begun, close.start) == (wide.key, 0, 48)
    assert (close.caption, close.camera) == (wide.caption, "zoom in")
    assert (other.key != wide.key, other.begun) == (True, 96)


def test_a_first_sentence_that_only_moves_the_camera_directs_the_shot_after_it() -> None:
    [city] = a_plan("Zoom out. A city at night").shots
    assert (city.place, city.camera, city.caption) == ("city", "zoom out", "A city at night")


def test_an_extension_that_only_moves_the_camera_keeps_the_words() -> None:
    shots = extended(a_plan("A city at night"), 2.0, "Then zoom out").shots
    assert [(shot.caption, shot.place) for shot in shots] == [("A city at night", "city")] * 2
    assert shots[1].camera == "zoom out"


def test_captions_do_not_begin_with_then() -> None:
    assert sentences("Then a storm. And then, the sea; andromeda") == ["a storm", "the sea", "andromeda"]


@pytest.mark.parametrize(
    ("prompt", "places"),
    [
        ("A rocket launching into space, then stars drifting by", ["launch", "space"]),
        ("A rocket launch. It rises. Rain over the ocean", ["launch", "space", "ocean"]),
        ("A rocket launch. The rocket climbs", ["launch", "launch"]),
    ],
)
def test_a_rocket_that_has_left_is_not_put_back_on_its_pad(prompt: str, places: list[str]) -> None:
    shots = a_plan(prompt, seconds=6).shots
    assert [shot.place for shot in shots] == places
    assert {shot.begun for shot in shots if shot.place == "launch"} == {0}
    after = extended(a_plan("A rocket launching"), 2.0, "Then stars drifting by").shots[-1]
    assert after.place == "space"


def test_a_sunset_is_warm_and_a_night_is_dark() -> None:
    def hue_and_brightness(light: int) -> tuple[float, float]:
        hue, brightness, _ = colorsys.rgb_to_hls(*(level / 255 for level in palettes[light].sky[3]))
        return hue, brightness

    palettes = [palette_for("sunset", "ocean"), palette_for("day", "ocean"), palette_for("night", "ocean")]
    warm, day, night = map(hue_and_brightness, range(3))
    assert warm[0] < 0.15
    assert night[1] < warm[1] < day[1]


def test_a_place_has_its_own_colours_by_day() -> None:
    green, sand = palette_for("day", "forest").near, palette_for("day", "desert").near
    assert green[1] == max(green)
    assert sand[0] == max(sand)


def test_a_reference_picture_lends_its_colours(tmp_path: Path) -> None:
    red = tmp_path / "red.png"
    Image.new("RGB", (20, 20), (230, 20, 30)).save(red)
    board = plan("Sunny forest", seed=1, seconds=1, size=SMALL, palette_of=red)
    assert all(colour[0] > colour[2] for colour in board.shots[0].palette.sky)

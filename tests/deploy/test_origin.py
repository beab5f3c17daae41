"""Whether an image that is here is what its profile would build now: labels against a recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from launchpad.deploy.build import LABEL_ARGS, LABEL_CONTEXT, LABEL_TEMPLATE, Recipe, making_of
from launchpad.deploy.observe import Origin
from launchpad.deploy.origin import origin_of
from launchpad.runtime.base import RuntimeInfo
from tests.fakes.runtime import fake_image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from launchpad.runtime.base import Image

COMMIT, OTHER = "a" * 40, "b" * 40
BUILDKIT = RuntimeInfo("28.0.0", "1.48", "overlay2", "2", ("runc",), None, buildkit=True)
DOCKERFILE = """\
FROM {{ base_image | default("cuda:13.0") }}
RUN {% if buildkit %}--mount=type=cache,target=/c {% endif %}sh build.sh {{ commit | default("") | shell }}
# {{ greeting | default("") }}
LABEL io.launchpad.pin.commit={{ commit | default("") | docker }} io.launchpad.pin.uv={% include "uv.txt" %}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "Dockerfile.j2").write_text(DOCKERFILE)
    (tmp_path / "uv.txt").write_text("0.13.9")
    (tmp_path / "build.sh").write_text("make\n")
    return Recipe("demo:1", "demo", {"commit": COMMIT}, tmp_path, {}, BUILDKIT)


def built(recipe: Recipe, *, classic: bool = False, without: tuple[str, ...] = ()) -> Image:
    """The image that a build of ``recipe`` leaves, less some labels."""
    labels = dict(making_of(replace(recipe, classic=classic), "now", None).labels)
    pins = {"io.launchpad.pin.uv": "0.13.9", "io.launchpad.pin.commit": str(recipe.args.get("commit", ""))}
    return fake_image("demo:1", labels={key: text for key, text in {**labels, **pins}.items() if key not in without})


@pytest.mark.parametrize("classic", [True, False])
@pytest.mark.parametrize("info", [BUILDKIT, None])
def test_an_image_of_either_builder_is_the_recipes_on_any_engine(
    recipe: Recipe, classic: bool, info: RuntimeInfo | None
) -> None:
    assert origin_of(built(recipe, classic=classic), replace(recipe, info=info)) == Origin("recipe")


def test_a_number_is_the_text_of_it(recipe: Recipe) -> None:
    image = built(replace(recipe, args={"commit": COMMIT, "greeting": 2}))
    assert origin_of(image, replace(recipe, args={"commit": COMMIT, "greeting": "2"})) == Origin("recipe")


def test_an_argument_that_says_what_the_template_says_anyway_makes_no_difference(recipe: Recipe) -> None:
    now = replace(recipe, args={"commit": COMMIT, "base_image": "cuda:13.0"})
    assert origin_of(built(recipe), now) == Origin("recipe")


CHANGED: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({"commit": OTHER}, (f"commit {'a' * 12} -> {'b' * 12}",)),
    ({"commit": COMMIT, "base_image": "cuda:12.9"}, ("base_image not said -> cuda:12.9",)),
    ({"commit": OTHER, "greeting": "hi"}, (f"commit {'a' * 12} -> {'b' * 12}", "greeting not said -> hi")),
    ({"greeting": ""}, (f"commit {'a' * 12} -> not said", 'greeting not said -> ""')),
]


@pytest.mark.parametrize(("args", "changes"), CHANGED)
def test_an_argument_that_changed_is_named(recipe: Recipe, args: Mapping[str, str], changes: tuple[str, ...]) -> None:
    assert origin_of(built(recipe), replace(recipe, args=args)) == Origin("pins", changes)


def test_a_pin_of_the_templates_own_files_is_named(recipe: Recipe) -> None:
    image = built(recipe)
    (recipe.folder / "uv.txt").write_text("0.14.0")
    assert origin_of(image, recipe) == Origin("pins", ("uv 0.13.9 -> 0.14.0",))


def test_another_template_is_another_pin(recipe: Recipe) -> None:
    assert origin_of(built(recipe), replace(recipe, template="other")) == Origin("pins", ("template demo -> other",))


def test_a_template_that_was_edited_has_the_same_pins(recipe: Recipe) -> None:
    image = built(recipe)
    (recipe.folder / "build.sh").write_text("make  # quickly\n")
    assert origin_of(image, recipe) == Origin("template")


def test_an_image_that_no_label_speaks_of_is_nobodys(recipe: Recipe) -> None:
    assert origin_of(fake_image("demo:1"), recipe) == Origin("nobody")


def test_a_template_that_others_labelled_makes_no_image_ours(recipe: Recipe) -> None:
    assert origin_of(fake_image("demo:1", labels={LABEL_TEMPLATE: "demo"}), recipe) == Origin("nobody")


def test_an_older_image_that_tells_no_arguments_is_known_by_its_context(recipe: Recipe) -> None:
    assert origin_of(built(recipe, without=(LABEL_ARGS,)), recipe) == Origin("recipe")


def test_an_older_image_tells_its_pins_by_its_labels(recipe: Recipe) -> None:
    image, now = built(recipe, without=(LABEL_ARGS,)), replace(recipe, args={"commit": OTHER})
    assert origin_of(image, now) == Origin("pins", (f"commit {'a' * 12} -> {'b' * 12}",))


@pytest.mark.parametrize("args", ["", "[]", '"x"', "nonsense"])
def test_of_an_older_image_that_differs_nobody_can_tell_whether_it_is_a_pin(recipe: Recipe, args: str) -> None:
    image = built(recipe)
    image = replace(image, labels={**image.labels, LABEL_ARGS: args})
    (recipe.folder / "build.sh").write_text("make  # quickly\n")
    assert origin_of(image, recipe) == Origin("pins")


def test_a_recipe_that_cannot_be_read_is_told_where_its_arguments_are_the_same(recipe: Recipe) -> None:
    image = built(recipe)
    (recipe.folder / "uv.txt").unlink()
    found = origin_of(image, recipe)
    assert (found.kind, "uv.txt" in found.changes[0]) == ("unknown", True)


def test_arguments_that_changed_are_named_where_the_recipe_cannot_be_read(recipe: Recipe) -> None:
    image = built(recipe)
    (recipe.folder / "uv.txt").unlink()
    assert origin_of(image, replace(recipe, args={"commit": OTHER})) == Origin("pins", ("commit",))


def test_a_value_that_is_refused_for_its_password_is_not_repeated(recipe: Recipe) -> None:
    now = replace(recipe, args={"commit": COMMIT, "greeting": "https://me:hush@host.example/x"})
    assert origin_of(built(recipe), now) == Origin("pins", ("greeting",))


def test_a_build_says_what_is_compared(recipe: Recipe) -> None:
    assert {LABEL_ARGS, LABEL_CONTEXT, LABEL_TEMPLATE} <= set(making_of(recipe, "now", None).labels)

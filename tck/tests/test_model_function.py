from __future__ import annotations

import sys

import pytest

import cloudstate_tck.models
from cloudstate_core.errors import ConfigurationError
from cloudstate_tck.event_sourced_messages import CONFIGURED, MODEL, TWO
from cloudstate_tck.model_function import model_entities, model_function


@pytest.fixture
def models_in(tmp_path, monkeypatch):
    """Let the models be those in a folder, and forget them afterwards."""
    monkeypatch.setattr(cloudstate_tck.models, "__path__", [str(tmp_path)])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_the_model_entities_of_every_installed_kind_are_served():
    services = {str(entity.service.full_name) for entity in model_entities()}

    assert {MODEL, TWO, CONFIGURED} <= services


def test_a_kind_that_is_not_installed_has_no_model_entities(models_in):
    (models_in / "absent.py").write_text("import cloudstate_kind_that_nobody_has\n")
    (models_in / "present.py").write_text("ENTITIES = ('an entity',)\n")

    assert model_entities() == ["an entity"]


def test_a_broken_model_is_not_taken_for_a_kind_that_is_not_installed(models_in):
    (models_in / "broken.py").write_text("from cloudstate_tck.expectations import nothing\n")

    with pytest.raises(ImportError, match="nothing"):
        model_entities()


def test_without_any_kind_the_error_says_what_to_install(models_in):
    with pytest.raises(ConfigurationError, match=r"pip install 'cloudstate-tck\[models\]'"):
        model_function()

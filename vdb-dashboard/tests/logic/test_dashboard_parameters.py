"""Forms from schemas: every shape that a plugin's model may have, and back to parameters."""

from __future__ import annotations

import pytest

from vdb_dashboard.logic.inputs import InputFault
from vdb_dashboard.logic.parameters import changed, fields_of, first_integer, sweep

SCHEMA = {
    "type": "object",
    "required": ["depth"],
    "$defs": {"Kind": {"enum": ["fast", "small"], "type": "string", "description": "of the definition"}},
    "properties": {
        "depth": {
            "type": "integer",
            "exclusiveMinimum": 0,
            "maximum": 64,
            "title": "Depth",
            "description": "How\n  deep.",
        },
        "lists": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
        "ratio": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
        "codes": {"type": "boolean", "default": True},
        "bits": {"enum": [4, 8], "type": "integer", "default": 4},
        "kind": {"allOf": [{"$ref": "#/$defs/Kind"}], "default": "fast"},
        "name": {"type": ["string", "null"], "default": None},
        "weights": {"type": "array", "items": {"type": "number"}, "default": [1.0]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 3},
    },
}


def test_each_property_becomes_a_field_of_its_kind() -> None:
    fields = {field.name: field for field in fields_of(SCHEMA)}
    assert list(fields) == list(SCHEMA["properties"])
    kinds = {name: field.kind for name, field in fields.items()}
    assert kinds == {
        "depth": "integer",
        "lists": "integer",
        "ratio": "number",
        "codes": "boolean",
        "bits": "choice",
        "kind": "choice",
        "name": "text",
        "weights": "json",
        "either": "json",
    }
    depth, lists, kind = fields["depth"], fields["lists"], fields["kind"]
    assert (depth.label, depth.help, depth.minimum, depth.maximum) == ("Depth", "How deep.", 1, 64)
    assert (depth.optional, lists.optional, lists.minimum, lists.default) == (False, True, 1, None)
    assert (kind.choices, kind.help, kind.default) == (("fast", "small"), "of the definition", "fast")


def test_only_what_differs_from_the_defaults_is_sent() -> None:
    fields = fields_of(SCHEMA)
    untouched = {field.name: field.default for field in fields} | {
        "depth": 3,
        "weights": "[1.0]",
        "either": "3",
    }
    assert changed(fields, untouched) == {"depth": 3}
    touched = {
        **untouched,
        "lists": 7,
        "codes": False,
        "bits": 8,
        "weights": "[2, 3]",
        "either": '"x"',
        "name": "",
    }
    assert changed(fields, touched) == {
        "depth": 3,
        "lists": 7,
        "codes": False,
        "bits": 8,
        "weights": [2, 3],
        "either": "x",
    }


def test_one_in_place_of_true_is_a_change() -> None:
    fields = fields_of({"properties": {"codes": {"type": "boolean", "default": True}}})
    assert changed(fields, {"codes": 1}) == {"codes": 1}


@pytest.mark.parametrize(
    ("values", "told"),
    [({"depth": None}, "Depth .depth. is needed"), ({"depth": 1, "weights": "[1,"}, "weights.* is not JSON")],
)
def test_what_cannot_be_sent_is_said(values: dict[str, object], told: str) -> None:
    with pytest.raises(InputFault, match=told):
        changed(fields_of(SCHEMA), values)


def test_a_schema_that_refers_to_itself_is_asked_for_as_json() -> None:
    root = {"$defs": {"A": {"$ref": "#/$defs/A"}}, "properties": {"a": {"$ref": "#/$defs/A"}}}
    assert [field.kind for field in fields_of(root)] == ["json"]


def test_the_schemas_of_the_installed_index_types_have_no_field_beyond_a_widget() -> None:
    """Those of our plugins, from a real engine."""
    import vdb_sdk

    with vdb_sdk.connect() as client:
        fields = {
            (kind.name, field.name): field.kind
            for kind in client.index_types()
            for schema in (kind.params, kind.search_params)
            for field in fields_of(schema)
        }
        probes = first_integer(
            fields_of(next(k for k in client.index_types() if k.name == "ivf_pq").search_params)
        )
    assert fields["ivf_pq", "n_bits"] == "choice"
    assert fields["ivf_pq", "n_lists"] == fields["ivf_flat", "n_probes"] == "integer"
    assert "json" not in fields.values()
    assert probes is not None
    assert probes.name == "n_probes"


def test_a_sweep_doubles_up_to_its_end() -> None:
    (field,) = fields_of({"properties": {"n": {"type": "integer", "minimum": 1, "maximum": 40}}})
    assert sweep(field, 20) == [1, 2, 4, 8, 16, 20]
    assert sweep(field, 1000, count=4) == [1, 4, 16, 40]
    assert sweep(field, 1) == [1]

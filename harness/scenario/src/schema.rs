//! The JSON Schema of scenario files, from the declaration tables.

use serde_json::{Map, Value, json};

use crate::declare::{Key, Record, Table, Ty};
use crate::model::{ExpectSpec, HeadSpec};
use crate::names::Kind;
use crate::platform::{
    EndpointSpec, FaultSpec, LinkSpec, LoadSpec, NodeSpec, PairSpec, PsmmuSpec, VmSpec, VsmmuSpec,
};
use crate::step::{self, StepKind};

/// The declaration of the tables `[kind.name]`.
pub fn table_of(kind: Kind) -> Table {
    match kind {
        Kind::Node => NodeSpec::table(),
        Kind::Link => LinkSpec::table(),
        Kind::Psmmu => PsmmuSpec::table(),
        Kind::Pair => PairSpec::table(),
        Kind::Endpoint => EndpointSpec::table(),
        Kind::Vm => VmSpec::table(),
        Kind::Vsmmu => VsmmuSpec::table(),
        Kind::Load => LoadSpec::table(),
        Kind::Fault => FaultSpec::table(),
    }
}

/// The declaration of `[script]`.
pub(crate) fn script_table() -> Table {
    let key = |name, doc| Key {
        name,
        doc: vec![doc],
        ty: Ty::Form("a list of tables"),
        range: None,
        default: None,
        required: false,
    };
    Table {
        name: "Script",
        doc: vec!["Steps and expectations as lists, for files that read like a script."],
        keys: vec![key("step", "As [[step]]."), key("expect", "As [[expect]].")],
    }
}

/// The JSON Schema (draft 2020-12) of a scenario file.
pub fn scenario() -> Value {
    let mut properties = Map::new();
    for key in HeadSpec::table().keys {
        properties.insert(key.name.to_owned(), key_schema(&key));
    }
    for kind in Kind::ALL {
        let table = table_of(kind);
        let schema = json!({
            "description": table.doc.join(" "),
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,63}$" },
            "additionalProperties": table_schema(&table),
        });
        properties.insert(kind.word().to_owned(), schema);
    }
    let steps = json!({ "description": "The script, in order.", "type": "array", "items": { "$ref": "#/$defs/step" } });
    let expects = json!({ "description": ExpectSpec::table().doc.join(" "), "type": "array", "items": { "$ref": "#/$defs/expect" } });
    properties.insert("step".to_owned(), steps.clone());
    properties.insert("expect".to_owned(), expects.clone());
    properties.insert(
        "script".to_owned(),
        json!({
            "description": script_table().doc.join(" "),
            "type": "object",
            "properties": { "step": steps, "expect": expects },
            "additionalProperties": false,
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "smmulate scenario",
        "type": "object",
        "properties": properties,
        "required": ["title"],
        "additionalProperties": false,
        "$defs": {
            "step": { "oneOf": step::kinds().iter().map(step_schema).collect::<Vec<_>>() },
            "expect": table_schema(&ExpectSpec::table()),
        },
    })
}

fn step_schema(kind: &StepKind) -> Value {
    let mut table = kind.table.clone();
    table.keys.extend(step::common_keys());
    table.keys.push(step::expect_key(kind.ends));
    let mut schema = table_schema(&table);
    schema["title"] = json!(kind.word);
    schema["properties"]["do"] = json!({ "const": kind.word });
    let required = schema["required"].as_array_mut().expect("a list");
    required.insert(0, json!("do"));
    schema
}

fn table_schema(table: &Table) -> Value {
    let properties: Map<String, Value> =
        table.keys.iter().map(|k| (k.name.to_owned(), key_schema(k))).collect();
    let required: Vec<&str> = table.keys.iter().filter(|k| k.required).map(|k| k.name).collect();
    json!({
        "description": table.doc.join(" "),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn key_schema(key: &Key) -> Value {
    let mut schema = ty_schema(&key.ty);
    let mut description = key.doc.join(" ");
    if let Some((low, high)) = key.range {
        match key.ty {
            Ty::Int => bound(&mut schema, low, high),
            _ => description.push_str(&format!(" Range: {}.", key.ty.show_range(low, high))),
        }
    }
    schema["description"] = json!(description);
    if let Some(default) = key.default {
        schema["default"] = default_value(default);
    }
    schema
}

fn bound(schema: &mut Value, low: u64, high: u64) {
    let options = schema["anyOf"].as_array_mut().expect("integers have two forms");
    options[0]["minimum"] = json!(low);
    options[0]["maximum"] = json!(high);
}

fn default_value(text: &str) -> Value {
    let json = text.replace('\'', "\"");
    serde_json::from_str(&json).unwrap_or_else(|_| json!(text))
}

fn quantity(units: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^[0-9][0-9_.]* ?({units})$") })
}

fn integer() -> Value {
    json!({ "anyOf": [
        { "type": "integer", "minimum": 0 },
        { "type": "string", "pattern": "^(0x[0-9A-Fa-f_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*)$" },
    ] })
}

fn ty_schema(ty: &Ty) -> Value {
    match ty {
        Ty::Bool => json!({ "type": "boolean" }),
        Ty::Text | Ty::Name(_) => json!({ "type": "string" }),
        Ty::Int => integer(),
        Ty::Float => json!({ "type": "number" }),
        Ty::Size => quantity("B|KiB|MiB|GiB|TiB"),
        Ty::Time => quantity("ps|ns|us|µs|ms|s"),
        Ty::Rate => quantity("/s|k/s|M/s|G/s"),
        Ty::Frequency => quantity("Hz|kHz|MHz|GHz"),
        Ty::Bandwidth => quantity("B/s|kB/s|MB/s|GB/s|MiB/s|GiB/s"),
        Ty::Address => json!({ "anyOf": [integer(), quantity("B|KiB|MiB|GiB|TiB")] }),
        Ty::Bytes => json!({ "type": "string", "pattern": "^[0-9A-Fa-f _]+$" }),
        Ty::Choice(words) => json!({ "enum": words.iter().map(|(w, _)| *w).collect::<Vec<_>>() }),
        Ty::Form(_) => json!({ "type": ["string", "integer"] }),
        Ty::List(inner) => json!({ "type": "array", "items": ty_schema(inner) }),
        Ty::Map(_, inner) => json!({ "type": "object", "additionalProperties": ty_schema(inner) }),
        Ty::Record(table) => table_schema(table),
        Ty::Any(types) => json!({ "anyOf": types.iter().map(ty_schema).collect::<Vec<_>>() }),
    }
}

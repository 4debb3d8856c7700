//! The JSON Schema says the same as the reader: shipped scenarios satisfy it, damaged ones do not.
#![allow(missing_docs)]

use std::path::Path;

use scenario::tree::{Node, Raw};
use serde_json::Value;

/// Whether a document satisfies a schema, for the part of JSON Schema that the generator uses. Of the
/// patterns only those of quantities are checked: a number and one of the units in the last group.
fn accepts(schema: &Value, node: &Node, root: &Value) -> bool {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(name.trim_start_matches('#')).expect("a definition");
        return accepts(target, node, root);
    }
    let all = |key: &str| schema.get(key).and_then(Value::as_array);
    all("anyOf").is_none_or(|options| options.iter().any(|s| accepts(s, node, root)))
        && all("oneOf").is_none_or(|options| options.iter().filter(|s| accepts(s, node, root)).count() == 1)
        && all("enum").is_none_or(|words| words.iter().any(|w| equals(w, node)))
        && schema.get("const").is_none_or(|word| equals(word, node))
        && schema.get("type").is_none_or(|ty| has_type(ty, node))
        && within(schema, node)
        && object(schema, node, root)
        && match (&node.value, schema.get("items")) {
            (Raw::Array(items), Some(inner)) => items.iter().all(|n| accepts(inner, n, root)),
            _ => true,
        }
}

fn equals(value: &Value, node: &Node) -> bool {
    matches!(&node.value, Raw::Str(text) if value.as_str() == Some(text))
}

fn has_type(ty: &Value, node: &Node) -> bool {
    if let Some(types) = ty.as_array() {
        return types.iter().any(|t| has_type(t, node));
    }
    matches!(
        (ty.as_str().expect("a word"), &node.value),
        ("string", Raw::Str(_))
            | ("integer", Raw::Int(_))
            | ("number", Raw::Int(_) | Raw::Float(_))
            | ("boolean", Raw::Bool(_))
            | ("array", Raw::Array(_))
            | ("object", Raw::Table(_))
    )
}

fn within(schema: &Value, node: &Node) -> bool {
    let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
    match &node.value {
        Raw::Int(n) => {
            limit("minimum").is_none_or(|low| *n >= low as i64)
                && limit("maximum").is_none_or(|high| *n as u64 <= high)
        }
        Raw::Str(text) => {
            match schema.get("pattern").and_then(Value::as_str).and_then(|p| p.strip_suffix(")$")) {
                Some(pattern) if pattern.contains("?(") => {
                    let units = pattern.rsplit_once('(').expect("a group").1;
                    let unit =
                        text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '_'));
                    units.split('|').any(|known| known == unit.trim_start())
                }
                _ => true,
            }
        }
        _ => true,
    }
}

fn object(schema: &Value, node: &Node, root: &Value) -> bool {
    let Raw::Table(entries) = &node.value else { return true };
    let required = schema.get("required").and_then(Value::as_array);
    let complete = required
        .is_none_or(|keys| keys.iter().all(|k| entries.iter().any(|e| Some(e.name.as_str()) == k.as_str())));
    complete
        && entries.iter().all(|e| match schema.get("properties").and_then(|p| p.get(&e.name)) {
            Some(inner) => accepts(inner, &e.node, root),
            None => match schema.get("additionalProperties") {
                Some(Value::Bool(allowed)) => *allowed,
                Some(inner) => accepts(inner, &e.node, root),
                None => true,
            },
        })
}

fn accepts_text(schema: &Value, text: &str) -> bool {
    let tree = scenario::tree::parse(text);
    assert!(tree.errors.is_empty());
    accepts(schema, &tree.root, schema)
}

#[test]
fn shipped_scenarios_satisfy_the_schema() {
    let schema = scenario::schema::scenario();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    for file in scenario::files::find(&[root]).unwrap() {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(accepts_text(&schema, &text), "{}", file.display());
    }
}

#[test]
fn mistakes_that_a_schema_can_see_are_seen() {
    let schema = scenario::schema::scenario();
    let good = "title = 't'\n[psmmu.smmu0]\n[endpoint.nic0]\n";
    assert!(accepts_text(&schema, good));
    for bad in [
        "seed = 1\n",
        "title = 3\n",
        "title = 't'\nseeed = 1\n",
        "title = 't'\ntime_limit = '3 parsecs'\n",
        "title = 't'\n[psmmu.smmu0]\ncmdqv = { vintfs = 65 }\n",
        "title = 't'\n[[step]]\ndo = 'bund'\n",
        "title = 't'\n[[step]]\ndo = 'bind'\n",
        "title = 't'\n[[step]]\ndo = 'bind'\nendpoint = 'a'\nexpect = 'F_TRANSLATION'\n",
        "title = 't'\n[[expect]]\noracle = 'fine'\n",
    ] {
        assert!(!accepts_text(&schema, bad), "{bad}");
    }
}

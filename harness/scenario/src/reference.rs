//! The reference of scenario files in Markdown, from the declaration tables.

use std::fmt::Write;

use models::cmdqv::Knobs;
use models::cmdqv::provenance::Source;

use crate::command::{self, Op};
use crate::declare::{Key, Record, Table, Ty};
use crate::model::{ExpectSpec, HeadSpec};
use crate::names::Kind;
use crate::preset::PresetSpec;
use crate::schema::table_of;
use crate::step;

const INTRODUCTION: &str = "\
# Scenario files

<!-- Generated from the declaration tables: `UPDATE_DOCS=1 cargo test -p scenario`. Do not edit. -->

A scenario is a TOML file: keys at the top, then tables `[kind.name]` that declare things, then steps (`[[step]]`) and
expectations (`[[expect]]`). Things refer to each other by name; all names of a file share one name space. Everything that is
not required has a default. `smmulate check FILE` lists all mistakes of a file, `smmulate schema` prints the JSON Schema for an
editor.

Quantities are strings with a unit: sizes `\"4 KiB\"` (B, KiB, MiB, GiB, TiB), times `\"1.5 us\"` (ps, ns, us, ms, s), rates
`\"100 k/s\"` (/s, k/s, M/s, G/s), frequencies `\"2 GHz\"`, bandwidths `\"31.5 GB/s\"`. Integers may be hexadecimal and have
underscores; beyond 2^63 they are strings: `\"0xffff_ffff_ffff_ffff\"`.

`count = 4` on `[endpoint.nic]` declares nic0, nic1, nic2 and nic3. Where several names can stand, `\"nic\"` means all of them and
`\"nic0..nic2\"` the first three.

Steps and expectations may also be lists at the end of the file, one line each:

```toml
[script]
step = [
  { do = \"bind\", endpoint = \"nic0\" },
]
expect = [
  { oracle = \"clean\" },
]
```
";

/// The whole reference.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    section(&mut out, "Top of the file", &HeadSpec::table());
    for kind in Kind::ALL {
        section(&mut out, &format!("[{}.name]", kind.word()), &table_of(kind));
    }
    steps(&mut out);
    section(&mut out, "[[expect]]", &ExpectSpec::table());
    out.push_str("\n## Commands and STEs\n\nWhere a key holds commands or an STE, these are their keys.\n");
    for table in command::tables() {
        section(&mut out, table.name.trim_end_matches("Spec"), &table);
    }
    out.push_str("\nCommands and their fields:\n\n| op | code | fields |\n|---|---|---|\n");
    for op in Op::ALL {
        let _ = writeln!(out, "| {op} | {:#04x} | {} |", op.code(), op.fields().join(", "));
    }
    knobs(&mut out);
    section(&mut out, "Preset files", &PresetSpec::table());
    out
}

/// The options of a CMDQV, with where their defaults come from.
fn knobs(out: &mut String) {
    out.push_str(
        "\n## Knobs of a CMDQV\n\nNo register manual of the block is public. Where no source says what the silicon does, an option \
         does:\n`cmdqv = { knobs = { auto-sync = \"off\" } }` on a psmmu, or `[cmdqv] knobs = { ... }` in a preset, which a psmmu's own \
         knobs change\none by one. The first value is the default; its sources:",
    );
    for source in Source::ALL {
        let _ = write!(out, " [{}] {};", source.letter(), source.meaning());
    }
    out.pop();
    out.push_str(".\n\n| knob | | what it decides | values | source |\n|---|---|---|---|---|\n");
    for knob in Knobs::TABLE {
        let values: Vec<_> =
            knob.values.iter().map(|v| format!("`{}` ({})", v.name, v.doc.trim_end_matches('.'))).collect();
        let (name, number) = (knob.name, knob.number);
        let _ = writeln!(
            out,
            "| `{name}` | {number} | {} | {} | {} |",
            knob.doc,
            values.join("; "),
            knob.sources
        );
    }
}

fn steps(out: &mut String) {
    out.push_str("\n## [[step]]\n\nKeys that every step has, besides `do`:\n\n");
    keys(out, &step::common_keys());
    out.push_str("| `expect` | how the step must end: `ok` (default), an errno for calls, `abort` or an event for `dma` | `ok` |\n");
    let mut group = "";
    for kind in step::kinds() {
        if kind.group != group {
            group = kind.group;
            let _ = write!(out, "\n### {group}\n");
        }
        let _ = write!(out, "\n#### {}\n\n{}", kind.word, kind.table.doc.join(" "));
        if let Some(made) = kind.makes {
            let _ = write!(out, " `as` names the {}.", made.word());
        }
        out.push('\n');
        if !kind.table.keys.is_empty() {
            out.push('\n');
            keys(out, &kind.table.keys);
        }
    }
}

fn section(out: &mut String, title: &str, table: &Table) {
    let _ = write!(out, "\n## {title}\n\n{}\n\n", table.doc.join(" "));
    keys(out, &table.keys);
    for key in &table.keys {
        if let Ty::Record(inner) = &key.ty {
            let _ = write!(out, "\nKeys of `{}`:\n\n", key.name);
            keys(out, &inner.keys);
        }
    }
    for key in &table.keys {
        if let Ty::Any(types) = &key.ty {
            for ty in types {
                if let Ty::Record(inner) = ty {
                    let _ = write!(out, "\nKeys of `{}`:\n\n", key.name);
                    keys(out, &inner.keys);
                }
            }
        }
    }
}

fn keys(out: &mut String, keys: &[Key]) {
    out.push_str("| key | meaning | default |\n|---|---|---|\n");
    for key in keys {
        let mut meaning = key.doc.join(" ");
        let _ = write!(meaning, " *{}*", value(&key.ty));
        if let Some((low, high)) = key.range {
            let _ = write!(meaning, " {}", key.ty.show_range(low, high));
        }
        let default = match (key.default, key.required) {
            (_, true) => "required".to_owned(),
            (Some(text), _) => format!("`{text}`"),
            (None, _) => "-".to_owned(),
        };
        let _ = writeln!(out, "| `{}` | {} | {default} |", key.name, meaning.replace('|', "\\|"));
    }
}

/// The type for the reference: choices with the meaning of each word.
fn value(ty: &Ty) -> String {
    match ty {
        Ty::Choice(words) if words.len() <= 12 => {
            words.iter().map(|(w, doc)| format!("`{w}` ({doc})")).collect::<Vec<_>>().join("; ")
        }
        Ty::Choice(words) => words.iter().map(|(w, _)| format!("`{w}`")).collect::<Vec<_>>().join(", "),
        Ty::Any(types) => types.iter().map(value).collect::<Vec<_>>().join(", or "),
        Ty::List(inner) => format!("list of {}", value(inner)),
        Ty::Record(_) => "table, see below".to_owned(),
        other => other.describe(),
    }
}

//! Options of a CMDQV where no public source says what the silicon does: the key `knobs`, from the table of the model.

use models::cmdqv::Knobs;
use models::cmdqv::knobs::Knob;

use crate::declare::{Cx, Field, Fields, Key, Table, Ty, read_word};
use crate::tree::{Node, Raw};

/// The key `knobs`: options that are not at their default, as (name, value) of [`Knobs::TABLE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<(&'static str, &'static str)>);

impl Options {
    /// The options of a CMDQV: these, and where they say nothing those of `base`.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        let given = |name: &str| self.0.iter().any(|(own, _)| *own == name);
        let rest = base.0.iter().filter(|(name, _)| !given(name));
        Self(self.0.iter().chain(rest).copied().collect())
    }
    /// As the model takes them.
    pub fn knobs(&self) -> Knobs {
        let mut knobs = Knobs::default();
        for (name, value) in &self.0 {
            knobs.set(name, value).expect("names and values come from the table");
        }
        knobs
    }
}

fn values(knob: &Knob) -> Ty {
    Ty::Choice(knob.values.iter().map(|value| (value.name, value.doc)).collect())
}

/// The declaration of the key.
fn table() -> Table {
    let key = |knob: &Knob| Key {
        name: knob.name,
        doc: vec![knob.number, knob.doc],
        ty: values(knob),
        range: None,
        default: Some(knob.default()),
        required: false,
    };
    Table {
        name: "Knobs",
        doc: vec!["Where no public source says what the silicon does: what it is taken to do."],
        keys: Knobs::TABLE.iter().map(key).collect(),
    }
}

impl Field for Options {
    fn ty() -> Ty {
        Ty::Record(table())
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        if !matches!(node.value, Raw::Table(_)) {
            return cx.wrong_type(node, &Self::ty());
        }
        let fields = Fields { node, table: table(), what: "`knobs`", header: node.span.clone() };
        let before = cx.diagnostics.len();
        fields.check_keys(cx);
        let mut given = Vec::new();
        for entry in node.entries() {
            let Some(knob) = Knobs::named(&entry.name) else { continue };
            let Some(word) = read_word(&entry.node, &values(knob), cx) else { continue };
            let value = knob.values.iter().find(|value| value.name == word).expect("one of its values");
            given.push((knob.name, value.name));
        }
        (cx.diagnostics.len() == before).then_some(Self(given))
    }
    fn missing() -> Option<Self> {
        Some(Self::default())
    }
}

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

#[cfg(test)]
mod tests {
    use models::cmdqv::knobs::{AutoSync, RepeatInvalidations};

    use super::*;
    use crate::preset::Library;
    use crate::run::psmmu_config;

    struct NoFiles;
    impl Library for NoFiles {
        fn read(&self, _: &str) -> Result<String, String> {
            Err("no such file".to_owned())
        }
    }

    /// What the CMDQV is made with, from the keys of its psmmu.
    fn cmdqv(keys: &str) -> models::cmdqv::CmdqvConfig {
        let text = format!("title = 't'\n[psmmu.smmu0]\n{keys}\n[endpoint.nic0]\n");
        let scenario = crate::load::parse("t.toml", &text, &NoFiles).unwrap_or_else(|r| panic!("{r:?}"));
        psmmu_config(0, &scenario.psmmus[0]).cmdqv.expect("there is a CMDQV").1
    }

    #[test]
    fn a_psmmus_own_knobs_change_those_of_its_preset() {
        use RepeatInvalidations as Repeat;
        for (keys, auto_sync, repeat) in [
            ("", AutoSync::On, Repeat::Off),
            ("preset = 'tegra264'", AutoSync::On, Repeat::On),
            ("preset = 'tegra264'\ncmdqv = { vintfs = 2 }", AutoSync::On, Repeat::On),
            ("preset = 'tegra264'\ncmdqv = { knobs = { auto-sync = 'off' } }", AutoSync::Off, Repeat::On),
            (
                "preset = 'tegra264'\ncmdqv = { knobs = { repeat-invalidations = 'off' } }",
                AutoSync::On,
                Repeat::Off,
            ),
        ] {
            let knobs = cmdqv(keys).knobs;
            assert_eq!((knobs.auto_sync, knobs.repeat_invalidations), (auto_sync, repeat), "{keys}");
        }
    }

    /// Every value of every option reaches the model.
    #[test]
    fn all_options() {
        for knob in Knobs::TABLE {
            for value in knob.values {
                let keys = format!("cmdqv = {{ knobs = {{ {} = '{}' }} }}", knob.name, value.name);
                assert_eq!(knob.get(&cmdqv(&keys).knobs), value.name, "{keys}");
            }
        }
    }

    #[test]
    fn registers_after_reset() {
        for (keys, config, param) in [
            ("", 0x0002_0082, 0x4671),
            ("preset = 'tegra264'", 0x0002_0082, 0x4671),
            ("cmdqv = { vintfs = 4, vcmdqs = 8, sid_slots = 16, clk_batch = 0x40 }", 0x0002_0402, 0x4231),
            ("cmdqv = { vintfs = 1, vcmdqs = 2, sid_slots = 16, cmd_batch = 255 }", 0x000f_f082, 0x4011),
            ("timing = { batch_commands = 7 }", 0x0000_7082, 0x4671),
        ] {
            let cmdqv = cmdqv(keys);
            assert_eq!((u64::from(cmdqv.reset_config), cmdqv.param().0), (config, param), "{keys}");
        }
    }
}

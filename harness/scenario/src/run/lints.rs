//! What software did that the architecture leaves open or reserves, counted.

use std::collections::BTreeMap;

use models::record::Record;

use crate::model::Scenario;
use crate::outcome::Lint;

/// Texts that are kept for one pSMMU; more are counted together.
const TEXTS_MAX: usize = 50;

/// Counts by pSMMU and text.
#[derive(Debug, Default)]
pub(super) struct Lints(BTreeMap<u16, BTreeMap<String, u64>>);

impl Lints {
    /// Counts it if it is one.
    pub(super) fn record(&mut self, record: &Record) {
        let Record::Lint { smmu, text } = record else { return };
        let texts = self.0.entry(*smmu).or_default();
        let text = if texts.len() < TEXTS_MAX || texts.contains_key(text) { text } else { "others" };
        *texts.entry(text.to_owned()).or_default() += 1;
    }

    /// All, by pSMMU.
    pub(super) fn finish(self, scenario: &Scenario) -> Vec<Lint> {
        let each = self.0.into_iter().flat_map(|(smmu, texts)| {
            let psmmu = &scenario.psmmus[usize::from(smmu)].name;
            texts.into_iter().map(|(text, count)| Lint { psmmu: psmmu.clone(), text, count })
        });
        each.collect()
    }
}

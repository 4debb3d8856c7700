//! What software should not have done is in the result.
#![allow(missing_docs)]

use scenario::load;
use scenario::outcome::Lint;
use scenario::preset::Library;
use scenario::run::{Options, run};

struct Nothing;

impl Library for Nothing {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("there are no files".to_owned())
    }
}

#[test]
fn lints_are_counted_by_psmmu() {
    let text = r#"
title = "Two pSMMUs, odd accesses"
[psmmu.smmu0]
[psmmu.smmu1]
[endpoint.nic0]
psmmu = "smmu0"
[script]
step = [
  { do = "reg-write", block = "smmu1", reg = "GBPA", value = 0 },
  { do = "reg-write", block = "smmu1", reg = "GBPA", value = 1 },
]
"#;
    let scenario = load::parse("odd.toml", text, &Nothing).unwrap_or_else(|r| panic!("{}", r.render(false)));
    let outcome = run(&scenario, Options::default()).outcome;
    let text = "IGNORED SINCE SMMUv3.2: GBPA written without Update; this model ignores it (R16)".to_owned();
    assert_eq!(outcome.lints, [Lint { psmmu: "smmu1".into(), text, count: 2 }]);
}

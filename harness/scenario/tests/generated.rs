//! The committed schema and reference are those that the declaration tables give.
#![allow(missing_docs)]

use std::path::Path;

#[test]
fn reference_is_current() {
    fresh::check("scenario", "scenario-reference.md", &scenario::reference::markdown());
}

#[test]
fn schema_is_current() {
    let schema = serde_json::to_string_pretty(&scenario::schema::scenario()).unwrap();
    fresh::check("scenario", "scenario-schema.json", &(schema + "\n"));
}

#[test]
fn shipped_scenarios_are_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let files = scenario::files::find(&[root]).unwrap();
    assert!(files.len() > 30);
    for file in files {
        if let Err(rejected) = scenario::read_file(&file) {
            panic!("{}", rejected.render(false));
        }
    }
}

#[test]
fn a_large_platform_is_short_to_write() {
    let text = r#"
title = "Three pSMMUs, four VMs, mixed policies, 32 endpoints"
[psmmu.smmu]
count = 3
[endpoint.nic]
count = 32
psmmu = "smmu"
[vm.vm]
count = 4
[vsmmu.vs0]
vm = "vm0"
policy = "passthrough"
devices = ["nic0", "nic3", "nic6", "nic9"]
[vsmmu.vs1]
vm = "vm1"
devices = ["nic1..nic2", "nic4..5"]
[vsmmu.vs2]
vm = "vm2"
devices = { nic7 = 0x20, nic8 = 0x21 }
[load.l]
actor = "vm1"
endpoint = ["nic1", "nic2"]
"#;
    struct None;
    impl scenario::preset::Library for None {
        fn read(&self, _: &str) -> Result<String, String> {
            Err("there are no files".to_owned())
        }
    }
    let s = scenario::load::parse("big.toml", text, &None).unwrap_or_else(|r| panic!("{}", r.render(false)));
    assert_eq!((s.psmmus.len(), s.endpoints.len(), s.vms.len()), (3, 32, 4));
    assert_eq!(s.vsmmus[0].psmmus.len(), 1);
    assert_eq!(s.vsmmus[1].psmmus.len(), 2);
    let streams: std::collections::BTreeSet<_> =
        s.endpoints.iter().map(|e| (e.behind, e.streams[0])).collect();
    assert_eq!(streams.len(), 32);
}

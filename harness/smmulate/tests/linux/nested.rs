//! KVM guests of a real QEMU on the stand-in: each test runs the VMs of a platform as guests, and looks at what both kernels, QEMU,
//! the hardware and the oracle say of it.

use crate::machine::{Nested, Ran, nested};

/// Tests that take a guest's disks from a shipped platform.
macro_rules! platform {
    ($name:literal) => {
        include_str!(concat!("../../../../scenarios/platforms/nested-", $name, ".toml"))
    };
}

/// All that a guest invalidates went through queues of its own, and no software but its own saw it.
fn owns_its_vcmdqs(ran: &Ran, smmu: &str, vintf: u8, opcodes: &[&str]) {
    for opcode in opcodes {
        assert!(ran.commands(smmu, &format!("VINTF{vintf}."), opcode) > 10, "{smmu} VINTF{vintf} {opcode}");
    }
    // What the host does for it is of other kinds; and what the host does for itself is few.
    assert!(ran.commands(smmu, "CMDQ", "TLBI_NH_VA") == 0, "{smmu}: QEMU forwarded commands");
    assert_eq!(ran.commands(smmu, &format!("VINTF{vintf}."), "TLBI_S2_IPA"), 0);
    let counts = ran.vintf(smmu, &format!("vintf{vintf}"));
    assert!(counts["doorbells"].as_u64().unwrap() > 10);
    assert_eq!(counts["vmids"].as_array().unwrap().len(), 1, "one VM, one VMID");
}

#[test]
fn a_guest_owns_its_vcmdqs() {
    let Some(ran) = nested(&Nested { platform: platform!("one-psmmu"), ..Nested::default() }) else { return };
    ran.is_clean();
    owns_its_vcmdqs(&ran, "smmu0", 1, &["TLBI_NH_VA", "SYNC"]);
    assert!(ran.commands("smmu0", "VINTF0", "TLBI_S2_IPA") > 0, "the host invalidates stage 2");
    assert_eq!(ran.smmu("smmu0", "aborted"), 0);
    assert!(ran.exits("vm0") < 200, "{}", ran.exits("vm0"));
}

#[test]
fn two_vsmmus_follow_two_psmmus() {
    let Some(ran) = nested(&Nested { platform: platform!("two-psmmus"), ..Nested::default() }) else {
        return;
    };
    ran.is_clean();
    for (smmu, physical) in [("smmu0", 0x10), ("smmu1", 0x10)] {
        owns_its_vcmdqs(&ran, smmu, 1, &["TLBI_NH_VA", "ATC_INV", "SYNC"]);
        let sids = ran.vintf(smmu, "vintf1")["sids"].as_array().unwrap();
        assert_eq!(sids.len(), 1, "{sids:?}");
        assert_eq!(sids[0]["physical"], physical);
        assert_eq!(sids[0]["commands"], ran.commands(smmu, "VINTF1.", "ATC_INV"));
        assert!(ran.smmu(smmu, "ats_requests") > 0);
    }
    assert!(ran.exits("vm0") < 200, "{}", ran.exits("vm0"));
}

#[test]
fn one_vsmmu_over_two_psmmus_is_refused() {
    for queues in ["passthrough", "trapped"] {
        let platform = platform!("one-vsmmu").replace(
            "policy = \"passthrough\"\nwindow = \"smmu0\"\n",
            &match queues {
                "trapped" => "policy = \"trapped\"\n".to_owned(),
                _ => "policy = \"passthrough\"\nwindow = \"smmu0\"\n".to_owned(),
            },
        );
        let Some(ran) = nested(&Nested { platform: &platform, ..Nested::default() }) else { return };
        ran.is_clean();
        let refused = ran.guest("vm0")["refused"].as_array().unwrap();
        assert!(
            refused.iter().any(|words| words == "IOMMU_VDEVICE_ALLOC failed: Invalid argument"),
            "{refused:?}"
        );
        ran.says("CMD_SYNC timeout");
    }
}

#[test]
fn trapped_queues_cost_exits() {
    let Some(ran) = nested(&Nested { platform: platform!("two-psmmus-trapped"), ..Nested::default() }) else {
        return;
    };
    ran.is_clean();
    for smmu in ["smmu0", "smmu1"] {
        for opcode in ["TLBI_NH_VA", "ATC_INV", "SYNC"] {
            assert_eq!(ran.commands(smmu, "VINTF1", opcode), 0, "{smmu} {opcode}");
            assert!(ran.commands(smmu, "CMDQ", opcode) > 50, "{smmu} {opcode}");
        }
    }
    assert!(ran.exits("vm0") > 500, "{}", ran.exits("vm0"));
}

#[test]
fn two_guests_live_twice_beside_the_host() {
    let args = &["--lives", "2", "--mib", "2"];
    let Some(ran) = nested(&Nested { platform: platform!("two-guests"), args, ..Nested::default() }) else {
        return;
    };
    ran.is_clean();
    let mut vmids = Vec::new();
    for vintf in [1, 2] {
        owns_its_vcmdqs(&ran, "smmu0", vintf, &["TLBI_NH_VA", "ATC_INV", "SYNC"]);
        vmids.extend(ran.vintf("smmu0", &format!("vintf{vintf}"))["vmids"].as_array().unwrap().clone());
    }
    assert_ne!(vmids[0]["vmid"], vmids[1]["vmid"]);
    let seen = &ran.summary()["nested"]["seen"];
    assert_eq!(seen["own"][0]["endpoint"], "nvme2");
    assert_eq!(seen["back"].as_array().unwrap().len(), 2);
    for guest in ["vm0", "vm1"] {
        assert_eq!(seen["guests"][guest].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_guest_reboots() {
    let args = &["--boots", "2", "--mib", "2"];
    let Some(ran) = nested(&Nested { platform: platform!("one-psmmu"), args, ..Nested::default() }) else {
        return;
    };
    ran.is_clean();
    assert_eq!(ran.guest("vm0")["boots"].as_array().unwrap().len(), 2);
    owns_its_vcmdqs(&ran, "smmu0", 1, &["TLBI_NH_VA", "SYNC"]);
}

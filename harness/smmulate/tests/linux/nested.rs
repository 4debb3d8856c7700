//! KVM guests of a real QEMU on the stand-in: each test runs the VMs of a platform as guests, and looks at what both kernels, QEMU,
//! the hardware and the oracle say of it.

use std::collections::BTreeSet;

use crate::machine::{Nested, Ran, nested};

/// The text of a shipped platform.
macro_rules! platform {
    ($name:literal) => {
        include_str!(concat!("../../../../scenarios/platforms/nested-", $name, ".toml"))
    };
}

/// What a VCMDQ of a guest takes beside CMD_SYNC.
const OWN: [&str; 4] = ["TLBI_NH_VA", "TLBI_NH_ASID", "TLBI_NH_VAA", "ATC_INV"];

/// All that a guest invalidates went through queues of its own, and no software but its own saw it.
fn owns_its_vcmdqs(ran: &Ran, smmu: &str, vintf: u8, opcodes: &[&str]) {
    let queues = format!("VINTF{vintf}.");
    for opcode in opcodes {
        assert!(ran.commands(smmu, &queues, opcode) > 10, "{smmu} VINTF{vintf} {opcode}");
    }
    // Nothing of that kind is in the SMMU's own queue, of whomever it might be: the host has queues for its own.
    for opcode in OWN {
        assert_eq!(ran.commands(smmu, "CMDQ", opcode), 0, "{smmu}: QEMU forwarded {opcode}");
    }
    // The kinds that VCMDQs of guests refuse do come that way, when a guest changes its CDs and when its driver starts; and each
    // CMD_SYNC there is behind one of them.
    let counts = ran.vintf(smmu, &format!("vintf{vintf}"));
    let forwarded = counts["forwarded"].as_object().unwrap();
    let count = |opcode: &str| forwarded.get(opcode).map_or(0, |n| n.as_u64().unwrap());
    let refused = ["CFGI_CD", "CFGI_CD_ALL", "TLBI_NH_ALL"];
    assert!(forwarded.keys().all(|op| op == "SYNC" || refused.contains(&op.as_str())), "{forwarded:?}");
    let others: u64 = refused.map(count).iter().sum();
    assert!(count("CFGI_CD") > 0 && count("SYNC") <= others, "{smmu}: {forwarded:?}");
    // What is in its queues is all of these kinds.
    for opcode in ["TLBI_S2_IPA", "TLBI_NH_ALL", "CFGI_CD", "CFGI_STE"] {
        assert_eq!(ran.commands(smmu, &queues, opcode), 0, "{smmu} VINTF{vintf} {opcode}");
    }
    assert!(counts["doorbells"].as_u64().unwrap() > 10);
}

/// VMIDs that a VINTF has put into commands.
fn vmids(ran: &Ran, smmu: &str, vintf: u8) -> BTreeSet<u64> {
    let vmids = ran.vintf(smmu, &format!("vintf{vintf}"))["vmids"].as_array().unwrap();
    vmids.iter().map(|count| count["vmid"].as_u64().unwrap()).collect()
}

#[test]
fn a_guest_owns_its_vcmdqs() {
    let Some(ran) = nested(&Nested { platform: platform!("one-psmmu"), ..Nested::default() }) else { return };
    ran.is_clean();
    owns_its_vcmdqs(&ran, "smmu0", 1, &["TLBI_NH_VA", "SYNC"]);
    assert_eq!(vmids(&ran, "smmu0", 1).len(), 1, "one VM, one VMID");
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
    let passed = platform!("one-vsmmu");
    let trapped = passed.replace("policy = \"passthrough\"\nwindow = \"smmu0\"", "policy = \"trapped\"");
    assert_ne!(passed, trapped);
    for platform in [passed, &trapped] {
        let Some(ran) = nested(&Nested { platform, ..Nested::default() }) else { return };
        ran.is_clean();
        let refused = ran.guest("vm0")["refused"].as_array().unwrap();
        let refusal = "IOMMU_VDEVICE_ALLOC failed: Invalid argument";
        assert!(refused.iter().any(|words| words == refusal), "{refused:?}");
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
    // Who starts first gets the first VINTF, which in the second life may be the other one.
    let mut seen = BTreeSet::new();
    for vintf in [1, 2] {
        owns_its_vcmdqs(&ran, "smmu0", vintf, &["TLBI_NH_VA", "ATC_INV", "SYNC"]);
        seen.extend(vmids(&ran, "smmu0", vintf));
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
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

/// Two guests and the host on two pSMMUs; one guest has a DMA tester, and a device that does no DMA.
const THREE_PARTIES: &str = r#"
    title = "Three parties"
    [psmmu.smmu]
    count = 2
    cmdqv = { vintfs = 64, vcmdqs = 128, sid_slots = 16 }
    idr0 = 0x094c341b
    idr1 = 0x01080010
    idr3 = 0x1500
    idr5 = 0x75
    [endpoint.nvme]
    count = 2
    kind = "nvme"
    psmmu = "smmu0"
    ats = true
    [endpoint.own]
    kind = "nvme"
    psmmu = "smmu1"
    [endpoint.quiet]
    kind = "dma"
    psmmu = "smmu0"
    ats = true
    [endpoint.tester]
    kind = "dma"
    psmmu = "smmu0"
    [vm.vm]
    count = 2
    vcpus = 2
    memory = "256 MiB"
    [vsmmu.vs0]
    vm = "vm0"
    policy = "passthrough"
    devices = ["nvme0", "tester", "quiet"]
    [vsmmu.vs1]
    vm = "vm1"
    policy = "passthrough"
    devices = ["nvme1"]
"#;

/// A guest that has the tester lets it write where nothing is mapped.
const BAD_DMA: &str = "for d in /sys/bus/pci/devices/*; do
    case $d in *:12:00.0) ;; *) continue ;; esac
    echo 1 >$d/enable
    printf '\\006' | dd of=$d/config bs=1 seek=4 conv=notrunc 2>/dev/null
    bar=$(head -1 $d/resource | cut -d' ' -f1)
    r() { busybox devmem $(printf '0x%x' $((bar + $1))) 32 $2; }
    r 8 0xdead0000; r 12 0; r 16 8; r 4 1
    [ $(r 28) = 0x00000001 ] && echo refused
    sleep 2
done
dmesg | grep -E 'event:|CMDQ error'";

/// Three errors at once, each its owner's alone; everybody's data are good.
#[test]
fn errors_reach_their_owner_and_nobody_else() {
    let args = &[
        "--fault",
        "corrupt-command@smmu0,vintf=2,nth=60",
        // Of an endpoint without DMA, for it keeps what it should have dropped. The first eleven are the host's.
        "--fault",
        "ats-timeout@quiet,nth=12",
        "--mib",
        "2",
    ];
    let Some(ran) = nested(&Nested { platform: THREE_PARTIES, script: BAD_DMA, args, ..Nested::default() })
    else {
        return;
    };
    ran.is_clean();
    // The event has the StreamID that the guest knows, not the physical one.
    ran.says("client: 0000:12:00.0 sid: 0x1200 ssid: 0x0 iova: 0xdead0000");
    let said_by =
        |what: &str| ["vm0| ", "vm1| ", "["].map(|who| ran.lines(who).any(|line| line.contains(what)));
    assert_eq!(said_by("F_TRANSLATION"), [true, false, false]);
    let illegal = said_by("Illegal command");
    assert!(illegal == [true, false, false] || illegal == [false, true, false], "{illegal:?}");
    assert_eq!(said_by("ATC invalidate timeout"), [true, false, false]);
    assert_eq!(ran.command_errors("smmu0", "VINTF2", "CERROR_ILL"), 1);
    assert_eq!(ran.command_errors("smmu0", "VINTF", "CERROR_ATC_INV_SYNC"), 1);
    for smmu in ["smmu0", "smmu1"] {
        assert_eq!(ran.command_errors(smmu, "VINTF0", "CERROR_ATC_INV_SYNC"), 0);
        assert_eq!(ran.command_errors(smmu, "CMDQ", "CERROR_ILL"), 0);
    }
    assert_eq!(ran.event("smmu0", "F_TRANSLATION"), 1);
    assert_eq!(ran.event("smmu1", "F_TRANSLATION"), 0);
}

/// A guest gives its disk another address space: the CD changes and the STE stays.
const OTHER_CD: &str = "d=/sys/bus/pci/devices/0000:11:00.0
echo 0000:11:00.0 >$d/driver/unbind
echo DMA-FQ >$d/iommu_group/type
echo DMA >$d/iommu_group/type
echo 0000:11:00.0 >/sys/bus/pci/drivers/nvme/bind
for _ in $(seq 100); do [ -b /dev/nvme0n1 ] && break; sleep 0.1; done
dd if=/dev/nvme0n1 of=/dev/null bs=128k count=8 iflag=direct 2>/dev/null && echo read";

#[test]
fn a_guest_changes_a_cd() {
    let args = &["--mib", "0"];
    let Some(ran) =
        nested(&Nested { platform: platform!("one-psmmu"), script: OTHER_CD, args, ..Nested::default() })
    else {
        return;
    };
    ran.is_clean();
    ran.says("vm0| read");
    let forwarded = &ran.vintf("smmu0", "vintf1")["forwarded"];
    // Two when the driver starts, then: made invalid, and made valid with other words.
    assert!(forwarded["CFGI_CD"].as_u64().unwrap() >= 4, "{forwarded}");
}

/// Of the configuration invalidations only those of CDs are lost: the guest comes up, changes a CD, and its device goes on with the
/// old one.
#[test]
fn a_stale_cd_is_caught() {
    let args = &["--fault", "drop-cfgi@smmu0,command=CFGI_CD,times=1000000", "--mib", "0", "--fail-fast"];
    let Some(ran) =
        nested(&Nested { platform: platform!("one-psmmu"), script: OTHER_CD, args, ..Nested::default() })
    else {
        return;
    };
    assert_eq!(ran.status, 1);
    ran.says("@guest ready");
    let [finding] = ran.findings().as_slice() else { panic!("{:#?}", ran.findings()) };
    assert_eq!((&finding["smmu"], &finding["sid"]), (&"smmu0".into(), &0x28.into()));
    let story: Vec<_> = finding["story"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    let tells = |words: &str| story.iter().any(|line| line.contains(words));
    assert!(tells("software has changed CD 0 at"), "{story:#?}");
    assert!(tells("smmu0's command queue consumes CFGI_CD sid=0x28 ssid=0"), "{story:#?}");
    assert!(tells("smmu0 did consume CFGI_CD sid=0x28 ssid=0 leaf; it kept the entry"), "{story:#?}");
}

/// A fault of the silicon, where the oracle finds its consequences, and what it says of them.
#[test]
fn each_mutation_is_caught() {
    let one = platform!("one-psmmu");
    let two = platform!("two-psmmus");
    for (platform, fault, smmu, says) in [
        (two, "drop-tlbi@smmu0,vintf=1,nth=20,times=1000000", "smmu0", "consumes TLBI_NH_VA"),
        (one, "keep-guest-vmid@smmu0", "smmu0", "which stands for TLBI_NH_"),
        (two, "keep-guest-sid@smmu1", "smmu1", "did consume ATC_INV sid=0x2100"),
        (two, "early-sync@smmu0,nth=100,times=1000000", "smmu0", "sees the CMD_SYNC after it consumed"),
    ] {
        // Guests that lose a completion wait for it for long.
        let args = &["--fault", fault, "--mib", "2", "--fail-fast"];
        let Some(ran) = nested(&Nested { platform, args, ..Nested::default() }) else { return };
        assert_eq!(ran.status, 1, "{fault}");
        let found = ran.findings();
        assert!(!found.is_empty() && found.iter().all(|f| f["smmu"] == smmu), "{fault}: {found:#?}");
        let story = found[0]["story"].as_array().unwrap();
        // A guest's device and a guest's queue are called what they are, and nothing is told twice.
        let lines: Vec<_> = story.iter().map(|line| line.as_str().unwrap()).collect();
        let is_told = found[0]["kind"] == "stale-use" && lines.iter().any(|line| line.contains(says));
        assert!(is_told, "{fault}: {found:#?}");
        assert!(lines.iter().any(|l| l.contains("'s VINTF1.LVCMDQ")), "{fault}: {lines:#?}");
        assert!(lines.iter().all(|l| !l.contains(" of host")), "{fault}: {lines:#?}");
        let distinct: BTreeSet<_> = lines.iter().collect();
        assert_eq!(distinct.len(), lines.len(), "{fault}: {lines:#?}");
    }
}

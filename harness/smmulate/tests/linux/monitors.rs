//! Performance monitors under Linux's own driver (drivers/perf/arm_smmuv3_pmu.c): what it finds, and that it counts what the summary
//! counts. Disks get their driver while all is counted and are let go again, so these are the counts of the whole run.

use crate::machine::{Boot, Kernel, Ran, boot, is_there};

/// What the groups of TCUs and TBUs can count, as sysfs lists it.
const TCU: &str = "config_cache_miss config_struct_access cycles pcie_ats_trans_rq tlb_miss trans_table_walk_access transaction";
const TBU: &str = "cycles pcie_ats_trans_passed tlb_miss transaction";
/// Each group by the page of its address, in the order of their lines.
const GROUPS: [(&str, &str); 4] = [("30a00", TCU), ("30a20", TBU), ("31a00", TCU), ("31a20", TBU)];
/// What the driver counts when a counter that it has started, in the middle of its range, overflows: half of 32 bits, and the one
/// step over the end.
const OVERFLOW: u64 = 1 << 31 | 1;

const PLATFORM: &str = include_str!("../../../../scenarios/platforms/two-monitored-psmmus.toml");

/// Boots with a script that knows the functions of monitors.sh. `iomem` lets it give counters values behind the driver's back.
fn monitored(platform: &str, script: &str, arg: &str) -> Option<Ran> {
    // Older ones lack the driver.
    if !is_there(&[("stock", "recipe")]) {
        return None;
    }
    let functions = concat!("/monitors=", env!("CARGO_MANIFEST_DIR"), "/tests/linux/monitors.sh");
    let args: Vec<_> = ["--file", functions, arg].into_iter().filter(|arg| !arg.is_empty()).collect();
    boot(&Boot {
        platform,
        script: &format!(". /monitors\n{script}"),
        kernel: Kernel::Stock,
        append: "k.later=nvme iomem=relaxed",
        args: &args,
        ..Boot::default()
    })
}

/// What was counted of an event of a group, each time.
fn counts(ran: &Ran, group: &str, event: &str) -> Vec<u64> {
    let start = format!("smmuv3_pmcg_{group}/{event} ");
    ran.lines(&start).map(|line| line[start.len()..].parse().unwrap()).collect()
}

#[test]
fn the_driver_counts_what_the_summary_counts() {
    let script = "
        dmesg | grep 'Registered PMU'
        cd /sys/bus/event_source/devices
        for g in smmuv3_pmcg_*; do echo $g $(cat $g/identifier) $(ls $g/events); done
        count smmuv3_pmcg_30a20 cycles transaction tlb_miss pcie_ats_trans_passed -- \
        count smmuv3_pmcg_30a00 transaction tlb_miss config_cache_miss trans_table_walk_access config_struct_access -- \
        count -s 0x10 smmuv3_pmcg_31a20 transaction -- \
        count -s 0x11 smmuv3_pmcg_31a00 transaction -- sh -c '. /monitors; work'
        echo worked $?";
    for arg in ["", "--acpi"] {
        let Some(ran) = monitored(PLATFORM, script, arg) else { return };
        for (group, events) in GROUPS {
            ran.says(&format!(
                "Registered PMU @ 0x00000000{group}000 using 8 counters with Global(Counter0) filter settings"
            ));
            ran.says(&format!("smmuv3_pmcg_{group} 0x4871143b {events}\n"));
        }
        ran.says("worked 0\n");
        let (translated, hits) = (ran.smmu("smmu0", "translated"), ran.smmu("smmu0", "tlb_hits"));
        let tbu = |event| counts(&ran, "30a20", event);
        assert_eq!(tbu("transaction"), [translated]);
        assert_eq!(tbu("tlb_miss"), [translated - hits]);
        assert_eq!(tbu("pcie_ats_trans_passed"), [0]);
        assert_eq!(tbu("cycles"), [0], "without time the clock stands still");
        let tcu = |event| counts(&ran, "30a00", event);
        assert_eq!(tcu("transaction"), [translated - hits]);
        assert_eq!(tcu("tlb_miss"), [translated - hits], "each of them walks");
        assert_eq!(tcu("config_cache_miss"), [1], "one stream, whose configuration stays");
        assert_eq!(tcu("config_struct_access"), [3], "an L1STD, an STE and a CD");
        // At most four levels each.
        let walked = tcu("trans_table_walk_access")[0];
        assert!((translated - hits..=4 * (translated - hits)).contains(&walked), "{walked}");
        // The disk's stream and the tester's, whose DMAs are all refused.
        assert_eq!(counts(&ran, "31a20", "transaction"), [ran.smmu("smmu1", "translated")]);
        assert_eq!(counts(&ran, "31a00", "transaction"), [3]);
        assert_eq!(ran.smmu("smmu1", "aborted"), 3);
        ran.is_clean();
    }
}

#[test]
fn overflows_interrupt_whichever_cpu_the_driver_has_chosen() {
    let script = "
        tbu=/sys/bus/event_source/devices/smmuv3_pmcg_31a20
        twice() { count -s 0x11 ${tbu##*/} transaction -- sh -c \". /monitors
            at_its_end 3; until_interrupts 3 $1 refused; at_its_end 3; until_interrupts 3 $2 refused\"; }
        grep smmuv3-pmu /proc/interrupts
        twice 1 2
        echo lines $(interrupts 0) $(interrupts 1) $(interrupts 2) $(interrupts 3)
        cpu=$(cat $tbu/cpumask)
        echo 0 >/sys/devices/system/cpu/cpu$cpu/online
        [ $(cat $tbu/cpumask) != $cpu ] && echo moved
        twice 1 2
        echo 1 >/sys/devices/system/cpu/cpu$cpu/online
        echo lines $(interrupts 0) $(interrupts 1) $(interrupts 2) $(interrupts 3)
        count -s 0x10 ${tbu##*/} transaction -- count -s 0x11 ${tbu##*/} tlb_miss -- true
        echo two filters $?";
    let messages = PLATFORM.replace("pmcg = true", "pmcg = true\npmcg_msi = true");
    for (platform, chip) in [(PLATFORM, "GICv2 "), (&messages, "GICv2m-pMSI-31a20000.pmu ")] {
        let Some(ran) = monitored(platform, script, "") else { return };
        ran.says(&format!(" {chip}"));
        ran.says("lines 0 0 0 2\nmoved\n");
        ran.says("lines 0 0 0 4\n");
        assert_eq!(counts(&ran, "31a20", "transaction")[..2], [2 * OVERFLOW; 2]);
        // A group has one filter: the second waits for its turn.
        ran.says("two filters 3\n");
        ran.is_clean();
    }
}

#[test]
fn cycles_pass_in_models_with_time() {
    let script = "
        count smmuv3_pmcg_30a20 cycles transaction -- sh -c '. /monitors; work; sleep 1
            echo lines $(interrupts 0) $(interrupts 1); at_its_end 1; until_interrupts 1 1 true
            echo lines $(interrupts 0) $(interrupts 1)'";
    let Some(ran) = monitored(PLATFORM, script, "--timed") else { return };
    assert_eq!(counts(&ran, "30a20", "transaction"), [ran.smmu("smmu0", "translated")]);
    ran.says("lines 0 0\nlines 0 1\n");
    // 1 GHz, of the time that has passed in all.
    let [cycles] = counts(&ran, "30a20", "cycles")[..] else { panic!("counted once") };
    let most = ran.summary()["simulated_ps"].as_u64().unwrap() / 1000;
    assert!((OVERFLOW..OVERFLOW + most).contains(&cycles), "{cycles}, {most}");
    ran.is_clean();
}

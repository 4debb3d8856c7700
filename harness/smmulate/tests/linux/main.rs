//! Real kernels on the stand-in: each test boots an unmodified Linux in QEMU on a platform, runs a script in it, and looks at the
//! console and at the summary.
//!
//! `harness/standin/prepare` gets QEMU and the kernels. A test whose parts are missing is skipped and says so, unless
//! `SMMULATE_LINUX` names its kernel: `SMMULATE_LINUX="small stock"` skips none.

mod machine;
mod monitors;
mod nested;

use machine::{Boot, Kernel, SCRIPT_DISKS, bad_dma, boot, plain, two_with_cmdqv};

#[test]
fn every_smmu_and_cmdqv_of_five_is_probed() {
    let platform = r#"
        title = "Five"
        [psmmu.smmu]
        count = 5
        cmdqv = true
        [endpoint.nvme]
        count = 5
        kind = "nvme"
        psmmu = ["smmu0", "smmu1", "smmu2", "smmu3", "smmu4"]
    "#;
    let script = "dmesg | grep -E 'arm-smmu-v3|Adding to iommu group'; ls /sys/kernel/iommu_groups | wc -w";
    let Some(ran) = boot(&Boot { platform, script, ..Boot::default() }) else { return };
    for smmu in 0..5 {
        let base = 0x3000_0000 + smmu * 0x100_0000;
        for queue in ["cmdq", "vcmdq0", "vcmdq1"] {
            ran.says(&format!("arm-smmu-v3 {base:x}.iommu: allocated 262144 entries for {queue}"));
        }
        ran.says(&format!("pci 0000:00:{:02x}.0: Adding to iommu group", smmu + 2));
        assert!(ran.commands(&format!("smmu{smmu}"), "VINTF0", "SYNC") > 0);
    }
    ran.says("\n5\n");
    ran.is_clean();
}

#[test]
fn four_cpus_move_64_mib_over_two_smmus() {
    let platform = &two_with_cmdqv("");
    let script = &format!(
        "{SCRIPT_DISKS}
        dd if=/dev/urandom of=/data bs=1M count=16 2>/dev/null
        for slot in 02 03 04 05; do
            (d=$(disk $slot); dd if=/data of=$d bs=256k oflag=direct 2>/dev/null
             dd if=$d of=/back$slot bs=64k count=256 iflag=direct 2>/dev/null
             cmp /data /back$slot && echo slot $slot compares equal) &
        done
        wait"
    );
    let Some(ran) = boot(&Boot { platform, script, cpus: 4, ..Boot::default() }) else { return };
    for slot in 2..6 {
        ran.says(&format!("slot {slot:02x} compares equal"));
    }
    for smmu in ["smmu0", "smmu1"] {
        for command in ["TLBI_EL2_VA", "CFGI_STE", "CFGI_CD", "SYNC"] {
            assert!(ran.commands(smmu, "VINTF0", command) > 0, "{smmu} {command}");
        }
        assert!(ran.smmu(smmu, "bytes") > 64 << 20);
        assert_eq!(ran.smmu(smmu, "aborted"), 0);
    }
    assert_eq!(ran.commands("smmu0", "CMDQ", "TLBI_EL2_VA"), 0, "invalidations go to the VCMDQs");
    ran.is_clean();
}

#[test]
fn lazy_mode_invalidates_all_at_once() {
    let platform = &two_with_cmdqv("");
    let script = &format!(
        "{SCRIPT_DISKS}
        cat /sys/kernel/iommu_groups/0/type
        d=$(disk 02); dd if=/dev/zero of=$d bs=128k count=64 oflag=direct 2>/dev/null; dd if=$d of=/dev/null bs=128k count=64 iflag=direct 2>/dev/null && echo done"
    );
    let strict = Boot { platform, script, append: "iommu.strict=1", ..Boot::default() };
    let lazy = Boot { append: "iommu.strict=0", ..strict };
    let (Some(strict), Some(lazy)) = (boot(&strict), boot(&lazy)) else { return };
    strict.says("\nDMA\n");
    lazy.says("\nDMA-FQ\n");
    // What waits in the flush queue is invalidated all at once.
    let at_once = |ran: &machine::Ran| ran.commands("smmu0", "VINTF0", "TLBI_EL2_ASID");
    assert_eq!(at_once(&strict), 0);
    assert!(at_once(&lazy) > 0);
    strict.is_clean();
    lazy.is_clean();
}

#[test]
fn a_driver_lets_go_and_takes_again() {
    let platform = &two_with_cmdqv("");
    let script = &format!(
        "{SCRIPT_DISKS}
        d=$(disk 02); echo persistent | dd of=$d bs=512 conv=sync oflag=direct 2>/dev/null
        for i in 1 2 3; do
            echo 0000:00:02.0 > /sys/bus/pci/drivers/nvme/unbind
            echo 0000:00:02.0 > /sys/bus/pci/drivers/nvme/bind
            until [ -n \"$(disk 02)\" ] && [ -b $(disk 02) ]; do sleep 0.1; done
            head -c 10 $(disk 02); echo \" after $i\"
        done
        echo 1 > /sys/bus/pci/devices/0000:00:03.0/remove; echo 1 > /sys/bus/pci/rescan; sleep 0.5
        [ -b $(disk 03) ] && echo found again"
    );
    let Some(ran) = boot(&Boot { platform, script, ..Boot::default() }) else { return };
    ran.says("persistent after 1\npersistent after 2\npersistent after 3");
    ran.says("found again");
    ran.is_clean();
}

#[test]
fn a_machine_reboots() {
    let platform = &two_with_cmdqv("");
    let script = &format!(
        "{SCRIPT_DISKS}
        d=$(disk 03); n=$(head -c 1 $d | tr -d '\\000'); echo life ${{n:-0}}
        case ${{n:-0}} in
            2) dd if=/dev/zero of=$d bs=4k count=100 oflag=direct 2>/dev/null && echo last life;;
            *) echo $((${{n:-0}} + 1)) | dd of=$d bs=512 conv=sync oflag=direct 2>/dev/null; sync; reboot -f;;
        esac"
    );
    let Some(ran) = boot(&Boot { platform, script, args: &["--reboot"], ..Boot::default() }) else { return };
    for line in ["life 0\n", "life 1\n", "life 2\n", "last life\n"] {
        ran.says(line);
    }
    ran.is_clean();
}

#[test]
fn bad_dma_is_decoded_with_the_right_device() {
    let platform = &two_with_cmdqv("");
    let script = &bad_dma("0xdead0000");
    let Some(ran) = boot(&Boot { platform, script, ..Boot::default() }) else { return };
    ran.says("refused");
    ran.says("event: F_TRANSLATION client: 0000:00:06.0 sid: 0x12 ssid: 0x0 iova: 0xdead0000");
    assert_eq!(ran.smmu("smmu0", "aborted"), 1);
    assert_eq!(ran.event("smmu0", "F_TRANSLATION"), 1);
    ran.is_clean();
}

#[test]
fn an_illegal_command_in_a_vcmdq_is_skipped_and_logged() {
    let platform = &two_with_cmdqv("[fault.ill]\nkind = \"corrupt-command\"\nat = \"smmu0\"\nnth = 150\n");
    let script = &format!(
        "{SCRIPT_DISKS}
        d=$(disk 02); for i in 1 2 3; do dd if=$d of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null && echo read $i; done
        dmesg | grep -i cmdq"
    );
    let Some(ran) = boot(&Boot { platform, script, ..Boot::default() }) else { return };
    ran.says("tegra241_cmdqv: unexpected error reported. vintf_map: 0000000000000001");
    ran.says("CMDQ error (cons ");
    ran.says("Illegal command");
    ran.says("read 3");
    assert_eq!(ran.command_errors("smmu0", "VINTF0", "CERROR_ILL"), 1);
    ran.is_clean();
}

#[test]
fn ats_is_used_and_invalidated() {
    let platform = &two_with_cmdqv("").replace("kind = \"nvme\"", "kind = \"nvme\"\nats = true");
    let script = &format!(
        "{SCRIPT_DISKS}
        dd if=/dev/urandom of=/data bs=1M count=4 2>/dev/null
        for slot in 02 03; do
            d=$(disk $slot); dd if=/data of=$d bs=64k oflag=direct 2>/dev/null; dd if=$d bs=64k count=64 iflag=direct 2>/dev/null | cmp - /data && echo slot $slot compares equal
        done"
    );
    let Some(ran) = boot(&Boot { platform, script, ..Boot::default() }) else { return };
    for smmu in ["smmu0", "smmu1"] {
        assert!(ran.smmu(smmu, "ats_requests") > 0, "{smmu}");
        assert!(ran.commands(smmu, "VINTF0", "ATC_INV") > 0, "{smmu}");
    }
    ran.says("slot 02 compares equal");
    ran.says("slot 03 compares equal");
    ran.is_clean();
}

#[test]
fn a_queue_may_be_smaller_than_the_driver_would_like() {
    // SIDSIZE 20, SSIDSIZE 20, PRIQS 4, EVENTQS 4, CMDQS 7, of which the driver accepts no fewer.
    let platform = &two_with_cmdqv("").replace("cmdqv = true", "cmdqv = true\nidr1 = 0x0ce42514");
    let script = &format!(
        "{SCRIPT_DISKS}
        dmesg | grep 'entries for'
        d=$(disk 02); dd if=/dev/zero of=$d bs=128k count=16 oflag=direct 2>/dev/null && echo written"
    );
    let Some(ran) = boot(&Boot { platform, script, ..Boot::default() }) else { return };
    ran.says("30000000.iommu: allocated 128 entries for cmdq");
    ran.says("30000000.iommu: allocated 128 entries for vcmdq0");
    ran.says("written");
    ran.is_clean();
}

#[test]
fn a_kernel_without_cmdqv_support_uses_the_main_queue() {
    let platform = &two_with_cmdqv("");
    let script = &format!(
        "{SCRIPT_DISKS} d=$(disk 02); dd if=/dev/zero of=$d bs=128k count=16 oflag=direct 2>/dev/null && echo written"
    );
    let Some(ran) = boot(&Boot { platform, script, kernel: Kernel::Stock, ..Boot::default() }) else {
        return;
    };
    ran.says("written");
    assert_eq!(ran.commands("smmu0", "VINTF", "SYNC"), 0);
    assert!(ran.commands("smmu0", "CMDQ", "TLBI_EL2_VA") > 0);
    ran.is_clean();
}

#[test]
fn the_stock_kernel_on_plain_smmus_by_either_description() {
    for args in [&[][..], &["--acpi"][..]] {
        let script = &format!(
            "{SCRIPT_DISKS}
            dd if=/dev/urandom of=/data bs=1M count=4 2>/dev/null
            for slot in 02 03; do
                d=$(disk $slot); dd if=/data of=$d bs=64k oflag=direct 2>/dev/null; dd if=$d bs=64k count=64 iflag=direct 2>/dev/null | cmp - /data && echo slot $slot compares equal
            done"
        );
        let platform = plain();
        let boot_it = Boot { platform: &platform, script, kernel: Kernel::Stock, args, ..Boot::default() };
        let Some(ran) = boot(&boot_it) else { return };
        ran.says("slot 02 compares equal");
        ran.says("slot 03 compares equal");
        for smmu in ["smmu0", "smmu1"] {
            assert!(ran.commands(smmu, "CMDQ", "SYNC") > 0);
        }
        ran.is_clean();
    }
}

#[test]
fn acpi_announces_the_cmdqv() {
    let platform = &two_with_cmdqv("");
    let script = "dmesg | grep -E 'vcmdq|NVDA200C'; ls /sys/bus/acpi/devices | grep NVDA200C";
    let Some(ran) = boot(&Boot { platform, script, args: &["--acpi"], ..Boot::default() }) else { return };
    ran.says("NVDA200C:00");
    ran.says("NVDA200C:01");
    for smmu in ["smmu0", "smmu1"] {
        assert!(ran.commands(smmu, "VINTF0", "SYNC") > 0);
    }
    ran.is_clean();
}

#[test]
fn a_dropped_invalidation_is_found_by_the_oracle() {
    let platform =
        &two_with_cmdqv("[fault.x]\nkind = \"drop-tlbi\"\nat = \"smmu0\"\nnth = 100\ntimes = 1000000\n");
    // Through the page cache: pages that are read stay there, so no two reads go to the same memory, while their few IOVAs come again
    // and again on whichever CPU. Programs that read past the cache use one buffer each, and may have IOVAs of their own.
    let script =
        &format!("{SCRIPT_DISKS} dd if=$(disk 02) of=/dev/null bs=1M count=8 2>/dev/null && echo read");
    let Some(ran) = boot(&Boot { platform, script, ..Boot::default() }) else { return };
    ran.says("read");
    let findings = ran.findings();
    assert!(findings.iter().any(|f| f["kind"] == "stale-use" && f["smmu"] == "smmu0"), "{findings:?}");
    assert!(findings.iter().all(|f| f["smmu"] == "smmu0"), "{findings:?}");
    assert_eq!(ran.status, 1);
}

#[test]
fn models_with_time_serve_as_well_and_a_recording_plays_the_same() {
    for args in [&[][..], &["--timed"][..]] {
        let platform = &two_with_cmdqv("");
        let script = &format!(
            "{SCRIPT_DISKS} dd if=/dev/zero of=$(disk 02) bs=64k count=8 oflag=direct 2>/dev/null && echo written"
        );
        let Some(ran) = boot(&Boot { platform, script, args, record: true, ..Boot::default() }) else {
            return;
        };
        ran.says("written");
        ran.is_clean();
        ran.plays_the_same();
    }
}

#[test]
fn either_side_is_killed_and_comes_again() {
    let platform = &two_with_cmdqv("");
    let busy = &format!(
        "{SCRIPT_DISKS} d=$(disk 02); echo kept | dd of=$d bs=512 conv=sync oflag=direct 2>/dev/null; echo ready
        while :; do dd if=/dev/zero of=$d bs=64k seek=1 count=64 oflag=direct 2>/dev/null; done"
    );
    let look = &format!("{SCRIPT_DISKS} d=$(disk 02); echo disk says $(head -c 4 $d)");
    let Some(server) = machine::serve(platform) else { return };
    let args = &["--connect", server.folder()];
    let boot = |script| machine::connect(&Boot { platform, script, args, ..Boot::default() });
    let mut killed = boot(busy);
    killed.wait_for("ready");
    killed.kill_qemu();
    let killed = killed.finish();
    assert!(killed.contains("signal: 9"), "{killed}");
    let again = boot(look).finish();
    assert!(again.contains("disk says kept") && again.contains("Power down"), "{again}");
    // Now the server ends under a running machine.
    let mut lost = boot(busy);
    lost.wait_for("ready");
    let folder = server.folder().to_owned();
    let summary = server.stop();
    let lost = lost.finish();
    assert!(lost.contains("the server has ended; QEMU was ended"), "{folder} {lost}");
    assert!(summary.contains("oracle    clean"), "{summary}");
}

/// The recordings that tests/recordings.rs plays, made anew when asked.
#[test]
fn recordings() {
    if std::env::var_os("UPDATE_RECORDINGS").is_none() {
        return;
    }
    let ats = two_with_cmdqv("").replace("kind = \"nvme\"", "kind = \"nvme\"\nats = true");
    let work = format!(
        "{SCRIPT_DISKS} for slot in 02 03; do dd if=/dev/zero of=$(disk $slot) bs=16k count=4 oflag=direct 2>/dev/null && echo written; done
        echo 0000:00:02.0 > /sys/bus/pci/drivers/nvme/unbind; echo 0000:00:02.0 > /sys/bus/pci/drivers/nvme/bind
        {}",
        bad_dma("0xdead0000")
    );
    let small = Boot { script: &work, record: true, ..Boot::default() };
    let (cmdqv, plain) = (two_with_cmdqv(""), plain());
    for (name, boot_it) in [
        ("small-kernel-two-psmmus", Boot { platform: &cmdqv, ..small }),
        ("small-kernel-ats-acpi", Boot { platform: &ats, args: &["--acpi"], ..small }),
        ("small-kernel-timed", Boot { platform: &cmdqv, args: &["--timed"], ..small }),
        ("stock-kernel-plain-psmmus", Boot { platform: &plain, kernel: Kernel::Stock, ..small }),
    ] {
        let ran = boot(&boot_it).expect("QEMU and the kernels are there");
        ran.says("written");
        ran.keep_recording(name);
    }
    // Little data, and that of one kind, keep the recording small.
    let script = "dd if=/dev/zero of=/dev/nvme0n1 bs=16k count=8 oflag=direct 2>/dev/null && echo written
                  dd if=/dev/nvme0n1 of=/dev/null bs=16k count=8 iflag=direct 2>/dev/null";
    let platform = include_str!("../../../../scenarios/platforms/nested-two-psmmus.toml");
    let args = &["--mib", "0"];
    let guest = machine::Nested { platform, script, args, record: true };
    let ran = machine::nested(&guest).expect("the host's image is there");
    ran.says("written");
    ran.keep_recording("nested-two-psmmus");
}

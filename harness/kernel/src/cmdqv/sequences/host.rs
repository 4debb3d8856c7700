//! The host's driver: probe, reset, VINTF 0, issue, errors, shutdown.

use std::sync::Arc;

use models::record::Record;
use spec::smmu::{Command, Opcode};

use super::*;
use crate::errno::Errno;
use crate::testing::trace::only;

/// The table of the documented boot trace, value by value.
fn s15(rings: [u64; 2]) -> Vec<Step> {
    let mut steps = vec![Is(0x00000, 0x0002_0083), Is(0x00004, 0x4671)];
    // 4, 5
    steps.extend([Is(0x00000, 0x0002_0083), W(0x00000, 0x0002_0082), Poll(0x00008, 0)]);
    steps.extend([W(0x00000, 0x0002_0083), Poll(0x00008, 1)]);
    // 6
    steps.extend([W(0x00200, 0), W(0x00204, 0x0000_0002), W(0x00208, 0x0000_8000), W(0x0020c, 0x0000_8002)]);
    steps.extend((2..63).flat_map(|v| [W(0x00200 + 8 * v, v << 15), W(0x00204 + 8 * v, v << 15 | 2)]));
    steps.extend([W(0x003f8, 0x001f_8000), W(0x003fc, 0x001f_8002)]);
    // 7 to 10
    steps.extend([W(0x30088, 0), Poll(0x3008c, 0), Sync, Sync, W(0x30084, 0), W(0x30080, 0)]);
    steps.extend([W64(0x40080, 0), W64(0x40088, 0), Is(0x30094, 0), Is(0x30090, 0)]);
    steps.extend([Is(0x00204, 2), W(0x00204, 2)]);
    // 11
    steps.extend([W(0x30008, 0), Poll(0x3000c, 0), Sync, Sync, W(0x30004, 0), W(0x30000, 0)]);
    steps.extend([W64(0x40000, 0), W64(0x40008, 0), Is(0x30014, 0), Is(0x30010, 0)]);
    steps.extend([Is(0x00200, 0), W(0x00200, 0)]);
    // 12, 13
    steps.extend([W(0x01000, 0), Poll(0x01004, 0)]);
    steps.extend((0..16).flat_map(|s| [W(0x01040 + 4 * s, 0), W(0x01080 + 4 * s, 0)]));
    // 14, 15
    steps.extend([W(0x01000, 0x0002_0000), W(0x01000, 0x0002_0001), Poll(0x01004, 1)]);
    steps.push(Is(0x01000, 0x0002_0001));
    // 16 to 18
    steps.extend([Is(0x00200, 0), W(0x00200, 0x0000_0001)]);
    steps.extend([W(0x30008, 0), Poll(0x3000c, 0), Sync, Sync, W(0x30004, 0), W(0x30000, 0)]);
    steps.extend([W64(0x40000, 0), W64(0x40008, 0), Is(0x30014, 0), Is(0x30010, 0)]);
    steps.extend([W64(0x40000, rings[0]), W(0x30008, 1), Poll(0x3000c, 1)]);
    // 19
    steps.extend([Is(0x00204, 2), W(0x00204, 0x0000_0003)]);
    steps.extend([W(0x30088, 0), Poll(0x3008c, 0), Sync, Sync, W(0x30084, 0), W(0x30080, 0)]);
    steps.extend([W64(0x40080, 0), W64(0x40088, 0), Is(0x30094, 0), Is(0x30090, 0)]);
    steps.extend([W64(0x40080, rings[1]), W(0x30088, 1), Poll(0x3008c, 1)]);
    steps
}

#[test]
fn s15_host_boot_on_grace() {
    let parts = Parts::with_cmdqv(2, 6, 7);
    let param = parts.psmmu.cmdqv.as_ref().expect("it has one").1.param();
    assert_eq!(param.bits(), 0x4671);
    let mut bench = Bench::new(parts);
    let (driver, seen) = boot(&mut bench);
    let seen = without_smmu_reset(&seen, 2);
    let cmdqv = driver.cmdqv().expect("it is used");
    assert_eq!((cmdqv.queues_per_vintf(), cmdqv.sid_slots(), cmdqv.privileged()), (2, 16, true));
    let rings = rings(&driver).try_into().expect("there are two");
    follows(&seen, &s15(rings), param);
    golden("s15-host-boot-grace.txt", &seen, param);
    assert_eq!(bench.complaints(), Vec::<&Record>::new());
    assert!(bench.notes().is_empty());
}

#[test]
fn s1_s2_s3_probe_and_reset() {
    let (mut bench, param) = bench();
    let (driver, seen) = boot(&mut bench);
    let seen = without_smmu_reset(&seen, 2);
    follows(&seen, &[vec![R(0), Is(4, param.bits())], s2(4, &rings(&driver))].concat(), param);
    golden("s01-s03-probe-and-reset.txt", &seen, param);
}

#[test]
fn s1_an_administrator_can_do_without() {
    let (mut bench, param) = bench();
    let (mut config, pages, journal) = (bench.config(), bench.pages.clone(), bench.journal.clone());
    config.wanted.cmdqv = false;
    let driver =
        bench.run(0, |cpu| async move { Driver::probe(&cpu, config, &pages, &journal).await.unwrap() });
    assert!(driver.cmdqv().is_none());
    let mut seen = bench.trace.take();
    seen.retain(|seen| *seen != Seen::Sync);
    follows(&seen, &[R(0), W(0, 0x0002_0082)], param);
    golden("s01-disabled.txt", &seen, param);
}

/// A queue of VINTF 0 does not come up: its VINTF is reset.
#[test]
fn s3_a_queue_does_not_start() {
    let mut parts = Parts::with_cmdqv(2, 2, 3);
    let config = &mut parts.psmmu.cmdqv.as_mut().expect("it has one").1;
    // Smaller than IDR1.CMDQS says, so that every ring is too long.
    config.cmdqs = 4;
    let param = config.param();
    let mut bench = Bench::new(parts);
    let (mut config, pages, journal) = (bench.config(), bench.pages.clone(), bench.journal.clone());
    config.timeout = sim::Time::us(50);
    let result =
        bench.run(0, |cpu| async move { Driver::probe(&cpu, config, &pages, &journal).await.map(|_| ()) });
    assert_eq!(result, Err(Errno::ETIMEDOUT));
    let seen = without_smmu_reset(&bench.trace.take(), 2);
    let ring = seen.iter().find_map(|seen| match *seen {
        Seen::Write { offset, value, .. } if offset == p1(0, 0) && value != 0 => Some(value),
        _ => None,
    });
    let started = s2(4, &[]).len() - s3(0, 1, 0, &[]).len();
    let mut steps = [vec![R(0), R(4)], s2(4, &[])[..started].to_vec(), s7(0, 2)].concat();
    steps.extend([W(0x1000, 0x2_0000), W(0x1000, 0x2_0001), Poll(0x1004, 1), R(0x1000)]);
    steps.extend([s5a(0, 0), s4a(0, 0)].concat());
    steps.extend([W64(p1(0, 0), ring.expect("a ring was set")), W(p0(0, 0) + 8, 1), Poll(p0(0, 0) + 0xc, 0)]);
    // What the log shows, then the reset, in which CMDQ_INIT_ERR is acknowledged.
    steps.extend([Is(p0(0, 0) + 0x14, 0), Is(p0(0, 0) + 0x10, 4), R(p0(0, 0))]);
    let mut reset = s7(0, 2);
    let after = s4a(0, 1).len() + s5b(0, 1).len() + s4a(0, 0).len();
    reset.insert(after, W(p0(0, 0) + 0x14, 4));
    steps.extend(reset);
    // The interrupt comes whenever it comes.
    let seen = only(&seen, |seen| *seen != Seen::Edge);
    follows(&seen, &steps, param);
    golden("s03-queue-does-not-start.txt", &seen, param);
}

/// Each CPU has its queue; a batch is one PROD write.
#[test]
fn s6_issue() {
    let (mut bench, param) = bench();
    let (driver, _) = boot(&mut bench);
    let mut all = Vec::new();
    for cpu in [0, 1, 2_u16] {
        let d = Arc::clone(&driver);
        let commands: Vec<_> = (0..5).map(|page| Command::tlbi_nh_va(1, 1, page << 12, true)).collect();
        bench.run(cpu, |cpu| async move { d.issue(&cpu, &commands, true).await }).unwrap();
        let seen = bench.trace.take();
        let l = u64::from(cpu) % N;
        // CPU 2 goes on behind what CPU 0 has sent.
        let prod = if cpu == 2 { 12 } else { 6 };
        follows(&seen, &[W(p0(0, l) + 4, prod), Is(p0(0, l), prod)], param);
        all.extend(seen);
    }
    golden("s06-issue.txt", &all, param);
}

#[test]
fn s7_s8_shutdown() {
    let (mut bench, param) = bench();
    let (driver, _) = boot(&mut bench);
    let (d, ring) = (Arc::clone(&driver), Bench::free_memory());
    bench.run(0, |cpu| async move {
        let cmdqv = d.cmdqv().unwrap();
        let v = cmdqv.vintf_alloc(&cpu, 7).await.unwrap();
        cmdqv.lvcmdq_alloc(&cpu, v, 0, ring, 0x1000).await.unwrap();
    });
    bench.trace.take();
    let d = Arc::clone(&driver);
    bench.run(0, |cpu| async move { d.shutdown(&cpu).await }).unwrap();
    let mut seen = bench.trace.take();
    // CR0 is cleared last, after which the block is not touched: it stays enabled.
    let smmu = seen.iter().rev().take_while(|seen| **seen == Seen::Sync).count();
    seen.truncate(seen.len() - smmu);
    follows(&seen, &[s7(1, 1), s7(0, 2)].concat(), param);
    golden("s07-s08-shutdown.txt", &seen, param);
}

/// Errors of VINTF 0 and of a virtual machine: the one is repaired, the other is only looked at.
#[test]
fn s12_error_interrupt() {
    let (mut bench, param) = bench();
    let (driver, _) = boot(&mut bench);
    let d = Arc::clone(&driver);
    bench
        .run(0, |cpu| async move {
            let bad = [Command::new(Opcode(0))];
            d.cmdqv().unwrap().own_queues().nth(1).unwrap().issue(&cpu, &bad, false).await
        })
        .unwrap();
    bench.settle();
    let own = bench.trace.take();
    let maps = [R(0x18), R(0x14), R(0x30), R(0x2c), R(0x28), R(0x24)];
    let repair = [R64(0x10c0), R64(0x10c8), R(p0(0, 1) + 0x10), R(p0(0, 1)), W(p0(0, 1) + 0x14, 1)];
    follows(&own, &[&[W(p0(0, 1) + 4, 1), Edge][..], &maps, &repair].concat(), param);

    let ring = Bench::free_memory();
    let page0 = driver.cmdqv().unwrap().page0_address(1);
    let d = Arc::clone(&driver);
    bench.run(0, move |cpu| async move {
        let cmdqv = d.cmdqv().unwrap();
        let v = cmdqv.vintf_alloc(&cpu, 7).await.unwrap();
        cmdqv.lvcmdq_alloc(&cpu, v, 0, ring, 0x1000).await.unwrap();
        cpu.store(ring, &Command::cfgi_all().to_bytes()).await;
        cpu.barrier().await;
        cpu.write32(page0 + 8, 1).await;
        while cpu.read32(page0 + 0xc).await & 1 == 0 {}
    });
    bench.trace.take();
    bench.run(0, move |cpu| async move {
        cpu.write32(page0 + 4, 1).await;
        cpu.barrier().await;
    });
    bench.settle();
    let guest = bench.trace.take();
    let forward = [R64(0x11c0), R64(0x11c8)];
    follows(&guest, &[&[W(p0(1, 0) + 4, 1), Edge][..], &maps, &forward].concat(), param);
    golden("s12-error-interrupt.txt", &[own, guest].concat(), param);
}

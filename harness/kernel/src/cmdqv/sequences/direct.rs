//! Another client of the silicon: a driver that knows the block only by its direct aperture, beside the host's.

use std::sync::Arc;

use models::cpu::Cpu;
use models::record::{CommandQueue, Record};
use spec::smmu::Command;

use super::*;
use crate::testing::trace::only;

/// The last VCMDQ of the block as LVCMDQ 0 of the last VINTF.
#[derive(Clone, Copy)]
struct Client {
    /// First byte of the block.
    base: u64,
    v: u64,
    q: u64,
    ring: u64,
    log2: u64,
}

impl Client {
    const fn page0(&self, register: u64) -> u64 {
        0x1_0000 + 0x80 * self.q + register
    }
    async fn poll(&self, cpu: &Cpu, offset: u64, value: u32) {
        while cpu.read32(self.base + offset).await & 1 != value {}
    }
    async fn open(&self, cpu: &Cpu) {
        assert_eq!(cpu.read32(self.base).await & 1, 1, "firmware has enabled the block");
        cpu.write32(self.base + vb(self.v), 1 << 17 | 1).await;
        self.poll(cpu, vb(self.v) + 4, 1).await;
        cpu.write32(self.base + 0x200 + 4 * self.q, (self.v << 15 | 1) as u32).await;
        let base = self.ring | self.log2;
        cpu.write32(self.base + 0x2_0000 + 0x80 * self.q, base as u32).await;
        cpu.write32(self.base + 0x2_0004 + 0x80 * self.q, (base >> 32) as u32).await;
        for (register, value) in [(0, 0), (4, 0), (8, 1)] {
            cpu.write32(self.base + self.page0(register), value).await;
        }
        self.poll(cpu, self.page0(0xc), 1).await;
    }
    /// Invalidates an address space and waits.
    async fn invalidate(&self, cpu: &Cpu, prod: &mut u64) {
        for command in
            [Command::tlbi_el2_va(7, 0x1000 * *prod, true), Command::tlbi_el2_asid(7), Command::sync()]
        {
            let slot = *prod & ((1 << self.log2) - 1);
            cpu.store(self.ring + 16 * slot, &command.to_bytes()).await;
            *prod = (*prod + 1) & ((2 << self.log2) - 1);
        }
        cpu.barrier().await;
        cpu.write32(self.base + self.page0(4), *prod as u32).await;
        while u64::from(cpu.read32(self.base + self.page0(0)).await & 0xf_ffff) != *prod {}
    }
    async fn close(&self, cpu: &Cpu) {
        cpu.write32(self.base + self.page0(8), 0).await;
        cpu.write32(self.base + 0x200 + 4 * self.q, 0).await;
        cpu.write32(self.base + vb(self.v), 0).await;
        cpu.barrier().await;
    }
}

#[test]
fn s14_direct_client_beside_the_host() {
    let (mut bench, param) = bench();
    let (driver, _) = boot(&mut bench);
    let base = driver.cmdqv().unwrap().config().base;
    let client = Client { base, v: 3, q: 7, ring: Bench::free_memory(), log2: 3 };
    let invalidations = 5;
    let host = {
        let d = Arc::clone(&driver);
        bench.start(1, |cpu| async move {
            for page in 0..40 {
                d.issue(&cpu, &[Command::tlbi_nh_va(1, 1, page << 12, true)], true).await.unwrap();
            }
        })
    };
    bench.run(0, move |cpu| async move {
        client.open(&cpu).await;
        let mut prod = 0;
        for _ in 0..invalidations {
            client.invalidate(&cpu, &mut prod).await;
        }
        client.close(&cpu).await;
    });
    bench.settle();
    assert!(host.lock().is_some(), "the host has come to its end");
    let own = |seen: &Seen| match *seen {
        Seen::Read { offset, .. } | Seen::Write { offset, .. } => !(p0(0, 0)..p0(1, 0)).contains(&offset),
        Seen::Sync | Seen::Edge => true,
    };
    let seen = only(&bench.trace.take(), own);
    let page0 = |register| client.page0(register);
    let mut steps = vec![Is(0, 0x0002_0083), W(vb(3), 1 << 17 | 1), Poll(vb(3) + 4, 1)];
    steps.push(W(0x200 + 4 * 7, 3 << 15 | 1));
    steps.extend([W(0x2_0380, client.ring | 3), W(0x2_0384, client.ring >> 32)]);
    steps.extend([W(page0(0), 0), W(page0(4), 0), W(page0(8), 1), Poll(page0(0xc), 1)]);
    for round in 1..=invalidations {
        let pointer = 3 * round % 16;
        steps.extend([W(page0(4), pointer), Is(page0(0), pointer)]);
    }
    steps.extend([W(page0(8), 0), W(0x200 + 4 * 7, 0), W(vb(3), 0)]);
    follows(&seen, &steps, param);
    golden("s14-direct-client.txt", &seen, param);

    let consumed = |wanted: u16| {
        let of = |(_, r): &&(sim::Time, Record)| matches!(r, Record::CommandConsumed { queue: CommandQueue::Vcmdq { queue, .. }, .. } if *queue == wanted);
        bench.records.iter().filter(of).count()
    };
    assert_eq!((consumed(7), consumed(1)), (15, 80), "both complete");
}

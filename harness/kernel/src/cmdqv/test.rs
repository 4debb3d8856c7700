//! The driver against the hardware models.

use std::sync::Arc;

use models::record::{CommandQueue as Source, Record};
use parking_lot::Mutex;
use sim::Time;
use spec::cmdqv::QueuePage0;
use spec::smmu::Command;

use super::lvcmdq::page0;
use super::*;
use crate::smmu::{Domain, DomainKind, Driver, Taken};
use crate::testing::{Bench, Parts};

fn probe(bench: &mut Bench) -> Arc<Driver> {
    let (config, pages, journal) = (bench.config(), bench.pages.clone(), bench.journal.clone());
    bench.run(0, |cpu| async move {
        let driver = Driver::probe(&cpu, config, &pages, &journal).await.expect("the hardware is fine");
        driver.spawn_handlers(&cpu, CpuId(0)).await;
        driver
    })
}

fn writes(bench: &Bench) -> Vec<(u64, u64)> {
    let write = |r: &Record| match r {
        Record::CmdqvRegister { offset, value, .. } => Some((u64::from(*offset), *value)),
        _ => None,
    };
    bench.records.iter().filter_map(|(_, r)| write(r)).collect()
}

#[test]
fn an_administrator_can_do_without() {
    let mut bench = Bench::new(Parts::with_cmdqv(1, 1, 2));
    let (mut config, pages, journal) = (bench.config(), bench.pages.clone(), bench.journal.clone());
    config.wanted.cmdqv = false;
    let driver =
        bench.run(0, |cpu| async move { Driver::probe(&cpu, config, &pages, &journal).await.unwrap() });
    assert!(driver.cmdqv().is_none());
    assert_eq!(writes(&bench), [(0x0, 0x0002_0082)]);
}

#[test]
fn cpus_use_their_queue() {
    let mut bench = Bench::new(Parts::with_cmdqv(4, 1, 2));
    let driver = probe(&mut bench);
    for i in 0..4 {
        let d = Arc::clone(&driver);
        bench
            .run(i, |cpu| async move { d.issue(&cpu, &[Command::cfgi_ste(i.into(), true)], true).await })
            .unwrap();
    }
    for i in 0..4_u16 {
        let mine = |r: &Record| match r {
            Record::CommandConsumed { queue, raw, .. }
                if raw.sid() == u64::from(i) && raw.op() == Opcode::CFGI_STE =>
            {
                Some(*queue)
            }
            _ => None,
        };
        let queue = bench.records.iter().find_map(|(_, r)| mine(r));
        assert_eq!(queue, Some(Source::Vcmdq { queue: i % 2, vintf: 0, logical: (i % 2) as u8 }));
    }
}

/// A block whose HYP_OWN cannot be set is what a guest sees.
#[test]
fn an_unprivileged_owner_sends_the_rest_to_the_smmu() {
    let mut parts = Parts::with_cmdqv(1, 0, 1);
    parts.psmmu.cmdqv.as_mut().unwrap().1.hyp_own_writable = false;
    let mut bench = Bench::new(parts);
    let driver = probe(&mut bench);
    assert!(!driver.cmdqv().unwrap().privileged());
    bench.records.clear();
    let commands = [
        Command::tlbi_nh_va(1, 0, 0x1000, true),
        Command::tlbi_nh_asid(1, 0),
        Command::cfgi_cd(1, 0, true),
        Command::tlbi_nh_va(1, 0, 0x2000, true),
    ];
    let d = Arc::clone(&driver);
    bench.run(0, |cpu| async move { d.issue(&cpu, &commands, true).await }).unwrap();
    let seen: Vec<_> = bench
        .records
        .iter()
        .filter_map(|(_, r)| match r {
            Record::CommandConsumed { queue, raw, .. } => Some((*queue == Source::Main, raw.op())),
            _ => None,
        })
        .collect();
    let (main, vcmdq) = (true, false);
    let want = [
        (vcmdq, Opcode::TLBI_NH_VA),
        (vcmdq, Opcode::TLBI_NH_ASID),
        (vcmdq, Opcode::SYNC),
        (main, Opcode::CFGI_CD),
        (main, Opcode::SYNC),
        (vcmdq, Opcode::TLBI_NH_VA),
        (vcmdq, Opcode::SYNC),
    ];
    assert_eq!(seen, want);
}

#[test]
fn vintfs_queues_and_slots_are_given_out() {
    let mut bench = Bench::new(Parts::with_cmdqv(1, 1, 2));
    let driver = probe(&mut bench);
    let ring = Bench::free_memory();
    let d = Arc::clone(&driver);
    bench.run(0, |cpu| async move {
        let cmdqv = d.cmdqv().unwrap();
        assert_eq!(cmdqv.vintf_alloc(&cpu, 7).await, Ok(1));
        assert_eq!(cmdqv.vintf_alloc(&cpu, 8).await, Err(Errno::ENOSPC));
        for (v, l, addr, bytes, want) in [
            (2, 0, ring, 0x1000, Err(Errno::ENOENT)),
            (1, 2, ring, 0x1000, Err(Errno::EINVAL)),
            (1, 1, ring, 0x1000, Err(Errno::EIO)),
            (1, 0, ring, 0x1800, Err(Errno::EINVAL)),
            (1, 0, ring, 16, Err(Errno::EINVAL)),
            (1, 0, ring, 16 << 16, Err(Errno::EINVAL)),
            (1, 0, ring + 0x800, 0x1000, Err(Errno::EINVAL)),
            (1, 0, 1 << 48, 0x1000, Err(Errno::EINVAL)),
            (1, 0, ring, 0x1000, Ok(())),
            (1, 0, ring, 0x1000, Err(Errno::EEXIST)),
            (1, 1, ring + 0x1000, 0x1000, Ok(())),
        ] {
            assert_eq!(
                cmdqv.lvcmdq_alloc(&cpu, v, l, addr, bytes).await,
                want,
                "{v} {l} {addr:#x} {bytes:#x}"
            );
        }
        assert_eq!(cmdqv.lvcmdq_free(&cpu, 1, 0).await, Err(Errno::EBUSY));
        assert_eq!(cmdqv.lvcmdq_free(&cpu, 1, 1).await, Ok(()));
        assert_eq!(cmdqv.lvcmdq_free(&cpu, 1, 1).await, Err(Errno::ENOENT));

        assert_eq!(cmdqv.sid_alloc(&cpu, 1, 1 << 20, 5).await, Err(Errno::EINVAL));
        for s in 0..16 {
            assert_eq!(cmdqv.sid_alloc(&cpu, 1, 100 + s, 200 + s).await, Ok(s as u8));
        }
        assert_eq!(cmdqv.sid_alloc(&cpu, 1, 1, 2).await, Err(Errno::ENOSPC));
        cmdqv.sid_free(&cpu, 1, 3).await;
        assert_eq!(cmdqv.sid_alloc(&cpu, 1, 1, 2).await, Ok(3));

        cmdqv.vintf_free(&cpu, 1).await;
        assert_eq!(cmdqv.vintf_alloc(&cpu, 8).await, Ok(1));
        d.shutdown(&cpu).await.unwrap();
    });
    assert_eq!(bench.complaints(), Vec::<&Record>::new());
}

struct Sink(Mutex<Vec<[u64; 2]>>);

impl VintfErrorSink for Sink {
    fn vintf_error(&self, _now: Time, map: [u64; 2]) -> Taken {
        self.0.lock().push(map);
        Taken::Yes
    }
}

/// What a guest does with its page: commands run with its VMID and its streams' physical numbers; errors are its own.
#[test]
fn a_guest_runs_its_queue_by_itself() {
    let mut bench = Bench::new(Parts::with_cmdqv(1, 1, 2));
    let driver = probe(&mut bench);
    let sink = Arc::new(Sink(Mutex::default()));
    let (d, s) = (Arc::clone(&driver), Arc::clone(&sink));
    let ring = Bench::free_memory();
    let page0_at = driver.cmdqv().unwrap().page0_address(1);
    let offset = |reg| page0(1, 0, reg).offset().unwrap() - page0(1, 0, QueuePage0::CONS).offset().unwrap();
    let vmid = bench.run(0, |cpu| async move {
        let domain = Domain::new(&cpu, &d, DomainKind::Stage2).await.unwrap();
        let cmdqv = d.cmdqv().unwrap();
        let v = cmdqv.vintf_alloc(&cpu, domain.tag()).await.unwrap();
        cmdqv.set_error_sink(v, Some(s));
        cmdqv.lvcmdq_alloc(&cpu, v, 0, ring, 0x1000).await.unwrap();
        cmdqv.sid_alloc(&cpu, v, 5, 0x77).await.unwrap();
        let commands = [
            Command::tlbi_nh_va(1, 0x333, 0x1000, true),
            Command::atc_inv(5, None, 0, 52),
            Command::cfgi_ste(5, true),
            Command::sync(),
        ];
        for (i, command) in commands.iter().enumerate() {
            cpu.store(ring + 16 * i as u64, &command.to_bytes()).await;
        }
        cpu.barrier().await;
        cpu.write32(page0_at + offset(QueuePage0::CONFIG), 1).await;
        while cpu.read32(page0_at + offset(QueuePage0::STATUS)).await & 1 == 0 {}
        cpu.write32(page0_at + offset(QueuePage0::PROD), 4).await;
        cpu.barrier().await;
        cpu.sleep(Time::us(50)).await;
        domain.tag()
    });
    let executed: Vec<_> = bench
        .records
        .iter()
        .filter_map(|(_, r)| match r {
            Record::CommandConsumed { queue: Source::Vcmdq { vintf: 1, .. }, executed, .. } => {
                Some(*executed)
            }
            _ => None,
        })
        .collect();
    let want = [Command::tlbi_nh_va(1, vmid, 0x1000, true), Command::atc_inv(0x77, None, 0, 52)];
    assert_eq!(executed, want);
    assert_eq!(*sink.0.lock(), [[1, 0]]);
    // Nobody but the guest acknowledges.
    let state = bench.run(0, move |cpu| async move {
        let gerror = cpu.read32(page0_at + offset(QueuePage0::GERROR)).await;
        let gerrorn = cpu.read32(page0_at + offset(QueuePage0::GERRORN)).await;
        cpu.store(ring + 32, &Command::sync().to_bytes()).await;
        cpu.barrier().await;
        cpu.write32(page0_at + offset(QueuePage0::GERRORN), gerror).await;
        cpu.barrier().await;
        cpu.sleep(Time::us(50)).await;
        (gerror, gerrorn, cpu.read32(page0_at + offset(QueuePage0::CONS)).await & 0xf_ffff)
    });
    assert_eq!(state, (1, 0, 4));
}

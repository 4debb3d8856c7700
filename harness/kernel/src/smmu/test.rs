//! The driver against the hardware models.

mod demand;

use std::sync::Arc;

use models::bus::Data;
use models::cpu::{Cpu, CpuId};
use models::dma::DmaResult;
use models::psmmu::{PsmmuFaults, Which};
use models::record::{CommandQueue as Source, Record};
use parking_lot::Mutex;
use sim::Time;
use spec::regs::Block;
use spec::smmu::{Command, EventNumber, EventRecord, Opcode, Page0};

use super::*;
use crate::errno::Errno;
use crate::journal::{Attachment, Note};
use crate::pgtable::Prot;
use crate::testing::{Bench, Parts, READ, write};

const SID: u32 = 0x123;
const IOVA: u64 = 0x1000_0000;

fn probe(bench: &mut Bench, config: Config) -> Arc<Driver> {
    let (pages, journal) = (bench.pages.clone(), bench.journal.clone());
    let driver = bench.run(0, |cpu| async move {
        let driver = Driver::probe(&cpu, config, &pages, &journal).await?;
        driver.spawn_handlers(&cpu, CpuId(0)).await;
        Ok::<_, Errno>(driver)
    });
    driver.expect("the hardware is fine")
}

fn domain(bench: &mut Bench, driver: &Arc<Driver>, kind: DomainKind, sid: u32) -> Arc<Domain> {
    let driver = Arc::clone(driver);
    bench.run(0, move |cpu| async move {
        let domain = Arc::new(Domain::new(&cpu, &driver, kind).await.unwrap());
        driver.attach(&cpu, sid, &domain).await.unwrap();
        domain
    })
}

fn map(bench: &mut Bench, domain: &Arc<Domain>, iova: u64, pa: u64, len: u64) -> Result<(), Errno> {
    let domain = Arc::clone(domain);
    bench.run(0, move |cpu| async move { domain.map(&cpu, iova, pa, len, Prot::READ_WRITE).await })
}
fn unmap(bench: &mut Bench, domain: &Arc<Domain>, iova: u64, len: u64) -> Result<u64, Errno> {
    let domain = Arc::clone(domain);
    bench.run(0, move |cpu| async move { domain.unmap(&cpu, iova, len).await })
}

/// Commands in the order in which CONS passed them.
fn consumed(bench: &Bench) -> Vec<(Source, Command)> {
    let command = |r: &Record| match r {
        Record::CommandConsumed { queue, raw, .. } => Some((*queue, *raw)),
        _ => None,
    };
    bench.records.iter().filter_map(|(_, r)| command(r)).collect()
}

/// Names of the commands other than CMD_SYNC.
fn names(bench: &Bench) -> Vec<String> {
    let commands = consumed(bench).into_iter().map(|(_, c)| c).filter(|c| c.op() != Opcode::SYNC);
    commands.map(|c| c.to_string()).collect()
}

#[test]
fn reset_follows_the_order_of_linux() {
    let mut bench = Bench::new(Parts::plain(1));
    let config = bench.config();
    probe(&mut bench, config);
    let writes: Vec<_> = bench
        .records
        .iter()
        .filter_map(|(_, r)| match r {
            Record::SmmuRegister { offset, value, .. } => Some((*offset, *value)),
            _ => None,
        })
        .map(|(offset, value)| match Page0::decode(offset) {
            Some(Page0::STRTAB_BASE | Page0::CMDQ_BASE | Page0::EVENTQ_BASE) => {
                Page0::decode(offset).unwrap().name().to_owned()
            }
            Some(reg) => format!("{}={value:#x}", reg.name()),
            None => format!("page1+{:#x}={value:#x}", offset - 0x10000),
        })
        .collect();
    let want = [
        "CR0=0x0",
        "CR1=0xd75",
        // The driver writes PTM, too, which does not exist without broadcast invalidation.
        "CR2=0x2",
        "STRTAB_BASE",
        "STRTAB_BASE_CFG=0x10210",
        "CMDQ_BASE",
        "CMDQ_PROD=0x0",
        "CMDQ_CONS=0x0",
        "CR0=0x8",
        "CMDQ_PROD=0x2",
        "CMDQ_PROD=0x4",
        "CMDQ_PROD=0x6",
        "EVENTQ_BASE",
        "page1+0xa8=0x0",
        "page1+0xac=0x0",
        "CR0=0xc",
        "CR0=0x1c",
        "IRQ_CTRL=0x0",
        "GERROR_IRQ_CFG0=0x0",
        "EVENTQ_IRQ_CFG0=0x0",
        "IRQ_CTRL=0x5",
        "CR0=0x1d",
    ];
    assert_eq!(writes, want);
    assert_eq!(names(&bench), ["CFGI_ALL", "TLBI_EL2_ALL", "TLBI_NSNH_ALL"]);
    assert_eq!(bench.complaints(), Vec::<&Record>::new());
}

/// Where invalidations must be issued twice, the second time follows a CMD_SYNC; ATC_INV and others are issued once.
#[test]
fn invalidations_are_repeated_where_they_must_be() {
    let commands =
        [Command::tlbi_nh_asid(1, 0), Command::atc_inv(SID, None, 0, 0), Command::cfgi_ste(SID, true)];
    for (repeat, want) in [
        (false, "TLBI_NH_ASID ATC_INV CFGI_STE SYNC"),
        (true, "TLBI_NH_ASID ATC_INV CFGI_STE SYNC TLBI_NH_ASID CFGI_STE SYNC"),
    ] {
        let mut bench = Bench::new(Parts::plain(1));
        let config = Config { repeat_invalidations: repeat, ..bench.config() };
        let driver = probe(&mut bench, config);
        let before = consumed(&bench).len();
        bench.run(0, move |cpu| async move { driver.issue(&cpu, &commands, true).await }).unwrap();
        let got: Vec<_> = consumed(&bench)[before..].iter().map(|(_, c)| c.op().to_string()).collect();
        assert_eq!(got.join(" "), want);
    }
}

#[test]
fn a_second_probe_makes_bypass_abort_first() {
    let mut bench = Bench::new(Parts::plain(1));
    for _ in 0..2 {
        let config = bench.config();
        probe(&mut bench, config);
    }
    let update =
        |r: &Record| matches!(r, Record::SmmuRegister { offset: 0x44, value, .. } if value >> 20 & 1 == 1);
    assert_eq!(bench.records.iter().filter(|(_, r)| update(r)).count(), 1);
}

#[test]
fn a_stream_reaches_what_is_mapped_and_only_while_it_is() {
    for kind in [DomainKind::Stage1, DomainKind::Stage2] {
        for two_level in [true, false] {
            for parts in [Parts::plain(1), Parts::with_cmdqv(1, 2, 3)] {
                let mut bench = Bench::new(parts);
                let mut config = bench.config();
                config.wanted.two_level = two_level;
                let driver = probe(&mut bench, config);
                let pa = Bench::free_memory();
                let domain = domain(&mut bench, &driver, kind, SID);
                assert_eq!(driver.attachment(SID), Attachment::Domain(domain.id()));

                assert_eq!(map(&mut bench, &domain, IOVA, pa, 0x2000), Ok(()));
                assert_eq!(bench.dma(SID, IOVA + 0x1008, write(7)), DmaResult::Ok(Data::EMPTY));
                assert_eq!(bench.mem().read_u64(pa + 0x1008), 7);
                assert_eq!(map(&mut bench, &domain, IOVA, pa, 0x1000), Err(Errno::EEXIST));

                assert_eq!(unmap(&mut bench, &domain, IOVA, 0x2000), Ok(0x2000));
                assert!(matches!(bench.dma(SID, IOVA + 0x1008, READ), DmaResult::Aborted(_)));
                assert_eq!(unmap(&mut bench, &domain, IOVA, 0x2000), Ok(0));
                bench.settle();
                assert_eq!(bench.complaints(), Vec::<&Record>::new());
                let reported = bench.notes().into_iter().find_map(|note| match note {
                    Note::EventReported { record, .. } => Some(record),
                    _ => None,
                });
                let record = reported.expect("the handler reported the fault");
                assert_eq!(
                    (record.event(), record.sid(), record.inputaddr()),
                    (EventNumber::F_TRANSLATION, SID.into(), IOVA + 0x1008)
                );
            }
        }
    }
}

#[test]
fn blocks_map_and_unmap() {
    let mut bench = Bench::new(Parts::plain(1));
    let config = bench.config();
    let driver = probe(&mut bench, config);
    let domain = domain(&mut bench, &driver, DomainKind::Stage1, SID);
    let pa = Bench::free_memory();
    assert_eq!(map(&mut bench, &domain, IOVA, pa, 0x40_1000), Ok(()));
    assert!(matches!(bench.dma(SID, IOVA + 0x20_0000, READ), DmaResult::Ok(_)));
    assert_eq!(unmap(&mut bench, &domain, IOVA, 0x1000), Err(Errno::EINVAL), "part of a block");
    bench.records.clear();
    assert_eq!(unmap(&mut bench, &domain, IOVA, 0x60_0000), Ok(0x40_1000));
    let head = "TLBI_NH_VA asid=0x1 vmid=0 va=";
    let want =
        ["0x10000000 tg=1 scale=10 ttl=2 leaf", "0x10400000 tg=1 ttl=3 leaf", "0x10400000 tg=1 scale=9"];
    assert_eq!(names(&bench), want.map(|w| format!("{head}{w}")));
    assert!(matches!(bench.dma(SID, IOVA + 0x20_0000, READ), DmaResult::Aborted(_)));
}

#[test]
fn invalidation_of_many_pages_without_ranges() {
    let mut bench = Bench::new(Parts::plain(1));
    let mut config = bench.config();
    config.wanted.ril = false;
    let driver = probe(&mut bench, config);
    let domain = domain(&mut bench, &driver, DomainKind::Stage2, SID);
    for (pages, commands) in [(3, 3 + 1), (64, 64 + 1), (511, 511 + 1), (513, 1)] {
        assert_eq!(map(&mut bench, &domain, IOVA + 0x1000, Bench::free_memory(), pages << 12), Ok(()));
        bench.records.clear();
        assert_eq!(unmap(&mut bench, &domain, IOVA + 0x1000, pages << 12), Ok(pages << 12));
        let names = names(&bench);
        let first =
            if commands == 1 { "TLBI_S12_VMALL vmid=1" } else { "TLBI_S2_IPA vmid=1 ipa=0x10001000 leaf" };
        assert_eq!((names.len(), names[0].as_str()), (commands, first));
        if commands > 1 {
            assert_eq!(names.last().unwrap(), "TLBI_NH_ALL vmid=1");
        }
    }
}

#[test]
fn devices_that_cache_translations_are_told() {
    let mut bench = Bench::new(Parts::plain(1));
    let config = bench.config();
    let driver = probe(&mut bench, config);
    driver.set_stream(SID, StreamOptions { ats: true, ..StreamOptions::default() }).unwrap();
    let domain = domain(&mut bench, &driver, DomainKind::Stage1, SID);
    assert!(driver.ats_enabled(SID));
    map(&mut bench, &domain, IOVA, Bench::free_memory(), 0x3000).unwrap();
    let before = bench.now();
    unmap(&mut bench, &domain, IOVA, 0x3000).unwrap();
    let told: Vec<_> = bench.atc.iter().map(|a| (a.sid, a.addr, a.size_log2)).collect();
    assert_eq!(told, [(SID, IOVA, 14)]);
    assert!(bench.now() - before > Time::us(1), "the unmap waits for the device");
    let blocked = Arc::clone(&driver);
    bench.run(0, |cpu| async move { blocked.block(&cpu, SID).await }).unwrap();
    assert_eq!(bench.atc.last().map(|a| a.size_log2), Some(64));
    assert!(!driver.ats_enabled(SID));
}

#[test]
fn attachments_change() {
    let mut bench = Bench::new(Parts::plain(1));
    let config = bench.config();
    let driver = probe(&mut bench, config);
    let (one, two) = (
        domain(&mut bench, &driver, DomainKind::Stage1, SID),
        domain(&mut bench, &driver, DomainKind::Stage2, SID),
    );
    let pa = Bench::free_memory();
    map(&mut bench, &one, IOVA, pa, 0x1000).unwrap();
    map(&mut bench, &two, IOVA, pa + 0x1000, 0x1000).unwrap();
    for round in 0..2 {
        for (domain, at, value) in [(&one, pa, 0x11), (&two, pa + 0x1000, 0x22)] {
            let (driver, domain) = (Arc::clone(&driver), Arc::clone(domain));
            bench.run(0, |cpu| async move { driver.attach(&cpu, SID, &domain).await }).unwrap();
            bench.dma(SID, IOVA, write(value + round));
            assert_eq!(bench.mem().read_u64(at), value + round);
        }
    }
    let d = Arc::clone(&driver);
    let busy = bench.run(0, move |cpu| async move {
        let busy = two.destroy(&cpu).await;
        d.bypass(&cpu, SID).await.unwrap();
        one.destroy(&cpu).await.unwrap();
        two.destroy(&cpu).await.unwrap();
        busy
    });
    assert_eq!(busy, Err(Errno::EBUSY));
    bench.dma(SID, pa + 0x40, write(9));
    assert_eq!(bench.mem().read_u64(pa + 0x40), 9, "bypass");
    let gone = Arc::clone(&driver);
    let wrong = bench.run(0, |cpu| async move { gone.bypass(&cpu, 1 << 16).await });
    assert_eq!(wrong, Err(Errno::ERANGE));
    assert_eq!(bench.complaints(), Vec::<&Record>::new());
}

#[test]
fn pasids_have_address_spaces_of_their_own() {
    let mut bench = Bench::new(Parts::plain(1));
    let config = bench.config();
    let driver = probe(&mut bench, config);
    driver.set_stream(SID, StreamOptions { pasid_bits: 4, ..StreamOptions::default() }).unwrap();
    let plain = domain(&mut bench, &driver, DomainKind::Stage1, SID);
    let pa = Bench::free_memory();
    map(&mut bench, &plain, IOVA, pa, 0x1000).unwrap();
    let d = Arc::clone(&driver);
    let other = bench.run(0, |cpu| async move {
        let other = Arc::new(Domain::new(&cpu, &d, DomainKind::Stage1).await.unwrap());
        assert_eq!(d.attach_pasid(&cpu, SID, 16, &other).await, Err(Errno::ERANGE));
        assert_eq!(d.attach_pasid(&cpu, SID, 0, &other).await, Err(Errno::EINVAL));
        d.attach_pasid(&cpu, SID, 3, &other).await.unwrap();
        assert_eq!(d.attach_pasid(&cpu, SID, 3, &other).await, Err(Errno::EBUSY));
        other
    });
    map(&mut bench, &other, IOVA, pa + 0x1000, 0x1000).unwrap();
    let request = |ssid| models::dma::DmaRequest {
        endpoint: 0,
        tag: 0,
        sid: SID,
        ssid,
        addr: IOVA,
        kind: models::dma::AddressType::Untranslated,
        op: write(ssid.map_or(1, |s| u64::from(s) + 1)),
        unsupported: false,
        incoming: models::dma::Incoming::DEFAULT,
    };
    bench.dma_request(request(None));
    bench.dma_request(request(Some(3)));
    assert_eq!((bench.mem().read_u64(pa), bench.mem().read_u64(pa + 0x1000)), (1, 4));
    let d = Arc::clone(&driver);
    bench.run(0, |cpu| async move { d.detach_pasid(&cpu, SID, 3).await }).unwrap();
    assert!(matches!(bench.dma_request(request(Some(3))), DmaResult::Aborted(_)));
    assert!(matches!(bench.dma_request(request(None)), DmaResult::Ok(_)));
}

/// Each CPU's commands, in the order in which it issued them; they carry CPU and number.
fn marked(cpu: u16, i: u64) -> Command {
    Command::tlbi_nh_va(cpu, 0, i << 12, true)
}

async fn hammer(cpu: Cpu, driver: Arc<Driver>, rounds: u64) -> Result<(), Errno> {
    let mut i = 0;
    for round in 0..rounds {
        let n = 1 + (round * 7 + u64::from(cpu.id().0) * 3) % 9;
        let batch: Vec<_> = (i..i + n).map(|i| marked(cpu.id().0, i)).collect();
        i += n;
        driver.issue(&cpu, &batch, round % 4 != 3).await?;
    }
    driver.issue(&cpu, &[], true).await
}

#[test]
fn many_cpus_insert_at_once() {
    const CPUS: u16 = 12;
    const ROUNDS: u64 = 40;
    for insertion in [Insertion::LinuxCmpxchg, Insertion::FetchAdd] {
        for (msi_polling, sev) in [(true, true), (false, true), (false, false)] {
            // A ring of 16 is often full; one of 256 is not.
            for log2 in [4, 8] {
                for cmdqv in [false, true] {
                    let parts = if cmdqv { Parts::with_cmdqv(CPUS, 2, 3) } else { Parts::plain(CPUS) };
                    let mut bench = Bench::new(parts);
                    let mut config = bench.config();
                    config.insertion = insertion;
                    config.wanted.msi_polling = msi_polling;
                    config.wanted.sev = sev;
                    config.cmdq_log2_max = log2;
                    let driver = probe(&mut bench, config);
                    bench.records.clear();
                    let done: Vec<_> = (0..CPUS)
                        .map(|i| bench.start(i, |cpu| hammer(cpu, Arc::clone(&driver), ROUNDS)))
                        .collect();
                    bench.settle();
                    let what = format!("{insertion:?} msi {msi_polling} sev {sev} log2 {log2} cmdqv {cmdqv}");
                    for (i, cell) in done.iter().enumerate() {
                        assert_eq!(*cell.lock(), Some(Ok(())), "CPU {i}, {what}");
                    }
                    check_all_arrived(&bench, CPUS, ROUNDS, &what);
                    let queues: Vec<_> = match driver.cmdqv() {
                        Some(cmdqv) => cmdqv.own_queues().map(CommandQueue::counters).collect(),
                        None => vec![driver.main().counters()],
                    };
                    let issued: u64 = queues.iter().map(|c| c.insertions).sum();
                    assert!(issued >= (ROUNDS + 1) * u64::from(CPUS), "{what}");
                    for c in &queues {
                        assert!(
                            c.publications <= c.insertions * 2 && c.attempts >= c.insertions,
                            "{what} {c:?}"
                        );
                        assert!(c.timeouts == 0 && (c.full > 0 || log2 > 4), "{what} {c:?}");
                    }
                    assert_eq!(bench.complaints(), Vec::<&Record>::new(), "{what}");
                }
            }
        }
    }
}

/// Every command was consumed once, and those of a CPU in order.
fn check_all_arrived(bench: &Bench, cpus: u16, rounds: u64, what: &str) {
    let mut next = vec![0; usize::from(cpus)];
    for (_, command) in consumed(bench).into_iter().filter(|(_, c)| c.op() == Opcode::TLBI_NH_VA) {
        let cpu = command.asid() as usize;
        assert_eq!(command, marked(cpu as u16, next[cpu]), "{what}");
        next[cpu] += 1;
    }
    for (cpu, next) in next.into_iter().enumerate() {
        let want: u64 = (0..rounds).map(|round| 1 + (round * 7 + cpu as u64 * 3) % 9).sum();
        assert_eq!(next, want, "CPU {cpu}, {what}");
    }
}

#[test]
fn a_call_that_waits_returns_after_its_commands() {
    for insertion in [Insertion::LinuxCmpxchg, Insertion::FetchAdd] {
        let mut bench = Bench::new(Parts::plain(4));
        let mut config = bench.config();
        (config.insertion, config.cmdq_log2_max) = (insertion, 5);
        let driver = probe(&mut bench, config);
        bench.records.clear();
        let returned: Arc<Mutex<Vec<(Time, Command)>>> = Arc::default();
        for i in 0..4 {
            let (driver, returned) = (Arc::clone(&driver), Arc::clone(&returned));
            bench.start(i, |cpu| async move {
                for round in 0..50 {
                    let command = marked(i, round);
                    driver.issue(&cpu, &[command], true).await.unwrap();
                    returned.lock().push((cpu.now(), command));
                }
            });
        }
        bench.settle();
        let returned = returned.lock();
        assert_eq!(returned.len(), 200);
        for (at, command) in returned.iter() {
            let passed = |(t, r): &(Time, Record)| matches!(r, Record::CommandConsumed { raw, .. } if raw == command && t <= at);
            assert!(bench.records.iter().any(passed), "{insertion:?}: {command} was not consumed by {at}");
        }
    }
}

#[test]
fn an_illegal_command_is_skipped() {
    let bad = Command([0xff, 0]);
    for cmdqv in [false, true] {
        for doorbell in [None, Some(Bench::doorbell())] {
            let mut bench = Bench::new(if cmdqv { Parts::with_cmdqv(2, 1, 2) } else { Parts::plain(2) });
            let mut config = bench.config();
            config.interrupts.doorbell = doorbell;
            let driver = probe(&mut bench, config);
            let after = Command::tlbi_nh_all(5);
            let d = Arc::clone(&driver);
            let result = bench.run(1, |cpu| async move { d.issue(&cpu, &[bad, after], true).await });
            assert_eq!(result, Ok(()));
            bench.settle();
            let queue = if cmdqv { "LVCMDQ 0.1" } else { "CMDQ" };
            let errors: Vec<_> =
                bench.notes().into_iter().filter(|n| matches!(n, Note::CommandError { .. })).collect();
            let want = Note::CommandError {
                by: driver.config().by,
                smmu: 0,
                queue: queue.to_owned(),
                code: 1,
                skipped: Some(bad),
            };
            assert_eq!(errors, [want]);
            assert!(consumed(&bench).iter().any(|(_, c)| *c == after));
        }
    }
}

#[test]
fn a_failed_fetch_is_repeated() {
    let mut parts = Parts::plain(1);
    parts.psmmu.faults = PsmmuFaults { abort_command_fetch: Which::Nth(5), ..PsmmuFaults::default() };
    let mut bench = Bench::new(parts);
    let config = bench.config();
    let driver = probe(&mut bench, config);
    let d = Arc::clone(&driver);
    let result = bench.run(0, |cpu| async move {
        for i in 0..8 {
            d.issue(&cpu, &[marked(0, i)], true).await?;
        }
        Ok::<_, Errno>(())
    });
    assert_eq!(result, Ok(()));
    let codes: Vec<_> = bench
        .notes()
        .into_iter()
        .filter_map(|n| match n {
            Note::CommandError { code, skipped, .. } => Some((code, skipped)),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [(2, None)]);
    check_count(&bench, 8);
}

fn check_count(bench: &Bench, want: usize) {
    assert_eq!(consumed(bench).iter().filter(|(_, c)| c.op() == Opcode::TLBI_NH_VA).count(), want);
}

#[test]
fn a_dead_queue_times_out() {
    for (insertion, msi_polling) in [
        (Insertion::LinuxCmpxchg, true),
        (Insertion::LinuxCmpxchg, false),
        (Insertion::FetchAdd, true),
        (Insertion::FetchAdd, false),
    ] {
        let mut bench = Bench::new(Parts::plain(1));
        let mut config = bench.config();
        (config.insertion, config.wanted.msi_polling, config.wanted.sev) = (insertion, msi_polling, false);
        let cr0 = config.base + u64::from(Page0::CR0.offset());
        let driver = probe(&mut bench, config);
        let start = bench.now();
        let result = bench.run(0, |cpu| async move {
            cpu.write32(cr0, 0).await;
            driver.issue(&cpu, &[marked(0, 0)], true).await
        });
        assert_eq!(result, Err(Errno::ETIMEDOUT), "{insertion:?} {msi_polling}");
        assert!(bench.now() - start >= Time::ms(1000));
        assert!(
            bench
                .notes()
                .iter()
                .any(|n| matches!(n, Note::Timeout { what, .. } if what == "CMD_SYNC in CMDQ of SMMU 0"))
        );
    }
}

struct Sink(Mutex<Vec<EventRecord>>);

impl EventSink for Sink {
    fn event(&self, _now: Time, record: &EventRecord) -> Taken {
        if record.sid() != u64::from(SID) {
            return Taken::No;
        }
        self.0.lock().push(*record);
        Taken::Yes
    }
}

#[test]
fn events_go_to_the_sink_first_and_overflow_is_noticed() {
    let mut bench = Bench::new(Parts::plain(1));
    let mut config = bench.config();
    // Long enough in the handler's entry for the queue of 8 to overflow.
    config.costs.interrupt = Time::us(100);
    let driver = probe(&mut bench, config);
    let sink = Arc::new(Sink(Mutex::default()));
    driver.set_event_sink(Some(sink.clone()));
    let domain = domain(&mut bench, &driver, DomainKind::Stage1, SID);
    let other = Arc::clone(&driver);
    bench.run(0, |cpu| async move { other.attach(&cpu, SID + 1, &domain).await }).unwrap();
    for i in 0..12 {
        bench.dma(SID + i % 2, IOVA + u64::from(i) * 0x1000, READ);
    }
    bench.settle();
    let notes = bench.notes();
    let reported = notes.iter().filter(|n| matches!(n, Note::EventReported { .. })).count();
    assert_eq!((sink.0.lock().len(), reported), (4, 4));
    assert!(notes.iter().any(|n| matches!(n, Note::EventQueueOverflow { .. })));
    // The queue works on.
    bench.dma(SID, IOVA, READ);
    bench.settle();
    assert_eq!(sink.0.lock().len(), 5);
}

#[test]
fn a_stalled_transaction_that_nobody_wants_is_aborted() {
    let mut parts = Parts::plain(1);
    parts.psmmu.idr = models::smmu::IdrProfile::STALLING;
    let mut bench = Bench::new(parts);
    let config = bench.config();
    let driver = probe(&mut bench, config);
    driver.set_stream(SID, StreamOptions { stall: true, ..StreamOptions::default() }).unwrap();
    domain(&mut bench, &driver, DomainKind::Stage1, SID);
    assert!(matches!(bench.dma(SID, IOVA, READ), DmaResult::Aborted(_)));
    bench.settle();
    assert!(
        names(&bench).iter().any(|c| c.starts_with("RESUME sid=0x123") && c.ends_with(" ab")),
        "{:?}",
        names(&bench)
    );
}

//! The driver against the modelled instances, on a CPU whose accesses are over when the call returns.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use models::bus::{Abort, Data, Op, Requester, Response, Transaction};
use models::cpu::{CpuId, SignalId};
use models::dma::{AddressType, DmaRequest, DmaResult, Incoming};
use models::memory::PhysMem;
use models::smmuv2::{EngineTiming, In, Out, Smmuv2Config, Smmuv2Faults, Smmuv2Pair};
use parking_lot::Mutex;
use sim::{Component, Cx, Queue, Time};
use spec::smmuv2::{Bank, Place, Stream};

use super::{Broadcast, Domain, NvidiaConfig, NvidiaSmmu};
use crate::access::Access;
use crate::alloc::Pages;
use crate::errno::Errno;
use crate::journal::{Journal, Note};
use crate::pgtable::Prot;

const BASE: u64 = 0x1200_0000;
const DRAM: u64 = 0x8000_0000;
const SID: u32 = 0x11;
/// Served by instance 0 and instance 1.
const EVEN: u64 = 0x10_0000;
const ODD: u64 = 0x10_1000;
const PA: u64 = 0x9000_0000;

struct World {
    pair: Smmuv2Pair,
    memory: PhysMem,
    queue: Queue<In>,
    clock: Time,
    responses: Vec<Response>,
    results: Vec<DmaResult>,
    register_writes: u64,
}

impl World {
    fn step(&mut self) -> bool {
        let Some((now, heard)) = self.queue.pop() else { return false };
        self.clock = now.max(self.clock);
        let mut cx = Cx::at(now);
        self.pair.on(heard, &mut cx);
        for (when, wake) in cx.woken {
            self.queue.push(when, wake);
        }
        for (when, out) in cx.said {
            match out {
                Out::Bus(t) => {
                    let answer =
                        if t.addr < DRAM { Err(Abort) } else { Ok(self.memory.apply(t.addr, &t.op).answer) };
                    self.queue.push(when + Time::ns(100), In::Response(t.respond(answer)));
                }
                Out::Respond(response) => {
                    self.clock = when;
                    self.responses.push(response);
                }
                Out::Dma(completion) => self.results.push(completion.result),
                Out::Interrupt { .. } => {}
            }
        }
        true
    }
    fn access(&mut self, addr: u64, op: Op) -> Data {
        if addr >= DRAM {
            return self.memory.apply(addr, &op).answer;
        }
        self.register_writes += u64::from(op.writes());
        let before = self.responses.len();
        self.queue.push(self.clock, In::Bus(Transaction::new(Requester::Cpu(0), 0, addr, op)));
        while self.responses.len() == before {
            assert!(self.step());
        }
        self.responses[before].result.expect("the driver touches only what is there")
    }
    fn advance(&mut self, time: Time) {
        let end = self.clock + time;
        while self.queue.next_time().is_some_and(|t| t <= end) {
            self.step();
        }
        self.clock = end;
    }
    fn dma(&mut self, iova: u64) -> DmaResult {
        let (kind, op) = (AddressType::Untranslated, Op::Read { len: 8 });
        let request = DmaRequest {
            endpoint: 0,
            tag: 0,
            sid: SID,
            ssid: None,
            addr: iova,
            kind,
            op,
            unsupported: false,
            incoming: Incoming::DEFAULT,
        };
        self.queue.push(self.clock, In::Dma(request));
        while self.step() {}
        self.results.pop().expect("a DMA is answered")
    }
}

#[derive(Clone)]
struct Machine(Arc<Mutex<World>>);

impl Access for Machine {
    async fn read32(&self, addr: u64) -> u32 {
        self.0.lock().access(addr, Op::Read { len: 4 }).value() as u32
    }
    async fn read64(&self, addr: u64) -> u64 {
        self.0.lock().access(addr, Op::Read { len: 8 }).value()
    }
    async fn write32(&self, addr: u64, value: u32) {
        self.0.lock().access(addr, Op::Write(Data::u32(value)));
    }
    async fn write64(&self, addr: u64, value: u64) {
        self.0.lock().access(addr, Op::Write(Data::u64(value)));
    }
    async fn load(&self, addr: u64, bytes: &mut [u8]) {
        self.0.lock().memory.read(addr, bytes);
    }
    async fn store(&self, addr: u64, bytes: &[u8]) {
        self.0.lock().memory.write(addr, bytes);
    }
    async fn compare_swap(&self, addr: u64, expected: u64, new: u64) -> Result<u64, u64> {
        let old = self.0.lock().access(addr, Op::CompareSwap { expected, new }).value();
        if old == expected { Ok(old) } else { Err(old) }
    }
    async fn fetch_add(&self, addr: u64, add: u64) -> u64 {
        self.0.lock().access(addr, Op::FetchAdd(add)).value()
    }
    async fn swap(&self, addr: u64, new: u64) -> u64 {
        self.0.lock().access(addr, Op::Swap(new)).value()
    }
    async fn barrier(&self) {}
    async fn delay(&self, time: Time) {
        self.0.lock().advance(time);
    }
    async fn sleep(&self, time: Time) {
        self.0.lock().advance(time);
    }
    async fn wait_while32(&self, _: u64, _: u32, _: Option<Time>) -> bool {
        unreachable!("one task never waits for another")
    }
    async fn wait_while64(&self, _: u64, _: u64, _: Option<Time>) -> bool {
        unreachable!("one task never waits for another")
    }
    async fn wait_interrupt(&self, _: u32, _: Option<Time>) -> bool {
        unreachable!("handlers are called by the test")
    }
    async fn signal(&self, _: SignalId) {}
    async fn wait_signal(&self, _: SignalId, _: u64, _: Option<Time>) -> Option<u64> {
        unreachable!("one task never waits for another")
    }
    async fn spawn<F, B>(&self, _: CpuId, _: String, _: B)
    where
        B: FnOnce(Self) -> F + Send,
        F: Future<Output = ()> + Send + 'static,
    {
        unreachable!("the driver starts no tasks")
    }
    fn now(&self) -> Time {
        self.0.lock().clock
    }
    fn id(&self) -> CpuId {
        CpuId(0)
    }
}

/// Every access of [`Machine`] is over at once, so that a future is ready when it is first asked.
fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

struct Bench {
    cpu: Machine,
    smmu: NvidiaSmmu,
    journal: Journal,
    pages: Pages,
}

impl Bench {
    fn try_new(edit: impl FnOnce(&mut Smmuv2Config, &mut Broadcast)) -> Result<Self, Errno> {
        let (mut config, mut broadcast) = (Smmuv2Config::new(4, BASE), Broadcast::All);
        edit(&mut config, &mut broadcast);
        let driver = NvidiaConfig { broadcast, sync_limit: Time::us(100), ..NvidiaConfig::of(&config) };
        let world = World {
            pair: Smmuv2Pair::new(config),
            memory: PhysMem::new(),
            queue: Queue::new(sim::DomainId(0)),
            clock: Time::ZERO,
            responses: Vec::new(),
            results: Vec::new(),
            register_writes: 0,
        };
        let cpu = Machine(Arc::new(Mutex::new(world)));
        let (pages, journal) = (Pages::new(&[(DRAM, DRAM + 0x100_0000)]), Journal::new());
        let smmu = run(NvidiaSmmu::probe(&cpu, driver, &pages, &journal))?;
        Ok(Self { cpu, smmu, journal, pages })
    }
    fn new(edit: impl FnOnce(&mut Smmuv2Config, &mut Broadcast)) -> Self {
        Self::try_new(edit).unwrap()
    }
    fn domain(&self) -> Domain {
        let domain = run(self.smmu.create_domain(&self.cpu)).unwrap();
        run(self.smmu.attach(&self.cpu, &domain, SID)).unwrap();
        domain
    }
    fn map(&self, domain: &Domain, iova: u64, pa: u64, len: u64) -> Result<(), Errno> {
        run(domain.map(&self.smmu, &self.cpu, iova, pa, len, Prot::READ_WRITE))
    }
    fn unmap(&self, domain: &Domain, iova: u64, len: u64) -> Result<u64, Errno> {
        run(domain.unmap(&self.smmu, &self.cpu, iova, len))
    }
    fn works(&self, iova: u64) -> bool {
        matches!(self.cpu.0.lock().dma(iova), DmaResult::Ok(_))
    }
    fn register(&self, instance: u64, place: Place) -> u64 {
        let len = place.bytes() as u8;
        self.cpu
            .0
            .lock()
            .access(BASE + instance * 0x1_0000 + u64::from(place.offset()), Op::Read { len })
            .value()
    }
}

#[test]
fn every_instance_is_programmed_alike() {
    let bench = Bench::new(|config, _| config.engines = vec![EngineTiming::default(); 3]);
    let domain = bench.domain();
    for reg in [Bank::SCTLR, Bank::TCR, Bank::TCR2, Bank::TTBR0, Bank::MAIR0] {
        let [first, second, third] = [0, 1, 2].map(|n| bench.register(n, Place::Bank { n: 0, reg }));
        assert!(first != 0 && first == second && second == third, "{reg}");
    }
    let stream = [0, 1, 2].map(|n| bench.register(n, Place::Stream { n: 0, reg: Stream::SMR }));
    assert_eq!(stream, [1 << 31 | u64::from(SID); 3]);
    bench.map(&domain, EVEN, PA, 0x4000).unwrap();
    assert!((0..4).all(|page| bench.works(EVEN + page * 0x1000)));
}

#[test]
fn a_stale_translation_survives_where_the_invalidation_was_not_written() {
    // (what the invalidations reach, whether EVEN and ODD still work after the unmap)
    for (broadcast, want) in [(Broadcast::All, [false, false]), (Broadcast::NotInvalidations, [false, true])]
    {
        let bench = Bench::new(|_, b| *b = broadcast);
        let domain = bench.domain();
        bench.map(&domain, EVEN, PA, 0x2000).unwrap();
        assert!(bench.works(EVEN) && bench.works(ODD));
        assert_eq!(bench.unmap(&domain, EVEN, 0x2000), Ok(0x2000));
        assert_eq!([EVEN, ODD].map(|iova| bench.works(iova)), want, "{broadcast:?}");
    }
    // Told later, for the second half of the domain's life.
    let bench = Bench::new(|_, _| {});
    let domain = bench.domain();
    bench.map(&domain, EVEN, PA, 0x2000).unwrap();
    assert!(bench.works(ODD));
    bench.smmu.set_broadcast(Broadcast::FirstOnly);
    bench.unmap(&domain, EVEN, 0x2000).unwrap();
    assert_eq!([EVEN, ODD].map(|iova| bench.works(iova)), [false, true]);
}

#[test]
fn without_any_broadcast_the_second_instance_does_not_translate() {
    let bench = Bench::new(|_, b| *b = Broadcast::FirstOnly);
    let domain = bench.domain();
    bench.map(&domain, EVEN, PA, 0x2000).unwrap();
    // Instance 1 is as it came out of reset: it bypasses, and the input address is no memory.
    assert_eq!([EVEN, ODD].map(|iova| bench.works(iova)), [true, false]);
}

#[test]
fn an_unmap_takes_as_long_as_the_slower_instance() {
    for sync_us in [[1, 40], [40, 1], [40, 40]] {
        let bench = Bench::new(|config, _| {
            config.engines =
                sync_us.map(|us| EngineTiming { sync: Time::us(us), ..EngineTiming::default() }).to_vec();
        });
        let domain = bench.domain();
        bench.map(&domain, EVEN, PA, 0x1000).unwrap();
        let start = bench.cpu.now();
        bench.unmap(&domain, EVEN, 0x1000).unwrap();
        let taken = bench.cpu.now() - start;
        // Exponential back-off overshoots by no more than what was waited before.
        assert!(taken >= Time::us(40) && taken < Time::us(100), "{sync_us:?}: {taken:?}");
    }
}

#[test]
fn a_stuck_instance_times_out_whichever_it_is() {
    for stuck in 0..2 {
        let edit = |config: &mut Smmuv2Config| config.faults = Smmuv2Faults { stuck_sync: Some(stuck) };
        assert_eq!(Bench::try_new(|config, _| edit(config)).err(), Some(Errno::ETIMEDOUT), "{stuck}");
    }
}

#[test]
fn only_small_pages_and_no_table_is_ever_freed() {
    let bench = Bench::new(|_, _| {});
    let domain = bench.domain();
    const BLOCK: u64 = 0x20_0000;
    bench.map(&domain, BLOCK, PA, BLOCK).unwrap();
    assert_eq!(domain.table().lookup_run(BLOCK), Some((PA, 0x1000)));
    let used = bench.pages.used();
    bench.journal.drain();
    let before = bench.cpu.0.lock().register_writes;
    assert_eq!(bench.unmap(&domain, BLOCK, BLOCK), Ok(BLOCK));
    // 512 invalidations and a synchronisation, in both instances.
    assert_eq!(bench.cpu.0.lock().register_writes - before, 2 * 513);
    assert_eq!(bench.pages.used(), used);
    let notes: Vec<_> = bench.journal.drain().into_iter().map(|(_, note)| note).collect();
    assert!(
        matches!(
            notes[..],
            [
                Note::Unmapping { iova: BLOCK, len: BLOCK, .. },
                Note::Unmapped { iova: BLOCK, pa: PA, len: BLOCK, .. }
            ]
        ),
        "{notes:?}"
    );
}

#[test]
fn faults_are_collected_from_all_instances() {
    let bench = Bench::new(|_, _| {});
    let domain = bench.domain();
    assert!(!bench.works(EVEN) && !bench.works(ODD + 8));
    let faults = run(bench.smmu.context_faults(&bench.cpu));
    let seen: Vec<_> = faults.iter().map(|f| (f.instance, f.bank, f.status, f.iova, f.sid)).collect();
    assert_eq!(seen, [(0, 0, 2, EVEN, SID), (1, 0, 2, ODD + 8, SID)]);
    assert_eq!(run(bench.smmu.context_faults(&bench.cpu)), []);
    run(bench.smmu.detach(&bench.cpu, SID)).unwrap();
    assert!(!bench.works(ODD));
    let faults = run(bench.smmu.global_faults(&bench.cpu));
    assert_eq!(faults.iter().map(|f| (f.instance, f.status, f.sid)).collect::<Vec<_>>(), [(1, 2, SID)]);
    run(bench.smmu.destroy_domain(&bench.cpu, domain)).unwrap();
}

#[test]
fn limits_and_errors() {
    let bench = Bench::new(|_, _| {});
    let used = bench.pages.used();
    let domains: Vec<_> = (0..8).map(|_| run(bench.smmu.create_domain(&bench.cpu)).unwrap()).collect();
    assert_eq!(run(bench.smmu.create_domain(&bench.cpu)).err(), Some(Errno::ENOSPC));
    let domain = &domains[3];
    run(bench.smmu.attach(&bench.cpu, domain, SID)).unwrap();
    assert_eq!(run(bench.smmu.attach(&bench.cpu, domain, SID)), Err(Errno::EBUSY));
    assert_eq!(run(bench.smmu.detach(&bench.cpu, SID + 1)), Err(Errno::ENOENT));
    for sid in 1..16 {
        run(bench.smmu.attach(&bench.cpu, domain, 0x100 + sid)).unwrap();
    }
    assert_eq!(run(bench.smmu.attach(&bench.cpu, domain, 0x200)), Err(Errno::ENOSPC));
    bench.map(domain, ODD, PA, 0x1000).unwrap();
    for (iova, len, want) in [
        (EVEN + 1, 0x1000, Errno::EINVAL),
        (EVEN, 0, Errno::EINVAL),
        (EVEN, 0x2000, Errno::EEXIST),
        (1 << 39, 0x1000, Errno::ERANGE),
    ] {
        assert_eq!(bench.map(domain, iova, PA, len), Err(want), "{iova:#x} {len:#x}");
    }
    assert_eq!(domain.table().lookup(EVEN), None, "a failed map leaves nothing");
    assert_eq!(bench.unmap(domain, EVEN, 0x8000), Ok(0x1000), "only what was mapped counts");
    assert_eq!(bench.unmap(domain, (1 << 39) - 0x1000, 0x2000), Err(Errno::ERANGE));
    for domain in domains {
        run(bench.smmu.destroy_domain(&bench.cpu, domain)).unwrap();
    }
    assert_eq!(bench.pages.used(), used);
}

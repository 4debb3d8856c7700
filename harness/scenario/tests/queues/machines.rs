//! A pSMMU that answers at once, and a machine in which everything takes its time; a judge beside each.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use models::cpu::{Cpu, CpuId, CpuTiming};
use models::dma::{Incoming, Job};
use models::endpoint::{EndpointConfig, RootPortConfig};
use models::functional::{FunctionalSmmu, Stream};
use models::interrupt::InterruptConfig;
use models::memory::{MemoryConfig, PhysMem};
use models::psmmu::PsmmuConfig;
use models::record::{CommandQueue, Record};
use models::system::{FabricTiming, Machine, SystemConfig};
use parking_lot::Mutex;
use scenario::run::judge::{Facts, Judge, SmmuFact, StreamFact};
use sim::Time;

use crate::judged::{self, Log as _, Ram, World};
use crate::software::{self, Bus, CMDQV, RAM, SMMU};
use crate::{Case, Seen};

/// Longest run.
const LIMIT: Time = Time::ms(50);

fn config(case: &Case) -> PsmmuConfig {
    let mut config = PsmmuConfig::new(0, SMMU);
    config.cmdqv = Some((CMDQV, case.config.clone()));
    config.timing.atc_timeout = Time::us(20);
    config.faults = case.faults;
    config
}

fn facts(config: &PsmmuConfig) -> Facts {
    let name = |sid| ["host", "guest", "hostile"][sid as usize - 1].to_owned();
    Facts {
        smmus: vec![SmmuFact::of("smmu", config)],
        streams: [1, 2, 3].map(|sid| StreamFact { smmu: 0, sid, name: name(sid) }).into(),
        cpus: 1,
        ..Facts::default()
    }
}

/// What the records say of queues.
#[derive(Debug, Default)]
struct Log {
    consumed: Vec<(usize, u32, spec::smmu::Command, spec::smmu::Command)>,
    stopped: Vec<usize>,
}

impl judged::Log for Log {
    fn note(&mut self, record: &Record) {
        let number = |queue| match queue {
            CommandQueue::Main => 8,
            CommandQueue::Ecmdq(_) => unreachable!("there are none"),
            CommandQueue::Vcmdq { queue, .. } => usize::from(queue),
        };
        match *record {
            Record::CommandConsumed { queue, index, raw, executed, .. } => {
                self.consumed.push((number(queue), index, raw, executed));
            }
            Record::CommandError { queue, .. } => self.stopped.push(number(queue)),
            _ => {}
        }
    }
}

impl Log {
    fn seen(self, findings: Vec<String>, sent: software::Sent) -> Seen {
        Seen { consumed: self.consumed, stopped: self.stopped, findings, sent }
    }
}

/// A pSMMU without time.
#[derive(Clone)]
struct AtOnce(Arc<Mutex<(FunctionalSmmu, World<Log>)>>);

impl Bus for AtOnce {
    async fn write(&self, addr: u64, len: u8, value: u64) {
        let (smmu, world) = &mut *self.0.lock();
        smmu.write(addr, len, value, world).expect("a register");
    }
    async fn read(&self, addr: u64) -> u32 {
        let (smmu, world) = &mut *self.0.lock();
        smmu.read(addr, 4, world).expect("a register") as u32
    }
    async fn store(&self, addr: u64, bytes: Vec<u8>) {
        let (_, world) = &mut *self.0.lock();
        world.now += 1000;
        world.ram.0.lock().write(addr, &bytes);
    }
    async fn dma(&self, stream: u32, iova: u64, write: bool, _: bool) -> Option<bool> {
        let (smmu, world) = &mut *self.0.lock();
        world.now += 1000;
        let stream = Stream::new(stream);
        Some(match write {
            true => smmu.dma_write(stream, iova, &[7; 8], world).is_ok(),
            false => smmu.dma_read(stream, iova, &mut [0; 8], world).is_ok(),
        })
    }
    async fn rest(&self) {
        self.0.lock().1.now += 100_000;
    }
}

/// Runs a case on a pSMMU without time.
pub(crate) fn at_once(case: &Case) -> Seen {
    let config = config(case);
    let ram = Ram(Arc::new(Mutex::new(PhysMem::new())));
    let world = World::new(facts(&config), ram, Log::default());
    let smmu = FunctionalSmmu::new(config).expect("a good configuration");
    let bus = AtOnce(Arc::new(Mutex::new((smmu, world))));
    let out = Arc::new(Mutex::new(None));
    {
        let play = std::pin::pin!(software::play(bus.clone(), case.steps.clone(), Arc::clone(&out)));
        let done = play.poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(done, Poll::Ready(()), "nothing waits where everything is done at once");
    }
    let sent = out.lock().take().expect("software came to its end");
    let Ok(inner) = Arc::try_unwrap(bus.0) else { panic!("software has ended") };
    let (findings, log) = inner.into_inner().1.end();
    log.seen(findings, sent)
}

/// A CPU of a machine with time.
#[derive(Clone)]
struct InTime(Cpu);

impl Bus for InTime {
    async fn write(&self, addr: u64, len: u8, value: u64) {
        match len {
            4 => self.0.write32(addr, value as u32).await,
            _ => self.0.write64(addr, value).await,
        }
    }
    async fn read(&self, addr: u64) -> u32 {
        self.0.read32(addr).await
    }
    async fn store(&self, addr: u64, bytes: Vec<u8>) {
        self.0.store(addr, &bytes).await;
        self.0.barrier().await;
    }
    async fn dma(&self, stream: u32, iova: u64, write: bool, wait: bool) -> Option<bool> {
        let job = Job {
            write,
            iova,
            ssid: None,
            incoming: Incoming::DEFAULT,
            len: 4096,
            pattern: vec![7],
            stop: false,
        };
        let endpoint = stream as u16 - 1;
        if wait {
            return Some(!self.0.run_job(endpoint, job).await.aborted);
        }
        let run = move |cpu: Cpu| async move {
            cpu.run_job(endpoint, job).await;
        };
        self.0.spawn(CpuId(0), "transfer", run).await;
        None
    }
    async fn rest(&self) {
        self.0.sleep(Time::ns(200)).await;
    }
}

/// Runs a case on a machine with time.
pub(crate) fn in_time(case: &Case) -> Seen {
    let config = config(case);
    let mut judge = Judge::new(facts(&config));
    // Slow memory and slow links, so that transfers are under way for long.
    let mut memory = MemoryConfig::flat(RAM, 1 << 30);
    memory.timing.dram_load = Time::ns(800);
    let mut port = RootPortConfig::new(0);
    port.timing.bytes_per_ns = 1;
    let endpoint = |i: u16| (0, EndpointConfig::dma(i, port, i + 1));
    let machine = SystemConfig {
        cpu_nodes: vec![0],
        cpu: CpuTiming::default(),
        memory,
        interrupts: InterruptConfig::new(0x0200_0000, 1),
        psmmus: vec![(0, config)],
        pairs: Vec::new(),
        endpoints: [0, 1, 2].map(endpoint).into(),
        fabric: FabricTiming::default(),
    };
    let mut machine = Machine::new(machine).expect("the machine is sound");
    let out = Arc::new(Mutex::new(None));
    let (steps, end) = (case.steps.clone(), Arc::clone(&out));
    machine.spawn(CpuId(0), "software", move |cpu| software::play(InTime(cpu), steps, end));
    let mut log = Log::default();
    while machine.next_time().is_some_and(|next| next < LIMIT) {
        machine.step();
        for (time, record) in machine.drain_records() {
            log.note(&record);
            judge.record(time, &record);
        }
    }
    let sent = out.lock().take().unwrap_or_else(|| panic!("software goes on after {LIMIT}"));
    let findings = judge.finish(machine.now()).iter().map(ToString::to_string).collect();
    log.seen(findings, sent)
}

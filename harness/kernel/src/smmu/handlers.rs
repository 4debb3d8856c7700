//! Interrupt handlers: event queue, PRI queue, global errors, CMDQV errors. Each is a task that waits for its interrupt.

use std::sync::Arc;

use models::cpu::{CpuId, SignalId};
use sim::Time;
use spec::smmu::page0::{GERROR, GERRORN};
use spec::smmu::page1::{EVENTQ_CONS, EVENTQ_PROD, PRIQ_CONS, PRIQ_PROD};
use spec::smmu::{Command, EventRecord, GlobalError, Page0, Page1, PageRequest};

use super::{Config, Driver, Features, Ring};
use crate::access::Access;
use crate::alloc::Pages;
use crate::errno::Errno;
use crate::journal::Note;

/// What a sink did with what it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing: it is not the sink's.
    No,
    /// Took it.
    Yes,
    /// Took it, and somebody waits for this signal.
    Wake(SignalId),
}

/// Hears about events of streams. Called by handler tasks, one record at a time.
pub trait EventSink: Send + Sync {
    /// An event record. A stalled transaction whose record is taken is the sink's to resume; others are aborted.
    fn event(&self, now: Time, record: &EventRecord) -> Taken;

    /// A page request. One that is taken is the sink's to answer; the driver maps others on demand or refuses them.
    fn page_request(&self, _now: Time, _request: &PageRequest) -> Taken {
        Taken::No
    }
}

/// A queue that the SMMU writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputQueue {
    pub(super) base: u64,
    pub(super) ring: Ring,
}

/// The queues that the SMMU writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rings {
    pub(super) eventq: OutputQueue,
    pub(super) priq: Option<OutputQueue>,
}

const EVENT: u64 = EventRecord::BYTES as u64;
const REQUEST: u64 = PageRequest::BYTES as u64;

impl Rings {
    pub(super) fn new(config: &Config, features: &Features, pages: &Pages) -> Result<Self, Errno> {
        let queue = |log2: u8, entry: u64| {
            pages.alloc(entry << log2).map(|base| OutputQueue { base, ring: Ring::new(log2) })
        };
        let eventq = queue(features.eventqs.min(config.eventq_log2_max), EVENT)?;
        let priq = match features.pri {
            true => Some(queue(features.priqs.min(config.priq_log2_max), REQUEST)?),
            false => None,
        };
        Ok(Self { eventq, priq })
    }
}

impl OutputQueue {
    async fn read<A: Access, const N: usize>(&self, cpu: &A, position: u32) -> [u8; N] {
        let mut bytes = [0; N];
        cpu.load(self.base + u64::from(self.ring.index(position)) * N as u64, &mut bytes).await;
        bytes
    }
}

impl Driver {
    /// Who is offered event records and page requests.
    pub fn set_event_sink(&self, sink: Option<Arc<dyn EventSink>>) {
        *self.sink.lock() = sink;
    }

    /// Starts the handler tasks on CPU `on` and routes the interrupts there, if the driver knows the interrupt
    /// controller.
    pub async fn spawn_handlers<A: Access>(self: &Arc<Self>, cpu: &A, on: CpuId) {
        let interrupts = self.config.interrupts;
        let name = |what: &str| format!("{} smmu{} {what}", self.config.by, self.config.smmu);

        self.route(cpu, interrupts.gerror, on).await;
        let driver = Arc::clone(self);
        cpu.spawn(on, name("gerror"), move |cpu| async move {
            loop {
                driver.wait(&cpu, interrupts.gerror, "gerror").await;
                driver.handle_gerror(&cpu).await;
            }
        })
        .await;

        self.route(cpu, interrupts.eventq, on).await;
        let driver = Arc::clone(self);
        cpu.spawn(on, name("evtq"), move |cpu| async move {
            loop {
                driver.wait(&cpu, interrupts.eventq, "evtq").await;
                driver.handle_events(&cpu).await;
            }
        })
        .await;

        if self.features.pri {
            self.route(cpu, interrupts.priq, on).await;
            let driver = Arc::clone(self);
            cpu.spawn(on, name("priq"), move |cpu| async move {
                loop {
                    driver.wait(&cpu, interrupts.priq, "priq").await;
                    driver.handle_page_requests(&cpu).await;
                }
            })
            .await;
        }
        if let Some(intid) = self.cmdqv.as_ref().and_then(|cmdqv| cmdqv.config().intid) {
            self.route(cpu, intid, on).await;
            let driver = Arc::clone(self);
            cpu.spawn(on, name("cmdqv"), move |cpu| async move {
                loop {
                    driver.wait(&cpu, intid, "cmdqv").await;
                    if let Some(cmdqv) = &driver.cmdqv {
                        cmdqv.handle_error(&cpu).await;
                    }
                }
            })
            .await;
        }
        cpu.barrier().await;
    }

    async fn route<A: Access>(&self, cpu: &A, intid: u32, on: CpuId) {
        if let Some(routes) = self.config.interrupts.routes {
            cpu.write32(routes + 4 * u64::from(intid), on.0.into()).await;
        }
    }
    async fn wait<A: Access>(&self, cpu: &A, intid: u32, what: &'static str) {
        cpu.wait_interrupt(intid, None).await;
        self.journal.push(cpu.now(), Note::Interrupt { by: self.config.by, intid, what });
        cpu.delay(self.config.costs.interrupt).await;
    }

    /// Reads and distributes event records until the queue is empty.
    pub async fn handle_events<A: Access>(&self, cpu: &A) {
        let queue = &self.rings.eventq;
        let cons_register = self.page1(Page1::EVENTQ_CONS);
        let mut cons = EVENTQ_CONS(cpu.read32(cons_register).await.into());
        loop {
            let prod = EVENTQ_PROD(cpu.read32(self.page1(Page1::EVENTQ_PROD)).await.into());
            if prod.wr() == cons.rd() {
                if prod.ovflg() != cons.ovackflg() {
                    let (by, smmu) = (self.config.by, self.config.smmu);
                    self.journal.push(cpu.now(), Note::EventQueueOverflow { by, smmu });
                    cons = cons.with_ovackflg(prod.ovflg());
                    cpu.write32(cons_register, cons.bits() as u32).await;
                }
                return;
            }
            while cons.rd() != prod.wr() {
                let record = EventRecord::from_bytes(
                    &queue.read::<_, { EventRecord::BYTES }>(cpu, cons.rd() as u32).await,
                );
                cons = cons.with_rd(queue.ring.add(cons.rd() as u32, 1).into());
                cpu.write32(cons_register, cons.bits() as u32).await;
                self.report(cpu, &record).await;
            }
        }
    }

    async fn report<A: Access>(&self, cpu: &A, record: &EventRecord) {
        let sink = self.sink.lock().clone();
        match sink.map_or(Taken::No, |sink| sink.event(cpu.now(), record)) {
            Taken::Yes => {}
            Taken::Wake(signal) => cpu.signal(signal).await,
            Taken::No => {
                let (by, smmu) = (self.config.by, self.config.smmu);
                self.journal.push(cpu.now(), Note::EventReported { by, smmu, record: *record });
                if record.event().is_translation_related() && record.stall() {
                    // Nobody will resolve it. A time-out is in the journal.
                    let _ = self.resume(cpu, record.sid() as u32, record.stag() as u16, false, true).await;
                }
            }
        }
    }

    /// Lets a stalled transaction go: retries it, or ends it with an abort, or with zeros.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub async fn resume<A: Access>(
        &self,
        cpu: &A,
        sid: u32,
        stag: u16,
        retry: bool,
        abort: bool,
    ) -> Result<(), Errno> {
        self.issue(cpu, &[Command::resume(sid, stag, retry, abort)], true).await
    }

    /// Reads page requests until the queue is empty; those that nobody takes are served by the driver.
    pub async fn handle_page_requests<A: Access>(&self, cpu: &A) {
        let Some(queue) = &self.rings.priq else { return };
        let cons_register = self.page1(Page1::PRIQ_CONS);
        let mut cons = PRIQ_CONS(cpu.read32(cons_register).await.into());
        loop {
            let prod = PRIQ_PROD(cpu.read32(self.page1(Page1::PRIQ_PROD)).await.into());
            if prod.wr() == cons.rd() {
                if prod.ovflg() != cons.ovackflg() {
                    self.forget_truncated_groups();
                    cons = cons.with_ovackflg(prod.ovflg());
                    cpu.write32(cons_register, cons.bits() as u32).await;
                }
                return;
            }
            while cons.rd() != prod.wr() {
                let bytes = queue.read::<_, { PageRequest::BYTES }>(cpu, cons.rd() as u32).await;
                cons = cons.with_rd(queue.ring.add(cons.rd() as u32, 1).into());
                cpu.write32(cons_register, cons.bits() as u32).await;
                self.answer(cpu, &PageRequest::from_bytes(&bytes)).await;
            }
        }
    }

    async fn answer<A: Access>(&self, cpu: &A, request: &PageRequest) {
        let sink = self.sink.lock().clone();
        match sink.map_or(Taken::No, |sink| sink.page_request(cpu.now(), request)) {
            Taken::Yes => {}
            Taken::Wake(signal) => cpu.signal(signal).await,
            Taken::No => self.page_in(cpu, request).await,
        }
    }

    /// Deals with global errors: repairs the command queue, disables the SMMU in service failure mode, acknowledges.
    pub async fn handle_gerror<A: Access>(&self, cpu: &A) {
        let gerror = GERROR(cpu.read32(self.page0(Page0::GERROR)).await.into());
        let gerrorn = GERRORN(cpu.read32(self.page0(Page0::GERRORN)).await.into());
        let known = GlobalError::ALL.iter().fold(0, |bits, error| bits | error.mask());
        let active = (gerror.bits() ^ gerrorn.bits()) & known;
        if active == 0 {
            return;
        }
        let (by, smmu) = (self.config.by, self.config.smmu);
        self.journal.push(cpu.now(), Note::GlobalError { by, smmu, bits: active as u32 });
        if active & GlobalError::SFM_ERR.mask() != 0 {
            // A time-out is in the journal.
            let _ = self.disable(cpu).await;
        }
        if active & GlobalError::CMDQ_ERR.mask() != 0 {
            self.main.skip_error(cpu).await;
        }
        cpu.write32(self.page0(Page0::GERRORN), gerror.bits() as u32).await;
    }
}

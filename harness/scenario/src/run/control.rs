//! What a script asks of the runner rather than of the machine: faults of the environment, a look at all counters, the end
//! of all activity. A question is answered before the asking task runs again; it costs a nanosecond.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use models::cpu::Cpu;
use parking_lot::Mutex;
use sim::Time;

use super::judge::SeenEvent;
use crate::model::Fault;
use crate::outcome::Value;

/// A question.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// All metrics as they stand.
    Metrics,
    /// Whether no transaction, command or record is under way.
    Idle,
    /// Arm (or disarm) a fault of hardware.
    Fault(Box<Fault>, bool),
    /// How many event records hardware has written.
    EventCount,
    /// Event records that hardware has written, without the first so many.
    Events { after: usize },
    /// An old mapping is taken for gone everywhere.
    Retire { asid: u16, iova: u64, len: u64 },
    /// A device is behind a vSMMU (or, without one, behind the script itself), or no longer.
    Behind { vsmmu: Option<usize>, smmu: u16, sid: u32, vsid: u32, vmid: u16 },
    /// A stream has a new owner: a VM, or the host.
    Assign { smmu: u16, sid: u32, vm: Option<usize> },
    /// A VINTF's queues are a vSMMU's.
    VintfOwner { smmu: u16, vintf: u8, vsmmu: Option<usize> },
    /// A viommu object of a vSMMU (or of the script) belongs to this pSMMU.
    Viommu { vsmmu: Option<usize>, id: u32, smmu: u16 },
    /// Memory belongs to a VM.
    Grant { vm: usize, ranges: Vec<std::ops::Range<u64>> },
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) enum Answer {
    #[default]
    Done,
    Metrics(BTreeMap<String, Value>),
    Idle(bool),
    EventCount(usize),
    Events(Vec<SeenEvent>),
}

/// The line between tasks and the runner.
#[derive(Clone, Debug, Default)]
pub(super) struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: AtomicBool,
    questions: Mutex<Vec<(u64, Ask)>>,
    answers: Mutex<BTreeMap<u64, Answer>>,
    next: Mutex<u64>,
}

impl Control {
    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, cpu: &Cpu, ask: Ask) -> Answer {
        let id = {
            let mut next = self.0.next.lock();
            *next += 1;
            *next
        };
        self.0.questions.lock().push((id, ask));
        self.0.asked.store(true, Ordering::Relaxed);
        cpu.sleep(Time::ns(1)).await;
        self.0.answers.lock().remove(&id).expect("the runner answers after every event")
    }
    /// All metrics as they stand.
    pub(super) async fn metrics(&self, cpu: &Cpu) -> BTreeMap<String, Value> {
        match self.ask(cpu, Ask::Metrics).await {
            Answer::Metrics(metrics) => metrics,
            other => unreachable!("{other:?}"),
        }
    }
    /// How many event records there are so far.
    pub(super) async fn event_count(&self, cpu: &Cpu) -> usize {
        match self.ask(cpu, Ask::EventCount).await {
            Answer::EventCount(count) => count,
            other => unreachable!("{other:?}"),
        }
    }
    /// Event records so far, without the first `after`.
    pub(super) async fn events(&self, cpu: &Cpu, after: usize) -> Vec<SeenEvent> {
        match self.ask(cpu, Ask::Events { after }).await {
            Answer::Events(events) => events,
            other => unreachable!("{other:?}"),
        }
    }
    /// Whether somebody has asked. Cheap: the runner looks after every event.
    pub(super) fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }
    /// Answers every open question.
    pub(super) fn answer(&self, mut with: impl FnMut(Ask) -> Answer) {
        self.0.asked.store(false, Ordering::Relaxed);
        for (id, ask) in std::mem::take(&mut *self.0.questions.lock()) {
            let answer = with(ask);
            self.0.answers.lock().insert(id, answer);
        }
    }
}

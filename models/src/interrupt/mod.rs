//! The interrupt controller: MSI writes and wired edges become interrupts at CPUs.
//!
//! ```text
//!   0x0000               doorbell, write only: an MSI; the data is the interrupt number
//!   0x1000 + 4 * intid   route, read and write: index of the CPU that gets the interrupt
//! ```
//! Interrupts are edges. A CPU keeps a pending interrupt until a task consumes it, so two edges may become one there,
//! as they do on silicon. No priorities, no masks.

mod timing;

pub use timing::InterruptTiming;

use sim::{Component, Cx, Time};

use crate::bus::{Abort, Data, Op, PhysAddr, Requester, Response, Transaction};
use crate::cpu::CpuId;
use crate::record::Record;

/// Offset of the doorbell.
pub const DOORBELL: u64 = 0;
/// Offset of the route of interrupt 0; each takes four bytes.
pub const ROUTES: u64 = 0x1000;

/// What interrupt controller there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptConfig {
    /// First byte of its registers.
    pub base: PhysAddr,
    /// Number of interrupts.
    pub intids: u32,
    /// Number of CPUs. All interrupts go to CPU 0 at first.
    pub cpus: u16,
    /// What it costs.
    pub timing: InterruptTiming,
}

impl InterruptConfig {
    /// 4096 interrupts with default timing.
    pub fn new(base: PhysAddr, cpus: u16) -> Self {
        Self { base, intids: 4096, cpus, timing: InterruptTiming::default() }
    }
    /// Number of bytes of its registers.
    pub fn size(&self) -> u64 {
        ROUTES + 4 * u64::from(self.intids)
    }
}

/// All that it hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum In {
    /// A register access; the doorbell among them.
    Bus(Transaction),
    /// A wire's rising edge.
    Edge {
        /// Interrupt number.
        intid: u32,
        /// The pSMMU whose wire it is, if it is one.
        smmu: Option<u16>,
    },
}

/// All that it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// The answer to an access.
    Respond(Response),
    /// An interrupt becomes pending at a CPU.
    Deliver {
        /// Where.
        cpu: CpuId,
        /// Interrupt number.
        intid: u32,
    },
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterruptCounters {
    /// Interrupts raised by MSI writes.
    pub messages: u64,
    /// Interrupts raised by wires.
    pub edges: u64,
    /// MSI writes and edges with a number that does not exist.
    pub spurious: u64,
    /// Register accesses refused.
    pub aborts: u64,
}

/// The interrupt controller.
#[derive(Clone, Debug)]
pub struct InterruptController {
    config: InterruptConfig,
    routes: Vec<u16>,
    counters: InterruptCounters,
}

type Context = Cx<In, Out, Record>;

impl InterruptController {
    /// Everything is routed to CPU 0.
    pub fn new(config: InterruptConfig) -> Self {
        let routes = vec![0; config.intids as usize];
        Self { config, routes, counters: InterruptCounters::default() }
    }
    /// What happened so far.
    pub fn counters(&self) -> &InterruptCounters {
        &self.counters
    }
    /// Where its registers are.
    pub fn config(&self) -> &InterruptConfig {
        &self.config
    }

    fn raise(&mut self, intid: u32, smmu: Option<u16>, delay: Time, cx: &mut Context) -> bool {
        let Some(cpu) = self.routes.get(intid as usize) else {
            self.counters.spurious += 1;
            return false;
        };
        cx.note(Record::InterruptRaised { intid, smmu });
        cx.say(delay, Out::Deliver { cpu: CpuId(*cpu), intid });
        true
    }

    fn access(&mut self, transaction: &Transaction, cx: &mut Context) {
        let offset = transaction.addr.wrapping_sub(self.config.base);
        let result = match transaction.op {
            Op::Write(data) if offset == DOORBELL => self.message(transaction.from, data, cx),
            Op::Read { len: 4 } if offset == DOORBELL => Ok(Data::u32(0)),
            Op::Write(data) if data.len() == 4 => self.set_route(offset, data.value()),
            Op::Read { len: 4 } => self.route(offset).map(|cpu| Data::u32(u32::from(*cpu))),
            _ => Err(Abort),
        };
        if result.is_err() {
            self.counters.aborts += 1;
            cx.note(Record::BusError { by: transaction.from, addr: transaction.addr });
        }
        cx.say(self.config.timing.register, Out::Respond(transaction.respond(result)));
    }

    /// An MSI: four bytes, or two from devices that know no more. A number that does not exist is dropped, as an ITS
    /// drops what it has no translation for.
    fn message(&mut self, from: Requester, data: Data, cx: &mut Context) -> Result<Data, Abort> {
        if !matches!(data.len(), 2 | 4 | 8) {
            return Err(Abort);
        }
        let smmu = match from {
            Requester::Psmmu(smmu) | Requester::Pair(smmu) => Some(smmu),
            Requester::Cpu(_) => None,
        };
        let intid = data.value() as u32;
        if self.raise(intid, smmu, self.config.timing.message, cx) {
            self.counters.messages += 1;
        }
        Ok(Data::EMPTY)
    }

    fn edge(&mut self, intid: u32, smmu: Option<u16>, cx: &mut Context) {
        if self.raise(intid, smmu, self.config.timing.wired, cx) {
            self.counters.edges += 1;
        }
    }

    fn route(&mut self, offset: u64) -> Result<&mut u16, Abort> {
        let at = offset.checked_sub(ROUTES).filter(|at| at % 4 == 0).ok_or(Abort)?;
        self.routes.get_mut(usize::try_from(at / 4).map_err(|_| Abort)?).ok_or(Abort)
    }

    /// A CPU that does not exist is ignored.
    fn set_route(&mut self, offset: u64, cpu: u64) -> Result<Data, Abort> {
        let cpus = self.config.cpus;
        let route = self.route(offset)?;
        if let Ok(cpu) = u16::try_from(cpu)
            && cpu < cpus
        {
            *route = cpu;
        }
        Ok(Data::EMPTY)
    }
}

impl Component for InterruptController {
    type In = In;
    type Out = Out;
    type Note = Record;

    fn on(&mut self, heard: In, cx: &mut Context) {
        match heard {
            In::Bus(transaction) => self.access(&transaction, cx),
            In::Edge { intid, smmu } => self.edge(intid, smmu, cx),
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const BASE: u64 = 0x800_0000;

    fn hear(controller: &mut InterruptController, heard: In) -> (Vec<(Time, Out)>, Vec<Record>) {
        let mut cx = Cx::default();
        controller.on(heard, &mut cx);
        assert!(cx.woken.is_empty());
        (cx.said, cx.notes)
    }
    fn bus(from: Requester, offset: u64, op: Op) -> In {
        In::Bus(Transaction::new(from, 3, BASE + offset, op))
    }
    fn delivered(said: &[(Time, Out)]) -> Vec<(Time, u16, u32)> {
        said.iter()
            .filter_map(|(at, out)| match out {
                Out::Deliver { cpu, intid } => Some((*at, cpu.0, *intid)),
                Out::Respond(_) => None,
            })
            .collect()
    }

    #[test]
    fn interrupts_go_where_they_are_routed() {
        let t = InterruptTiming::default();
        let (c, s) = (Requester::Cpu(1), Requester::Psmmu(2));
        let msi = |from, data| bus(from, DOORBELL, Op::Write(data));
        for (name, heard, latency, want, smmu) in [
            ("MSI of a CPU", msi(c, Data::u32(40)), t.message, Some((0, 40)), None),
            ("MSI through a pSMMU", msi(s, Data::u32(41)), t.message, Some((3, 41)), Some(2)),
            ("two bytes", msi(s, Data::new(&[41, 0])), t.message, Some((3, 41)), Some(2)),
            ("edge", In::Edge { intid: 41, smmu: Some(1) }, t.wired, Some((3, 41)), Some(1)),
            ("the last", In::Edge { intid: 4095, smmu: None }, t.wired, Some((0, 4095)), None),
            ("MSI that does not exist", msi(s, Data::u32(4096)), t.message, None, None),
            ("edge that does not exist", In::Edge { intid: 4096, smmu: None }, t.wired, None, None),
        ] {
            let mut controller = InterruptController::new(InterruptConfig::new(BASE, 4));
            hear(&mut controller, bus(c, ROUTES + 4 * 41, Op::Write(Data::u32(3))));
            let is_bus = matches!(heard, In::Bus(_));
            let (said, notes) = hear(&mut controller, heard);
            let want_delivered: Vec<_> = want.map(|(cpu, intid)| (latency, cpu, intid)).into_iter().collect();
            assert_eq!(delivered(&said), want_delivered, "{name}");
            let want_notes: Vec<_> =
                want.map(|(_, intid)| Record::InterruptRaised { intid, smmu }).into_iter().collect();
            assert_eq!(notes, want_notes, "{name}");
            let responses = said.iter().filter(|(_, out)| matches!(out, Out::Respond(_))).count();
            assert_eq!(responses, usize::from(is_bus), "{name}");
            let counters = controller.counters();
            assert_eq!(counters.messages + counters.edges, u64::from(want.is_some()), "{name}");
            assert_eq!(counters.spurious, u64::from(want.is_none()), "{name}");
        }
    }

    #[test]
    fn registers() {
        let c = Requester::Cpu(0);
        let word = |n| Op::Write(Data::u32(n));
        let read = Op::Read { len: 4 };
        let route = ROUTES + 4 * 7;
        for (name, history, want) in [
            ("reset", &[(route, read)][..], Ok(0)),
            ("read back", &[(route, word(3)), (route, read)], Ok(3)),
            ("no such CPU", &[(route, word(3)), (route, word(4)), (route, read)], Ok(3)),
            ("neighbour untouched", &[(route, word(3)), (route + 4, read)], Ok(0)),
            ("doorbell reads as zero", &[(DOORBELL, read)], Ok(0)),
            ("gap", &[(0x800, read)], Err(Abort)),
            ("unaligned", &[(route + 2, read)], Err(Abort)),
            ("beyond", &[(ROUTES + 4 * 4096, read)], Err(Abort)),
            ("wrong size", &[(route, Op::Read { len: 8 })], Err(Abort)),
            ("atomic", &[(route, Op::FetchAdd(1))], Err(Abort)),
        ] {
            let mut controller = InterruptController::new(InterruptConfig::new(BASE, 4));
            let mut last = None;
            for (offset, op) in history {
                let (said, _) = hear(&mut controller, bus(c, *offset, *op));
                let [(_, Out::Respond(response))] = said[..] else { panic!("{name}: {said:?}") };
                last = Some(response.result.map(|data| data.value()));
            }
            assert_eq!(last, Some(want), "{name}");
        }
    }
}

//! A pSMMU whose doings take time, with its event queue.

use models::bus::{Abort, Data, LINE, Op, PhysAddr, Requester, Response, Transaction};
use models::dma::{AtcInvalidate, DmaCompletion, DmaRequest, PageResponse};
use models::psmmu::{In, Out, Psmmu, PsmmuConfig};
use models::record::Record;
use sim::{Component, Cx, DomainId, Queue, Time};
use spec::smmu::PageRequest;

use super::{Machine, World};

/// From a requester to memory; the way back takes as long.
const MEMORY: Time = Time::ns(50);
/// The same where memory is slow.
const SLOW: Time = Time::us(10);
/// Until a device has answered an ATC invalidation.
const ATC: Time = Time::us(1);
/// Any other way.
const WAY: Time = Time::ns(20);

#[derive(Debug)]
enum Event {
    Smmu(In),
    Memory(Transaction),
    Answered(Response),
    Done(DmaCompletion),
    Atc(AtcInvalidate),
    Page(PageResponse),
    Edge(u32),
}

pub(super) struct Cycles {
    smmu: Psmmu,
    queue: Queue<Event>,
    cx: Cx<In, Out, Record>,
    answer: Option<Response>,
}

impl Cycles {
    pub(super) fn new(config: PsmmuConfig) -> Self {
        let smmu = Psmmu::new(config).expect("what the ID registers promise is modelled");
        Self { smmu, queue: Queue::new(DomainId(0)), cx: Cx::default(), answer: None }
    }

    fn after(&mut self, delay: Time, event: Event) {
        self.queue.push(self.queue.now() + delay, event);
    }

    fn hear(&mut self, now: Time, heard: In, world: &mut World) {
        self.cx.now = now;
        self.smmu.on(heard, &mut self.cx);
        self.cx.notes.drain(..).for_each(|record| world.note(record));
        for (at, message) in self.cx.woken.drain(..) {
            self.queue.push(at, Event::Smmu(message));
        }
        for (at, out) in self.cx.said.drain(..) {
            let (way, event) = match out {
                Out::Bus(t) => (if world.is_slow(t.addr) { SLOW } else { MEMORY }, Event::Memory(t)),
                Out::Respond(response) => (WAY, Event::Answered(response)),
                Out::Dma(completion) => (WAY, Event::Done(completion)),
                Out::Atc(invalidate) => (WAY, Event::Atc(invalidate)),
                Out::PageResponse(response) => (WAY, Event::Page(response)),
                Out::Interrupt { intid } => (WAY, Event::Edge(intid)),
            };
            self.queue.push(at + way, event);
        }
    }
}

fn memory(transaction: &Transaction, world: &mut World) -> Result<Data, Abort> {
    let mut line = [0; LINE];
    world.accessed(transaction.addr, transaction.attributes);
    match transaction.op {
        Op::Read { len } => {
            let into = &mut line[..usize::from(len)];
            world.read(transaction.addr, into).map(|()| Data::new(into))
        }
        Op::Write(data) => world.write(transaction.addr, data.bytes()).map(|()| Data::EMPTY),
        Op::CompareSwap { expected, new } => {
            world.compare_swap(transaction.addr, expected, new).map(Data::u64)
        }
        // The SMMU itself needs no other atomic, and devices send none here.
        Op::FetchAdd(_) | Op::Swap(_) => Err(Abort),
    }
}

impl Machine for Cycles {
    fn access(&mut self, addr: PhysAddr, op: Op, world: &mut World) -> Result<Data, Abort> {
        let transaction = Transaction::new(Requester::Cpu(0), 0, addr, op);
        self.after(WAY, Event::Smmu(In::Bus(transaction)));
        while self.answer.is_none() {
            assert!(self.step(world), "a register access is answered");
        }
        self.answer.take().expect("it is there").result
    }

    fn send(&mut self, request: DmaRequest, _: &mut World) {
        self.after(WAY, Event::Smmu(In::Dma(request)));
    }

    fn ask_for_page(&mut self, request: PageRequest, _: &mut World) {
        self.after(WAY, Event::Smmu(In::PageRequest(request)));
    }

    fn step(&mut self, world: &mut World) -> bool {
        let Some((now, event)) = self.queue.pop() else { return false };
        world.burn();
        match event {
            Event::Smmu(heard) => self.hear(now, heard, world),
            Event::Memory(transaction) => {
                let response = transaction.respond(memory(&transaction, world));
                let way = if world.is_slow(transaction.addr) { SLOW } else { MEMORY };
                self.after(way, Event::Smmu(In::Response(response)));
            }
            Event::Answered(response) => self.answer = Some(response),
            Event::Done(DmaCompletion { tag, result, .. }) => world.answers.extend([(tag, result)]),
            Event::Atc(invalidate) => {
                world.invalidations.push(invalidate);
                if !world.is_mute(&invalidate) {
                    let done = In::AtcDone { tag: invalidate.tag, timed_out: false };
                    self.after(ATC, Event::Smmu(done));
                }
            }
            Event::Page(response) => world.page_responses.push(response),
            Event::Edge(intid) => world.edges.push(intid),
        }
        true
    }

    fn inserted_syncs(&self) -> u64 {
        super::inserted_syncs(&self.smmu.metrics())
    }
}

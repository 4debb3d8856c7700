use std::collections::BTreeMap;

use sim::{DomainId, Queue, Time};

use super::*;
use crate::bus::{LINE, Requester};
use crate::dma::{AddressType, Grant, Incoming, PageAnswer};
use crate::memory::PhysMem;

const PAGE: u64 = 4096;
const SID_BASE: u32 = 0x100;
const RID: u16 = 5;
/// What the stand-in for pSMMU and memory takes for a request.
const SERVICE: Time = Time::ns(300);

/// Stands in for a pSMMU and memory: page-wise mappings, a fixed time per request.
pub(super) struct World {
    pub memory: PhysMem,
    /// Page number to page number, read, write.
    pub map: BTreeMap<u64, (u64, bool, bool)>,
    pub requests: Vec<(Time, DmaRequest)>,
    pub said: Vec<(Time, Out)>,
    /// Makes more, or less, of what a translation request is granted.
    pub grant: fn(&DmaRequest, Grant) -> Grant,
    /// How page requests are answered, and after how many of Success a page is there.
    pub pages: (PageAnswer, u32),
    /// Groups with a page from here on are invalid.
    pub invalid: u64,
    pub page_requests: Vec<PageRequest>,
    pub unanswered_max: usize,
    pub outstanding_max: usize,
}

impl World {
    /// Pages 1..100 are mapped to 1001..1100.
    pub(super) fn new() -> Self {
        Self {
            memory: PhysMem::new(),
            map: (1..100).map(|page| (page, (page + 1000, true, true))).collect(),
            grant: |_, grant| grant,
            requests: Vec::new(),
            said: Vec::new(),
            pages: (PageAnswer::Success, 1),
            invalid: u64::MAX,
            page_requests: Vec::new(),
            unanswered_max: 0,
            outstanding_max: 0,
        }
    }
    pub(super) fn pa(iova: u64) -> u64 {
        iova + 1000 * PAGE
    }
    fn answer(&mut self, request: &DmaRequest) -> DmaResult {
        let mapping = self.map.get(&(request.addr / PAGE)).copied();
        let pa = match request.kind {
            AddressType::TranslationRequest { .. } => {
                let (page, read, write) = mapping.unwrap_or_default();
                let grant = Grant { pa: page * PAGE, size_log2: 12, read, write, ..Grant::default() };
                return DmaResult::Translation((self.grant)(request, grant));
            }
            AddressType::Translated => request.addr,
            AddressType::Untranslated => match mapping {
                Some((page, read, write)) if if request.op.writes() { write } else { read } => {
                    page * PAGE + request.addr % PAGE
                }
                _ => return DmaResult::Aborted(Abort),
            },
        };
        DmaResult::Ok(self.memory.apply(pa, &request.op).answer)
    }

    /// Answers the last request of a group.
    fn page_in(&mut self, request: &PageRequest) -> Option<PageResponse> {
        self.page_requests.push(*request);
        let (mut answer, times) = self.pages;
        let page = request.addr() / PAGE;
        let group = self.page_requests.iter().rev().take_while(|r| r.prgindex() == request.prgindex());
        if group.into_iter().any(|r| r.addr() / PAGE >= self.invalid) {
            answer = PageAnswer::Invalid;
        } else if self.page_requests.iter().filter(|r| r.addr() == request.addr()).count() == times as usize {
            self.map.insert(page, (page + 1000, true, request.w()));
        }
        let ssid = request.ssv().then_some(request.ssid() as u32);
        let response =
            PageResponse { sid: request.sid() as u32, ssid, group: request.prgindex() as u16, answer };
        (request.last() && !request.is_stop_marker()).then_some(response)
    }

    /// Runs until nothing is left to do. Requests take effect when they leave the root port.
    pub(super) fn run(&mut self, endpoint: &mut Endpoint, heard: Vec<(Time, In)>) {
        let mut queue = Queue::new(DomainId(0));
        for (at, message) in heard {
            queue.push(at, Ok(message));
        }
        let (mut outstanding, mut unanswered) = (0, BTreeMap::<u64, usize>::new());
        while let Some((now, event)) = queue.pop() {
            match event {
                Ok(message) => {
                    outstanding -= usize::from(matches!(message, In::Arrived(Arrival::Dma(_))));
                    if let In::Arrived(Arrival::PageResponse(response)) = &message {
                        unanswered.remove(&response.group.into());
                    }
                    let mut cx = Cx::at(now);
                    endpoint.on(message, &mut cx);
                    for (at, message) in cx.woken {
                        queue.push(at, Ok(message));
                    }
                    for (at, out) in cx.said {
                        outstanding += usize::from(matches!(out, Out::Dma(_)));
                        if let Out::PageRequest(request) = &out {
                            *unanswered.entry(request.prgindex()).or_default() += 1;
                        }
                        queue.push(at, Err(out));
                    }
                    self.outstanding_max = self.outstanding_max.max(outstanding);
                    self.unanswered_max = self.unanswered_max.max(unanswered.values().sum());
                }
                Err(Out::Dma(request)) => {
                    let result = self.answer(&request);
                    let DmaRequest { endpoint, tag, .. } = request;
                    queue.push(now + SERVICE, Ok(In::Dma(DmaCompletion { endpoint, tag, result })));
                    self.requests.push((now, request));
                }
                Err(Out::PageRequest(request)) => {
                    if let Some(response) = self.page_in(&request) {
                        queue.push(now + SERVICE, Ok(In::PageResponse(response)));
                    }
                }
                Err(out) => self.said.push((now, out)),
            }
        }
        assert_eq!(endpoint.transfers(), 0, "everything ends");
    }

    fn results(&self) -> Vec<&JobResult> {
        self.said
            .iter()
            .filter_map(|(_, out)| match out {
                Out::JobDone { result, .. } => Some(&**result),
                _ => None,
            })
            .collect()
    }
    /// Values of the registers read.
    pub(super) fn values(&self) -> Vec<u64> {
        self.said
            .iter()
            .filter_map(|(_, out)| match out {
                Out::Respond(Response { tag: READ_TAG, result, .. }) => {
                    Some(result.map_or(u64::MAX, |data| data.value()))
                }
                _ => None,
            })
            .collect()
    }
    fn invalidations(&self) -> Vec<(Time, u32, bool)> {
        self.said
            .iter()
            .filter_map(|(at, out)| match out {
                Out::AtcDone { tag, timed_out, .. } => Some((*at, *tag, *timed_out)),
                _ => None,
            })
            .collect()
    }
}

pub(super) fn config() -> EndpointConfig {
    EndpointConfig::dma(3, RootPortConfig::new(SID_BASE), RID)
}
pub(super) fn with_atc() -> EndpointConfig {
    EndpointConfig { ats: Some(AtcConfig { entries: 16 }), ..config() }
}
const READ_TAG: u32 = 1;
const WRITE_TAG: u32 = 2;

/// A read of eight bytes.
pub(super) fn read(offset: u64) -> In {
    In::Bus(Transaction::new(Requester::Cpu(0), READ_TAG, offset, Op::Read { len: 8 }))
}
/// A write of four bytes.
pub(super) fn write32(offset: u64, value: u32) -> In {
    let op = Op::Write(Data::u32(value));
    In::Bus(Transaction::new(Requester::Cpu(0), WRITE_TAG, offset, op))
}
/// A write of eight bytes.
pub(super) fn write(offset: u64, value: u64) -> In {
    let op = Op::Write(Data::u64(value));
    In::Bus(Transaction::new(Requester::Cpu(0), WRITE_TAG, offset, op))
}
fn job(write: bool, iova: u64, len: u32, pattern: &[u8]) -> In {
    job_of(None, write, iova, len, pattern)
}
fn job_of(ssid: Option<u32>, write: bool, iova: u64, len: u32, pattern: &[u8]) -> In {
    let pattern = pattern.to_vec();
    let job = Job { write, iova, ssid, incoming: Incoming::DEFAULT, len, pattern, stop: false };
    In::Job { cpu: 0, tag: 1, job: Box::new(job) }
}
fn invalidate(tag: u32, addr: u64, size_log2: u8) -> In {
    In::Atc(AtcInvalidate { tag, sid: SID_BASE + u32::from(RID), ssid: None, global: false, addr, size_log2 })
}

#[test]
fn jobs_move_every_byte_with_or_without_ats() {
    for base in [config(), with_atc()] {
        for (iova, len, requests) in [
            (PAGE, 0, 0),
            (PAGE, 1, 1),
            (PAGE, 64, 1),
            (PAGE + 60, 8, 2),
            (PAGE + 1, 64, 2),
            (2 * PAGE - 3, 6, 2),
            (PAGE + 32, 10_000, 157),
        ] {
            let case = format!("{len} bytes at {iova:#x}, ats {}", base.ats.is_some());
            let pattern: Vec<u8> = (0..251).collect();
            let want: Vec<u8> = pattern.iter().copied().cycle().take(len as usize).collect();
            let mut world = World::new();
            let mut endpoint = Endpoint::new(base.clone());
            world.run(&mut endpoint, vec![(Time::ZERO, job(true, iova, len, &pattern))]);
            let mut held = vec![0; len as usize];
            world.memory.read(World::pa(iova), &mut held);
            assert_eq!(held, want, "written: {case}");

            let data = world
                .requests
                .iter()
                .filter(|(_, r)| !matches!(r.kind, AddressType::TranslationRequest { .. }));
            assert_eq!(data.clone().count(), requests, "{case}");
            for (_, r) in data {
                assert!(r.addr % LINE as u64 + r.op.len() as u64 <= LINE as u64, "{case}: {r:?}");
                assert_eq!((r.sid, r.endpoint), (SID_BASE + u32::from(RID), 3), "{case}");
            }

            let mut endpoint = Endpoint::new(base.clone());
            world.run(&mut endpoint, vec![(Time::ZERO, job(false, iova, len, &[]))]);
            let ok = JobResult { done: len, aborted: false, data: Vec::new() };
            assert_eq!(world.results(), [&ok, &JobResult { data: want, ..ok.clone() }], "{case}");
        }
    }
}

#[test]
fn jobs_stop_at_the_first_abort() {
    for base in [config(), with_atc()] {
        for (name, write, allowed, iova, done, aborted) in [
            ("hole", false, None, 9 * PAGE + 100, PAGE - 100, true),
            ("hole at once", true, None, 10 * PAGE, 0, true),
            ("read of a read-only page", false, Some((true, false)), 10 * PAGE, 100 * PAGE, false),
            ("write to a read-only page", true, Some((true, false)), 9 * PAGE, PAGE, true),
            ("read of a write-only page", false, Some((false, true)), 9 * PAGE, PAGE, true),
        ] {
            let mut world = World::new();
            world.map.remove(&10);
            if let Some((read, write)) = allowed {
                world.map.insert(10, (1010, read, write));
            }
            let len = 2 * PAGE as u32;
            world.run(&mut Endpoint::new(base.clone()), vec![(Time::ZERO, job(write, iova, len, &[7]))]);
            let results = world.results();
            let done = done.min(2 * PAGE) as u32;
            let case = format!("{name}, ats {}", base.ats.is_some());
            assert_eq!((results.len(), results[0].done, results[0].aborted), (1, done, aborted), "{case}");
            assert_eq!(results[0].data.len() as u32, if write { 0 } else { done }, "{case}");
        }
    }
}

/// A read or write of a line, what it says of itself, what is granted; what was sent: the request for a translation with NW, Exe
/// and Priv, the access and whether it snoops.
#[test]
fn requests_ask_for_what_accesses_need_and_accesses_go_out_as_granted() {
    let fetch = Incoming { instruction: true, ..Incoming::DEFAULT };
    let both = Incoming { privileged: true, ..fetch };
    let all = |r: &DmaRequest, grant: Grant| {
        let Incoming { privileged, instruction, .. } = r.incoming;
        Grant { execute: instruction, privileged, ..grant }
    };
    for (name, write, ssid, incoming, grant, want) in [
        ("data", false, Some(1), Incoming::DEFAULT, all as fn(&DmaRequest, Grant) -> Grant, "nw, translated"),
        ("fetch", false, Some(1), fetch, all, "nw exe, translated"),
        ("privileged fetch", false, Some(1), both, all, "nw exe priv, translated"),
        ("writes are data", true, Some(1), both, all, "priv, translated"),
        ("without PASID", false, None, both, all, "nw, translated"),
        ("no Exe granted", false, Some(1), fetch, |_, grant| grant, "nw exe, nw exe, page request r x"),
        (
            "of another privilege",
            false,
            Some(1),
            both,
            |_, g| Grant { execute: true, ..g },
            "nw exe priv, nw exe priv, page request r x priv",
        ),
        (
            "U",
            false,
            None,
            Incoming::DEFAULT,
            |_, g| Grant { untranslated_only: true, ..g },
            "nw, untranslated",
        ),
        (
            "N",
            false,
            None,
            Incoming::DEFAULT,
            |_, g| Grant { no_snoop: true, ..g },
            "nw, translated unsnooped",
        ),
    ] {
        let mut world = World::new();
        world.grant = grant;
        let pri = PriConfig { credits: 1, tries: 1, ..PriConfig::default() };
        let mut endpoint = Endpoint::new(EndpointConfig { pri: Some(pri), ..with_atc() });
        let job = Job { write, iova: PAGE, ssid, incoming, len: 8, pattern: vec![1], stop: false };
        let job = In::Job { cpu: 0, tag: 1, job: Box::new(job) };
        world.run(&mut endpoint, vec![(Time::ZERO, job)]);
        let mut sent: Vec<String> = world.requests.iter().map(|(_, request)| sent(request)).collect();
        sent.extend(world.page_requests.iter().map(|r| {
            let flags = [(r.r(), " r"), (r.w(), " w"), (r.x(), " x"), (r.priv_(), " priv")];
            format!("page request{}", shown(&flags))
        }));
        assert_eq!(sent.join(", "), want, "{name}");
    }
}

fn shown(flags: &[(bool, &str)]) -> String {
    flags.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect()
}

fn sent(request: &DmaRequest) -> String {
    let Incoming { privileged, instruction, memory } = request.incoming;
    let unsnooped = memory == crate::smmu::Attributes::NOT_SNOOPED;
    let flags = match request.kind {
        AddressType::TranslationRequest { write } => {
            vec![(!write, "nw "), (instruction, "exe "), (privileged, "priv ")]
        }
        AddressType::Translated => vec![(true, "translated"), (unsnooped, " unsnooped")],
        AddressType::Untranslated => vec![(true, "untranslated"), (unsnooped, " unsnooped")],
    };
    shown(&flags).trim().to_owned()
}

/// Four pages from a hole of two on, of which the second may never be there. What there is of each row: whether it may ask, how it is
/// answered and after how many answers pages are there; requests sent, bytes moved.
#[test]
fn what_is_not_there_is_paged_in() {
    use PageAnswer::{Failure, Invalid, Success};
    let pri = |credits, tries| Some(PriConfig { credits, tries, group: 1 });
    let groups = |group| Some(PriConfig { credits: 8, tries: 3, group });
    let page = PAGE as u32;
    for (name, write, pri, pages, requests, done) in [
        ("no page requests", false, None, (Success, 1), 0, page),
        ("read", false, pri(8, 3), (Success, 1), 2, 4 * page),
        ("write", true, pri(8, 3), (Success, 1), 2, 4 * page),
        ("not there at once", true, pri(8, 3), (Success, 3), 6, 4 * page),
        ("never there", true, pri(8, 3), (Success, 4), 3, page),
        ("invalid", false, pri(8, 3), (Invalid, 9), 1, page),
        ("refused", false, pri(8, 3), (Failure, 9), 1, page),
        ("a group for the rest", false, groups(8), (Success, 1), 3, 4 * page),
        ("two pages at a time", true, groups(2), (Success, 1), 2, 4 * page),
        ("two pages at a time, not there at once", true, groups(2), (Success, 2), 4, 4 * page),
        ("a group that is refused", false, groups(8), (Failure, 9), 3, page),
        ("a group that is invalid, and each page", false, groups(8), (Invalid, 9), 4, page),
        ("a group with an invalid page", false, groups(8), (Success, 1), 4, 2 * page),
    ] {
        let mut world = World::new();
        world.invalid = if name == "a group with an invalid page" { 11 } else { u64::MAX };
        world.pages = pages;
        world.map.retain(|page, _| !(10..12).contains(page));
        let mut endpoint = Endpoint::new(EndpointConfig { pri, ..with_atc() });
        world.run(&mut endpoint, vec![(Time::ZERO, job(write, 9 * PAGE, 4 * page, &[7]))]);
        let results = world.results();
        assert_eq!((results[0].done, results[0].aborted), (done, done < 4 * page), "{name}");
        assert_eq!(world.page_requests.len(), requests, "{name}");
        assert_eq!(endpoint.counters().page_requests, requests as u64, "{name}");
        for (i, request) in world.page_requests.iter().enumerate() {
            assert_eq!(request.sid(), (SID_BASE + u32::from(RID)).into());
            let next = world.page_requests.get(i + 1);
            assert_eq!(
                request.last(),
                next.is_none_or(|next| next.prgindex() != request.prgindex()),
                "{name}"
            );
            assert_eq!((request.r(), request.w(), request.ssv()), (!write, write, false), "{name}");
        }
    }
}

#[test]
fn page_requests_are_limited_by_credits() {
    for credits in [1, 3, 100] {
        let mut world = World::new();
        world.map.clear();
        let pri = Some(PriConfig { credits, ..PriConfig::default() });
        let mut endpoint = Endpoint::new(EndpointConfig { pri, ..with_atc() });
        let jobs = (0..6).map(|n| (Time::ZERO, job(false, n * PAGE, 64, &[])));
        world.run(&mut endpoint, jobs.collect());
        assert!(world.results().iter().all(|result| result.done == 64));
        assert_eq!((world.page_requests.len(), world.unanswered_max), (6, credits.min(6) as usize));
    }
}

#[test]
fn a_pasid_ends_with_a_stop_marker() {
    for (name, ssid, pri, stop, markers) in [
        ("the last job", Some(3), Some(PriConfig::default()), true, 1),
        ("not the last one", Some(3), Some(PriConfig::default()), false, 0),
        ("without PASID", None, Some(PriConfig::default()), true, 0),
        ("without page requests", Some(3), None, true, 0),
    ] {
        let mut world = World::new();
        world.map.remove(&1);
        let mut endpoint = Endpoint::new(EndpointConfig { pri, ..with_atc() });
        let job = Job {
            write: false,
            iova: PAGE,
            ssid,
            incoming: Incoming::DEFAULT,
            len: 64,
            pattern: Vec::new(),
            stop,
        };
        world.run(&mut endpoint, vec![(Time::ZERO, In::Job { cpu: 0, tag: 0, job: Box::new(job) })]);
        assert_eq!(endpoint.counters().stop_markers, markers, "{name}");
        let sent: Vec<_> = world.page_requests.iter().map(|request| request.is_stop_marker()).collect();
        let asked = u64::from(pri.is_some());
        assert_eq!(
            (sent.len() as u64, endpoint.counters().page_requests),
            (asked + markers, asked),
            "{name}"
        );
        assert!(sent.iter().rev().skip(markers as usize).all(|stop| !stop), "{name}");
    }
}

#[test]
fn one_read_costs_the_link_both_ways_and_the_service() {
    let t = LinkTiming::default();
    for (len, ats) in [(64, false), (4, false), (64, true)] {
        let mut world = World::new();
        let base = if ats { with_atc() } else { config() };
        world.run(&mut Endpoint::new(base), vec![(Time::ZERO, job(false, PAGE, len, &[]))]);
        let trip = |payload| t.packet_time(0) + t.latency + SERVICE + t.packet_time(payload) + t.latency;
        let translation = if ats { trip(8) } else { Time::ZERO };
        assert_eq!(world.said[0].0, translation + trip(len as usize), "{len} bytes, ats {ats}");
    }
}

#[test]
fn requests_are_limited_by_tags_and_by_the_link() {
    let t = LinkTiming::default();
    for tags in [1, 4, 1000] {
        let mut world = World::new();
        let len = 64 * LINE as u32;
        world.run(
            &mut Endpoint::new(EndpointConfig { tags, ..config() }),
            vec![(Time::ZERO, job(true, PAGE, len, &[]))],
        );
        assert_eq!(world.outstanding_max, tags.min(64) as usize);
        let gap = t.packet_time(LINE);
        for pair in world.requests.windows(2) {
            assert!(pair[1].0 - pair[0].0 >= gap, "packets do not overlap on the link");
        }
        if tags == 1000 {
            assert_eq!(world.requests[63].0, gap * 64 + t.latency, "the link is never idle");
        }
    }
}

#[test]
fn translations_are_asked_for_once_and_forgotten_when_invalidated() {
    let touch = |at: u64, page: u64| (Time::us(at), job(true, page * PAGE, 256, &[1]));
    let drop = |at: u64, page: u64| (Time::us(at), invalidate(1, page * PAGE, 12));
    for (name, heard, want) in [
        ("one page", vec![touch(0, 1)], 1),
        ("again", vec![touch(0, 1), touch(100, 1)], 1),
        ("two at once", vec![touch(0, 1), touch(0, 1)], 1),
        ("two pages", vec![touch(0, 1), touch(0, 2)], 2),
        ("invalidated between", vec![touch(0, 1), drop(50, 1), touch(100, 1)], 2),
        ("another page invalidated", vec![touch(0, 1), drop(50, 2), touch(100, 1)], 1),
        ("no access is not cached", vec![touch(0, 200), touch(50, 200)], 2),
    ] {
        let mut world = World::new();
        let mut endpoint = Endpoint::new(with_atc());
        world.run(&mut endpoint, heard);
        assert_eq!(endpoint.counters().translation_requests, want, "{name}");
    }
}

/// The page moves, and an invalidation follows at once, at every moment of a job: after the answer no request may
/// leave with the old address, nor be on its way.
#[test]
fn after_an_invalidation_is_answered_nothing_uses_the_old_address() {
    let moments = || (0..4_000).step_by(50).map(Time::ns);
    let global = AtcInvalidate {
        tag: 1,
        sid: SID_BASE + u32::from(RID),
        ssid: Some(2),
        global: true,
        addr: PAGE,
        size_log2: 12,
    };
    let of_page = moments().map(|at| (at, None, invalidate(1, PAGE, 12)));
    let of_all = moments().map(|at| (at, Some(1), In::Atc(global)));
    for (at, ssid, request) in of_page.chain(of_all) {
        let mut world = World::new();
        let mut endpoint = Endpoint::new(with_atc());
        let old = 1001 * PAGE..1002 * PAGE;
        // The stand-in hears of the new mapping through a job-free run up to the moment.
        let mut queue = Queue::new(DomainId(0));
        queue.push(Time::ZERO, Ok(job_of(ssid, true, PAGE, 4096, &[1])));
        queue.push(at, Ok(request));
        let (mut answered, mut in_flight) = (false, BTreeMap::new());
        while let Some((now, event)) = queue.pop() {
            match event {
                Ok(message) => {
                    match &message {
                        In::Atc(_) => drop(world.map.insert(1, (2001, true, true))),
                        In::Dma(completion) => drop(in_flight.remove(&completion.tag)),
                        _ => {}
                    }
                    let mut cx = Cx::at(now);
                    endpoint.on(message, &mut cx);
                    cx.woken.into_iter().for_each(|(at, message)| queue.push(at, Ok(message)));
                    cx.said.into_iter().for_each(|(at, out)| queue.push(at, Err(out)));
                }
                Err(Out::Dma(request)) => {
                    let stale = request.kind == AddressType::Translated && old.contains(&request.addr);
                    assert!(!(answered && stale), "invalidated at {at}, used at {now}");
                    if stale {
                        in_flight.insert(request.tag, now);
                    }
                    let result = world.answer(&request);
                    let completion = DmaCompletion { endpoint: 3, tag: request.tag, result };
                    queue.push(now + SERVICE, Ok(In::Dma(completion)));
                }
                Err(Out::AtcDone { timed_out, .. }) => {
                    assert!(!timed_out && !answered);
                    assert!(in_flight.is_empty(), "invalidated at {at}: {in_flight:?} on their way at {now}");
                    answered = true;
                }
                Err(Out::JobDone { result, .. }) => assert!(!result.aborted),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(answered);
        assert_eq!(endpoint.transfers(), 0);
    }
}

#[test]
fn invalidations_are_answered_as_the_faults_say() {
    let t = LinkTiming::default();
    let trip = (t.packet_time(8) + t.latency) * 2;
    let none = AtcFaults::default();
    let nth = Which::Nth(2);
    // The second invalidation comes while a long write uses the page.
    let (first, second) = (Time::us(50), Time::us(100));
    let busy = |at: Time| at > second + trip;
    for (name, faults, is_late, timed_out, requests) in [
        ("no fault", none, true, false, 3),
        ("silent", AtcFaults { silent: nth, ..none }, true, true, 2),
        ("early", AtcFaults { early: nth, ..none }, false, false, 3),
        ("kept", AtcFaults { kept: nth, ..none }, false, false, 2),
    ] {
        let mut world = World::new();
        let mut endpoint = Endpoint::new(EndpointConfig { atc_faults: faults, ..with_atc() });
        let heard = vec![
            (Time::ZERO, job(true, PAGE, 4096, &[1])),
            (first, invalidate(1, PAGE, 12)),
            (second - Time::ns(900), job(true, PAGE, 4096, &[1])),
            (second - t.latency + Time::ns(200), invalidate(2, PAGE, 12)),
            (Time::us(150), job(true, PAGE, 64, &[1])),
        ];
        world.run(&mut endpoint, heard);
        let answers = world.invalidations();
        assert_eq!((answers.len(), answers[0]), (2, (first + trip, 1, false)), "{name}");
        assert_eq!(
            (busy(answers[1].0), answers[1].1, answers[1].2),
            (is_late, 2, timed_out),
            "{name}: {answers:?}"
        );
        if timed_out {
            assert!(answers[1].0 > second + t.atc_timeout, "{name}");
        }
        assert_eq!(endpoint.counters().translation_requests, requests, "{name}");
    }
}

/// Of five invalidations, those that time out; the fault changes before the fourth.
#[test]
fn as_many_invalidations_are_lost_as_the_fault_says() {
    let range = Which::Range;
    for (which, then, want) in [
        (Which::Nth(2), Which::Nth(2), [false, true, false, false, true]),
        (range(2, 2), Which::Never, [false, true, true, false, false]),
        (range(1, 1_000_000), range(2, 9), [true, true, true, false, true]),
    ] {
        let mut endpoint = Endpoint::new(with_atc());
        let mut lost = [false; 5];
        for (tag, lost) in lost.iter_mut().enumerate() {
            match tag {
                0 => endpoint.set_silent(which),
                3 => endpoint.set_silent(then),
                _ => {}
            }
            let mut world = World::new();
            world.run(&mut endpoint, vec![(Time::ZERO, invalidate(tag as u32, PAGE, 12))]);
            *lost = world.invalidations()[0].2;
        }
        assert_eq!(lost, want, "{which:?}, {then:?}");
    }
}

#[test]
fn an_endpoint_without_an_atc_answers_after_a_round_trip() {
    let t = LinkTiming::default();
    let mut world = World::new();
    world.run(&mut Endpoint::new(config()), vec![(Time::ZERO, invalidate(7, 0, 64))]);
    assert_eq!(world.invalidations(), [((t.packet_time(8) + t.latency) * 2, 7, false)]);
}

#[test]
fn a_dma_endpoint_has_no_registers() {
    let transaction = |op| Transaction::new(Requester::Cpu(0), 1, 0x40, op);
    for (op, want) in [
        (Op::Read { len: 4 }, Err(Abort)),
        (Op::Write(Data::u32(1)), Ok(Data::EMPTY)), // posted: the CPU is not told
        (Op::Swap(1), Err(Abort)),
    ] {
        let mut world = World::new();
        world.run(&mut Endpoint::new(config()), vec![(Time::ZERO, In::Bus(transaction(op)))]);
        assert_eq!(world.said.len(), 1);
        assert_eq!(world.said[0].1, Out::Respond(transaction(op).respond(want)), "{op:?}");
    }
}

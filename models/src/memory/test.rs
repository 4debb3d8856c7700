use proptest::prelude::*;
use sim::{DomainId, Queue};

use super::*;
use crate::bus::Data;

const A: u64 = 0x8000_0000;
const B: u64 = A + LINE as u64;
const OUTSIDE: u64 = 0x1000;

/// Lets memory hear everything, and itself, in order of time. Returns what it said, by time, and its notes.
fn run(memory: &mut Memory, heard: Vec<(Time, In)>) -> (Vec<(Time, Out)>, Vec<Record>) {
    let mut queue = Queue::new(DomainId(0));
    for (at, message) in heard {
        queue.push(at, message);
    }
    let (mut said, mut notes) = (Vec::new(), Vec::new());
    while let Some((now, message)) = queue.pop() {
        let mut cx = Cx::at(now);
        memory.on(message, &mut cx);
        for (at, message) in cx.woken {
            queue.push(at, message);
        }
        said.append(&mut cx.said);
        notes.append(&mut cx.notes);
    }
    said.sort_by_key(|(at, _)| *at);
    (said, notes)
}

fn flat() -> Memory {
    Memory::new(MemoryConfig::flat(A, 1 << 20))
}

fn access(from: Requester, tag: u32, addr: u64, op: Op) -> In {
    In::Access(Transaction::new(from, tag, addr, op))
}
fn cpu(cpu: u16, tag: u32, addr: u64, op: Op) -> In {
    access(Requester::Cpu(cpu), tag, addr, op)
}

/// Tag, time and value of the responses.
fn answers(said: &[(Time, Out)]) -> Vec<(u32, Time, Result<u64, Abort>)> {
    said.iter()
        .filter_map(|(at, out)| match out {
            Out::Respond(r) => Some((r.tag, *at, r.result.map(|d| d.value()))),
            Out::Touched { .. } => None,
        })
        .collect()
}

const READ: Op = Op::Read { len: 8 };
fn write(value: u64) -> Op {
    Op::Write(Data::u64(value))
}

#[test]
fn latency_is_the_row_of_where_the_line_was() {
    let t = MemoryTiming::default();
    let dram = t.dram_load + t.line_time();
    let c0 = Requester::Cpu(0);
    let c1 = Requester::Cpu(1);
    let dev = Requester::Psmmu(0);
    for (name, history, want) in [
        ("first load", &[(c0, READ)][..], dram),
        ("own cache", &[(c0, READ), (c0, READ)], t.own_hit),
        ("own store", &[(c0, READ), (c0, write(1))], t.own_hit),
        ("own atomic", &[(c0, READ), (c0, Op::FetchAdd(1))], t.own_hit + t.own_atomic),
        ("another CPU's line", &[(c0, write(1)), (c1, READ)], t.transfer),
        ("another CPU's line, atomic", &[(c0, write(1)), (c1, Op::Swap(1))], t.transfer + t.own_atomic),
        ("after a device wrote", &[(c0, write(1)), (dev, write(2)), (c0, READ)], t.llc_hit),
        ("device reads a CPU's line", &[(c0, write(1)), (dev, READ)], t.device_snoop),
        ("device writes a CPU's line", &[(c0, READ), (dev, write(1))], t.device_snoop),
        ("device reads what nobody holds", &[(dev, READ)], dram),
        ("device writes what nobody holds", &[(dev, write(1))], t.device_write + t.line_time()),
        ("device reads after a device wrote", &[(c0, READ), (dev, write(1)), (dev, READ)], t.device_llc),
    ] {
        let gap = Time::us(1);
        let heard = history
            .iter()
            .enumerate()
            .map(|(i, &(from, op))| (gap * i as u64, access(from, i as u32, A, op)))
            .collect();
        let (said, _) = run(&mut flat(), heard);
        let (tag, at, _) = *answers(&said).last().expect("answered");
        assert_eq!((tag as usize, at - gap * u64::from(tag)), (history.len() - 1, want), "{name}");
    }
}

#[test]
fn remote_memory_costs_the_link_unless_the_line_is_at_hand() {
    let mut config = MemoryConfig::flat(A, 1 << 20);
    config.ranges[0].node = 1;
    let t = config.timing;
    let heard = vec![(Time::ZERO, cpu(0, 0, A, READ)), (Time::us(1), cpu(0, 1, A, READ))];
    let (said, _) = run(&mut Memory::new(config), heard);
    let got: Vec<Time> = answers(&said).iter().map(|(_, at, _)| *at).collect();
    assert_eq!(got, [t.dram_load + t.line_time() + t.remote, Time::us(1) + t.own_hit]);
}

/// Every CPU adds one at the same instant: each finds what the one before left, one transfer later.
#[test]
fn atomics_to_one_line_are_served_one_after_another() {
    let t = MemoryTiming::default();
    let cpus = 16_u16;
    let heard = (0..cpus).map(|c| (Time::ZERO, cpu(c, c.into(), A, Op::FetchAdd(1)))).collect();
    let mut memory = flat();
    let (said, notes) = run(&mut memory, heard);
    let answers = answers(&said);
    assert_eq!(memory.store().read_u64(A), u64::from(cpus));
    for (i, &(tag, _, found)) in answers.iter().enumerate() {
        assert_eq!((tag as usize, found), (i, Ok(i as u64)), "served in the order of arrival");
    }
    for pair in answers.windows(2) {
        assert_eq!(pair[1].1 - pair[0].1, t.transfer + t.own_atomic);
    }
    assert_eq!(notes.len(), usize::from(cpus));
    assert_eq!(memory.counters().queued, u64::from(cpus) - 1);
}

#[test]
fn lines_do_not_disturb_each_other() {
    let t = MemoryTiming::default();
    let dram = t.dram_load + t.line_time();
    let heard =
        vec![(Time::ZERO, cpu(0, 0, A, READ)), (dram, cpu(1, 1, A, READ)), (dram, cpu(2, 2, B, READ))];
    let (said, _) = run(&mut flat(), heard);
    let at = |want| answers(&said).into_iter().find(|(tag, ..)| *tag == want).expect("answered").1;
    assert_eq!((at(1), at(2)), (dram + t.transfer, dram + dram));
}

#[test]
fn bandwidth_is_a_queue() {
    let t = MemoryTiming::default();
    let heard = (0..100_u32)
        .map(|i| (Time::ZERO, access(Requester::Psmmu(0), i, A + u64::from(i) * LINE as u64, READ)))
        .collect();
    let (said, _) = run(&mut flat(), heard);
    for (i, (tag, at, _)) in answers(&said).into_iter().enumerate() {
        assert_eq!((tag as usize, at), (i, t.dram_load + t.line_time() * (i as u64 + 1)));
    }
}

#[test]
fn one_requesters_accesses_to_a_line_keep_their_order() {
    // CPU 1 holds the line up; CPU 0's write queues behind it and its read, arriving exactly when the write is
    // served, must still see the write.
    let t = MemoryTiming::default();
    let held = t.dram_load + t.line_time();
    let heard = vec![
        (Time::ZERO, cpu(1, 0, A, write(7))),
        (Time::ns(1), cpu(0, 1, A, write(8))),
        (held, cpu(0, 2, A, READ)),
    ];
    let (said, _) = run(&mut flat(), heard);
    let got: Vec<_> = answers(&said).into_iter().map(|(tag, _, value)| (tag, value)).collect();
    assert_eq!(got, [(0, Ok(0)), (1, Ok(0)), (2, Ok(8))]);
}

/// A read waits for its own line's fill; a write that arrives at the very end of the fill came later.
#[test]
fn what_arrives_when_the_line_comes_free_stays_behind_the_queue() {
    let t = MemoryTiming::default();
    let filled = t.dram_load + t.line_time();
    let heard = vec![
        (Time::ZERO, cpu(0, 0, A, READ)),
        (Time::ns(1), cpu(0, 1, A, READ)),
        (filled, access(Requester::Psmmu(0), 2, A, write(7))),
    ];
    let mut memory = flat();
    let (said, _) = run(&mut memory, heard);
    let read = answers(&said).into_iter().find(|(tag, ..)| *tag == 1).expect("answered");
    assert_eq!(read, (1, filled + t.own_hit, Ok(0)));
    assert_eq!(memory.store().read_u64(A), 7);
}

#[test]
fn watches_end_when_the_value_differs() {
    let t = MemoryTiming::default();
    let watch = |value| In::Watch { cpu: 0, tag: 9, addr: A + 4, len: 4, value };
    let at = Time::us(1);
    for (name, watched, written, want) in [
        ("differs already", 1, (A, 0), Some(t.dram_load + t.line_time())),
        ("another word changes", 0, (A, 5), None),
        ("another line changes", 0, (B, 5), None),
        ("the same value is written", 0, (A + 4, 0), None),
        // The device asks the watcher's cache first; then the watcher fetches the line from the last-level cache.
        ("changes", 0, (A + 4, 5), Some(at + t.line_occupancy + t.llc_hit)),
    ] {
        let op = Op::Write(Data::u32(written.1));
        let heard = vec![(Time::ZERO, watch(watched)), (at, access(Requester::Psmmu(0), 0, written.0, op))];
        let (said, _) = run(&mut flat(), heard);
        let touched: Vec<_> = said.iter().filter(|(_, out)| matches!(out, Out::Touched { .. })).collect();
        let want: Vec<_> = want.map(|at| (at, Out::Touched { cpu: 0, tag: 9 })).into_iter().collect();
        assert_eq!(touched, want.iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn what_is_not_memory_or_faulty_aborts() {
    let size = 1 << 20;
    let fault = A + 0x1000..A + 0x1010;
    for (name, addr, op, ok) in [
        ("first byte", A, READ, true),
        ("last bytes", A + size - 8, READ, true),
        ("below", OUTSIDE, READ, false),
        ("beyond", A + size, write(1), false),
        ("top of the address space", u64::MAX - 7, READ, false),
        ("in a faulty range", fault.start + 8, write(1), false),
        ("before a faulty range", fault.start - 8, READ, true),
        ("after a faulty range", fault.end, READ, true),
    ] {
        let mut config = MemoryConfig::flat(A, size);
        config.faults.abort.push(fault.clone());
        let mut memory = Memory::new(config);
        let (said, notes) = run(&mut memory, vec![(Time::ZERO, cpu(0, 0, addr, op))]);
        let got: Vec<bool> = answers(&said).iter().map(|(.., result)| result.is_ok()).collect();
        assert_eq!(got, [ok], "{name}");
        assert_eq!(notes.contains(&Record::BusError { by: Requester::Cpu(0), addr }), !ok, "{name}");
        assert_eq!(memory.store().resident_bytes(), 0, "{name}");
    }
}

#[test]
fn only_changes_are_recorded() {
    let by = Requester::Cpu(0);
    for (op, want) in [
        (READ, None),
        (Op::CompareSwap { expected: 1, new: 2 }, None),
        (Op::CompareSwap { expected: 0, new: 2 }, Some(2)),
        (Op::FetchAdd(3), Some(3)),
        (Op::Swap(4), Some(4)),
        (write(5), Some(5)),
    ] {
        let (_, notes) = run(&mut flat(), vec![(Time::ZERO, cpu(0, 0, A, op))]);
        let want: Vec<_> = want
            .map(|value| Record::MemoryWrite { by, addr: A, data: Data::u64(value) })
            .into_iter()
            .collect();
        assert_eq!(notes, want, "{op:?}");
    }
}

fn traffic() -> impl Strategy<Value = (u64, Requester, u64, Op)> {
    let from = prop_oneof![(0_u16..4).prop_map(Requester::Cpu), (0_u16..2).prop_map(Requester::Psmmu)];
    let op = prop_oneof![
        Just(READ),
        any::<u64>().prop_map(write),
        Just(Op::FetchAdd(1)),
        any::<u64>().prop_map(Op::Swap),
        (0_u64..3, 0_u64..3).prop_map(|(expected, new)| Op::CompareSwap { expected, new }),
    ];
    // Gaps of two nanoseconds, so that arrivals coincide with the end of other requests' turns.
    ((0_u64..20).prop_map(|gap| 2 * gap), from, (0_u64..12).prop_map(|word| A + word * 16), op)
}

proptest! {
    /// Whatever the timing does: every answer, and what is left in the end, is as if requests took effect at once in
    /// the order of arrival; every request is answered once, and never before it came.
    #[test]
    fn a_line_is_served_in_the_order_of_arrival(
        requests in prop::collection::vec(traffic(), 1..80),
        directory_lines in 1_usize..4,
    ) {
        let mut plain = PhysMem::new();
        let (mut heard, mut want, mut now) = (Vec::new(), Vec::new(), Time::ZERO);
        for (tag, (gap, from, addr, op)) in requests.into_iter().enumerate() {
            now += Time::ns(gap);
            heard.push((now, access(from, tag as u32, addr, op)));
            want.push((tag as u32, Ok(plain.apply(addr, &op).answer.value())));
        }
        let arrivals: Vec<Time> = heard.iter().map(|(at, _)| *at).collect();
        let config = MemoryConfig { directory_lines, ..MemoryConfig::flat(A, 1 << 20) };
        let mut memory = Memory::new(config);
        let (said, _) = run(&mut memory, heard);
        let mut got = answers(&said);
        got.sort_by_key(|(tag, ..)| *tag);
        prop_assert!(got.iter().all(|(tag, at, _)| *at > arrivals[*tag as usize]));
        prop_assert_eq!(got.into_iter().map(|(tag, _, value)| (tag, value)).collect::<Vec<_>>(), want);
        for word in 0..12 {
            prop_assert_eq!(memory.store().read_u64(A + word * 16), plain.read_u64(A + word * 16));
        }
    }
}

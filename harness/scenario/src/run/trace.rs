//! A run as text: one line for each record and note, the same for the same run.
//!
//! ```text
//!     12.345678 us  smmu0     consumed CMDQ[3] TLBI_NH_VA ...
//!     12.350000 us  vm0       maps domain 2: iova 0x1000 to 0x8000, 0x1000 bytes
//! ```

use std::fmt;
use std::io;

use kernel::journal::{Actor, Attachment, Note};
use models::bus::Requester;
use models::dma::{Incoming, PageResponse};
use models::record::{Record, Updater};
use sim::Time;
use spec::cmdqv::Place;
use spec::cmdqv::config::PARAM;
use spec::regs::Block;
use spec::smmu::page1::BASE as PAGE1;
use spec::smmu::{CommandError, EventNumber, GlobalError, Page0, Page1};

/// Writes a trace.
#[derive(Debug)]
pub struct Trace<W> {
    out: W,
    names: Names,
}

/// What the numbers of pSMMUs, CMDQVs and endpoints mean.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// pSMMUs.
    pub smmus: Vec<String>,
    /// Value of PARAM of each pSMMU's CMDQV, if it has one; without it its registers are shown by offset.
    pub cmdqvs: Vec<Option<u64>>,
    /// Endpoints.
    pub endpoints: Vec<String>,
    /// Virtual machines.
    pub vms: Vec<String>,
}

impl<W: io::Write> Trace<W> {
    /// A trace that goes to `out`, which should be buffered.
    pub fn new(out: W, names: Names) -> Self {
        Self { out, names }
    }

    /// Writes a record.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn record(&mut self, now: Time, record: &Record) -> io::Result<()> {
        let (who, what) = (Who(&self.names, of_record(record)), RecordText(&self.names, record));
        line(&mut self.out, now, who, &what)
    }

    /// Writes a note.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn note(&mut self, now: Time, note: &Note) -> io::Result<()> {
        line(&mut self.out, now, Who(&self.names, of_note(note)), &NoteText(note))
    }

    /// Writes what is buffered and hands the writer back.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn line(out: &mut impl io::Write, now: Time, who: Who<'_>, what: &dyn fmt::Display) -> io::Result<()> {
    let ps = now.as_ps();
    writeln!(out, "{:>8}.{:06} us  {:<8}  {what}", ps / 1_000_000, ps % 1_000_000, who.to_string())
}

/// Who did something.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Cpu(u16),
    Smmu(u16),
    Vsmmu(u16),
    Endpoint(u16),
    Interrupts,
    Software(Actor),
    Journal,
}

#[derive(Clone, Copy)]
struct Who<'a>(&'a Names, Subject);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(names, subject) = *self;
        let mut named = |list: &[String], kind: &str, i: u16| match list.get(usize::from(i)) {
            Some(name) => f.write_str(name),
            None => write!(f, "{kind}{i}"),
        };
        match subject {
            Subject::Cpu(i) => named(&[], "cpu", i),
            Subject::Smmu(i) => named(&names.smmus, "smmu", i),
            Subject::Vsmmu(i) => named(&[], "vsmmu", i),
            Subject::Endpoint(i) => named(&names.endpoints, "endpoint", i),
            Subject::Software(Actor::Vm(i)) => named(&names.vms, "vm", i),
            Subject::Software(Actor::Host) => f.write_str("host"),
            Subject::Interrupts => f.write_str("irq"),
            Subject::Journal => f.write_str("log"),
        }
    }
}

fn requester(by: Requester) -> Subject {
    match by {
        Requester::Cpu(i) => Subject::Cpu(i),
        Requester::Psmmu(i) | Requester::Pair(i) => Subject::Smmu(i),
    }
}

fn of_record(record: &Record) -> Subject {
    match *record {
        Record::MemoryWrite { by, .. } | Record::BusError { by, .. } => requester(by),
        Record::SmmuRegister { smmu, .. }
        | Record::SmmuUpdated { smmu, .. }
        | Record::CmdqvRegister { smmu, .. }
        | Record::CommandConsumed { smmu, .. }
        | Record::CommandError { smmu, .. }
        | Record::DescriptorUpdated { who: Updater { smmu, .. }, .. }
        | Record::DmaTranslated { smmu, .. }
        | Record::DmaDone { smmu, .. }
        | Record::DmaAborted { smmu, .. }
        | Record::AtsAnswered { smmu, .. }
        | Record::TlbFilled { smmu, .. }
        | Record::EventWritten { smmu, .. }
        | Record::EventDropped { smmu, .. }
        | Record::PageRequestWritten { smmu, .. }
        | Record::PageRequestDropped { smmu, .. }
        | Record::PageResponse { smmu, .. }
        | Record::GlobalError { smmu, .. }
        | Record::Lint { smmu, .. }
        | Record::InterruptRaised { smmu: Some(smmu), .. } => Subject::Smmu(smmu),
        Record::InterruptRaised { smmu: None, .. } => Subject::Interrupts,
        Record::InterruptDelivered { cpu, .. } => Subject::Cpu(cpu.0),
        Record::AtcInvalidated { endpoint, .. } => Subject::Endpoint(endpoint),
    }
}

fn of_note(note: &Note) -> Subject {
    match *note {
        Note::Mapped { by, .. }
        | Note::Unmapping { by, .. }
        | Note::Unmapped { by, .. }
        | Note::StreamAttached { by, .. }
        | Note::Ioctl { by, .. }
        | Note::Interrupt { by, .. }
        | Note::EventReported { by, .. }
        | Note::EventQueueOverflow { by, .. }
        | Note::GlobalError { by, .. }
        | Note::CommandError { by, .. }
        | Note::Timeout { by, .. } => Subject::Software(by),
        Note::VmExit { vm, .. } => Subject::Software(Actor::Vm(vm)),
        Note::GuestCommandConsumed { vsmmu, .. } | Note::Routed { vsmmu, .. } => Subject::Vsmmu(vsmmu),
        Note::Print(_) => Subject::Journal,
    }
}

/// A stream and an address.
struct Access {
    sid: u32,
    ssid: Option<u32>,
    iova: u64,
    write: bool,
    incoming: Incoming,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sid={:#x}", self.sid)?;
        if let Some(ssid) = self.ssid {
            write!(f, " ssid={ssid:#x}")?;
        }
        write!(f, " {}", if self.write { "write" } else { "read" })?;
        let Incoming { privileged, instruction, .. } = self.incoming;
        for (_, what) in
            [(privileged, "privileged"), (instruction, "instruction")].iter().filter(|(is, _)| *is)
        {
            write!(f, " {what}")?;
        }
        write!(f, " {:#x}", self.iova)
    }
}

struct RecordText<'a>(&'a Names, &'a Record);

impl fmt::Display for RecordText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.1 {
            Record::MemoryWrite { addr, ref data, .. } => write!(f, "memory {addr:#x} = {data:?}"),
            Record::SmmuRegister { offset, value, .. } => write!(f, "{} = {value:#x}", Register(offset)),
            Record::SmmuUpdated { offset, value, .. } => {
                write!(f, "acknowledges {} = {value:#x}", Register(offset))
            }
            Record::CmdqvRegister { smmu, offset, value } => {
                let param = self.0.cmdqvs.get(usize::from(smmu)).copied().flatten();
                match param.map(|p| Place::decode(offset.into(), PARAM(p))) {
                    Some(place) if place != Place::Hole => write!(f, "{place} = {value:#x}"),
                    _ => write!(f, "CMDQV+{offset:#x} = {value:#x}"),
                }
            }
            Record::CommandConsumed { queue, index, raw, executed, .. } => {
                write!(f, "consumed {queue}[{index}] {raw}")?;
                if executed == raw { Ok(()) } else { write!(f, " as {executed}") }
            }
            Record::CommandError { queue, index, code, raw, .. } => {
                write!(f, "stops at {queue}[{index}] with {}", CommandError(code))?;
                raw.map_or(Ok(()), |raw| write!(f, ": {raw}"))
            }
            Record::DescriptorUpdated { who, addr, before, after } => {
                let Updater { sid, ssid, iova, write, incoming, .. } = who;
                let access = Access { sid, ssid, iova, write, incoming };
                write!(f, "updates the descriptor at {addr:#x} from {before:#x} to {after:#x} for {access}")
            }
            Record::DmaTranslated {
                id,
                sid,
                ssid,
                iova,
                pa,
                len,
                write,
                incoming,
                translated,
                tlb_hit,
                ..
            } => {
                let ats = if translated { ", translated by the endpoint" } else { "" };
                let hit = if tlb_hit { "hit" } else { "walk" };
                let access = Access { sid, ssid, iova, write, incoming };
                write!(f, "dma {id}: {access} of {len} bytes to {pa:#x}, {hit}{ats}")
            }
            Record::DmaDone { id, .. } => write!(f, "dma {id}: done"),
            Record::DmaAborted { id, sid, ssid, iova, write, incoming, event, .. } => {
                write!(f, "dma {id}: {} aborted", Access { sid, ssid, iova, write, incoming })?;
                event.map_or(Ok(()), |event| write!(f, " with {}", EventNumber(event)))
            }
            Record::AtsAnswered { sid, iova, pa, size_log2, .. } => match pa {
                Some(pa) => {
                    write!(f, "tells sid={sid:#x} that {iova:#x} is {pa:#x}, 2^{size_log2} bytes")
                }
                None => write!(f, "tells sid={sid:#x} nothing of {iova:#x}"),
            },
            Record::TlbFilled { sid, iova, pa, size_log2, .. } => {
                write!(f, "caches {iova:#x} to {pa:#x}, 2^{size_log2} bytes, for sid={sid:#x}")
            }
            Record::EventWritten { record, .. } => write!(f, "event {record}"),
            Record::EventDropped { record, .. } => write!(f, "drops event {record}"),
            Record::PageRequestWritten { request, .. } => write!(f, "{request}"),
            Record::PageRequestDropped { request, .. } => write!(f, "drops {request}"),
            Record::PageResponse { response, automatic, .. } => {
                let PageResponse { sid, ssid, group, answer } = response;
                let by = if automatic { "by itself " } else { "" };
                write!(f, "answers {by}sid={sid:#x}")?;
                ssid.map_or(Ok(()), |ssid| write!(f, " ssid={ssid}"))?;
                write!(f, " prgindex={group}: {answer:?}")
            }
            Record::GlobalError { bit, .. } => write!(f, "global error {}", GlobalError(bit)),
            Record::InterruptRaised { intid, .. } => write!(f, "raises interrupt {intid}"),
            Record::InterruptDelivered { intid, .. } => write!(f, "gets interrupt {intid}"),
            Record::AtcInvalidated { addr, size_log2, .. } => {
                write!(f, "forgets {addr:#x}, 2^{size_log2} bytes")
            }
            Record::Lint { ref text, .. } => write!(f, "lint: {text}"),
            Record::BusError { addr, .. } => write!(f, "finds nothing at {addr:#x}"),
        }
    }
}

/// A register of an SMMU by its offset.
struct Register(u32);

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.0.checked_sub(PAGE1 as u32).and_then(Page1::decode).map(Block::name);
        match second.or_else(|| Page0::decode(self.0).map(Block::name)) {
            Some(name) => f.write_str(name),
            None => write!(f, "SMMU+{:#x}", self.0),
        }
    }
}

struct NoteText<'a>(&'a Note);

impl fmt::Display for NoteText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0 {
            Note::Mapped { domain, iova, pa, len, .. } => {
                write!(f, "maps domain {}: iova {iova:#x} to {pa:#x}, {len:#x} bytes", domain.0)
            }
            Note::Unmapping { domain, iova, len, .. } => {
                write!(f, "unmaps domain {}: iova {iova:#x}, {len:#x} bytes", domain.0)
            }
            Note::Unmapped { domain, iova, pa, len, .. } => {
                write!(f, "has unmapped domain {}: iova {iova:#x} from {pa:#x}, {len:#x} bytes", domain.0)
            }
            Note::StreamAttached { smmu, sid, what, .. } => {
                write!(f, "attaches sid={sid:#x} of its SMMU {smmu} to ")?;
                match what {
                    Attachment::Blocked => f.write_str("nothing"),
                    Attachment::Bypass => f.write_str("bypass"),
                    Attachment::Domain(domain) => write!(f, "domain {}", domain.0),
                    Attachment::Nested(domain) => write!(f, "a guest's stage 1 on domain {}", domain.0),
                }
            }
            Note::Ioctl { ref context, name, ref arguments, ref result, ref why, .. } => {
                write!(f, "{context}: {name}({arguments}) = ")?;
                match result {
                    Ok(value) => f.write_str(value)?,
                    Err(errno) => write!(f, "-{errno}")?,
                }
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Note::VmExit { why, addr, .. } => write!(f, "exits: {why} at {addr:#x}"),
            Note::GuestCommandConsumed { index, raw, .. } => write!(f, "consumed CMDQ[{index}] {raw}"),
            Note::Routed { raw, ref to, ref not_to, .. } => {
                write!(f, "sends {raw} to viommus {to:?}, not to {not_to:?}")
            }
            Note::Interrupt { intid, what, .. } => write!(f, "handles interrupt {intid}: {what}"),
            Note::EventReported { smmu, record, .. } => write!(f, "reports of its SMMU {smmu}: {record}"),
            Note::EventQueueOverflow { smmu, .. } => {
                write!(f, "finds the Event queue of its SMMU {smmu} overflowed")
            }
            Note::GlobalError { smmu, bits, .. } => {
                write!(f, "finds global errors of its SMMU {smmu}: {bits:#x}")
            }
            Note::CommandError { smmu, ref queue, code, skipped, .. } => {
                write!(f, "finds {queue} of its SMMU {smmu} stopped with {}", CommandError(code))?;
                skipped.map_or(Ok(()), |c| write!(f, ", skips {c}"))
            }
            Note::Timeout { ref what, .. } => write!(f, "gives up: {what}"),
            Note::Print(ref text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod test {
    use expect_test::expect;
    use models::bus::Data;
    use models::cpu::CpuId;
    use models::dma::PageAnswer;
    use models::record::CommandQueue;
    use models::smmu::Attributes;
    use spec::smmu::{Command, EventRecord};

    use super::*;

    #[test]
    fn reads_well() {
        let names = Names { smmus: vec!["left".to_owned()], cmdqvs: vec![Some(0x4671)], ..Names::default() };
        let mut trace = Trace::new(Vec::new(), names);
        let vcmdq = CommandQueue::Vcmdq { queue: 3, vintf: 1, logical: 0 };
        let (raw, executed) = (Command::cfgi_ste(2, true), Command::cfgi_ste(0x20, true));
        let (by, domain) = (Actor::Vm(0), kernel::journal::DomainId(2));
        let event = EventRecord::new(EventNumber::C_BAD_STE, 5);
        let request = spec::smmu::PageRequest::default().with_sid(5).with_w(true).with_prgindex(2);
        let response = PageResponse { sid: 5, ssid: Some(1), group: 2, answer: PageAnswer::Success };
        let begun = Time::ZERO;
        let (id, sid, ssid, iova, write, translated) = (7, 5, Some(1), 0x1040, true, false);
        let (pa, len, tlb_hit) = (0x8040, 64, true);
        for record in [
            Record::MemoryWrite { by: Requester::Cpu(1), addr: 0x40, data: Data::u32(5) },
            Record::SmmuRegister { smmu: 0, offset: 0x20, value: 9 },
            Record::SmmuRegister { smmu: 0, offset: 0x1_00ac, value: 1 },
            Record::SmmuUpdated { smmu: 0, offset: 0x24, value: 9 },
            Record::CmdqvRegister { smmu: 0, offset: 0x1_0184, value: 2 },
            Record::CmdqvRegister { smmu: 1, offset: 0x1_0184, value: 2 },
            Record::CommandConsumed { smmu: 0, queue: CommandQueue::Main, index: 3, raw, executed: raw },
            Record::CommandConsumed { smmu: 0, queue: vcmdq, index: 0, raw, executed },
            Record::CommandError { smmu: 0, queue: vcmdq, index: 1, code: 1, raw: Some(raw) },
            Record::DmaTranslated {
                id,
                smmu: 0,
                sid,
                ssid,
                iova,
                pa,
                len,
                write,
                incoming: Incoming::DEFAULT,
                attributes: Attributes::COHERENT,
                translated,
                tlb_hit,
                begun,
            },
            Record::DmaDone { id, smmu: 0 },
            Record::DmaAborted {
                id,
                smmu: 0,
                sid,
                ssid,
                iova,
                write,
                incoming: Incoming { privileged: true, instruction: true, ..Incoming::DEFAULT },
                translated,
                event: Some(4),
                begun,
            },
            Record::EventWritten { smmu: 0, record: event },
            Record::PageRequestWritten { smmu: 0, request },
            Record::PageRequestDropped { smmu: 0, request },
            Record::PageResponse { smmu: 0, response, automatic: true },
            Record::PageResponse { smmu: 0, response, automatic: false },
            Record::GlobalError { smmu: 0, bit: 0 },
            Record::InterruptRaised { intid: 40, smmu: None },
            Record::InterruptDelivered { intid: 40, cpu: CpuId(2) },
        ] {
            trace.record(Time::ps(12_345_678), &record).unwrap();
        }
        for note in [
            Note::Mapped { by, domain, iova: 0x1000, pa: 0x8000, len: 0x1000 },
            Note::StreamAttached { by: Actor::Host, smmu: 0, sid, what: Attachment::Nested(domain) },
            Note::GuestCommandConsumed { vsmmu: 0, index: 1, raw },
            Note::Routed { vsmmu: 0, raw, to: vec![3], not_to: vec![4] },
            Note::Print("hello".to_owned()),
        ] {
            trace.note(Time::us(13), &note).unwrap();
        }
        let text = String::from_utf8(trace.finish().unwrap()).unwrap();
        // `expect!` removes indentation that all lines share.
        let text: String = text.lines().map(|line| format!("|{line}\n")).collect();
        expect![[r#"
            |      12.345678 us  cpu1      memory 0x40 = 0x00000005
            |      12.345678 us  left      CR0 = 0x9
            |      12.345678 us  left      EVENTQ_CONS = 0x1
            |      12.345678 us  left      acknowledges CR0ACK = 0x9
            |      12.345678 us  left      VCMDQ3.PROD = 0x2
            |      12.345678 us  smmu1     CMDQV+0x10184 = 0x2
            |      12.345678 us  left      consumed CMDQ[3] CFGI_STE sid=0x2 leaf
            |      12.345678 us  left      consumed VINTF1.LVCMDQ0=VCMDQ3[0] CFGI_STE sid=0x2 leaf as CFGI_STE sid=0x20 leaf
            |      12.345678 us  left      stops at VINTF1.LVCMDQ0=VCMDQ3[1] with CERROR_ILL: CFGI_STE sid=0x2 leaf
            |      12.345678 us  left      dma 7: sid=0x5 ssid=0x1 write 0x1040 of 64 bytes to 0x8040, hit
            |      12.345678 us  left      dma 7: done
            |      12.345678 us  left      dma 7: sid=0x5 ssid=0x1 write privileged instruction 0x1040 aborted with C_BAD_STE
            |      12.345678 us  left      event C_BAD_STE sid=0x5
            |      12.345678 us  left      PAGE_REQUEST sid=0x5 addr=0x0 prgindex=2 w
            |      12.345678 us  left      drops PAGE_REQUEST sid=0x5 addr=0x0 prgindex=2 w
            |      12.345678 us  left      answers by itself sid=0x5 ssid=1 prgindex=2: Success
            |      12.345678 us  left      answers sid=0x5 ssid=1 prgindex=2: Success
            |      12.345678 us  left      global error CMDQ_ERR
            |      12.345678 us  irq       raises interrupt 40
            |      12.345678 us  cpu2      gets interrupt 40
            |      13.000000 us  vm0       maps domain 2: iova 0x1000 to 0x8000, 0x1000 bytes
            |      13.000000 us  host      attaches sid=0x5 of its SMMU 0 to a guest's stage 1 on domain 2
            |      13.000000 us  vsmmu0    consumed CMDQ[1] CFGI_STE sid=0x2 leaf
            |      13.000000 us  vsmmu0    sends CFGI_STE sid=0x2 leaf to viommus [3], not to [4]
            |      13.000000 us  log       hello
        "#]].assert_eq(&text);
    }
}

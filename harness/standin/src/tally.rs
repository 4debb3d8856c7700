//! What happened in a run, counted, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use models::record::{CommandQueue, Record};
use serde_json::{Value, json};
use spec::cmdqv::config::PARAM;
use spec::cmdqv::place::QueueReg;
use spec::cmdqv::{Place, QueuePage0};
use spec::smmu::{Command, CommandError, EventNumber, GlobalError, Opcode};

use crate::claims::Claims;

/// Counts of one pSMMU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmmuTally {
    /// Commands consumed, by queue and opcode.
    pub commands: BTreeMap<CommandQueue, BTreeMap<u8, u64>>,
    /// Queues that stopped, by queue and CERROR code.
    pub command_errors: BTreeMap<CommandQueue, BTreeMap<u8, u64>>,
    /// What the VINTFs did.
    pub vintfs: BTreeMap<u8, VintfTally>,
    /// DMAs that were translated.
    pub translated: u64,
    /// Of these, those that found everything in a TLB.
    pub tlb_hits: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// DMAs that were refused.
    pub aborted: u64,
    /// ATS translation requests that were answered.
    pub ats: u64,
    /// Event records written, by number.
    pub events: BTreeMap<u8, u64>,
    /// Event records dropped.
    pub dropped: u64,
    /// Global errors, by bit.
    pub global_errors: BTreeMap<u8, u64>,
    /// Register accesses that were refused.
    pub bus_errors: u64,
    /// Interrupts sent: messages and edges.
    pub interrupts: u64,
    /// What software did that is not defined, and how often.
    pub lints: BTreeMap<String, u64>,
}

/// Counts of one VINTF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VintfTally {
    /// Writes to PROD through its own page: no software but the owner's is in that path.
    pub doorbells: u64,
    /// Commands that were given a VMID other than their own, by VMID.
    pub vmids: BTreeMap<u16, u64>,
    /// Commands whose StreamID was replaced, by virtual and physical StreamID.
    pub sids: BTreeMap<(u32, u32), u64>,
    /// Commands in the SMMU's own queue that name its VMID or a stream of its slots, with their CMD_SYNCs, by opcode: a VMM has
    /// handed them over.
    pub forwarded: BTreeMap<u8, u64>,
    /// Streams that its slots have had.
    pub streams: BTreeSet<u32>,
}

/// Counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By pSMMU.
    pub smmus: Vec<SmmuTally>,
    params: Vec<Option<PARAM>>,
    claims: Vec<Claims>,
}

/// Texts of lints that are kept; more are counted under one heading.
const LINTS: usize = 50;

impl Tally {
    /// Nothing yet. `params` are the values of PARAM of the CMDQVs, by pSMMU.
    pub fn new(params: Vec<Option<PARAM>>) -> Self {
        let claims = vec![Claims::default(); params.len()];
        Self { smmus: vec![SmmuTally::default(); params.len()], params, claims }
    }

    /// A pSMMU has sent an interrupt.
    pub fn interrupt(&mut self, smmu: u16) {
        self.smmus[usize::from(smmu)].interrupts += 1;
    }

    /// Takes a record.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::CommandConsumed { smmu, queue, raw, executed, .. } => {
                let forwarded = match queue {
                    CommandQueue::Main => self.claims[usize::from(*smmu)].forwarded(*raw),
                    _ => None,
                };
                let smmu = self.smmu(*smmu);
                let by_opcode = smmu.commands.entry(*queue).or_default();
                *by_opcode.entry(executed.op().0).or_default() += 1;
                if let CommandQueue::Vcmdq { vintf, .. } = queue
                    && raw != executed
                {
                    smmu.vintfs.entry(*vintf).or_default().rewritten(*raw, *executed);
                }
                if let Some(vintf) = forwarded {
                    let forwarded = &mut smmu.vintfs.entry(vintf).or_default().forwarded;
                    *forwarded.entry(raw.op().0).or_default() += 1;
                }
            }
            Record::CommandError { smmu, queue, code, .. } => {
                *self.smmu(*smmu).command_errors.entry(*queue).or_default().entry(*code).or_default() += 1;
            }
            Record::CmdqvRegister { smmu, offset, value } => {
                let Some(param) = self.params[usize::from(*smmu)] else { return };
                let place = Place::decode((*offset).into(), param);
                if let Place::Logical { v, reg: QueueReg::Page0(QueuePage0::PROD), .. } = place {
                    self.smmu(*smmu).vintfs.entry(v).or_default().doorbells += 1;
                }
                if let Some((vintf, sid)) = self.claims[usize::from(*smmu)].written(place, *value) {
                    self.smmu(*smmu).vintfs.entry(vintf).or_default().streams.insert(sid);
                }
            }
            Record::DmaTranslated { smmu, len, tlb_hit, .. } => {
                let smmu = self.smmu(*smmu);
                smmu.translated += 1;
                smmu.tlb_hits += u64::from(*tlb_hit);
                smmu.bytes += u64::from(*len);
            }
            Record::DmaAborted { smmu, .. } => self.smmu(*smmu).aborted += 1,
            Record::AtsAnswered { smmu, .. } => self.smmu(*smmu).ats += 1,
            Record::EventWritten { smmu, record } => {
                *self.smmu(*smmu).events.entry(record.event().0).or_default() += 1;
            }
            Record::EventDropped { smmu, .. } => self.smmu(*smmu).dropped += 1,
            Record::GlobalError { smmu, bit } => {
                *self.smmu(*smmu).global_errors.entry(*bit).or_default() += 1;
            }
            Record::Lint { smmu, text } => {
                let lints = &mut self.smmu(*smmu).lints;
                let text = if lints.len() < LINTS || lints.contains_key(text) { text } else { "others" };
                *lints.entry(text.to_owned()).or_default() += 1;
            }
            Record::BusError { by: models::bus::Requester::Psmmu(smmu), .. } => {
                self.smmu(*smmu).bus_errors += 1;
            }
            Record::BusError { .. }
            | Record::PageRequestWritten { .. }
            | Record::PageRequestDropped { .. }
            | Record::PageResponse { .. }
            | Record::MemoryWrite { .. }
            | Record::DescriptorUpdated { .. }
            | Record::SmmuRegister { .. }
            | Record::SmmuUpdated { .. }
            | Record::DmaDone { .. }
            | Record::TlbFilled { .. }
            | Record::InterruptRaised { .. }
            | Record::InterruptDelivered { .. }
            | Record::AtcInvalidated { .. } => {}
        }
    }

    fn smmu(&mut self, smmu: u16) -> &mut SmmuTally {
        &mut self.smmus[usize::from(smmu)]
    }
}

impl SmmuTally {
    /// For machines.
    pub fn json(&self) -> Value {
        let queue = CommandQueue::to_string;
        let queues = |counts: &BTreeMap<CommandQueue, BTreeMap<u8, u64>>, name: fn(u8) -> String| {
            let rows = counts.iter().map(|(q, by)| (queue(q), by_name(by, name)));
            Value::Object(rows.collect())
        };
        json!({
            "commands": queues(&self.commands, opcode_name),
            "command_errors": queues(&self.command_errors, error_name),
            "vintfs": Value::Object(self.vintfs.iter().map(|(v, t)| (format!("vintf{v}"), t.json())).collect()),
            "translated": self.translated,
            "tlb_hits": self.tlb_hits,
            "bytes": self.bytes,
            "aborted": self.aborted,
            "ats_requests": self.ats,
            "events": by_name(&self.events, event_name),
            "events_dropped": self.dropped,
            "global_errors": by_name(&self.global_errors, global_error_name),
            "bus_errors": self.bus_errors,
            "interrupts": self.interrupts,
            "lints": self.lints,
        })
    }

    /// For people: a few lines, each with this name in front.
    pub fn text(&self, name: &str) -> String {
        let mut out = String::new();
        let mut line =
            |what: fmt::Arguments<'_>| writeln!(out, "{name:<9} {what}").expect("a string takes it");
        for (queue, by_opcode) in &self.commands {
            line(format_args!("{queue:<22} {}", Counts(by_opcode, opcode_name)));
        }
        if self.commands.is_empty() {
            line(format_args!("no commands"));
        }
        for (vintf, tally) in &self.vintfs {
            line(format_args!("VINTF{vintf:<17} {tally}"));
        }
        for (queue, by_code) in &self.command_errors {
            line(format_args!("{queue} stopped: {}", Counts(by_code, error_name)));
        }
        let share = 100.0 * self.tlb_hits as f64 / self.translated.max(1) as f64;
        line(format_args!(
            "{} DMAs translated ({share:.1} % from a TLB, {} bytes), {} refused, {} ATS requests, {} interrupts",
            self.translated, self.bytes, self.aborted, self.ats, self.interrupts
        ));
        if !self.events.is_empty() || self.dropped > 0 {
            line(format_args!("events: {}, {} dropped", Counts(&self.events, event_name), self.dropped));
        }
        if !self.global_errors.is_empty() {
            line(format_args!("global errors: {}", Counts(&self.global_errors, global_error_name)));
        }
        if self.bus_errors > 0 {
            line(format_args!("{} transactions found nothing at their address", self.bus_errors));
        }
        for (text, n) in &self.lints {
            line(format_args!("lint, {n}x: {text}"));
        }
        out
    }
}

impl VintfTally {
    /// A command was executed in other words than its owner wrote.
    fn rewritten(&mut self, raw: Command, executed: Command) {
        let has = |field: &str| executed.op().fields().any(|name| name == field);
        if has("sid") && raw.sid() != executed.sid() {
            *self.sids.entry((raw.sid() as u32, executed.sid() as u32)).or_default() += 1;
        }
        if has("vmid") && raw.vmid() != executed.vmid() {
            *self.vmids.entry(executed.vmid() as u16).or_default() += 1;
        }
    }

    fn json(&self) -> Value {
        let sids = self
            .sids
            .iter()
            .map(|((virt, phys), n)| json!({ "virtual": virt, "physical": phys, "commands": n }));
        let vmids = self.vmids.iter().map(|(vmid, n)| json!({ "vmid": vmid, "commands": n }));
        json!({
            "doorbells": self.doorbells,
            "vmids": vmids.collect::<Vec<_>>(),
            "sids": sids.collect::<Vec<_>>(),
            "streams": self.streams,
            "forwarded": by_name(&self.forwarded, opcode_name),
        })
    }
}

impl fmt::Display for VintfTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} doorbells", self.doorbells)?;
        for (vmid, n) in &self.vmids {
            write!(f, "; VMID {vmid} put into {n} commands")?;
        }
        for ((virt, phys), n) in &self.sids {
            write!(f, "; StreamID {virt:#x} replaced by {phys:#x} in {n}")?;
        }
        if !self.forwarded.is_empty() {
            write!(f, "; by way of CMDQ: {}", Counts(&self.forwarded, opcode_name))?;
        }
        Ok(())
    }
}

/// Names with their counts, in order of number.
struct Counts<'a>(&'a BTreeMap<u8, u64>, fn(u8) -> String);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (number, count)) in self.0.iter().enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            write!(f, "{gap}{} {count}", self.1(*number))?;
        }
        Ok(())
    }
}

fn by_name(counts: &BTreeMap<u8, u64>, name: fn(u8) -> String) -> Value {
    Value::Object(counts.iter().map(|(number, count)| (name(*number), json!(count))).collect())
}

fn or_number(name: Option<&'static str>, number: u8) -> String {
    name.map_or_else(|| format!("{number:#04x}"), str::to_owned)
}
fn opcode_name(n: u8) -> String {
    or_number(Opcode(n).name(), n)
}
fn error_name(n: u8) -> String {
    or_number(CommandError(n).name(), n)
}
fn event_name(n: u8) -> String {
    or_number(EventNumber(n).name(), n)
}
fn global_error_name(n: u8) -> String {
    or_number(GlobalError(n).name(), n)
}

#[cfg(test)]
mod test {
    use expect_test::expect;
    use models::bus::Requester;

    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::new(vec![Some(PARAM(0x4671)), None]);
        let vcmdq = CommandQueue::Vcmdq { queue: 3, vintf: 1, logical: 1 };
        for (queue, command) in [
            (CommandQueue::Main, Command::sync()),
            (vcmdq, Command::tlbi_nh_va(1, 0, 0, false)),
            (vcmdq, Command::sync()),
            (vcmdq, Command::sync()),
        ] {
            let (raw, executed) = (command, command);
            tally.record(&Record::CommandConsumed { smmu: 0, queue, index: 0, raw, executed });
        }
        for (raw, executed) in [
            (Command::tlbi_nh_all(0), Command::tlbi_nh_all(7)),
            (Command::atc_inv(0x20, None, 0, 0), Command::atc_inv(0x28, None, 0, 0)),
        ] {
            tally.record(&Record::CommandConsumed { smmu: 0, queue: vcmdq, index: 0, raw, executed });
        }
        let prod: Place = "VINTF1.LVCMDQ1.PROD".parse().unwrap();
        let direct: Place = "VCMDQ3.PROD".parse().unwrap();
        let config: Place = "VINTF1.CONFIG".parse().unwrap();
        for (place, value) in [(prod, 0), (direct, 0), (prod, 0), (config, 7 << 1 | 1)] {
            let offset = place.offset().unwrap() as u32;
            tally.record(&Record::CmdqvRegister { smmu: 0, offset, value });
        }
        for raw in [Command::tlbi_nh_all(7), Command::sync()] {
            let queue = CommandQueue::Main;
            tally.record(&Record::CommandConsumed { smmu: 0, queue, index: 0, raw, executed: raw });
        }
        tally.record(&Record::CommandError { smmu: 0, queue: vcmdq, index: 0, code: 1, raw: None });
        tally.record(&Record::BusError { by: Requester::Psmmu(1), addr: 0 });
        tally.record(&Record::GlobalError { smmu: 1, bit: 2 });
        tally.record(&Record::Lint { smmu: 1, text: "odd".into() });
        tally.interrupt(1);
        tally
    }

    #[test]
    fn people_can_read_it() {
        let tally = tally();
        let text: String = ["smmu0", "smmu1"].iter().zip(&tally.smmus).map(|(n, s)| s.text(n)).collect();
        expect![[r#"
            smmu0     CMDQ                   TLBI_NH_ALL 1  SYNC 2
            smmu0     VINTF1.LVCMDQ1=VCMDQ3  TLBI_NH_ALL 1  TLBI_NH_VA 1  ATC_INV 1  SYNC 2
            smmu0     VINTF1                 2 doorbells; VMID 7 put into 1 commands; StreamID 0x20 replaced by 0x28 in 1; by way of CMDQ: TLBI_NH_ALL 1  SYNC 1
            smmu0     VINTF1.LVCMDQ1=VCMDQ3 stopped: CERROR_ILL 1
            smmu0     0 DMAs translated (0.0 % from a TLB, 0 bytes), 0 refused, 0 ATS requests, 0 interrupts
            smmu1     no commands
            smmu1     0 DMAs translated (0.0 % from a TLB, 0 bytes), 0 refused, 0 ATS requests, 1 interrupts
            smmu1     global errors: EVENTQ_ABT_ERR 1
            smmu1     1 transactions found nothing at their address
            smmu1     lint, 1x: odd
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn machines_can_read_it() {
        let json = tally().smmus[0].json();
        assert_eq!(json["commands"]["VINTF1.LVCMDQ1=VCMDQ3"]["SYNC"], 2);
        assert_eq!(json["commands"]["CMDQ"]["SYNC"], 2);
        assert_eq!(json["vintfs"]["vintf1"]["forwarded"]["SYNC"], 1);
        assert_eq!(json["vintfs"]["vintf1"]["doorbells"], 2);
        assert_eq!(json["vintfs"]["vintf1"]["sids"][0]["physical"], 0x28);
        assert_eq!(json["command_errors"]["VINTF1.LVCMDQ1=VCMDQ3"]["CERROR_ILL"], 1);
    }

    #[test]
    fn lints_do_not_grow_without_end() {
        let mut tally = Tally::new(vec![None]);
        for i in 0..200 {
            tally.record(&Record::Lint { smmu: 0, text: format!("{i}") });
        }
        assert_eq!(tally.smmus[0].lints.len(), LINTS + 1);
        assert_eq!(tally.smmus[0].lints["others"], 150);
    }
}

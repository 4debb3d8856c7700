//! What host and guests have said, understood.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use models::record::CommandQueue;
use serde_json::{Value, json};
use spec::smmu::Opcode;

use super::guest::{Guest, Vsmmu};
use super::script::Plan;
use crate::machine::Machine;
use crate::platform::Kind;
use crate::tally::{SmmuTally, Tally};

/// VM exits of a guest while it worked, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// All.
    pub all: u64,
    /// Of these, accesses that QEMU had to emulate.
    pub qemu: u64,
    /// Milliseconds of the host.
    pub ms: u64,
}

/// What is on a disk after a guest has written to it and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The disk's place in the guest.
    pub bdf: String,
    /// `equal`, `differ` or `failed`.
    pub verdict: String,
    /// MD5 of its first MiB.
    pub md5: String,
}

/// From a guest's start to its next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// SMMUs in which the guest found a CMDQV.
    pub cmdqvs: u64,
    /// PCI functions behind SMMUs: place, and vendor and device ID.
    pub devices: Vec<(String, String)>,
    /// Its disks.
    pub disks: Vec<Answer>,
    /// VM exits while it worked.
    pub exits: Option<Exits>,
    /// The work is done.
    pub finished: bool,
}

/// From the start of a guest's QEMU to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Each boot.
    pub boots: Vec<Boot>,
    /// Status of QEMU, once it has ended.
    pub status: Option<i32>,
    /// What QEMU said itself.
    pub complaints: Vec<String>,
}

/// What a nested run has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lives of the guests, by name.
    pub guests: BTreeMap<String, Vec<Life>>,
    /// Disks that stayed the host's: place, verdict, how often they were written and compared.
    pub own: Vec<(String, String, u64)>,
    /// Disks that the host has taken back: place, MD5 of the first MiB.
    pub back: Vec<(String, String)>,
    /// What the host could not do.
    pub broken: Vec<String>,
    /// The host came to the end of its script.
    pub over: bool,
}

/// What QEMU says of itself.
const QEMU_SAYS: &str = "qemu-system-aarch64: ";
/// What it says of itself when it is asked to end.
const ASKED_TO_END: &str = "terminating on signal";

/// What a kernel refuses with, as the C library calls it: EINVAL, ENODEV, EBUSY, EPERM, EOPNOTSUPP, ENOTTY.
const ERRNOS: [&str; 6] = [
    "Invalid argument",
    "No such device",
    "Device or resource busy",
    "Operation not permitted",
    "Operation not supported",
    "Inappropriate ioctl for device",
];

impl Report {
    /// Reads the console of the host.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut report = Self::default();
        for line in lines {
            if let Some((_, words)) = line.split_once("@host ") {
                report.host(&words.split_whitespace().collect::<Vec<_>>());
            } else if let Some((name, said)) = line.split_once("| ")
                && let Some(lives) = report.guests.get_mut(name)
                && let Some(life) = lives.last_mut()
            {
                life.hear(said);
            }
        }
        report
    }

    fn host(&mut self, words: &[&str]) {
        match *words {
            ["start", name, _] => self.guests.entry(name.to_owned()).or_default().push(Life::default()),
            ["end", name, _, status] => {
                if let Some(life) = self.life(name) {
                    life.status = status.parse().ok();
                }
            }
            ["exits", name, when, all, mmio, at] => {
                // Seconds with two digits behind the point, as in /proc/uptime.
                let number = |word: &str| {
                    let digits: String = word.chars().filter(char::is_ascii_digit).collect();
                    digits.parse::<u64>().unwrap_or(0)
                };
                if let Some(boot) = self.life(name).and_then(|life| life.boots.last_mut()) {
                    let now = Exits { all: number(all), qemu: number(mmio), ms: number(at) * 10 };
                    boot.exits = match (when, boot.exits) {
                        ("end", Some(begin)) => Some(Exits {
                            all: now.all.saturating_sub(begin.all),
                            qemu: now.qemu.saturating_sub(begin.qemu),
                            ms: now.ms.saturating_sub(begin.ms),
                        }),
                        _ => Some(now),
                    };
                }
            }
            ["own", bdf, verdict, rounds] => {
                self.own.push((bdf.to_owned(), verdict.to_owned(), rounds.parse().unwrap_or(0)));
            }
            ["back", bdf, md5] => self.back.push((bdf.to_owned(), md5.to_owned())),
            ["broken", ..] => self.broken.push(words[1..].join(" ")),
            ["over"] => self.over = true,
            _ => {}
        }
    }

    fn life(&mut self, name: &str) -> Option<&mut Life> {
        self.guests.get_mut(name)?.last_mut()
    }

    /// What is not as it must be, with what the hardware was seen to do; empty if all is well.
    pub fn problems(&self, plan: &Plan, machine: &Machine, tally: &Tally) -> Vec<String> {
        let mut out = self.broken.clone();
        if !self.over {
            out.push("the host did not come to its end".to_owned());
        }
        for guest in &plan.guests {
            let name = &guest.name;
            let lives = self.guests.get(name).map_or(&[][..], Vec::as_slice);
            if lives.len() != plan.lives as usize {
                out.push(format!("{name}: {} of {} lives", lives.len(), plan.lives));
            }
            for life in lives {
                if guest.is_impossible() {
                    if life.refusals().next().is_none() {
                        out.push(format!(
                            "{name}: was not refused, though a vSMMU of it spans several pSMMUs"
                        ));
                    }
                    continue;
                }
                let expected = Expected::of(guest, plan, machine);
                out.extend(life.problems(&expected).map(|what| format!("{name}: {what}")));
            }
            if !guest.is_impossible() {
                let vsmmus = guest.vsmmus.iter().filter(|vsmmu| vsmmu.passthrough);
                let said = vsmmus.flat_map(|vsmmu| path_problems(vsmmu, machine, tally));
                out.extend(said.map(|what| format!("{name}: {what}")));
            }
        }
        for (bdf, verdict, _) in &self.own {
            if verdict != "equal" {
                out.push(format!("the host's own disk {}: {verdict}", machine.name_at(bdf)));
            }
        }
        let written: Vec<&str> = self
            .guests
            .values()
            .filter_map(|lives| lives.last()?.boots.last())
            .flat_map(|boot| &boot.disks)
            .map(|disk| disk.md5.as_str())
            .collect();
        if !written.is_empty() {
            for (bdf, _) in self.back.iter().filter(|(_, md5)| !written.contains(&md5.as_str())) {
                out.push(format!("{}: does not hold what a guest has left", machine.name_at(bdf)));
            }
        }
        out
    }

    /// For people: each guest, then the host.
    pub fn text(&self, machine: &Machine) -> String {
        let mut out = String::new();
        let mut line = |who: &str, what: String| writeln!(out, "{who:<9} {what}").expect("a string takes it");
        for (name, lives) in &self.guests {
            for life in lives {
                for words in life.refusals() {
                    line(name, format!("refused: {words}"));
                }
                for boot in &life.boots {
                    line(name, boot.text());
                }
            }
        }
        for (bdf, verdict, rounds) in &self.own {
            line(
                "host",
                format!("{}: its own, {rounds} times written and read: {verdict}", machine.name_at(bdf)),
            );
        }
        for (bdf, _) in &self.back {
            line("host", format!("{}: back, and read", machine.name_at(bdf)));
        }
        out
    }

    /// For machines.
    pub fn json(&self, machine: &Machine) -> Value {
        let guests = self.guests.iter().map(|(name, lives)| {
            let lives = lives.iter().map(Life::json);
            (name.clone(), Value::Array(lives.collect()))
        });
        let own = self.own.iter().map(|(bdf, verdict, rounds)| {
            json!({ "endpoint": machine.name_at(bdf), "verdict": verdict, "rounds": rounds })
        });
        let back = self.back.iter().map(|(bdf, md5)| json!({ "endpoint": machine.name_at(bdf), "md5": md5 }));
        json!({
            "guests": Value::Object(guests.collect()),
            "own": own.collect::<Vec<_>>(),
            "back": back.collect::<Vec<_>>(),
            "broken": self.broken,
        })
    }
}

/// What a guest must show in each life.
struct Expected {
    boots: usize,
    cmdqvs: u64,
    disks: usize,
}

impl Expected {
    fn of(guest: &Guest, plan: &Plan, machine: &Machine) -> Self {
        let is_disk = |&&e: &&usize| machine.platform.endpoints[e].kind == Kind::Nvme;
        let disks = guest.vsmmus.iter().flat_map(|v| &v.endpoints).filter(is_disk).count();
        Self {
            boots: plan.boots as usize,
            cmdqvs: guest.vsmmus.iter().filter(|v| v.passthrough).count() as u64,
            disks: if plan.mib == 0 { 0 } else { disks },
        }
    }
}

/// Commands that a guest puts into VCMDQs of its own, if it has them. The others Linux and QEMU leave to the SMMU's own queue: with
/// HYP_OWN=0 a VCMDQ does not take them.
const OWN: [Opcode; 4] = [Opcode::TLBI_NH_ASID, Opcode::TLBI_NH_VA, Opcode::TLBI_NH_VAA, Opcode::ATC_INV];

/// What the way of a guest's commands was, where it should have been VCMDQs.
fn path_problems(vsmmu: &Vsmmu, machine: &Machine, tally: &Tally) -> Vec<String> {
    let endpoints = || vsmmu.endpoints.iter().map(|&e| &machine.platform.endpoints[e]);
    let mut out = Vec::new();
    for &psmmu in &vsmmu.psmmus {
        let (name, tally) = (&machine.platform.smmus[psmmu].name, &tally.smmus[psmmu]);
        let is_theirs = |sid: &u32| endpoints().any(|e| usize::from(e.smmu) == psmmu && e.sid == *sid);
        let vintfs: Vec<u8> =
            tally.vintfs.iter().filter(|(_, v)| v.streams.iter().any(is_theirs)).map(|(v, _)| *v).collect();
        let is_busy = endpoints().any(|e| usize::from(e.smmu) == psmmu && e.kind == Kind::Nvme);
        let carried: u64 = OWN.iter().map(|op| carried(tally, &vintfs, *op)).sum();
        if is_busy && carried == 0 {
            out.push(format!("its VCMDQs on {name} carried no invalidation"));
        }
        for vintf in &vintfs {
            for op in OWN {
                if let Some(n) = tally.vintfs[vintf].forwarded.get(&op.0) {
                    out.push(format!("{n} {op} came to {name} by way of QEMU"));
                }
            }
        }
    }
    out
}

/// Commands with this opcode in the VCMDQs of VINTFs.
fn carried(tally: &SmmuTally, vintfs: &[u8], op: Opcode) -> u64 {
    let is_theirs =
        |queue: &CommandQueue| matches!(queue, CommandQueue::Vcmdq { vintf, .. } if vintfs.contains(vintf));
    tally.commands.iter().filter(|(queue, _)| is_theirs(queue)).filter_map(|(_, by)| by.get(&op.0)).sum()
}

impl Life {
    /// What the kernel has refused to QEMU, in QEMU's words: the errno is at their end.
    pub fn refusals(&self) -> impl Iterator<Item = &str> {
        let is_refusal = |words: &&String| ERRNOS.iter().any(|errno| words.ends_with(errno));
        self.complaints.iter().filter(is_refusal).map(String::as_str)
    }

    fn hear(&mut self, said: &str) {
        if let Some((_, words)) = said.split_once(QEMU_SAYS)
            && !words.starts_with(ASKED_TO_END)
        {
            self.complaints.push(words.to_owned());
        }
        let Some((_, words)) = said.split_once("@guest ") else { return };
        let words: Vec<_> = words.split_whitespace().collect();
        if words == ["hello"] {
            self.boots.push(Boot::default());
        }
        let Some(boot) = self.boots.last_mut() else { return };
        match *words {
            ["device", bdf, id, ..] => boot.devices.push((bdf.to_owned(), id.to_owned())),
            ["cmdqv", n] => boot.cmdqvs = n.parse().unwrap_or(0),
            ["disk", bdf, verdict, md5] => boot.disks.push(Answer {
                bdf: bdf.to_owned(),
                verdict: verdict.to_owned(),
                md5: md5.to_owned(),
            }),
            ["finished"] => boot.finished = true,
            _ => {}
        }
    }

    fn problems(&self, expected: &Expected) -> impl Iterator<Item = String> {
        let Expected { boots, cmdqvs, disks } = *expected;
        let mut out = Vec::new();
        if self.status != Some(0) {
            let words = self.complaints.last().cloned().unwrap_or_default();
            out.push(match self.status {
                Some(status) => format!("QEMU ended with {status}: {words}"),
                None => "QEMU did not end".to_owned(),
            });
        }
        if self.boots.len() != boots {
            out.push(format!("{} of {boots} boots", self.boots.len()));
        }
        for boot in &self.boots {
            if !boot.finished {
                out.push("its work is not finished".to_owned());
            }
            if boot.cmdqvs != cmdqvs {
                out.push(format!("found {} CMDQVs instead of {cmdqvs}", boot.cmdqvs));
            }
            if boot.disks.len() != disks {
                out.push(format!("{} of {disks} disks answered", boot.disks.len()));
            }
            let bad = boot.disks.iter().filter(|disk| disk.verdict != "equal");
            out.extend(bad.map(|disk| format!("the disk {}: {}", disk.bdf, disk.verdict)));
        }
        out.into_iter()
    }

    fn json(&self) -> Value {
        let boots = self.boots.iter().map(|boot| {
            let disks = boot.disks.iter().map(|d| json!({ "bdf": d.bdf, "verdict": d.verdict, "md5": d.md5 }));
            json!({
                "cmdqvs": boot.cmdqvs,
                "devices": boot.devices.iter().map(|(bdf, id)| json!({ "bdf": bdf, "id": id })).collect::<Vec<_>>(),
                "disks": disks.collect::<Vec<_>>(),
                "exits": boot.exits.map(|e| json!({ "all": e.all, "qemu": e.qemu, "ms": e.ms })),
                "finished": boot.finished,
            })
        });
        json!({
            "boots": boots.collect::<Vec<_>>(),
            "status": self.status,
            "refused": self.refusals().collect::<Vec<_>>(),
            "qemu_said": self.complaints,
        })
    }
}

impl Boot {
    fn text(&self) -> String {
        let mut out = match self.cmdqvs {
            0 => "no CMDQV".to_owned(),
            1 => "1 CMDQV".to_owned(),
            n => format!("{n} CMDQVs"),
        };
        for Answer { bdf, verdict, .. } in &self.disks {
            write!(out, "; disk {bdf} {verdict}").expect("a string takes it");
        }
        if let Some(Exits { all, qemu, ms }) = self.exits {
            write!(out, "; {ms} ms of work with {all} VM exits, {qemu} of them to QEMU")
                .expect("a string takes it");
        }
        out
    }
}

#[cfg(test)]
mod test {
    use expect_test::expect;
    use models::record::Record;
    use spec::cmdqv::Place;
    use spec::cmdqv::config::PARAM;
    use spec::smmu::Command;

    use super::*;
    use crate::machine::Size;

    const CONSOLE: &str = "\
@host start vm0 1
vm0| UEFI firmware\x1b@guest hello
vm0| @guest device 0000:11:00.0 0x1b36:0x0c01 group=1
vm0| @guest cmdqv 1
vm0| @guest ready
@host exits vm0 begin all=100 mmio=40 at=1.50
vm0| @guest finished
@host exits vm0 end all=300 mmio=45 at=4.25
vm0| @guest disk 0000:11:00.0 equal abc
vm0| qemu-system-aarch64: terminating on signal 15
vm0| @qemu 0
@host end vm0 1 0
@host own 0000:00:03.0 equal 7
@host back 0000:00:02.0 abc
@host over
";

    fn machine(vsmmu: &str) -> (Machine, Plan) {
        let text = format!(
            "title = \"x\"\n[psmmu.smmu]\ncount = 2\ncmdqv = true\n[endpoint.nvme]\ncount = 2\nkind = \"nvme\"\n\
             psmmu = [\"smmu0\", \"smmu1\"]\n[vm.vm0]\nmemory = \"256 MiB\"\n[vsmmu.vs0]\nvm = \"vm0\"\n{vsmmu}"
        );
        let size = Size { cpus: 2, memory_bytes: 1 << 30, virtualization: true };
        let machine = Machine::of_text("x.toml", &text, size).unwrap();
        let guests = machine.guests.clone();
        (machine, Plan { guests, mib: 8, lives: 1, boots: 1, append: String::new() })
    }

    /// What the hardware was seen to do: a guest's VINTF on the first pSMMU has a device, and commands are consumed.
    fn tally(machine: &Machine, commands: &[(CommandQueue, Command)]) -> Tally {
        let param = PARAM(0x4671);
        let mut tally = Tally::new(vec![Some(param), Some(param)]);
        let sid = u64::from(machine.platform.endpoints[0].sid);
        for (place, value) in
            [("VINTF1.CONFIG", 7 << 1 | 1), ("VINTF1.SID_REPLACE0", sid), ("VINTF1.SID_MATCH0", 1)]
        {
            let offset = place.parse::<Place>().unwrap().offset().unwrap() as u32;
            tally.record(&Record::CmdqvRegister { smmu: 0, offset, value });
        }
        for &(queue, raw) in commands {
            tally.record(&Record::CommandConsumed { smmu: 0, queue, index: 0, raw, executed: raw });
        }
        tally
    }

    const VCMDQ: CommandQueue = CommandQueue::Vcmdq { queue: 2, vintf: 1, logical: 0 };
    const TLBI: Command = Command::tlbi_nh_va(1, 7, 0, true);
    const GOOD: &[(CommandQueue, Command)] = &[(VCMDQ, TLBI), (CommandQueue::Main, Command::tlbi_nh_all(7))];

    #[test]
    fn the_way_of_commands_matters() {
        const MAIN: CommandQueue = CommandQueue::Main;
        const OTHER: CommandQueue = CommandQueue::Vcmdq { queue: 4, vintf: 2, logical: 0 };
        const SYNC: Command = Command::sync();
        let carried_nothing = "vm0: its VCMDQs on smmu0 carried no invalidation";
        let forwarded = "vm0: 1 TLBI_NH_VA came to smmu0 by way of QEMU";
        /// Commands that are consumed, and the problems that they are.
        type Row<'a> = (&'a [(CommandQueue, Command)], &'a [&'a str]);
        let rows: &[Row<'_>] = &[
            (GOOD, &[]),
            (&[], &[carried_nothing]),
            (&[(VCMDQ, SYNC)], &[carried_nothing]),
            (&[(OTHER, TLBI)], &[carried_nothing]),
            (&[(MAIN, TLBI)], &[carried_nothing, forwarded]),
            (&[(VCMDQ, TLBI), (MAIN, TLBI)], &[forwarded]),
            // The host's own.
            (&[(VCMDQ, TLBI), (MAIN, Command::tlbi_nh_va(1, 0, 0, true))], &[]),
        ];
        for (commands, want) in rows {
            for (policy, want) in [("passthrough", *want), ("trapped", &[])] {
                let (machine, plan) = machine(&format!("policy = \"{policy}\"\ndevices = [\"nvme0\"]\n"));
                let console =
                    if policy == "trapped" { CONSOLE.replace("cmdqv 1", "cmdqv 0") } else { CONSOLE.into() };
                let report = Report::read(console.lines());
                assert_eq!(
                    report.problems(&plan, &machine, &tally(&machine, commands)),
                    want,
                    "{commands:?}"
                );
            }
        }
    }

    #[test]
    fn a_good_run() {
        let (machine, plan) = machine("policy = \"passthrough\"\ndevices = [\"nvme0\"]\n");
        let report = Report::read(CONSOLE.lines());
        assert_eq!(report.problems(&plan, &machine, &tally(&machine, GOOD)), [""; 0]);
        expect![[r"
            vm0       1 CMDQV; disk 0000:11:00.0 equal; 2750 ms of work with 200 VM exits, 5 of them to QEMU
            host      nvme1: its own, 7 times written and read: equal
            host      nvme0: back, and read
        "]]
        .assert_eq(&report.text(&machine));
    }

    /// A change of what is said, and the problem that it is.
    #[test]
    fn what_is_wrong_is_told() {
        let (machine, plan) = machine("policy = \"passthrough\"\ndevices = [\"nvme0\"]\n");
        let rows = [
            ("@host over", "", "the host did not come to its end"),
            ("equal abc", "differ abc", "vm0: the disk 0000:11:00.0: differ"),
            ("cmdqv 1", "cmdqv 0", "vm0: found 0 CMDQVs instead of 1"),
            ("@guest finished", "", "vm0: its work is not finished"),
            ("end vm0 1 0", "end vm0 1 1", "vm0: QEMU ended with 1: "),
            ("@host end vm0 1 0", "", "vm0: QEMU did not end"),
            ("@host start vm0 1", "", "vm0: 0 of 1 lives"),
            ("@guest hello", "", "vm0: 0 of 1 boots"),
            ("@guest disk", "", "vm0: 0 of 1 disks answered"),
            ("equal 7", "failed 7", "the host's own disk nvme1: failed"),
            ("02.0 abc", "02.0 def", "nvme0: does not hold what a guest has left"),
            ("@host own", "@host broken no-kvm\n@host own", "no-kvm"),
        ];
        for (from, to, problem) in rows {
            assert!(CONSOLE.contains(from), "{from}");
            let report = Report::read(CONSOLE.replace(from, to).lines());
            let problems = report.problems(&plan, &machine, &tally(&machine, GOOD));
            assert!(problems.iter().any(|p| p.starts_with(problem)), "{from}: {problems:?}");
        }
    }

    #[test]
    fn what_cannot_be_must_be_refused() {
        let (machine, plan) =
            machine("policy = \"passthrough\"\nwindow = \"smmu0\"\ndevices = [\"nvme0\", \"nvme1\"]\n");
        let refused = "qemu-system-aarch64: IOMMU_VDEVICE_ALLOC failed: Invalid argument";
        let console = CONSOLE.replace("vm0| UEFI", &format!("vm0| \u{1b}[2J{refused}\nvm0| UEFI"));
        let report = Report::read(console.lines());
        assert_eq!(report.problems(&plan, &machine, &tally(&machine, &[])), [""; 0]);
        assert!(
            report
                .text(&machine)
                .starts_with("vm0       refused: IOMMU_VDEVICE_ALLOC failed: Invalid argument")
        );
        let accepted = Report::read(CONSOLE.lines()).problems(&plan, &machine, &tally(&machine, &[]));
        assert_eq!(accepted, ["vm0: was not refused, though a vSMMU of it spans several pSMMUs"]);
    }
}

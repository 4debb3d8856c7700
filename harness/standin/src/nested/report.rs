//! What host and guests have said, understood.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::script::Plan;
use crate::machine::Machine;

/// VM exits of a guest while it worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// All.
    pub all: u64,
    /// Of these, accesses that QEMU had to emulate.
    pub qemu: u64,
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
            ["exits", name, when, all, mmio] => {
                let number = |word: &str| word.split_once('=').and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
                if let Some(boot) = self.life(name).and_then(|life| life.boots.last_mut()) {
                    let now = Exits { all: number(all), qemu: number(mmio) };
                    boot.exits = match (when, boot.exits) {
                        ("end", Some(begin)) => Some(Exits {
                            all: now.all.saturating_sub(begin.all),
                            qemu: now.qemu.saturating_sub(begin.qemu),
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

    /// What is not as it must be; empty if all is well.
    pub fn problems(&self, plan: &Plan, machine: &Machine) -> Vec<String> {
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
                let cmdqvs = guest.vsmmus.iter().filter(|v| v.passthrough).count() as u64;
                out.extend(life.problems(plan.boots as usize, cmdqvs).map(|what| format!("{name}: {what}")));
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

    fn problems(&self, boots: usize, cmdqvs: u64) -> impl Iterator<Item = String> {
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
                "exits": boot.exits.map(|e| json!({ "all": e.all, "qemu": e.qemu })),
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
        if let Some(Exits { all, qemu }) = self.exits {
            write!(out, "; {all} VM exits at work, {qemu} of them to QEMU").expect("a string takes it");
        }
        out
    }
}

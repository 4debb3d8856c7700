//! Rows, the groups that they come in, and how a suite is run.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use models::cmdqv::provenance::{Source, Sources};
use models::cmdqv::{self, Knobs};
use models::psmmu::PsmmuFaults;
use models::smmu::{Features, IdrProfile};
use spec::smmu::page0::IDR0;

use crate::rig::Rig;

/// What a row found: nothing, or what was seen and what should have been.
pub type Check = Result<(), String>;

/// A driver of the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything has happened when a call returns.
    Functional,
    /// Everything takes its time.
    Cycles,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Functional, Self::Cycles];

    /// For people and machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Functional => "functional",
            Self::Cycles => "cycle-level",
        }
    }
}

/// An optional feature that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Hardware update of the Access flag and of the dirty state.
    Httu,
    /// Everything that an SMMU need not have.
    Optional,
    /// Something that no port or register of the models carries, so that there is nothing to run.
    Interface(&'static str),
}

impl Need {
    /// The ID registers with it, if they show it.
    fn profile(self) -> Option<IdrProfile> {
        match self {
            Self::Httu => {
                let idr0 = IDR0(IdrProfile::STALLING.idr0.into()).with_httu(2).0 as u32;
                Some(IdrProfile { idr0, ..IdrProfile::STALLING })
            }
            Self::Optional => Some(IdrProfile::OPTIONAL),
            Self::Interface(_) => None,
        }
    }

    /// Why the models lack it, if they do.
    fn absent(self) -> Option<&'static str> {
        match self {
            Self::Interface(reason) => Some(reason),
            Self::Optional => None,
            Self::Httu => self
                .profile()
                .is_some_and(|profile| Features::new(profile).is_err())
                .then_some("no hardware update of the Access flag and the dirty state (IDR0.HTTU is 0)"),
        }
    }
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A section of the architecture (IHI 0070).
    Section(&'static str),
    /// Whoever knows a device of which no manual is public: a CMDQV.
    Sources(Sources),
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(section) => f.pad(section),
            Self::Sources(sources) => sources.fmt(f),
        }
    }
}

/// The machine that rows run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Options of the CMDQV.
    pub(crate) knobs: Knobs,
    /// What is broken.
    pub(crate) faults: PsmmuFaults,
    /// What is broken in the CMDQV.
    pub(crate) cmdqv_faults: cmdqv::Faults,
    /// The wires on both sides of the SMMU carry neither privilege nor instruction nor memory attributes.
    pub(crate) bare_wires: bool,
}

impl Given {
    /// Sets an option of the CMDQV, by names.
    ///
    /// # Errors
    /// Says what there is, if one of the names means nothing.
    pub fn set_knob(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.knobs.set(name, value).map_err(|why| why.to_string())
    }
}

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name for ever.
    pub id: &'static str,
    /// Who says so.
    pub basis: Basis,
    /// What must be seen.
    pub text: &'static str,
    /// It is about size alone: another row does the same on a small scale.
    pub(crate) large: bool,
    needs: Option<Need>,
    deviates: Option<&'static str>,
    run: fn(&mut Rig) -> Check,
}

impl Row {
    /// A row that must pass.
    pub(crate) const fn new(
        id: &'static str,
        section: &'static str,
        text: &'static str,
        run: fn(&mut Rig) -> Check,
    ) -> Self {
        Self { id, basis: Basis::Section(section), text, large: false, needs: None, deviates: None, run }
    }

    /// A row about a CMDQV, which is next to the SMMU then.
    pub(crate) const fn cmdqv(
        id: &'static str,
        sources: &'static [Source],
        text: &'static str,
        run: fn(&mut Rig) -> Check,
    ) -> Self {
        Self {
            id,
            basis: Basis::Sources(Sources(sources)),
            text,
            large: false,
            needs: None,
            deviates: None,
            run,
        }
    }

    /// A row that there is no way to run, and why.
    #[allow(dead_code, reason = "at times there is none")]
    pub(crate) const fn absent(
        id: &'static str,
        section: &'static str,
        text: &'static str,
        why: &'static str,
    ) -> Self {
        Self { needs: Some(Need::Interface(why)), ..Self::new(id, section, text, |_| Ok(())) }
    }

    /// The same, about size alone.
    pub(crate) const fn large(self) -> Self {
        Self { large: true, ..self }
    }

    /// The same, run only where the models have a feature.
    pub(crate) const fn needs(self, need: Need) -> Self {
        Self { needs: Some(need), ..self }
    }

    /// The same, known to fail, and why that is so.
    #[allow(dead_code, reason = "at times no row does")]
    pub(crate) const fn deviates(self, reason: &'static str) -> Self {
        Self { deviates: Some(reason), ..self }
    }

    /// Whether it is about a CMDQV, which then is beside the SMMU.
    const fn has_cmdqv(&self) -> bool {
        matches!(self.basis, Basis::Sources(_))
    }

    /// Runs it on a machine out of reset.
    pub fn run(&self, mode: Mode) -> Verdict {
        self.run_with(mode, &Given::default())
    }

    /// The same on a machine with other options: a failure that these bring is a difference.
    fn run_given(&self, mode: Mode, given: &Given) -> Verdict {
        match self.run_with(mode, given) {
            Verdict::Fail(message) if *given != Given::default() && self.run(mode) == Verdict::Pass => {
                Verdict::Differs(message)
            }
            verdict => verdict,
        }
    }

    /// The same on a machine with other options, or broken.
    pub(crate) fn run_with(&self, mode: Mode, given: &Given) -> Verdict {
        if let Some(reason) = self.needs.and_then(Need::absent) {
            return Verdict::Absent(reason);
        }
        let profile = self.needs.and_then(Need::profile).unwrap_or(IdrProfile::STALLING);
        let run = || (self.run)(&mut Rig::new(mode, profile, self.has_cmdqv(), given));
        let result = catch_unwind(AssertUnwindSafe(run));
        match (result, self.deviates) {
            (Ok(Ok(())), None) => Verdict::Pass,
            (Ok(Ok(())), Some(_)) => Verdict::Fail("closed deviation, remove it".to_owned()),
            (Ok(Err(_)), Some(reason)) => Verdict::Deviates(reason),
            (Ok(Err(message)), None) => Verdict::Fail(message),
            (Err(panic), _) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Verdict::Fail(format!("panicked: {}", text.unwrap_or_default()))
            }
        }
    }
}

/// Rows about one thing.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// The rows.
    pub rows: &'static [Row],
}

/// Everything about one device.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is checked, and against which text.
    pub title: &'static str,
    /// What rows look at and what they are based on: ends a sentence, and may add more.
    pub about: &'static str,
    /// What [`Row::basis`] is called at the head of a table.
    pub basis: &'static str,
    /// The groups in order.
    pub groups: &'static [Group],
}

impl Suite {
    /// Whether some row has a CMDQV, so that its options ([`Given::set_knob`]) mean anything.
    pub fn has_cmdqv(&self) -> bool {
        self.groups.iter().flat_map(|group| group.rows).any(Row::has_cmdqv)
    }
}

/// What came of a row in one mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the architecture asks.
    Pass,
    /// Not so, as is known, and why.
    Deviates(&'static str),
    /// Not so with the options that were asked for, but with the default ones; what was seen, and what was expected.
    Differs(String),
    /// The models lack what the row is about, and why.
    Absent(&'static str),
    /// What was seen, and what was expected.
    Fail(String),
}

impl Verdict {
    /// For people and machines.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Deviates(_) => "deviates",
            Self::Differs(_) => "differs",
            Self::Absent(_) => "absent",
            Self::Fail(_) => "fail",
        }
    }

    /// The reason or message, if there is one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Deviates(reason) | Self::Absent(reason) => Some(reason),
            Self::Differs(message) | Self::Fail(message) => Some(message),
        }
    }
}

/// What came of a row.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The row.
    pub row: Row,
    /// By mode, as [`Mode::ALL`].
    pub verdicts: [Verdict; 2],
}

impl Outcome {
    /// The verdict that says most: a failure if there is one in any mode, then a deviation.
    pub fn worst(&self) -> &Verdict {
        let rank = |v: &&Verdict| match v {
            Verdict::Pass => 0,
            Verdict::Absent(_) => 1,
            Verdict::Deviates(_) => 2,
            Verdict::Differs(_) => 3,
            Verdict::Fail(_) => 4,
        };
        self.verdicts.iter().max_by_key(rank).expect("there are modes")
    }
}

/// What came of a suite: its groups with their outcomes.
pub type Outcomes = Vec<(&'static str, Vec<Outcome>)>;

/// Runs all rows in all modes.
pub fn run(suite: &Suite) -> Outcomes {
    run_given(suite, &Given::default())
}

/// The same on machines with other options.
pub fn run_given(suite: &Suite, given: &Given) -> Outcomes {
    let verdicts = |row: &Row| Mode::ALL.map(|mode| row.run_given(mode, given));
    let outcome = |row: &Row| Outcome { row: *row, verdicts: verdicts(row) };
    suite.groups.iter().map(|group| (group.title, group.rows.iter().map(outcome).collect())).collect()
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::SUITES;
    use models::psmmu::Which;

    const fn row(run: fn(&mut Rig) -> Check) -> Row {
        Row::new("Z00", "1", "", run)
    }

    #[test]
    fn verdicts() {
        let wrong = |_: &mut Rig| Err("no".to_owned());
        for (row, want) in [
            (row(|_| Ok(())), Verdict::Pass),
            (row(wrong), Verdict::Fail("no".to_owned())),
            (row(wrong).deviates("why"), Verdict::Deviates("why")),
            (row(|_| Ok(())).deviates("why"), Verdict::Fail("closed deviation, remove it".to_owned())),
            (Row::absent("Z00", "1", "", "why"), Verdict::Absent("why")),
        ] {
            for mode in Mode::ALL {
                assert_eq!(row.run(mode), want);
            }
        }
    }

    /// Rows are worth nothing if a broken machine passes them.
    #[test]
    fn broken_machines_are_noticed() {
        let none = PsmmuFaults::default;
        let given = |faults: PsmmuFaults| Given { faults, ..Given::default() };
        let all = Which::From(1);
        let rows: &[(Given, &[&str])] = &[
            (
                given(PsmmuFaults { drop_tlbi: all.into(), ..none() }),
                &["B08", "I01", "I03", "I06", "I07", "I09", "I12", "I18", "EQ17"],
            ),
            (
                given(PsmmuFaults { drop_cfgi: all.into(), ..none() }),
                &["C16", "I13", "I14", "Q20", "L11", "P02"],
            ),
            (
                given(PsmmuFaults { lose_event: all, ..none() }),
                &["T01", "T20", "C04", "X02", "N05", "E01", "E08", "L01"],
            ),
            (
                given(PsmmuFaults { lose_interrupt: all, ..none() }),
                &["E01", "E02", "Q10", "Q11", "P05", "EQ06", "EQ20"],
            ),
            (given(PsmmuFaults { lose_atc_invalidation: all, ..none() }), &["Q15", "Q18", "EQ22", "EQ28"]),
            (
                given(PsmmuFaults { abort_read: all, ..none() }),
                &["X01", "N10", "A01", "T08", "C07", "P02", "AT01"],
            ),
            (
                given(PsmmuFaults { abort_command_fetch: all, ..none() }),
                &["R15", "Q01", "I01", "EQ02", "EQ06"],
            ),
            (given(PsmmuFaults { corrupt_command: Which::From(4).into(), ..none() }), &["Q15", "L02", "P03"]),
            (
                Given { bare_wires: true, ..Given::default() },
                &["X14", "X15", "X16", "X17", "X18", "N10", "N14", "T10", "A12"],
            ),
        ];
        let suites = SUITES.iter().flat_map(|suite| suite.groups);
        let row = |id: &str| suites.clone().flat_map(|group| group.rows).find(|row| row.id == id);
        let passes = |id: &str, mode, given: &Given| {
            !matches!(row(id).expect("the row exists").run_with(mode, given), Verdict::Fail(_))
        };
        let mut passed = Vec::new();
        for (given, ids) in rows {
            let each = ids.iter().flat_map(|id| Mode::ALL.map(|mode| (*id, mode)));
            passed.extend(each.filter(|(id, mode)| passes(id, *mode, given)));
        }
        let early = given(PsmmuFaults { early_sync: all, ..none() });
        passed.extend(
            ["Q10", "Q13", "EQ18", "EQ20"]
                .into_iter()
                .map(|id| (id, Mode::Cycles))
                .filter(|(id, m)| passes(id, *m, &early)),
        );
        assert_eq!(passed, [], "rows that pass on a broken machine");
    }
}

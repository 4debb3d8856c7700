//! Running a scenario: build the machine, boot the software, follow the script, watch with the oracle, judge.
//!
//! ```text
//!   Scenario --platform--> Machine <--events-- run loop --records, notes--> Judge (oracle), Trace
//!                             |                   ^
//!                           tasks: script, loads  +-- Control: faults, metrics, facts for the judge
//! ```

mod attack;
mod control;
mod expect;
mod faults;
pub mod judge;
mod lints;
mod load;
mod metrics;
mod platform;
mod rate;
mod script;
mod steps;
pub mod trace;
mod world;

use std::sync::Arc;
use std::time::Instant;

use kernel::journal::Journal;
use models::system::Machine;
use parking_lot::Mutex;
use sim::Time;

use self::control::{Answer, Ask, Control};
pub use self::faults::{occasions, set_fault};
use self::judge::Judge;
pub use self::platform::psmmu_config;
use self::platform::{CpuPlan, Plan};
use self::script::Script;
use self::trace::Trace;
use crate::model::Scenario;
use crate::outcome::{Check, Outcome, Value, Verdict};

/// How to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Replaces the scenario's seed.
    pub seed: Option<u64>,
    /// Keep a trace: one line per thing that happened.
    pub trace: bool,
}

/// What a run leaves.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The result.
    pub outcome: Outcome,
    /// The trace, if one was wanted.
    pub trace: Option<String>,
}

/// Simulated time that is allowed for what is still under way when the script has ended.
const SETTLE: Time = Time::us(50);

/// Runs a scenario. Equal scenario and seed give equal results, host time aside.
pub fn run(scenario: &Scenario, options: Options) -> Ran {
    let begun = Instant::now();
    let seed = options.seed.unwrap_or(scenario.seed);
    let scenario = Arc::new(scenario.clone());
    let plan = Plan::of(&scenario);
    let mut runner = match Runner::new(&scenario, plan, seed, options.trace) {
        Ok(runner) => runner,
        Err(why) => return unbuilt(&scenario, seed, begun, why),
    };
    runner.go();
    let mut ran = runner.finish(seed);
    ran.outcome.host = begun.elapsed();
    ran
}

/// What a trace calls things.
fn names(scenario: &Scenario, plan: &Plan) -> trace::Names {
    let facts = plan.facts(scenario);
    trace::Names {
        cmdqvs: facts.smmus.iter().map(|s| s.cmdqv).collect(),
        smmus: facts.smmus.into_iter().map(|s| s.name).collect(),
        endpoints: scenario.endpoints.iter().map(|e| e.name.clone()).collect(),
        vms: scenario.vms.iter().map(|v| v.name.clone()).collect(),
    }
}

/// The result of a scenario whose machine cannot be built.
fn unbuilt(scenario: &Scenario, seed: u64, begun: Instant, why: String) -> Ran {
    let mut outcome = blank(scenario, seed);
    outcome.host = begun.elapsed();
    outcome.checks.push(Check::new("the platform can be built", None, Err(why)));
    Ran { outcome, trace: None }
}

fn blank(scenario: &Scenario, seed: u64) -> Outcome {
    Outcome {
        scenario: scenario.name.clone(),
        path: scenario.path.clone(),
        title: scenario.title.clone(),
        statement: scenario.statement.clone(),
        seed,
        verdict: Verdict::Fail,
        simulated: Time::ZERO,
        host: std::time::Duration::ZERO,
        events: 0,
        checks: Vec::new(),
        metrics: std::collections::BTreeMap::new(),
        findings: Vec::new(),
        lints: Vec::new(),
        notes: Vec::new(),
    }
}

struct Runner {
    scenario: Arc<Scenario>,
    machine: Machine,
    journal: Journal,
    control: Control,
    script: Arc<Mutex<Script>>,
    judge: Judge,
    lints: lints::Lints,
    trace: Option<Trace<Vec<u8>>>,
    armed: faults::Armed,
}

impl Runner {
    fn new(scenario: &Arc<Scenario>, plan: Plan, seed: u64, trace: bool) -> Result<Self, String> {
        let mut machine = Machine::new(plan.system.clone()).map_err(|why| why.to_string())?;
        let journal = Journal::new();
        let control = Control::default();
        let script = Arc::new(Mutex::new(Script::default()));
        let judge = Judge::new(plan.facts(scenario));
        let trace = trace.then(|| Trace::new(Vec::new(), names(scenario, &plan)));
        let mut armed = faults::Armed::default();
        for fault in scenario.faults.iter().filter(|f| f.armed) {
            armed.set(&mut machine, fault, true);
        }
        let (s, log, notes, line) =
            (Arc::clone(scenario), Arc::clone(&script), journal.clone(), control.clone());
        machine.spawn(CpuPlan::SCRIPT, "script", move |cpu| async move {
            script::follow(cpu, s, plan, notes, line, log, seed).await;
        });
        let (scenario, lints) = (Arc::clone(scenario), lints::Lints::default());
        Ok(Self { scenario, machine, journal, control, script, judge, lints, trace, armed })
    }

    /// Runs until the script has ended and everything under way has settled, or until it cannot.
    fn go(&mut self) {
        let mut limit = self.scenario.time_limit;
        let mut ended = false;
        loop {
            let Some(next) = self.machine.next_time() else {
                if !ended {
                    self.script.lock().stuck("nothing is left to happen, and the script waits");
                }
                return;
            };
            if next > limit {
                if !ended {
                    let waiting = self.machine.unfinished();
                    let who: Vec<_> = waiting.into_iter().map(|(_, name)| name).collect();
                    let text =
                        format!("the time limit of {limit} has passed; tasks that go on: {}", who.join(", "));
                    self.script.lock().stuck(&text);
                }
                return;
            }
            self.machine.step();
            self.observe();
            if self.control.is_asked() {
                self.answer();
            }
            if !ended && self.script.lock().ended {
                ended = true;
                limit = limit.min(self.machine.now() + SETTLE);
            }
        }
    }

    /// Shows observers what the last event did.
    fn observe(&mut self) {
        if self.machine.has_records() {
            for (time, record) in self.machine.drain_records() {
                self.judge.record(time, &record);
                self.lints.record(&record);
                if let Some(trace) = &mut self.trace {
                    trace.record(time, &record).expect("memory takes every line");
                }
            }
        }
        for (time, note) in self.journal.drain() {
            self.judge.note(time, &note);
            if let Some(trace) = &mut self.trace {
                trace.note(time, &note).expect("memory takes every line");
            }
        }
    }

    /// Answers what tasks have asked the runner.
    fn answer(&mut self) {
        let now = self.machine.now();
        let Self { machine, judge, armed, scenario, script, .. } = self;
        self.control.answer(|ask| match ask {
            Ask::Metrics => Answer::Metrics(metrics::collect(scenario, machine, &script.lock())),
            Ask::Idle => Answer::Idle(machine.psmmus().iter().all(models::psmmu::Psmmu::is_idle)),
            Ask::EventCount => Answer::EventCount(judge.hardware_events().count()),
            Ask::Events { after } => Answer::Events(judge.hardware_events().skip(after).copied().collect()),
            Ask::Fault(fault, on) => {
                armed.set(machine, &fault, on);
                Answer::Done
            }
            Ask::Retire { asid, iova, len } => {
                judge.retire(now, asid, iova, len);
                Answer::Done
            }
            Ask::Behind { vsmmu, smmu, sid, vsid, vmid } => {
                let vsmmu = vsmmu.unwrap_or_else(|| judge.script());
                judge.device_behind(now, vsmmu, smmu, sid, vsid, vmid);
                Answer::Done
            }
            Ask::Assign { smmu, sid, vm } => {
                judge.assign(now, smmu, sid, vm);
                Answer::Done
            }
            Ask::VintfOwner { smmu, vintf, vsmmu } => {
                judge.vintf_owner(smmu, vintf, vsmmu);
                Answer::Done
            }
            Ask::Viommu { vsmmu, id, smmu } => {
                let vsmmu = vsmmu.unwrap_or_else(|| judge.script());
                judge.viommu(vsmmu, id, smmu);
                Answer::Done
            }
            Ask::Grant { vm, ranges } => {
                for range in ranges {
                    judge.grant(now, vm, range);
                }
                Answer::Done
            }
        });
    }

    /// Judges the run.
    fn finish(self, seed: u64) -> Ran {
        let now = self.machine.now();
        let mut outcome = blank(&self.scenario, seed);
        let script = self.script.lock();
        outcome.simulated = now;
        outcome.events = self.machine.counters().events;
        outcome.metrics = metrics::collect(&self.scenario, &self.machine, &script);
        outcome.checks.clone_from(&script.checks);
        outcome.notes.clone_from(&script.notes);
        let undecided = self.judge.counters().undecided;
        if undecided > 0 {
            outcome.metrics.insert("oracle.undecided".to_owned(), Value::Count(undecided));
        }
        let events: Vec<_> = self.judge.hardware_events().copied().collect();
        outcome.lints = self.lints.finish(&self.scenario);
        let findings = self.judge.finish(now);
        expect::evaluate(&self.scenario, &script, &findings, &events, &mut outcome);
        let failed = outcome.checks.iter().any(|c| c.verdict == Verdict::Fail);
        outcome.verdict = if failed { Verdict::Fail } else { Verdict::Pass };
        let text = |trace: Trace<Vec<u8>>| {
            let bytes = trace.finish().expect("memory takes every line");
            String::from_utf8(bytes).expect("a trace is text")
        };
        Ran { outcome, trace: self.trace.map(text) }
    }
}

//! The script: boots the world, starts loads, performs the steps in order, waits for loads, tells what it saw.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::journal::Journal;
use kernel::vmm::SkipTarget;
use models::cpu::Cpu;
use parking_lot::Mutex;
use sim::Time;

use super::control::{Answer, Ask, Control};
use super::load::{self, Running};
use super::platform::Plan;
use super::rate::rate;
use super::steps::{self, Seen};
use super::world::World;
use crate::model::{Bounds, Scenario};
use crate::outcome::{Check, Value};
use crate::platform::FaultKind;
use crate::step::{Action, Expected, Step};

/// What the script has done and seen so far.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) checks: Vec<Check>,
    pub(super) notes: Vec<String>,
    /// When each step ended, by index.
    pub(super) ends: BTreeMap<usize, Time>,
    /// Metrics at the end of named steps.
    pub(super) snapshots: BTreeMap<usize, BTreeMap<String, Value>>,
    /// Numbers that steps have worked out, as metrics.
    pub(super) worked_out: BTreeMap<String, Value>,
    /// The booted software, for its counters.
    pub(super) world: Option<Arc<World>>,
    /// Loads that have been started.
    pub(super) loads: BTreeMap<usize, Arc<Running>>,
    pub(super) ended: bool,
    /// What it is doing, for when it never ends.
    doing: Option<(String, Option<u32>)>,
}

impl Script {
    /// The script will not end: that is a failed check of what it was doing.
    pub(super) fn stuck(&mut self, why: &str) {
        let (name, line) = self.doing.clone().unwrap_or_else(|| ("the run ends".to_owned(), None));
        self.check(name, line, Err(why.to_owned()));
    }
    fn check(&mut self, name: String, line: Option<u32>, seen: Seen) {
        self.checks.push(Check::new(name, line, seen));
    }

    /// What a step of the file has shown.
    fn step(&mut self, name: String, step: &Step, seen: Seen) {
        let why = step.why.clone();
        let measures = matches!(step.action, Action::Rate(_));
        let notable = why.is_some() || step.expect != Expected::Ok || measures;
        self.checks.push(Check { why, notable, ..Check::new(name, Some(step.line), seen) });
    }
}

/// The body of the script task.
pub(super) async fn follow(
    cpu: Cpu,
    scenario: Arc<Scenario>,
    plan: Plan,
    journal: Journal,
    control: Control,
    log: Arc<Mutex<Script>>,
    seed: u64,
) {
    log.lock().doing = Some(("the software boots".to_owned(), None));
    let world = match World::boot(&cpu, Arc::clone(&scenario), plan, journal, control).await {
        Ok(world) => world,
        Err(why) => {
            log.lock().check("the software boots".to_owned(), None, Err(why));
            log.lock().ended = true;
            return;
        }
    };
    log.lock().world = Some(Arc::clone(&world));
    for fault in scenario.faults.iter().filter(|f| f.armed && f.kind == FaultKind::SkipBroadcast) {
        skip_broadcast(&world, fault, true);
    }
    for (i, load) in scenario.loads.iter().enumerate() {
        if load.start {
            start(&world, &cpu, &log, i, seed).await;
        }
    }
    for (i, step) in scenario.steps.iter().enumerate() {
        let name = title(&scenario, step);
        log.lock().doing = Some((name.clone(), Some(step.line)));
        let seen = perform(&world, &cpu, &log, step, seed).await;
        let snapshot = if step.name.is_some() { Some(world.control.metrics(&cpu).await) } else { None };
        let mut log = log.lock();
        log.step(name, step, seen);
        log.ends.insert(i, cpu.now());
        if let Some(snapshot) = snapshot {
            log.snapshots.insert(i, snapshot);
        }
    }
    let started: Vec<(usize, Arc<Running>)> =
        log.lock().loads.iter().map(|(i, running)| (*i, Arc::clone(running))).collect();
    for (i, running) in started {
        let name = format!("load `{}` ends", scenario.loads[i].name);
        log.lock().doing = Some((name.clone(), None));
        let seen = running.wait(&cpu).await;
        log.lock().check(name, None, seen);
    }
    log.lock().ended = true;
}

/// How the report calls a step.
fn title(scenario: &Scenario, step: &Step) -> String {
    let word = step.action.word();
    let made = step.makes.map(|id| scenario.objects[id.0].name.as_str()).filter(|name| !name.is_empty());
    match (&step.name, made) {
        (Some(name), _) => format!("{word} ({name})"),
        (None, Some(made)) => format!("{word} {made}"),
        (None, None) => word.to_owned(),
    }
}

async fn start(world: &Arc<World>, cpu: &Cpu, log: &Mutex<Script>, index: usize, seed: u64) {
    let running = load::start(world, cpu, index, seed).await;
    log.lock().loads.insert(index, running);
}

async fn perform(world: &Arc<World>, cpu: &Cpu, log: &Mutex<Script>, step: &Step, seed: u64) -> Seen {
    match &step.action {
        Action::Wait(a) => {
            if let Some(time) = a.time {
                cpu.sleep(time).await;
            }
            if let Some(load) = a.load {
                let running = log.lock().loads.get(&load.0).cloned();
                match running {
                    Some(running) => return running.wait(cpu).await,
                    None => return Err("the load has not been started".to_owned()),
                }
            }
            while a.idle && !matches!(world.control.ask(cpu, Ask::Idle).await, Answer::Idle(true)) {
                cpu.sleep(Time::ns(100)).await;
            }
            Ok(format!("until {}", cpu.now()))
        }
        Action::StartLoad(a) => {
            if log.lock().loads.contains_key(&a.load.0) {
                return Err("the load runs already".to_owned());
            }
            start(world, cpu, log, a.load.0, seed).await;
            Ok("started".to_owned())
        }
        Action::ArmFault(a) => arm(world, cpu, a.fault.0, true).await,
        Action::ClearFault(a) => arm(world, cpu, a.fault.0, false).await,
        Action::Note(a) => {
            log.lock().notes.push(a.text.clone());
            Ok(a.text.clone())
        }
        Action::Check(a) => {
            let now = world.control.metrics(cpu).await;
            let value =
                |metrics: &BTreeMap<String, Value>| metrics.get(&a.metric).map_or(0.0, |v| v.as_f64());
            if !now.contains_key(&a.metric) && !super::metrics::is_plausible(&a.metric, &now) {
                return Err(super::metrics::unknown(&a.metric, &now));
            }
            let before = a.since.map_or(0.0, |s| log.lock().snapshots.get(&s.0).map_or(0.0, value));
            let seen = value(&now) - before;
            let bounds = Bounds { equals: a.equals, min: a.min, max: a.max };
            let text = format!("{} is {seen}", a.metric);
            if bounds.hold(seen) { Ok(text) } else { Err(format!("{text}; expected {bounds}")) }
        }
        Action::Rate(a) => {
            let now = (cpu.now(), world.control.metrics(cpu).await);
            rate(&world.scenario, &mut log.lock(), step, a, now)
        }
        _ => steps::run(world, cpu, step).await,
    }
}

async fn arm(world: &World, cpu: &Cpu, fault: usize, on: bool) -> Seen {
    let fault = &world.scenario.faults[fault];
    if fault.kind == FaultKind::SkipBroadcast {
        skip_broadcast(world, fault, on);
    } else {
        world.control.ask(cpu, Ask::Fault(Box::new(fault.clone()), on)).await;
    }
    Ok(if on { "armed" } else { "cleared" }.to_owned())
}

/// The one fault that is a VMM's, not hardware's.
fn skip_broadcast(world: &World, fault: &crate::model::Fault, on: bool) {
    if let Some(vsmmu) = &world.vsmmus[fault.at.index] {
        let last = vsmmu.viommus().len().saturating_sub(1);
        vsmmu.set_skip(on.then_some(SkipTarget { nth: fault.nth, times: fault.times, target: last }));
    }
}

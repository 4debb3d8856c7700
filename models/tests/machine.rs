//! A whole machine: tasks reach memory, registers, endpoints and each other, and the same run repeats to the byte.

use std::sync::{Arc, Mutex};

use models::cpu::{CpuId, CpuTiming, SignalId};
use models::dma::{Incoming, Job};
use models::endpoint::{EndpointConfig, RootPortConfig};
use models::interrupt::InterruptConfig;
use models::memory::MemoryConfig;
use models::psmmu::PsmmuConfig;
use models::system::{FabricTiming, Machine, SystemConfig};
use sim::Time;

const RAM: u64 = 0x8000_0000;
const SMMU: u64 = 0x0500_0000;

fn machine() -> Machine {
    let config = SystemConfig {
        cpu_nodes: vec![0, 0],
        cpu: CpuTiming::default(),
        memory: MemoryConfig::flat(RAM, 1 << 30),
        interrupts: InterruptConfig::new(0x0200_0000, 2),
        psmmus: vec![(0, PsmmuConfig::new(0, SMMU))],
        pairs: Vec::new(),
        endpoints: vec![(0, EndpointConfig::dma(0, RootPortConfig::new(0), 0x10))],
        fabric: FabricTiming::default(),
    };
    Machine::new(config).expect("the machine is sound")
}

/// What the tasks saw, and when.
fn run() -> Vec<(Time, String)> {
    let mut machine = machine();
    let log = Arc::new(Mutex::new(Vec::new()));
    let go = SignalId(1);
    let out = Arc::clone(&log);
    machine.spawn(CpuId(0), "first", move |cpu| async move {
        let say = |text: String| out.lock().unwrap().push((cpu.now(), text));
        cpu.write64(RAM + 0x100, 0x1234).await;
        cpu.barrier().await;
        say(format!("memory {:#x}", cpu.read64(RAM + 0x100).await));
        say(format!("old {:#x}", cpu.fetch_add(RAM + 0x100, 1).await));
        say(format!("IDR0 is there {}", cpu.read32(SMMU).await != 0));
        say(format!("nothing {:#x}", cpu.read32(0x100).await));
        cpu.signal(go).await;
        say(format!("changed {}", cpu.wait_while64(RAM + 0x200, 0, None).await));
        let job = Job {
            write: true,
            iova: RAM + 0x1000,
            ssid: None,
            incoming: Incoming::DEFAULT,
            len: 100,
            pattern: vec![0xab],
            stop: false,
        };
        let result = cpu.run_job(0, job).await;
        say(format!("job {} aborted {}", result.done, result.aborted));
        say(format!("written {:#x}", cpu.read32(RAM + 0x1060).await));
        say(format!("limit {}", cpu.wait_interrupt(77, Some(Time::us(5))).await));
    });
    let out = Arc::clone(&log);
    machine.spawn(CpuId(1), "second", move |cpu| async move {
        let count = cpu.wait_signal(go, 0, None).await;
        out.lock().unwrap().push((cpu.now(), format!("signalled {count:?}")));
        cpu.write64(RAM + 0x200, 1).await;
    });
    machine.run_until(Time::ms(1));
    assert_eq!(machine.unfinished(), []);
    Arc::try_unwrap(log).unwrap().into_inner().unwrap()
}

#[test]
fn tasks_reach_everything_and_runs_repeat() {
    let log = run();
    let texts: Vec<&str> = log.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "memory 0x1234",
            "old 0x1234",
            "IDR0 is there true",
            "nothing 0xffffffff",
            "signalled Some(1)",
            "changed true",
            // GBPA out of reset bypasses.
            "job 100 aborted false",
            "written 0xabababab",
            "limit false",
        ]
    );
    assert_eq!(run(), log);
}

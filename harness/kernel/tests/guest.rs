//! A guest on a whole machine: host boot, viommu, guest boot, map, DMA, unmap; trapped and passed through.

use std::sync::Arc;

use kernel::alloc::{PAGE, Pages};
use kernel::cmdqv::CmdqvConfig as CmdqvAt;
use kernel::guest::{Guest, GuestSmmu};
use kernel::host::{DeviceNode, Host, SmmuNode};
use kernel::iommufd::{Abi, Context, Costs};
use kernel::journal::{Actor, Journal};
use kernel::pgtable::Prot;
use kernel::smmu::Config;
use kernel::vmm::{
    CmdqvPage0, Parents, Routing, Vcmdqv, VcmdqvConfig, Vcpu, Vm, VmConfig, VmCosts, Vsmmu, VsmmuConfig,
};
use models::cmdqv::CmdqvConfig;
use models::cpu::{CpuId, CpuTiming};
use models::dma::{Incoming, Job};
use models::endpoint::{EndpointConfig, RootPortConfig};
use models::interrupt::InterruptConfig;
use models::memory::MemoryConfig;
use models::psmmu::PsmmuConfig;
use models::system::{FabricTiming, Machine, SystemConfig};
use parking_lot::Mutex;
use sim::Time;

const RAM: u64 = 0x1_0000_0000;
const RAM_SIZE: u64 = 1 << 30;
const SMMU: u64 = 0x0500_0000;
const SPACING: u64 = 0x0100_0000;

fn machine(smmus: u16) -> Machine {
    let psmmus = (0..smmus).map(|i| {
        let base = SMMU + SPACING * u64::from(i);
        let mut config = PsmmuConfig::new(i, base);
        let cmdqv = CmdqvConfig { vintfs_log2: 2, vcmdqs_log2: 3, ..CmdqvConfig::default() };
        config.cmdqv = Some((base + 0x20_0000, cmdqv));
        let first = 32 + 8 * u32::from(i);
        config.lines.gerror = Some(first);
        config.lines.eventq = Some(first + 1);
        config.cmdqv_line = Some(first + 3);
        (0, config)
    });
    let endpoints = (0..smmus).map(|i| (i, EndpointConfig::dma(i, RootPortConfig::new(0), 0x10)));
    Machine::new(SystemConfig {
        cpu_nodes: vec![0; 4],
        cpu: CpuTiming::default(),
        memory: MemoryConfig::flat(RAM, RAM_SIZE),
        interrupts: InterruptConfig::new(0x0200_0000, 4),
        psmmus: psmmus.collect(),
        pairs: Vec::new(),
        endpoints: endpoints.collect(),
        fabric: FabricTiming::default(),
    })
    .expect("the machine is sound")
}

struct Seen {
    before: String,
    data: Vec<u8>,
    after: String,
    exits: u64,
    direct: u64,
}

/// Boots one guest over `smmus` pSMMUs; every device maps, transfers, unmaps, transfers again.
fn run(smmus: u16, passthrough: bool) -> Vec<Seen> {
    let mut machine = machine(smmus);
    let journal = Journal::new();
    let out = Arc::new(Mutex::new(Vec::new()));
    let (log, notes) = (Arc::clone(&out), journal.clone());
    machine.spawn(CpuId(0), "script", move |cpu| async move {
        let pages = Pages::new(&[(RAM, RAM + RAM_SIZE)]);
        let nodes: Vec<_> = (0..smmus)
            .map(|i| {
                let base = SMMU + SPACING * u64::from(i);
                let first = 32 + 8 * u32::from(i);
                let mut config = Config::new(Actor::Host, i, base, first);
                config.cmdqv = Some(CmdqvAt { base: base + 0x20_0000, intid: Some(first + 3) });
                config.interrupts.routes = Some(0x0200_1000);
                SmmuNode { name: format!("smmu{i}"), config, interrupts_on: CpuId(1) }
            })
            .collect();
        let devices: Vec<_> = (0..smmus)
            .map(|i| DeviceNode {
                name: format!("nic{i}"),
                endpoint: i,
                smmu: usize::from(i),
                sids: vec![0x10],
                canwbs: true,
                ats: false,
                pasid_bits: 0,
            })
            .collect();
        let host = Host::boot(&cpu, &nodes, &devices, &pages, &notes).await.expect("the host boots");
        let memory = host.user_memory(32 << 20, 2 << 20, true).unwrap();
        let lock_line = pages.alloc(PAGE).unwrap();
        let vm = Vm::new(
            VmConfig {
                index: 0,
                name: "vm0".into(),
                cpus: vec![CpuId(2)],
                base: Vm::RAM_BASE,
                memory,
                costs: VmCosts::default(),
                lock_line,
            },
            notes.clone(),
        );
        let context = Context::new("vm0", Abi::Final, 4096, Costs::default(), notes.clone());
        let ioas = context.ioas_alloc(&cpu).await.unwrap();
        vm.map_memory(&cpu, &context, ioas).await.unwrap();
        let vsmmu = Vsmmu::new(
            VsmmuConfig {
                index: 0,
                name: "vs0".into(),
                base: 0x1000_0000,
                routing: Routing::Select,
                batch: 1,
                eventq_intid: 41,
                gerror_intid: 40,
                range_invalidation: false,
                cmdq_log2_max: 8,
                event_depth: 16,
                cmdqv: passthrough,
                parents: Parents::default(),
            },
            &vm,
            Arc::clone(&context),
            ioas,
        );
        vsmmu.map_into(&vm);
        if passthrough {
            let config =
                VcmdqvConfig { base: 0x1020_0000, page0: CmdqvPage0::Direct, intid: 43, queues_log2: 1 };
            Vcmdqv::new(config, &vsmmu, &vm);
        }
        for (i, device) in host.devices.iter().enumerate() {
            let id = context.bind(&cpu, device).await.unwrap();
            vsmmu.plug(&cpu, id, 0x20 + i as u32).await.unwrap();
        }
        let events = Arc::clone(&vsmmu);
        cpu.spawn(CpuId(1), "vm0 events", move |cpu| async move { events.serve_events(cpu).await }).await;

        let vcpu = Vcpu::new(cpu.clone(), Arc::clone(&vm), 0);
        let guest_pages = Pages::new(&[(Vm::RAM_BASE, Vm::RAM_BASE + (32 << 20))]);
        let sids = (0..u32::from(smmus)).map(|i| (0x20 + i, false)).collect();
        let described = GuestSmmu::describe(&vsmmu, 7, sids);
        let guest = Guest::boot(&vcpu, guest_pages, &[described], &notes).await.expect("the guest boots");
        for i in 0..smmus {
            let device = (0, 0x20 + u32::from(i));
            let gpa = guest.pages.alloc(PAGE).unwrap();
            vm.write_memory(&cpu, gpa, b"hello, dma").await;
            cpu.barrier().await;
            let exits: u64 = vm.exits().values().sum();
            let mapping = guest.map(&vcpu, device, None, gpa, PAGE, Prot::READ_WRITE).await.unwrap();
            let read = |iova| Job {
                write: false,
                iova,
                ssid: None,
                incoming: Incoming::DEFAULT,
                len: 10,
                pattern: vec![],
                stop: false,
            };
            let before = cpu.run_job(i, read(mapping.iova)).await;
            guest.unmap(&vcpu, &mapping, true).await.unwrap();
            let after = cpu.run_job(i, read(mapping.iova)).await;
            let show = |aborted| if aborted { "abort" } else { "ok" }.to_owned();
            log.lock().push(Seen {
                before: show(before.aborted),
                data: before.data,
                after: show(after.aborted),
                exits: vm.exits().values().sum::<u64>() - exits,
                direct: vm.direct_accesses(),
            });
        }
    });
    machine.run_until(Time::ms(500));
    let left = machine.unfinished();
    assert!(left.iter().all(|(_, name)| name != "script"), "{left:?} at {}", machine.now());
    Arc::try_unwrap(out).ok().expect("the script has ended").into_inner()
}

#[test]
fn a_guest_maps_transfers_and_unmaps() {
    for (smmus, passthrough) in [(1, false), (1, true), (2, false)] {
        let seen = run(smmus, passthrough);
        assert_eq!(seen.len(), usize::from(smmus));
        for seen in seen {
            let what = format!("{smmus} pSMMUs, passthrough {passthrough}");
            assert_eq!((seen.before.as_str(), seen.data.as_slice()), ("ok", &b"hello, dma"[..]), "{what}");
            assert_eq!(seen.after, "abort", "{what}");
            if passthrough {
                assert_eq!(seen.exits, 0, "{what}");
                assert!(seen.direct > 0, "{what}");
            } else {
                assert!(seen.exits > 0, "{what}");
            }
        }
    }
}

//! VINTFs, LVCMDQs and StreamID slots of virtual machines, as user space asks for them through iommufd.

use models::cpu::Cpu;
use models::record::Record;

use super::*;
use crate::alloc::PAGE;
use crate::errno::Errno;
use crate::host::{DeviceNode, Host, SmmuNode};
use crate::iommufd::{
    Abi, Context, Costs, HwQueueAlloc, HwptAlloc, Id, UserMemory, VIOMMU_TEGRA241_CMDQV, ViommuAlloc,
    hwpt_flags,
};
use crate::testing::trace::only;
use crate::vmm::{Vm, VmConfig, VmCosts};

/// StreamID of the device.
pub(super) const PHYSICAL: u64 = 0x10;
/// What the guest calls it.
pub(super) const VIRTUAL: u64 = 0x20;

/// A booted host with one device, and a VM whose memory is known to iommufd.
pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) param: PARAM,
    pub(super) host: Host,
    pub(super) vm: Arc<Vm>,
    pub(super) context: Arc<Context>,
    pub(super) ioas: Id,
    pub(super) memory: UserMemory,
}

pub(super) fn world() -> World {
    let (mut bench, param) = bench();
    let (config, pages, journal) = (bench.config(), bench.pages.clone(), bench.journal.clone());
    let (host, vm, context, ioas, memory) = bench.run(0, |cpu| async move {
        let node = SmmuNode { name: "smmu0".into(), config, interrupts_on: CpuId(1) };
        let device = DeviceNode {
            name: "nic0".into(),
            endpoint: 0,
            smmu: 0,
            sids: vec![PHYSICAL as u32],
            canwbs: true,
            ats: false,
            pasid_bits: 0,
        };
        let host = Host::boot(&cpu, &[node], &[device], &pages, &journal).await.expect("the host boots");
        let memory = host.user_memory(32 << 20, 2 << 20, true).unwrap();
        let config = VmConfig {
            index: 0,
            name: "vm0".into(),
            cpus: vec![CpuId(2)],
            base: Vm::RAM_BASE,
            memory: memory.clone(),
            costs: VmCosts::default(),
            lock_line: pages.alloc(PAGE).unwrap(),
        };
        let vm = Vm::new(config, journal.clone());
        let context = Context::new("vm0", Abi::Final, 4096, Costs::default(), journal);
        let ioas = context.ioas_alloc(&cpu).await.unwrap();
        vm.map_memory(&cpu, &context, ioas).await.unwrap();
        (host, vm, context, ioas, memory)
    });
    bench.trace.take();
    World { bench, param, host, vm, context, ioas, memory }
}

/// Without what the host's own queues do.
pub(super) fn without_own(seen: &[Seen]) -> Vec<Seen> {
    let own = |seen: &Seen| match *seen {
        Seen::Read { offset, .. } | Seen::Write { offset, .. } => (p0(0, 0)..p1(0, 0)).contains(&offset),
        Seen::Sync | Seen::Edge => false,
    };
    only(seen, |seen| !own(seen))
}

impl World {
    /// Runs this on CPU 0; returns what was seen of it.
    fn does<F, T>(&mut self, body: impl FnOnce(Cpu, Arc<Context>) -> F) -> (T, Vec<Seen>)
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let context = Arc::clone(&self.context);
        let result = self.bench.run(0, |cpu| body(cpu, context));
        self.bench.settle();
        (result, without_own(&self.bench.trace.take()))
    }
}

#[test]
fn s9_s10_s11_user_vintf() {
    let mut world = world();
    let (device, ioas, param) = (Arc::clone(&world.host.devices[0]), world.ioas, world.param);
    let mut all = Vec::new();
    let mut expect = |(seen, steps): (Vec<Seen>, Vec<Step>)| {
        follows(&seen, &steps, param);
        all.extend(seen);
    };

    let (ids, seen) = world.does(|cpu, context| async move {
        let device = context.bind(&cpu, &device).await.unwrap();
        let cmd = HwptAlloc {
            flags: hwpt_flags::NEST_PARENT,
            device: device.0,
            pt: ioas.0,
            ..HwptAlloc::default()
        };
        let parent = context.hwpt_alloc(&cpu, &cmd).await.unwrap();
        let cmd = ViommuAlloc {
            flags: 0,
            kind: VIOMMU_TEGRA241_CMDQV,
            device: device.0,
            hwpt: parent.0,
            data_len: 16,
        };
        let viommu = context.viommu_alloc(&cpu, &cmd).await.unwrap();
        (device, viommu.id, context.viommu_facts(viommu.id).unwrap())
    });
    let (device, viommu, facts) = ids;
    assert_eq!(facts.vintf, Some(1), "the lowest that is free");
    expect((seen, s3(1, 0, facts.vmid.into(), &[])));

    let (vdevice, seen) = world.does(move |cpu, context| async move {
        assert_eq!(context.vdevice_alloc(&cpu, viommu, device, 1 << 20).await, Err(Errno::EINVAL));
        context.vdevice_alloc(&cpu, viommu, device, VIRTUAL).await.unwrap()
    });
    expect((seen, vec![W(vb(1) + 0x80, PHYSICAL), W(vb(1) + 0x40, VIRTUAL << 1 | 1)]));

    let queue = move |index: u32, iova: u64| HwQueueAlloc {
        flags: 0,
        viommu: viommu.0,
        kind: 1,
        index,
        iova: Vm::RAM_BASE + iova,
        length: 0x1000,
    };
    let (queues, seen) = world.does(move |cpu, context| async move {
        for (index, why) in [(2, Errno::EINVAL), (1, Errno::EIO)] {
            assert_eq!(context.hw_queue_alloc(&cpu, &queue(index, 0)).await, Err(why), "{index}");
        }
        let first = context.hw_queue_alloc(&cpu, &queue(0, 0x1000)).await.unwrap();
        assert_eq!(context.hw_queue_alloc(&cpu, &queue(0, 0x1000)).await, Err(Errno::EEXIST));
        [first, context.hw_queue_alloc(&cpu, &queue(1, 0x2000)).await.unwrap()]
    });
    let ring = |offset| world.memory.at(offset).unwrap() | 8;
    let steps = [s5a(1, 0), s4c(1, 0, ring(0x1000)), s5a(1, 1), s4c(1, 1, ring(0x2000))];
    expect((seen, steps.concat()));

    let (_, seen) = world.does(move |cpu, context| async move {
        assert_eq!(context.destroy(&cpu, queues[0]).await, Err(Errno::EBUSY), "queue 1 holds it");
        for queue in [queues[1], queues[0]] {
            context.destroy(&cpu, queue).await.unwrap();
        }
    });
    expect((seen, [s4a(1, 1), s5b(1, 1), s4a(1, 0), s5b(1, 0)].concat()));

    let (_, seen) =
        world.does(move |cpu, context| async move { context.destroy(&cpu, vdevice).await.unwrap() });
    expect((seen, vec![W(vb(1) + 0x40, 0), W(vb(1) + 0x80, 0)]));

    let (_, seen) =
        world.does(move |cpu, context| async move { context.destroy(&cpu, viommu).await.unwrap() });
    expect((seen, s7(1, 0)));
    golden("s09-s11-user-vintf.txt", &all, param);
    assert_eq!(world.bench.complaints(), Vec::<&Record>::new());
}

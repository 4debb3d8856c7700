//! A virtual machine's life as the silicon sees it: the guest's driver on a page that is the hardware's, a VMM for the rest.

use models::cpu::CpuId;
use models::record::Record;
use spec::smmu::Command;

use super::users::{PHYSICAL, VIRTUAL, without_own, world};
use super::*;
use crate::alloc::{PAGE, Pages};
use crate::guest::{Guest, GuestSmmu};
use crate::pgtable::Prot;
use crate::testing::trace::only;
use crate::vmm::{CmdqvPage0, Parents, Routing, Vcmdqv, VcmdqvConfig, Vcpu, Vm, Vsmmu, VsmmuConfig};

/// What the VMM writes from its memory into a new queue.
fn copied(l: u64) -> [Step; 4] {
    [W(p0(1, l), 0), W(p0(1, l) + 4, 0), W(p0(1, l) + 8, 0), W(p0(1, l) + 0x14, 0)]
}
/// [`s4a`] of the guest, of which the silicon sees page 0. The CMD_SYNCs and page 1 are virtual.
fn s4a_direct(l: u64) -> Vec<Step> {
    let p0 = p0(1, l);
    vec![W(p0 + 8, 0), Poll(p0 + 0xc, 0), W(p0 + 4, 0), W(p0, 0), Is(p0 + 0x14, 0), Is(p0 + 0x10, 0)]
}

/// What was seen. The SMMU's own queue executes the guest's trapped commands too, at times of their own.
fn without_syncs(bench: &mut Bench) -> Vec<Seen> {
    only(&without_own(&bench.trace.take()), |seen| *seen != Seen::Sync)
}

#[test]
fn s13_guest_life() {
    let mut w = world();
    let (vm, context, ioas, param) = (Arc::clone(&w.vm), Arc::clone(&w.context), w.ioas, w.param);
    let journal = w.bench.journal.clone();
    let device = Arc::clone(&w.host.devices[0]);
    let mut all = Vec::new();
    let mut expect = |bench: &mut Bench, steps: &[Step]| {
        let seen = without_syncs(bench);
        let steps: Vec<_> = steps.iter().copied().filter(|step| *step != Sync).collect();
        follows(&seen, &steps, param);
        all.extend(seen);
    };

    // The VMM makes a vSMMU and plugs the device in.
    let machine = Arc::clone(&vm);
    let vsmmu = w.bench.run(0, |cpu| async move {
        let config = VsmmuConfig {
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
            cmdqv: true,
            parents: Parents::default(),
        };
        let vsmmu = Vsmmu::new(config, &machine, Arc::clone(&context), ioas);
        vsmmu.map_into(&machine);
        let config = VcmdqvConfig { base: 0x1020_0000, page0: CmdqvPage0::Direct, intid: 43, queues_log2: 1 };
        Vcmdqv::new(config, &vsmmu, &machine);
        let id = context.bind(&cpu, &device).await.unwrap();
        vsmmu.plug(&cpu, id, VIRTUAL as u32).await.unwrap();
        let events = Arc::clone(&vsmmu);
        cpu.spawn(
            CpuId(1),
            "vm0 events".to_owned(),
            move |cpu| async move { events.serve_events(cpu).await },
        )
        .await;
        vsmmu
    });
    let (viommu, _, _) = vsmmu.viommus()[0];
    let vmid = w.context.viommu_facts(viommu).unwrap().vmid;
    expect(&mut w.bench, &s3(1, 0, vmid.into(), &[]));

    // 1 to 5: the guest boots. Its page is the hardware's once it has enabled its VINTF. It resets what is not there, and
    // its write of BASE makes the VMM ask for the queue.
    let (machine, machines) = (Arc::clone(&vm), Arc::clone(&vsmmu));
    let guest = w.bench.run(2, |cpu| async move {
        let vcpu = Vcpu::new(cpu, machine, 0);
        let pages = Pages::new(&[(Vm::RAM_BASE, Vm::RAM_BASE + (32 << 20))]);
        let described = GuestSmmu::describe(&machines, 7, vec![(VIRTUAL as u32, false)]);
        Guest::boot(&vcpu, pages, &[described], &journal).await.expect("the guest boots")
    });
    let driver = Arc::clone(guest.driver(0).unwrap());
    let ring = |l: usize| {
        let gpa = rings(&driver)[l];
        w.memory.at((gpa & !0x1f) - Vm::RAM_BASE).unwrap() | gpa & 0x1f
    };
    let mut steps = Vec::new();
    for l in 0..2 {
        steps.extend(s4a_direct(l));
        steps.extend([s5a(1, l), s4c(1, l, ring(l as usize))].concat());
        steps.extend(copied(l));
        steps.extend([W(p0(1, l) + 8, 1), Poll(p0(1, l) + 0xc, 1)]);
    }
    // The device is attached: its stream gets a slot.
    steps.extend([W(vb(1) + 0x80, PHYSICAL), W(vb(1) + 0x40, VIRTUAL << 1 | 1)]);
    expect(&mut w.bench, &steps);

    // 6: map and unmap. Nothing but PROD and CONS is touched.
    let (g, machine) = (Arc::clone(&guest), Arc::clone(&vm));
    w.bench.run(2, |cpu| async move {
        let v = Vcpu::new(cpu, machine, 0);
        let gpa = g.pages.alloc(PAGE).unwrap();
        let mapping = g.map(&v, (0, VIRTUAL as u32), None, gpa, PAGE, Prot::READ_WRITE).await.unwrap();
        g.unmap(&v, &mapping, true).await.unwrap();
    });
    expect(&mut w.bench, &[W(p0(1, 0) + 4, 2), Is(p0(1, 0), 2)]);

    // 7: an error. The host looks and passes it on; the guest repairs its own queue.
    let (d, machine) = (Arc::clone(&driver), Arc::clone(&vm));
    w.bench
        .run(2, |cpu| async move {
            let v = Vcpu::new(cpu, machine, 0);
            d.cmdqv().unwrap().own_queues().next().unwrap().issue(&v, &[Command::cfgi_all()], false).await
        })
        .unwrap();
    w.bench.settle();
    let maps = [R(0x18), R(0x14), R(0x30), R(0x2c), R(0x28), R(0x24), R64(vb(1) + 0xc0), R64(vb(1) + 0xc8)];
    let repair = [Is(p0(1, 0) + 0x10, 1), Is(p0(1, 0), 1 << 24 | 2), W(p0(1, 0) + 0x14, 1)];
    expect(&mut w.bench, &[&[W(p0(1, 0) + 4, 3), Edge][..], &maps, &repair].concat());
    let (d, machine) = (Arc::clone(&driver), Arc::clone(&vm));
    w.bench
        .run(2, |cpu| async move {
            let v = Vcpu::new(cpu, machine, 0);
            let queue = d.cmdqv().unwrap().own_queues().next().unwrap();
            queue.issue(&v, &[Command::tlbi_nh_asid(1, 0)], true).await
        })
        .unwrap();
    expect(&mut w.bench, &[W(p0(1, 0) + 4, 5), R(p0(1, 0))]);

    // 8: the guest shuts down.
    let (d, machine) = (Arc::clone(&driver), Arc::clone(&vm));
    w.bench
        .run(2, |cpu| async move {
            let v = Vcpu::new(cpu, machine, 0);
            d.shutdown(&v).await
        })
        .unwrap();
    w.bench.settle();
    let mut steps = Vec::new();
    for l in (0..2).rev() {
        let (start, end) = (&s4a_direct(l)[..4], [Is(p0(1, l) + 0x14, 0), Is(p0(1, l) + 0x10, 0)]);
        // The VMM takes BASE = 0 as the end of the queue, before ALLOCATED is cleared.
        steps.extend([start, &s4a(1, l), &s5b(1, l), &end].concat());
    }
    expect(&mut w.bench, &steps);
    golden("s13-guest-life.txt", &all, param);
    assert_eq!(w.bench.complaints(), Vec::<&Record>::new());
}

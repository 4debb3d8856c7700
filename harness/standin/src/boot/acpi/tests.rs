//! The block is read back the way Linux reads it: from the EFI system table on, by addresses.
use std::collections::BTreeMap;

use super::super::layout::tests::platform;
use super::*;

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

struct Memory {
    tables: Tables,
    base: u64,
}

impl Memory {
    fn new(layout: &Layout) -> Self {
        Self { tables: Tables::new(layout).unwrap(), base: layout.tables }
    }

    fn at(&self, address: u64) -> &[u8] {
        &self.tables.bytes[(address - self.base) as usize..]
    }

    /// A table whose checksum holds.
    fn table(&self, address: u64) -> &[u8] {
        let bytes = self.at(address);
        let table = &bytes[..number(bytes, 4, 4) as usize];
        assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0, "{:?}", &table[..4]);
        table
    }

    fn rsdp(&self) -> &[u8] {
        let system = &self.at(self.tables.system_table)[..120];
        assert_eq!(&system[..8], b"IBI SYST");
        let mut crc = flate2::Crc::new();
        crc.update(&system[..16]);
        crc.update(&[0; 4]);
        crc.update(&system[20..]);
        assert_eq!(u64::from(crc.sum()), number(system, 16, 4));
        assert_eq!(number(system, 104, 8), 1);
        let entry = self.at(number(system, 112, 8));
        assert_eq!(number(entry, 0, 4), 0x8868_e871);
        self.at(number(entry, 16, 8))
    }

    fn tables(&self) -> BTreeMap<[u8; 4], &[u8]> {
        let rsdp = &self.rsdp()[..36];
        assert_eq!(&rsdp[..8], b"RSD PTR ");
        assert_eq!(rsdp.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        let xsdt = self.table(number(rsdp, 24, 8));
        let named = |address| (self.at(address)[..4].try_into().unwrap(), self.table(address));
        let mut all: BTreeMap<_, _> = xsdt[36..].chunks(8).map(|entry| named(number(entry, 0, 8))).collect();
        let dsdt = number(all[b"FACP"], 140, 8);
        all.extend([named(dsdt)]);
        all
    }
}

#[test]
fn all_tables_are_found_with_their_checksums() {
    for smmus in 1..=5 {
        let memory = Memory::new(&Layout::new(&platform(smmus)).unwrap());
        let names: Vec<_> = memory.tables().into_keys().collect();
        assert_eq!(names, [*b"APIC", *b"DSDT", *b"FACP", *b"GTDT", *b"IORT", *b"MCFG"]);
    }
}

#[test]
fn the_memory_map_covers_ram_and_keeps_the_tables() {
    let layout = Layout::new(&platform(2)).unwrap();
    let memory = Memory::new(&layout);
    let map = &memory.at(memory.tables.memory_map)[..memory.tables.memory_map_size as usize];
    let mut end = virt::RAM;
    for descriptor in map.chunks(memory.tables.descriptor_size as usize) {
        let (kind, start, pages) =
            (number(descriptor, 0, 4), number(descriptor, 8, 8), number(descriptor, 24, 8));
        assert_eq!(start, end);
        end = start + pages * 4096;
        let holds_tables = start < layout.tables + memory.tables.bytes.len() as u64 && layout.tables < end;
        assert_eq!(kind, if holds_tables { 9 } else { 7 });
    }
    assert_eq!(end, layout.ram_end());
}

/// Nodes of an IORT: offset, type, bytes.
fn nodes(iort: &[u8]) -> Vec<(usize, u8, &[u8])> {
    let mut at = number(iort, 40, 4) as usize;
    let mut nodes = Vec::new();
    for _ in 0..number(iort, 36, 4) {
        let length = number(iort, at + 1, 2) as usize;
        nodes.push((at, iort[at], &iort[at..at + length]));
        at += length;
    }
    assert_eq!(at, iort.len());
    nodes
}

#[test]
fn the_iort_maps_each_endpoint_to_its_smmu() {
    for smmus in 1..=5 {
        let layout = Layout::new(&platform(smmus)).unwrap();
        let memory = Memory::new(&layout);
        let tables = memory.tables();
        let nodes = nodes(tables[b"IORT"]);
        let (root, smmu_nodes) = nodes.split_last().unwrap();
        for ((_, kind, node), place) in smmu_nodes.iter().zip(&layout.smmus) {
            assert_eq!((*kind, number(node, 4, 4)), (4, u64::from(place.identifier)));
            assert_eq!((number(node, 16, 8), number(node, 24, 4)), (place.registers, 1));
            let gsivs: Vec<_> = (44..60).step_by(4).map(|at| number(node, at, 4) as u32).collect();
            assert_eq!(gsivs, [place.wires.eventq, place.wires.priq, place.wires.gerror, 0]);
        }
        assert_eq!((smmu_nodes.len(), root.1), (smmus, 2));
        let (node, first) = (root.2, number(root.2, 12, 4) as usize);
        assert_eq!((number(node, 16, 4), node[23]), (1, 0b111), "coherent, CANWBS");
        let mappings: Vec<_> = node[first..].chunks(20).collect();
        assert_eq!(number(node, 8, 4) as usize, mappings.len());
        assert_eq!(mappings.len(), layout.platform.endpoints.len());
        for (mapping, (bdf, endpoint)) in mappings.iter().zip(layout.endpoints()) {
            let words: Vec<_> = (0..20).step_by(4).map(|at| number(mapping, at, 4)).collect();
            let smmu = smmu_nodes[endpoint.smmu].0 as u64;
            assert_eq!(words, [u64::from(bdf.requester()), 0, u64::from(endpoint.stream), smmu, 0]);
        }
    }
}

#[test]
fn the_iort_has_counter_groups_behind_the_rest() {
    let mut platform = platform(3);
    (platform.smmus[0].pmcg, platform.smmus[2].pmcg) = (true, true);
    let layout = Layout::new(&platform).unwrap();
    let memory = Memory::new(&layout);
    let tables = memory.tables();
    let nodes = nodes(tables[b"IORT"]);
    let kinds: Vec<_> = nodes.iter().map(|node| node.1).collect();
    assert_eq!(kinds, [4, 4, 4, 2, 5, 5, 5, 5]);
    let groups = [0, 2].into_iter().flat_map(|smmu| layout.smmus[smmu].pmcgs.iter().map(move |p| (smmu, p)));
    for ((_, _, node), (smmu, place)) in nodes[4..].iter().zip(groups) {
        assert_eq!((number(node, 16, 8), number(node, 32, 8)), (place.pages[0], place.pages[1]));
        assert_eq!(number(node, 24, 4), u64::from(place.wire));
        assert_eq!(number(node, 28, 4), nodes[smmu].0 as u64, "the SMMU that it belongs to");
    }
    let mut identifiers: Vec<_> = nodes.iter().map(|(_, _, node)| number(node, 4, 4)).collect();
    identifiers.dedup();
    assert_eq!(identifiers.len(), nodes.len());
}

#[test]
fn msis_end_before_the_wired_interrupts() {
    let layout = Layout::new(&platform(3)).unwrap();
    let memory = Memory::new(&layout);
    let tables = memory.tables();
    let (madt, mut at, mut kinds) = (tables[b"APIC"], 44, Vec::new());
    while at < madt.len() {
        kinds.push(madt[at]);
        if madt[at] == 0x0d {
            assert_eq!((number(madt, at + 8, 8), number(madt, at + 16, 4)), (virt::V2M, 1));
            assert_eq!((number(madt, at + 20, 2), number(madt, at + 22, 2)), (64 - 12, 80));
        }
        at += usize::from(madt[at + 1]);
    }
    assert_eq!(kinds, [0x0b, 0x0b, 0x0c, 0x0d]);
}

#[test]
fn psci_is_called_as_qemu_answers_it() {
    for (virtualization, flags) in [(false, 0b11), (true, 0b01)] {
        let layout = Layout::new(&super::super::Platform { virtualization, ..platform(1) }).unwrap();
        let memory = Memory::new(&layout);
        assert_eq!(number(memory.tables()[b"FACP"], 129, 2), flags);
    }
}

#[test]
fn each_cmdqv_has_its_device() {
    let mut platform = platform(3);
    platform.smmus[1].cmdqv = false;
    let layout = Layout::new(&platform).unwrap();
    let memory = Memory::new(&layout);
    let tables = memory.tables();
    let dsdt = tables[b"DSDT"];
    let found: Vec<_> =
        dsdt.windows(8).enumerate().filter(|(_, text)| *text == b"NVDA200C").map(|(at, _)| at).collect();
    assert_eq!(found.len(), 2);
    for (at, place) in found.into_iter().zip([&layout.smmus[0], &layout.smmus[2]]) {
        let device = &dsdt[at..dsdt.len().min(at + 60)];
        let memory_32 = device.windows(3).position(|bytes| bytes == [0x86, 9, 0]).unwrap();
        assert_eq!(number(device, memory_32 + 4, 4), place.cmdqv.unwrap());
        assert_eq!(number(device, memory_32 + 8, 4), super::super::layout::CMDQV_SIZE);
        let interrupt = device.windows(3).position(|bytes| bytes == [0x89, 6, 0]).unwrap();
        assert_eq!(
            (device[interrupt + 3], number(device, interrupt + 5, 4)),
            (0b11, u64::from(place.wires.cmdqv))
        );
    }
}

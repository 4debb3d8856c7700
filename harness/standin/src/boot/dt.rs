//! The device tree that Linux is given: QEMU's own, dumped with the same machine options, with SMMUs added and carriers hidden.
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property, ToPropertyValue};

use super::acpi::Tables;
use super::error::Error;
use super::layout::{CARRIERS, CMDQV_SIZE, ECAM_SIZE, LAST_BUS, Layout, PmcgPlace, SMMU_SIZE, SmmuPlace};
use super::virt;

const PCIE: &str = "/pcie@10000000";
const V2M: &str = "/intc@8000000/v2m@8020000";
/// Top byte of a `ranges` entry that is 32-bit memory (Open Firmware's PCI binding, phys.hi `ss`).
const SPACE_MEMORY_32: u32 = 0x0200_0000;
/// Interrupt specifier (GIC binding): an SPI, triggered by a rising edge.
const SPI: u32 = 0;
const EDGE_RISING: u32 = 1;
const FIRST_SPI: u32 = 32;
/// Size of a page of a counter group.
const PMCG_PAGE: u64 = 0x1000;

/// Adds the SMMUs, their CMDQVs and endpoints; takes the carriers' buses and addresses, and the wired interrupts, away from Linux.
///
/// # Errors
/// The tree lacks what QEMU's `virt` machine with a GICv2 has.
pub fn describe(dumped: &[u8], layout: &Layout) -> Result<Vec<u8>, Error> {
    let mut tree = parse(dumped)?;
    let mut phandle = last_phandle(&tree.root);
    let v2m = {
        let frame = node(&mut tree, V2M)?;
        set(frame, "arm,msi-base-spi", virt::V2M_BASE);
        set(frame, "arm,msi-num-spis", layout.msi_end - virt::V2M_BASE);
        cells(frame, "phandle")?[0]
    };
    let mut smmu_phandles = Vec::new();
    for place in &layout.smmus {
        let cmdqv = place.cmdqv.map(|base| {
            phandle += 1;
            tree.root.add_child(cmdqv_node(base, place, phandle));
            phandle
        });
        phandle += 1;
        tree.root.add_child(smmu_node(place, phandle, v2m, cmdqv));
        smmu_phandles.push(phandle);
        for group in &place.pmcgs {
            tree.root.add_child(pmcg_node(group, v2m));
        }
    }
    let pcie = node(&mut tree, PCIE)?;
    hide_carriers(pcie)?;
    let map: Vec<u32> = layout
        .endpoints()
        .flat_map(|(bdf, endpoint)| {
            [u32::from(bdf.requester()), smmu_phandles[endpoint.smmu], endpoint.stream, 1]
        })
        .collect();
    if !map.is_empty() {
        set(pcie, "iommu-map", map);
    }
    if layout.platform.endpoints.iter().any(|endpoint| endpoint.ats) {
        set(pcie, "ats-supported", Vec::<u8>::new());
    }
    Ok(tree.to_dtb())
}

/// Points Linux to ACPI tables in memory, as its EFI stub does after it ran.
///
/// # Errors
/// The tree is none.
pub fn point_to_tables(dumped: &[u8], tables: &Tables) -> Result<Vec<u8>, Error> {
    let mut tree = parse(dumped)?;
    let chosen = node(&mut tree, "/chosen")?;
    set(chosen, "linux,uefi-system-table", tables.system_table);
    set(chosen, "linux,uefi-mmap-start", tables.memory_map);
    set(chosen, "linux,uefi-mmap-size", tables.memory_map_size);
    set(chosen, "linux,uefi-mmap-desc-size", tables.descriptor_size);
    set(chosen, "linux,uefi-mmap-desc-ver", 1u32);
    // Kernels with Debian's lockdown patch ignore all of these when this one is not there.
    set(chosen, "linux,uefi-secure-boot", 0u32);
    Ok(tree.to_dtb())
}

fn parse(dumped: &[u8]) -> Result<DeviceTree, Error> {
    let fdt = Fdt::new(dumped).map_err(|error| Error::DeviceTree(error.to_string()))?;
    Ok(DeviceTree::from_fdt(&fdt))
}

fn node<'a>(tree: &'a mut DeviceTree, path: &str) -> Result<&'a mut DeviceTreeNode, Error> {
    tree.find_node_mut(path).ok_or_else(|| Error::DeviceTree(format!("no node {path}")))
}

fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

/// A property as 32-bit cells; at least one.
fn cells(node: &DeviceTreeNode, name: &str) -> Result<Vec<u32>, Error> {
    let property = node.property(name).map(|p| p.value().to_vec()).unwrap_or_default();
    if property.is_empty() {
        return Err(Error::DeviceTree(format!("no property {name} in {}", node.name())));
    }
    Ok(property
        .chunks_exact(4)
        .map(|cell| u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]]))
        .collect())
}

fn last_phandle(node: &DeviceTreeNode) -> u32 {
    let own = cells(node, "phandle").map_or(0, |cells| cells[0]);
    node.children().map(last_phandle).fold(own, u32::max)
}

/// Two address and two size cells, as the root of `virt` has them.
fn reg(base: u64, size: u64) -> Vec<u32> {
    [base, size].into_iter().flat_map(|v| [(v >> 32) as u32, v as u32]).collect()
}

fn wires(intids: &[u32]) -> Vec<u32> {
    intids.iter().flat_map(|intid| [SPI, intid - FIRST_SPI, EDGE_RISING]).collect()
}

/// bindings/iommu/arm,smmu-v3.yaml
fn smmu_node(place: &SmmuPlace, phandle: u32, v2m: u32, cmdqv: Option<u32>) -> DeviceTreeNode {
    let mut smmu = DeviceTreeNode::new_unchecked(format!("iommu@{:x}", place.registers));
    match cmdqv {
        Some(cmdqv) => {
            set(&mut smmu, "compatible", ["nvidia,tegra264-smmu", "arm,smmu-v3"].as_slice());
            set(&mut smmu, "nvidia,cmdqv", cmdqv);
        }
        None => set(&mut smmu, "compatible", "arm,smmu-v3"),
    }
    set(&mut smmu, "reg", reg(place.registers, SMMU_SIZE));
    set(&mut smmu, "#iommu-cells", 1u32);
    set(&mut smmu, "dma-coherent", Vec::<u8>::new());
    set(&mut smmu, "interrupts", wires(&[place.wires.eventq, place.wires.priq, place.wires.gerror]));
    set(&mut smmu, "interrupt-names", ["eventq", "priq", "gerror"].as_slice());
    if place.msi {
        set(&mut smmu, "msi-parent", v2m);
    }
    set(&mut smmu, "phandle", phandle);
    smmu
}

/// bindings/perf/arm,smmu-v3-pmcg.yaml
fn pmcg_node(place: &PmcgPlace, v2m: u32) -> DeviceTreeNode {
    let mut pmu = DeviceTreeNode::new_unchecked(format!("pmu@{:x}", place.pages[0]));
    set(&mut pmu, "compatible", "arm,smmu-v3-pmcg");
    set(&mut pmu, "reg", place.pages.iter().flat_map(|&page| reg(page, PMCG_PAGE)).collect::<Vec<_>>());
    set(&mut pmu, "interrupts", wires(&[place.wire]));
    if place.msi {
        set(&mut pmu, "msi-parent", v2m);
    }
    pmu
}

/// bindings/iommu/nvidia,tegra264-cmdqv.yaml
fn cmdqv_node(base: u64, place: &SmmuPlace, phandle: u32) -> DeviceTreeNode {
    let mut cmdqv = DeviceTreeNode::new_unchecked(format!("cmdqv@{base:x}"));
    set(&mut cmdqv, "compatible", "nvidia,tegra264-cmdqv");
    set(&mut cmdqv, "reg", reg(base, CMDQV_SIZE));
    set(&mut cmdqv, "interrupts", wires(&[place.wires.cmdqv]));
    set(&mut cmdqv, "phandle", phandle);
    cmdqv
}

/// Ends Linux's buses, and its 32-bit memory window, before what belongs to the carriers.
fn hide_carriers(pcie: &mut DeviceTreeNode) -> Result<(), Error> {
    set(pcie, "bus-range", [0, u32::from(LAST_BUS)]);
    set(pcie, "reg", reg(virt::ECAM, ECAM_SIZE));
    let mut ranges = cells(pcie, "ranges")?;
    let window = ranges
        .chunks_exact_mut(7)
        .find(|entry| entry[0] == SPACE_MEMORY_32 && u64::from(entry[4]) == virt::PCI_MEMORY)
        .ok_or_else(|| Error::DeviceTree("the PCI host bridge has no 32-bit memory window".into()))?;
    window[6] = (CARRIERS - virt::PCI_MEMORY) as u32;
    set(pcie, "ranges", ranges);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::platform;
    use super::*;

    /// The parts of QEMU's tree that are edited, as 11.1 dumps them.
    fn dumped() -> Vec<u8> {
        let mut tree = DeviceTree::new();
        let mut pcie = DeviceTreeNode::new_unchecked(&PCIE[1..]);
        set(&mut pcie, "bus-range", [0u32, 0xff]);
        set(&mut pcie, "reg", [0x40u32, 0x1000_0000, 0, 0x1000_0000]);
        let io = [0x100_0000u32, 0, 0, 0, 0x3eff_0000, 0, 0x1_0000];
        let low = [0x200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000];
        let high = [0x300_0000, 0x80, 0, 0x80, 0, 0x80, 0];
        set(&mut pcie, "ranges", [io, low, high].concat());
        let mut v2m = DeviceTreeNode::new_unchecked("v2m@8020000");
        set(&mut v2m, "phandle", 0x8004u32);
        let mut intc = DeviceTreeNode::new_unchecked("intc@8000000");
        set(&mut intc, "phandle", 0x8003u32);
        intc.add_child(v2m);
        for node in [pcie, intc, DeviceTreeNode::new_unchecked("chosen")] {
            tree.root.add_child(node);
        }
        tree.to_dtb()
    }

    #[test]
    fn counter_groups_are_nodes_of_their_own() {
        for msi in [false, true] {
            let mut platform = platform(2);
            (platform.smmus[1].pmcg, platform.smmus[1].pmcg_msi) = (true, msi);
            let layout = Layout::new(&platform).unwrap();
            let tree = parse(&describe(&dumped(), &layout).unwrap()).unwrap();
            let found = tree.root.children().filter(|node| node.name().starts_with("pmu@")).count();
            assert_eq!(found, 2);
            for group in &layout.smmus[1].pmcgs {
                let node = tree.find_node(&format!("/pmu@{:x}", group.pages[0])).unwrap();
                assert_eq!(text(node, "compatible"), "arm,smmu-v3-pmcg\0");
                let [zero, one] = group.pages.map(|page| page as u32);
                assert_eq!(cells(node, "reg").unwrap(), [0, zero, 0, 0x1000, 0, one, 0, 0x1000]);
                assert_eq!(cells(node, "interrupts").unwrap(), [0, group.wire - 32, 1]);
                assert_eq!(cells(node, "msi-parent").ok(), msi.then_some(vec![0x8004]));
            }
        }
    }

    fn text(node: &DeviceTreeNode, name: &str) -> String {
        String::from_utf8(node.property(name).unwrap().value().to_vec()).unwrap()
    }

    #[test]
    fn carriers_are_hidden_and_the_rest_stays() {
        let layout = Layout::new(&platform(2)).unwrap();
        let tree = parse(&describe(&dumped(), &layout).unwrap()).unwrap();
        let pcie = tree.find_node(PCIE).unwrap();
        assert_eq!(cells(pcie, "bus-range").unwrap(), [0, 0x3f]);
        assert_eq!(cells(pcie, "reg").unwrap(), [0x40, 0x1000_0000, 0, 0x400_0000]);
        let ranges = cells(pcie, "ranges").unwrap();
        assert_eq!(ranges[..7], [0x100_0000, 0, 0, 0, 0x3eff_0000, 0, 0x1_0000]);
        assert_eq!(ranges[7..14], [0x200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2000_0000]);
        assert_eq!(ranges[14..], [0x300_0000, 0x80, 0, 0x80, 0, 0x80, 0]);
        let v2m = tree.find_node(V2M).unwrap();
        assert_eq!(
            (cells(v2m, "arm,msi-base-spi").unwrap(), cells(v2m, "arm,msi-num-spis").unwrap()),
            (vec![80], vec![56])
        );
    }

    #[test]
    fn each_smmu_is_described_and_its_endpoints_lead_to_it() {
        for n in 1..=5 {
            let mut platform = platform(n);
            platform.smmus[n - 1].cmdqv = false;
            platform.smmus[n - 1].msi = false;
            let layout = Layout::new(&platform).unwrap();
            let tree = parse(&describe(&dumped(), &layout).unwrap()).unwrap();
            let mut phandles = Vec::new();
            for place in &layout.smmus {
                let smmu = tree.find_node(&format!("/iommu@{:x}", place.registers)).unwrap();
                assert_eq!(cells(smmu, "reg").unwrap(), [0, place.registers as u32, 0, 0x2_0000]);
                let wire = place.wires.eventq - 32;
                assert_eq!(cells(smmu, "interrupts").unwrap(), [0, wire, 1, 0, wire + 1, 1, 0, wire + 2, 1]);
                assert_eq!(cells(smmu, "msi-parent").ok(), place.msi.then_some(vec![0x8004]));
                phandles.push(cells(smmu, "phandle").unwrap()[0]);
                let Some(base) = place.cmdqv else {
                    assert_eq!(text(smmu, "compatible"), "arm,smmu-v3\0");
                    continue;
                };
                assert_eq!(text(smmu, "compatible"), "nvidia,tegra264-smmu\0arm,smmu-v3\0");
                let cmdqv = tree.find_node(&format!("/cmdqv@{base:x}")).unwrap();
                assert_eq!(text(cmdqv, "compatible"), "nvidia,tegra264-cmdqv\0");
                assert_eq!(cells(smmu, "nvidia,cmdqv").unwrap(), cells(cmdqv, "phandle").unwrap());
                assert_eq!(cells(cmdqv, "reg").unwrap(), [0, base as u32, 0, 0x83_0000]);
                assert_eq!(cells(cmdqv, "interrupts").unwrap(), [0, place.wires.cmdqv - 32, 1]);
                phandles.push(cells(cmdqv, "phandle").unwrap()[0]);
            }
            let map = cells(tree.find_node(PCIE).unwrap(), "iommu-map").unwrap();
            assert_eq!(map.len(), 4 * platform.endpoints.len());
            for (row, (bdf, endpoint)) in map.chunks(4).zip(layout.endpoints()) {
                let smmu =
                    tree.find_node(&format!("/iommu@{:x}", layout.smmus[endpoint.smmu].registers)).unwrap();
                assert_eq!(
                    row,
                    [u32::from(bdf.requester()), cells(smmu, "phandle").unwrap()[0], endpoint.stream, 1]
                );
            }
            let count = phandles.len();
            phandles.sort_unstable();
            phandles.dedup();
            assert!(phandles.len() == count && phandles[0] > 0x8004, "phandles are new ones");
        }
    }

    #[test]
    fn nothing_is_translated_without_endpoints() {
        let mut platform = platform(1);
        platform.endpoints.clear();
        let tree = parse(&describe(&dumped(), &Layout::new(&platform).unwrap()).unwrap()).unwrap();
        assert!(tree.find_node(PCIE).unwrap().property("iommu-map").is_none());
    }

    #[test]
    fn other_trees_are_refused() {
        let layout = Layout::new(&platform(1)).unwrap();
        for (tree, what) in
            [(DeviceTree::new().to_dtb(), "no node /intc@8000000/v2m@8020000"), (b"no tree".to_vec(), "")]
        {
            let error = describe(&tree, &layout).unwrap_err().to_string();
            assert!(
                error.contains(what) && error.starts_with("the device tree of QEMU's virt machine"),
                "{error}"
            );
        }
    }

    #[test]
    fn linux_finds_the_tables() {
        let layout = Layout::new(&platform(1)).unwrap();
        let tables = Tables::new(&layout).unwrap();
        let tree = parse(&point_to_tables(&dumped(), &tables).unwrap()).unwrap();
        let chosen = tree.find_node("/chosen").unwrap();
        let address =
            |name| cells(chosen, name).unwrap().iter().fold(0, |value, cell| value << 32 | u64::from(*cell));
        assert_eq!(address("linux,uefi-system-table"), tables.system_table);
        assert_eq!(address("linux,uefi-mmap-start"), tables.memory_map);
        assert_eq!(cells(chosen, "linux,uefi-mmap-size").unwrap(), [tables.memory_map_size]);
        assert_eq!(cells(chosen, "linux,uefi-mmap-desc-size").unwrap(), [tables.descriptor_size]);
        assert_eq!(cells(chosen, "linux,uefi-mmap-desc-ver").unwrap(), [1]);
        assert_eq!(cells(chosen, "linux,uefi-secure-boot").unwrap(), [0]);
    }
}
